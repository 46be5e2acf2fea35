"""Promises of `http`: clients on this machine learn the current state, and nobody else learns anything."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from sidecar.intake.tap import Tap
from sidecar.status.ask import status_of
from sidecar.status.http import MAX_EXPLAINED_BYTES, inquiry_routes, status_routes, tap_route
from sidecar.status.sse import Feeds
from sidecar.upstreams.addresses import Found
from tests.fakes import PATIENCE, FakeEventGate, eventually, hanging
from tests.running import reading, sidecar, to_one
from tests.scripted import EQIAD
from tests.status.test_gather import CONFIGURATION, FILE, sources
from tests.status.test_probe import World

EVENT = b'{"meta":{"stream":"s"}}'


def app(tap: Tap | None = None) -> Starlette:
    """Return an application with one healthy address."""
    known = sources(eqiad=EQIAD)
    prober = World(Found((EQIAD,))).prober(main=known.in_force().pools["main"])
    return Starlette(
        routes=[
            *inquiry_routes(known, prober),
            *status_routes(known, Feeds(2, 2.0)),
            tap_route(tap, Feeds(1, 1.0)),
        ]
    )


async def asked(
    method: str = "GET",
    path: str = "/_sidecar/config",
    peer: str = "127.0.0.1",
    host: str = "localhost:8888",
    tap: Tap | None = None,
    **more: Any,
) -> httpx.Response:
    """Send a request from this peer to this host name."""
    transport = httpx.ASGITransport(app(tap), client=(peer, 50000))
    async with httpx.AsyncClient(transport=transport, base_url="http://sidecar") as client:
        return await client.request(method, path, headers={"host": host}, **more)


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1"])
@pytest.mark.parametrize("host", ["127.0.0.1:8888", "localhost", "LOCALHOST:1", "[::1]:8888", "[::1]"])
async def test_this_machine_is_answered(peer: str, host: str) -> None:
    """From any loopback address, to any."""
    answer = await asked(peer=peer, host=host)
    assert (answer.status_code, answer.json()) == (200, CONFIGURATION)


@pytest.mark.parametrize("path", ["/_sidecar/config", "/_sidecar/explain", "/_sidecar/tap"])
@pytest.mark.parametrize("peer", ["10.2.2.45", "192.168.0.1", "::ffff:10.0.0.1", "2620:0:861::1", "a name", ""])
async def test_another_machine_is_refused(peer: str, path: str) -> None:
    """Even if the listener is open to it."""
    tap = Tap(lambda: 0.0)
    answer = await asked("POST" if "explain" in path else "GET", path, peer=peer, tap=tap, content=EVENT)
    assert (answer.status_code, "own machine" in answer.json()["detail"]) == (403, True)


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8888", "127.0.0.1.evil.example", "10.0.0.1", ""])
async def test_another_name_is_refused(host: str) -> None:
    """A page in a local browser may have pointed its own name here."""
    answer = await asked(host=host)
    assert (answer.status_code, "use http://127.0.0.1" in answer.json()["detail"]) == (403, True)


async def test_the_tap_is_off_unless_enabled() -> None:
    """It shows event content; the refusal says how to enable it."""
    answer = await asked(path="/_sidecar/tap")
    assert answer.status_code == 403
    assert answer.json()["detail"].startswith(
        "the tap is off, because it shows the content of events; start the sidecar with --tap"
    )


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("outcome=lost", "there is no outcome 'lost'; use one of delivered, invalid, refused, spooled, failed"),
        ("stream=", "the stream '' is an empty string, which matches no value; remove the key to match everything"),
        ("stream=/(/", "the stream '/(/' is not a regular expression that RE2 accepts: missing ): ("),
    ],
    ids=["no outcome", "no stream", "no pattern"],
)
async def test_an_impossible_filter_is_refused(query: str, words: str) -> None:
    """A filter that no event can match is an error, not a wait without end."""
    answer = await asked(path=f"/_sidecar/tap?{query}", tap=Tap(lambda: 0.0))
    assert (answer.status_code, answer.json()["detail"]) == (400, words)


async def test_the_tap_shows_passing_events(tmp_path: Path) -> None:
    """To its listener, as soon as they are answered."""
    async with FakeEventGate() as gate, sidecar(to_one(gate.address), tmp_path, tap=True) as running:
        async with reading("/_sidecar/tap?stream=s*&outcome=delivered", running.address) as messages:
            await eventually(lambda: running.runtime._taps.open == 1)
            for stream in ("score", "other"):
                await running.post(b'{"meta":{"stream":"%b","id":"a"}}' % stream.encode())
            await running.post(b'{"meta":{"stream":"s"}}')
            found = [json.loads(await anext(messages)) for _ in range(2)]
        assert [(each["stream"], each["route"], each["outcome"]) for each in found] == [
            ("score", "all", "delivered"),
            ("s", "all", "delivered"),
        ]
        assert found[0]["event"] == '{"meta":{"stream":"score","id":"a"}}'
        assert json.loads(found[1]["event"]) == {"meta": {"stream": "s"}}
        await eventually(lambda: running.runtime._tap is not None and not running.runtime._tap.listening)


async def test_a_new_configuration_does_not_end_the_tap(tmp_path: Path) -> None:
    """Listeners go on, whichever configuration an event comes under."""
    async with (
        FakeEventGate() as gate,
        sidecar(to_one(gate.address), tmp_path, tap=True) as running,
        reading("/_sidecar/tap", running.address) as messages,
    ):
        await eventually(lambda: running.runtime._taps.open == 1)
        renamed = to_one(gate.address) | {"routes": [{"name": "renamed", "to": "main"}]}
        (tmp_path / "routes.yaml").write_text(json.dumps(renamed))
        os.kill(os.getpid(), signal.SIGHUP)
        await eventually(lambda: running.written.getvalue().count("ConfigLoaded") == 2)
        await running.post(EVENT)
        assert json.loads(await anext(messages))["route"] == "renamed"


async def test_an_event_is_explained_by_the_current_configuration() -> None:
    """With the pod's labels, and the address that would get it now."""
    found = (await asked("POST", "/_sidecar/explain", content=EVENT)).json()
    assert (found["labels"], found["upstream"], found["sent_as"]) == ({"env": "staging"}, "main", "s")
    assert found["tried"] == [
        {"endpoint": "eqiad:80", "address": EQIAD, "state": "healthy (its health check passed)", "place": 1}
    ]
    assert found["configuration"] == CONFIGURATION


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "Request body was empty."),
        (b"{", ""),
        (b"[" + EVENT + b"," + EVENT + b"]", "explain takes one event, not several"),
        (b" " * (MAX_EXPLAINED_BYTES + 1), f"the event is over {MAX_EXPLAINED_BYTES} bytes"),
    ],
    ids=["nothing", "half", "two", "too large"],
)
async def test_an_invalid_event_is_refused_with_a_reason(body: bytes, words: str) -> None:
    """The same as on the command line."""
    answer = await asked("POST", "/_sidecar/explain", content=body)
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith(words)


