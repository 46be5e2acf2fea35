"""Promises of `inquiry`: who sits on this machine learns what is true now, and nobody else learns anything."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from sidecar.intake.tap import Tap
from sidecar.serve.generation import Generation
from sidecar.status.http import MAX_BODY_BYTES, inquiry_routes, tap_route, tried_now
from sidecar.status.sse import Streams
from sidecar.upstreams.health import Health
from tests.anyroutes import config_of
from tests.fakes import FakeEventGate, eventually
from tests.running import reading, sidecar, to_one
from tests.scripted import CODFW, EQIAD, ESAMS, Recorder, at, make_pool, out

FILE = {
    "version": 1,
    "upstreams": {"main": {"url": "http://main/v1/events"}},
    "routes": [{"name": "all", "match": {"labels": {"env": "staging"}}, "to": "main"}],
}
CONFIGURATION = {"file": "routes.yaml", "refused": None}
EVENT = b'{"meta":{"stream":"s"}}'


def app(tap: Tap | None = None) -> Starlette:
    """Return an application that knows one healthy address."""
    generation = Generation(config_of(FILE), {"env": "staging"}, Recorder())
    generation.pools["main"] = make_pool({"eqiad": [EQIAD]})
    routes = inquiry_routes(lambda: generation, lambda: CONFIGURATION, lambda: 100.0)
    return Starlette(routes=[*routes, tap_route(tap, Streams(1, 1.0))])


async def asked(
    method: str = "GET",
    path: str = "/_sidecar/config",
    peer: str = "127.0.0.1",
    host: str = "localhost:8888",
    tap: Tap | None = None,
    **more: Any,
) -> httpx.Response:
    """Ask as this peer, calling it by this name."""
    transport = httpx.ASGITransport(app(tap), client=(peer, 50000))
    async with httpx.AsyncClient(transport=transport, base_url="http://sidecar") as client:
        return await client.request(method, path, headers={"host": host}, **more)


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1"])
@pytest.mark.parametrize("host", ["127.0.0.1:8888", "localhost", "LOCALHOST:1", "[::1]:8888", "[::1]"])
async def test_this_machine_is_answered(peer: str, host: str) -> None:
    """Whichever loopback address it asks from, and whichever it calls."""
    answer = await asked(peer=peer, host=host)
    assert (answer.status_code, answer.json()) == (200, CONFIGURATION)


@pytest.mark.parametrize("path", ["/_sidecar/config", "/_sidecar/explain", "/_sidecar/tap"])
@pytest.mark.parametrize("peer", ["10.2.2.45", "192.168.0.1", "::ffff:10.0.0.1", "2620:0:861::1", "a name", ""])
async def test_another_machine_is_refused(peer: str, path: str) -> None:
    """Even where the listener was opened to it."""
    tap = Tap(lambda: 0.0)
    answer = await asked("POST" if "explain" in path else "GET", path, peer=peer, tap=tap, content=EVENT)
    assert (answer.status_code, "ask from there" in answer.json()["detail"]) == (403, True)


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8888", "127.0.0.1.evil.example", "10.0.0.1", ""])
async def test_another_name_is_refused(host: str) -> None:
    """A page in a browser on this machine may have had its own name point here."""
    answer = await asked(host=host)
    assert (answer.status_code, "write http://127.0.0.1" in answer.json()["detail"]) == (403, True)


async def test_the_tap_is_off_unless_enabled() -> None:
    """It shows what is in events; who asks is told how to have it."""
    answer = await asked(path="/_sidecar/tap")
    assert answer.status_code == 403
    assert answer.json()["detail"].startswith("the tap is off, as it shows what is in events; start it with --tap")


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("outcome=lost", "there is no outcome 'lost'; there are delivered, invalid, refused, spooled, failed"),
        ("stream=", "the stream '' is an empty text, which no value equals"),
        ("stream=/(/", "the stream '/(/' is not a regular expression RE2 takes: missing ): ("),
    ],
    ids=["no outcome", "no stream", "no pattern"],
)
async def test_what_no_event_can_be_is_refused(query: str, words: str) -> None:
    """Rather than that one waits for it in vain."""
    answer = await asked(path=f"/_sidecar/tap?{query}", tap=Tap(lambda: 0.0))
    assert (answer.status_code, answer.json()["detail"]) == (400, words)


async def test_the_tap_tells_what_passes(tmp_path: Path) -> None:
    """As soon as it is answered for, to who asked for it."""
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
    """Who listens goes on, whichever configuration an event comes under."""
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


async def test_an_event_is_explained_by_what_is_in_force() -> None:
    """With the pod's own labels, and the address that would get it now."""
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
        (b" " * (MAX_BODY_BYTES + 1), f"the event is over {MAX_BODY_BYTES} bytes"),
    ],
    ids=["nothing", "half", "two", "too large"],
)
async def test_what_is_no_event_is_refused_in_words(body: bytes, words: str) -> None:
    """As the command line shows it."""
    answer = await asked("POST", "/_sidecar/explain", content=body)
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith(words)


async def test_an_event_of_any_depth_is_explained_or_refused() -> None:
    """Its readers reach the end of the stack at different depths; a route that looks into it may be the first."""
    looking = {"name": "all", "match": {"event": {"a.b": "x"}}, "to": "main"}
    generation = Generation(config_of({**FILE, "routes": [looking]}), {}, Recorder())
    routes = inquiry_routes(lambda: generation, lambda: CONFIGURATION, lambda: 100.0)
    transport = httpx.ASGITransport(Starlette(routes=routes), client=("127.0.0.1", 50000))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8888") as client:
        for depth in range(300, 1000, 2):
            body = b'{"a":' * depth + b"1" + b"}" * depth
            answer = await client.post("/_sidecar/explain", content=body)
            assert answer.status_code == 200 or answer.json()["detail"].startswith("nested too deeply")


def test_addresses_stand_in_the_order_of_trying() -> None:
    """The healthy by preference; those that are out come last, without a place."""
    pool = make_pool({"eqiad": [EQIAD], "codfw": [CODFW], "esams": [ESAMS]})
    out(pool, Health.EJECTED, EQIAD)
    found = tried_now(pool, 100.0)
    assert [(each["endpoint"], each["place"]) for each in found] == [("codfw", 1), ("esams", 2), ("eqiad", None)]
    assert found[2]["state"].startswith("ejected")
    out(pool, Health.UNHEALTHY, EQIAD, CODFW, ESAMS)
    at(pool, ESAMS).standing.last_answer = 50.0
    assert [each["endpoint"] for each in tried_now(pool, 100.0) if each["place"] == 1] == ["esams"]
    assert json.dumps(found)