async def test_an_event_of_any_depth_is_explained_or_refused() -> None:
    """Parsers reach their limit at different depths; a route that reads the event may be the first."""
    looking = {"name": "all", "match": {"event": {"a.b": "x"}}, "to": "main"}
    routes = inquiry_routes(sources(config={**FILE, "routes": [looking]}, eqiad=EQIAD), World(Found(())).prober())
    transport = httpx.ASGITransport(Starlette(routes=routes), client=("127.0.0.1", 50000))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8888") as client:
        for depth in range(300, 1000, 2):
            body = b'{"a":' * depth + b"1" + b"}" * depth
            answer = await client.post("/_sidecar/explain", content=body)
            assert answer.status_code == 200 or answer.json()["detail"].startswith("nested too deeply")


@pytest.mark.parametrize(
    "path", [f"/_sidecar/{name}" for name in ("status", "status.json", "status/live", "runbook", "probe")]
)
async def test_only_this_machine_reads_it(path: str) -> None:
    """Not another machine, nor a page of another name in a local browser."""
    assert path.endswith("live") or (await asked(path=path)).status_code == 200  # that one does not end
    assert (await asked(path=path, peer="10.2.2.45")).status_code == 403
    assert (await asked(path=path, host="evil.example")).status_code == 403


@pytest.mark.parametrize("path", ["/", "/_sidecar", "/_sidecar/"])
async def test_guessed_paths_redirect_to_the_page(path: str) -> None:
    """On this machine; others do not learn that there is one."""
    answer = await asked(path=path)
    assert (answer.status_code, answer.headers["location"]) == (307, "/_sidecar/status")
    assert (await asked(path=path, peer="10.2.2.45")).status_code == 403


async def test_the_page_comes_with_its_policy() -> None:
    """It loads nothing but itself, and no proxy stores it."""
    answer = await asked(path="/_sidecar/status")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert answer.headers["cache-control"] == "no-store"


# --- a whole sidecar ---


async def test_a_sidecar_says_that_all_is_well(tmp_path: Path) -> None:
    """With the upstream, and the number of events under their route."""
    async with FakeEventGate() as gate, sidecar(to_one(gate.address), tmp_path) as running:
        assert (await running.post(b'{"meta":{"stream":"s"}}')).status == 201
        answer = await running.get("/_sidecar/status", running.address)
        assert (answer.status, "All well: main" in answer.body.decode()) == (200, True)
        found: dict[str, Any] = json.loads((await running.get("/_sidecar/status.json", running.address)).body)
        known = await asyncio.to_thread(status_of, running.address)
    assert known["sentence"].startswith("All well: main; ")
    (stream,) = found["streams"]
    assert (stream["outcomes"], found["level"]) == ({"delivered": 1}, "well")
    assert found["upstreams"][0]["endpoints"][0]["addresses"][0]["spans"][-1]["health"] == "healthy"


async def test_a_page_is_live(tmp_path: Path) -> None:
    """It is sent again and again, with the changed parts."""
    async with (
        FakeEventGate() as gate,
        sidecar(to_one(gate.address), tmp_path) as running,
        reading("/_sidecar/status/live", running.address) as pages,
    ):
        first = await anext(pages)
        assert (first.startswith("<!doctype html>"), "No event has arrived yet." in first) == (True, True)
        assert (await running.post(b'{"meta":{"stream":"s"}}')).status == 201
        async with asyncio.timeout(PATIENCE):
            while '<th scope="row">s</th>' not in await anext(pages):
                pass


async def test_a_page_does_not_delay_the_stop(tmp_path: Path) -> None:
    """It ends properly, and the sidecar after it."""
    async with FakeEventGate() as gate, sidecar(to_one(gate.address), tmp_path, drain=0.0) as running:
        async with reading("/_sidecar/status/live", running.address) as pages:
            await anext(pages)
            os.kill(os.getpid(), signal.SIGTERM)
            assert [page async for page in pages] == []
        async with asyncio.timeout(2):
            await running.task


async def test_a_sidecar_says_that_its_only_datacenter_hangs(tmp_path: Path) -> None:
    """And that there is no spool."""
    checks = {"interval": "100ms", "timeout": "100ms"}
    with hanging() as address:
        async with sidecar(to_one(address, health_check=checks), tmp_path) as running:
            await eventually(lambda: "unhealthy" in running.written.getvalue())
            words = (await running.get("/_sidecar/status", running.address)).body.decode()
    assert "main: no datacenter has answered" in words
    assert "There is no spool: events fail, and model servers get 503" in words
