"""The emulator answers like the recorded EventGate, keeps what it accepted, and fails on command."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from sidecar.demo.emulator import bodyparser
from sidecar.demo.emulator.__main__ import main
from sidecar.demo.emulator.gate import EventGateEmulator, Fault, _stream
from sidecar.demo.emulator.server import running
from tests import exchanges
from tests.exchanges import Exchange

SECONDS = 10
"""Longer than anything here takes, so that a waiting test fails instead of hanging."""

SCORE = exchanges.named("one valid event").body
INVALID = exchanges.named("one schema-invalid event").body
JSON = {"content-type": "application/json"}


@pytest.fixture(autouse=True)
async def bound() -> AsyncIterator[None]:
    """Limit the time of every test."""
    async with asyncio.timeout(SECONDS):
        yield


@contextlib.asynccontextmanager
async def served(
    emulator: EventGateEmulator, *, control: tuple[str, int] | None = None
) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client of this emulator, served on a free port."""
    async with (
        running(emulator, control=control) as url,
        httpx.AsyncClient(base_url=url, timeout=SECONDS) as client,
    ):
        yield client


async def exchange(client: httpx.AsyncClient, recorded: Exchange) -> httpx.Response:
    """Send the recorded request."""
    headers = {"accept-encoding": "identity", **recorded.headers}
    body = recorded.body if recorded.method == "POST" else None
    return await client.request(recorded.method, recorded.path, headers=headers, content=body)


@pytest.mark.parametrize("recorded", exchanges.load(), ids=lambda recorded: recorded.name)
async def test_it_answers_as_the_real_one_did(recorded: Exchange) -> None:
    """Status, reason, content type and body of every recorded exchange are the same, JSON to the byte."""
    async with served(EventGateEmulator()) as client:
        answer = await exchange(client, recorded)
    exchanges.assert_holds(recorded, answer.status_code, answer.reason_phrase, answer.headers, answer.content)
    if recorded.json is not None and "surrogate" not in recorded.name:
        assert json.dumps(recorded.json, ensure_ascii=False, separators=(",", ":")).encode() == answer.content


async def test_a_long_answer_is_compressed_on_request() -> None:
    """EventGate compresses bodies of 1 kB and more if asked to."""
    async with served(EventGateEmulator()) as client:
        body = json.dumps([json.loads(INVALID)] * 5)
        answer = await client.post("/v1/events", headers={**JSON, "accept-encoding": "gzip"}, content=body)
    assert (answer.headers["content-encoding"], len(answer.json()["invalid"])) == ("gzip", 5)


async def test_too_deep_brackets_are_never_answered() -> None:
    """The real one does not answer either."""
    async with served(EventGateEmulator()) as client:
        body = "[" * 5000 + "]" * 5000
        with pytest.raises(httpx.ReadTimeout):
            await client.post("/v1/events", headers=JSON, content=body, timeout=0.05)


def test_it_finds_the_stream_where_the_real_one_does() -> None:
    """For every odd event recorded, the topic has the name that EventGate 1.8.4 used."""
    odd = Path(__file__).parent.parent / "data" / "odd_streams.jsonl"
    wrong = []
    for line in odd.read_text(encoding="utf-8").splitlines():
        body, stream = json.loads(line)
        elements = bodyparser.read({b"content-type": b"application/json", b"content-length": b""}, body.encode(), 1000)
        found = [_stream(each.value) for each in elements]
        if found != ([stream or ""] if elements else []):
            wrong.append((body, stream, found))
    assert wrong == []


async def test_accepted_events_are_in_the_file_before_the_answer(tmp_path: Path) -> None:
    """After a 201, a line has the event's stream, topic, headers and its exact bytes."""
    output = tmp_path / "events"
    emulator = EventGateEmulator("eqiad", topic_prefix="eqiad.", output=output)
    headers = {**JSON, "user-agent": "ua", "x-request-id": "r", "traceparent": "t", "x-other": "o"}
    spaced = SCORE.replace(b'"rev_id": 42', b'"rev_id" :\t42')
    async with served(emulator) as client:
        await client.post("/v1/events", headers=headers, content=b"[ " + SCORE + b",\n" + spaced + b" ]")
        lines = [json.loads(line) for line in output.read_bytes().splitlines()]
    emulator.close()
    assert [line["raw"].encode() for line in lines] == [SCORE, spaced]
    assert [line["event"] for line in lines] == [json.loads(SCORE)] * 2
    assert lines[0].pop("received").endswith("Z")
    assert {key: value for key, value in lines[0].items() if key not in ("event", "raw")} == {
        "name": "eqiad",
        "stream": "mediawiki.revision-score-test",
        "topic": "eqiad.mediawiki.revision-score-test",
        "headers": {"user-agent": "ua", "x-request-id": "r", "traceparent": "t"},
    }


async def test_only_accepted_events_are_kept() -> None:
    """Of a valid and an invalid event only the valid one is kept; defaults are not added."""
    emulator = EventGateEmulator()
    tags = exchanges.build_event({"base": "tags", "remove": ["rev_based"]}, exchanges.base_events())
    async with served(emulator) as client:
        await client.post("/v1/events", headers=JSON, content=json.dumps([tags, json.loads(INVALID)]))
    assert [record["event"] for record in emulator.records] == [tags]


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(json.dumps(json.loads(SCORE), indent=2).encode(), id="many lines"),
        pytest.param(SCORE.replace(b"Zo", b"\\ud800"), id="a lone surrogate"),
        pytest.param(SCORE.replace(b"0.25", b"2.50e-1"), id="a number in another form"),
        pytest.param(SCORE.replace(b'"rev_id"', b'"rev_id": 1, "rev_id"'), id="a key twice"),
    ],
)
async def test_an_event_is_kept_byte_for_byte(sent: bytes, tmp_path: Path) -> None:
    """However it is formatted, it is one line in the file, with its bytes unchanged."""
    emulator = EventGateEmulator(output=tmp_path / "events")
    async with served(emulator) as client:
        await client.post("/v1/events", headers=JSON, content=sent)
    emulator.close()
    (line,) = (tmp_path / "events").read_bytes().splitlines()
    assert (json.loads(line)["raw"].encode(), json.loads(line)["event"]) == (sent, json.loads(sent))


async def test_a_hasty_request_keeps_its_valid_events() -> None:
    """202 does not mean valid, but valid events are kept."""
    emulator = EventGateEmulator()
    async with served(emulator) as client:
        both = b"[" + SCORE + b"," + INVALID + b"]"
        answer = await client.post("/v1/events?hasty=true", headers=JSON, content=both)
    assert (answer.status_code, len(emulator.records)) == (202, 1)


@pytest.mark.parametrize(
    ("streams", "words"),
    [
        ({"other": "mediawiki/revision/score"}, "mediawiki.revision-score-test is not configured"),
        ({"mediawiki.revision-score-test": "test/event"}, "the stream only takes 'test/event'"),
    ],
    ids=["unknown stream", "stream of another schema"],
)
async def test_a_stream_takes_only_events_of_its_schema(streams: dict[str, str], words: str) -> None:
    """With a stream configuration, an event of another schema is an error with a reason."""
    async with served(EventGateEmulator(streams=streams)) as client:
        answer = await client.post("/v1/events", headers=JSON, content=SCORE)
    assert words in answer.json()["error"][0]["context"]["message"]


async def test_a_stream_takes_events_of_its_schema() -> None:
    """With a stream configuration, a matching event is accepted."""
    emulator = EventGateEmulator(streams={"mediawiki.revision-score-test": "mediawiki/revision/score"})
    async with served(emulator) as client:
        assert (await client.post("/v1/events", headers=JSON, content=SCORE)).status_code == 201


async def test_no_schema_is_read_from_outside_its_folder(tmp_path: Path) -> None:
    """An event cannot make the emulator read other files."""
    (tmp_path / "outside.json").write_text('{"type": "object"}')
    (tmp_path / "schemas").mkdir()
    async with served(EventGateEmulator(schemas=tmp_path / "schemas")) as client:
        answer = await client.post("/v1/events", headers=JSON, content='{"$schema": "/../outside"}')
    assert answer.json()["error"][0]["context"]["message"] == "Failed loading schema at /../outside"


async def test_a_broken_schema_is_ignored(tmp_path: Path) -> None:
    """A pipe is not waited for, and a file of another format does not break the request."""
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "deep.json").write_text("[" * 100_000)
    (tmp_path / "list.json").write_text("[]")
    (tmp_path / "form.json").write_text('{"type": "object", "properties": []}')
    async with served(EventGateEmulator(schemas=tmp_path)) as client:
        for name in ("pipe", "deep", "list", "form"):
            answer = await client.post("/v1/events", headers=JSON, content=f'{{"$schema": "/{name}"}}')
            assert answer.json()["error"][0]["context"]["message"] == f"Failed loading schema at /{name}"


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command reports what is wrong with its list of streams, and does not wait for a pipe."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "half").write_text("{")
    assert [main(["--streams", str(tmp_path / name)]) for name in ("pipe", "half", "none")] == [1, 1, 1]
    pipe, half, none = capsys.readouterr().err.splitlines()
    assert pipe == f"emulator: cannot read {tmp_path}/pipe: it is a pipe, and must be a regular file"
    assert half.startswith("emulator: ")
    assert none == f"emulator: cannot read {tmp_path}/none: No such file or directory"


async def test_slow_answers_late_and_keeps_the_event() -> None:
    """A slow answer comes after the delay; the event has been kept by then."""
    emulator = EventGateEmulator()
    emulator.fault = Fault("slow", 0.05)
    loop = asyncio.get_running_loop()
    async with served(emulator) as client:
        before = loop.time()
        answer = await client.post("/v1/events", headers=JSON, content=SCORE)
    assert (answer.status_code, len(emulator.records), loop.time() - before >= 0.05) == (201, 1, True)


async def test_ending_slow_sends_waiting_answers() -> None:
    """As soon as the fault ends."""
    emulator = EventGateEmulator()
    emulator.fault = Fault("slow", 1000)
    control = ("127.0.0.1", 0)
    async with served(emulator, control=control) as client, asyncio.TaskGroup() as group:
        post = group.create_task(client.post("/v1/events", headers=JSON, content=SCORE))
        while not emulator.records:
            await until_served(client, emulator)
        emulator.fault = Fault()
        assert (await post).status_code == 201


@pytest.mark.parametrize("path", ["/v1/events", "/_info"])
async def test_freeze_never_answers(path: str) -> None:
    """A frozen emulator accepts connections but answers on no path, and keeps no event."""
    emulator = EventGateEmulator()
    emulator.fault = Fault("freeze")
    async with served(emulator) as client:
        with pytest.raises(httpx.ReadTimeout):
            await client.post(path, headers=JSON, content=SCORE, timeout=0.05)
    assert emulator.records == []


async def test_ending_freeze_ends_the_frozen_requests() -> None:
    """Without an answer; new ones are served."""
    emulator = EventGateEmulator()
    async with served(emulator, control=("127.0.0.1", 0)) as client:
        emulator.fault = Fault("freeze")
        reader, writer = await connect(client)
        writer.write(b"GET /_info HTTP/1.1\r\nhost: x\r\n\r\n")
        await until_served(client, emulator)
        emulator.fault = Fault()
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.close()
        assert (await client.get("/_info")).status_code == 200


async def test_unavailable_is_a_503_in_plain_text() -> None:
    """As from a proxy without a backend: 503, without EventGate's JSON."""
    emulator = EventGateEmulator()
    emulator.fault = Fault("unavailable")
    async with served(emulator) as client:
        answer = await client.post("/v1/events", headers=JSON, content=SCORE)
    assert (answer.status_code, answer.headers["content-type"], emulator.records) == (503, "text/plain", [])


async def test_refuse_refuses_connections_until_it_ends() -> None:
    """New connections fail and old ones are cut; the same port serves again afterwards."""
    emulator = EventGateEmulator()
    async with served(emulator) as client:
        assert (await client.get("/_info")).status_code == 200
        emulator.fault = Fault("refuse")
        with pytest.raises(httpx.TransportError):  # on the old connection
            await client.get("/_info")
        with pytest.raises(httpx.ConnectError):
            await client.get("/_info")
        emulator.fault = Fault()
        assert (await client.get("/_info")).status_code == 200


async def test_a_moment_of_refusal_does_no_harm() -> None:
    """After a refusal that ends at once, the emulator serves."""
    emulator = EventGateEmulator()
    async with served(emulator) as client:
        emulator.fault = Fault("refuse")
        emulator.fault = Fault()
        assert (await client.get("/_info")).status_code == 200


async def test_refuse_works_from_the_start() -> None:
    """An emulator that starts refusing has its port, and listens once the fault ends."""
    emulator = EventGateEmulator()
    emulator.fault = Fault("refuse")
    async with served(emulator) as client:
        with pytest.raises(httpx.ConnectError):
            await client.get("/_info")
        emulator.fault = Fault()
        assert (await client.get("/_info")).status_code == 200


async def test_drip_sends_a_byte_at_a_time() -> None:
    """A dripping answer starts at once and is incomplete until the fault ends."""
    emulator = EventGateEmulator()
    emulator.fault = Fault("drip", 0.01)
    async with served(emulator) as client:
        reader, writer = await connect(client)
        writer.write(b"GET /_info HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        assert [await reader.read(100) for _ in range(5)] == [b"H", b"T", b"T", b"P", b"/"]
        emulator.fault = Fault()
        assert (await reader.read()).endswith(b"}")
        writer.close()


async def test_reset_cuts_the_answer_with_a_reset() -> None:
    """A reset arrives in the middle of the answer, after the event was kept."""
    emulator = EventGateEmulator()
    emulator.fault = Fault("reset")
    async with served(emulator) as client:
        with pytest.raises(httpx.ReadError) as caught:
            await client.post("/v1/events", headers=JSON, content=SCORE)
    assert "ConnectionResetError" in repr(root(caught.value))
    assert len(emulator.records) == 1


async def test_kafka_makes_every_valid_event_an_error() -> None:
    """Without Kafka a valid event is an error, an invalid one is still invalid, and nothing is kept."""
    emulator = EventGateEmulator()
    emulator.fault = Fault("kafka")
    async with served(emulator) as client:
        answer = await client.post("/v1/events", headers=JSON, content=b"[" + SCORE + b"," + INVALID + b"]")
    assert (answer.status_code, len(answer.json()["invalid"]), emulator.records) == (500, 1, [])
    assert answer.json()["error"][0]["context"] == {"message": "Local: Message timed out"}


async def test_faults_are_switched_over_http_too() -> None:
    """The control endpoint sets and shows the fault on its own port, even while nothing else answers."""
    emulator = EventGateEmulator()
    async with served(emulator, control=("127.0.0.1", 0)) as client:
        control = f"{emulator.control_url}/_emulator/fault"
        answer = await client.put(control, json={"mode": "refuse"})
        assert answer.json() == {"mode": "refuse", "seconds": 1.0}
        with pytest.raises(httpx.ConnectError):
            await client.get("/_info")
        await client.put(control, json={"mode": "none"})
        assert (await client.get("/_emulator/fault")).json() == {"mode": "none", "seconds": 1.0}


@pytest.mark.parametrize("body", ['{"mode": "explode"}', '{"seconds": "soon"}', "nonsense"])
async def test_an_unknown_fault_is_refused(body: str) -> None:
    """It is answered 400 with a reason, and the fault does not change."""
    emulator = EventGateEmulator()
    async with served(emulator) as client:
        answer = await client.put("/_emulator/fault", content=body)
    assert (answer.status_code, bool(answer.text), emulator.fault) == (400, True, Fault())


async def test_pipelined_requests_are_answered_in_order() -> None:
    """Two requests in one write get two complete answers."""
    async with served(EventGateEmulator()) as client:
        reader, writer = await connect(client)
        get = b"GET %b HTTP/1.1\r\nhost: x\r\n%b\r\n"
        writer.write(get % (b"/_info", b"") + get % (b"/nope", b"connection: close\r\n"))
        answer = await reader.read()
        writer.close()
    assert (answer.index(b"200 OK") < answer.index(b"404 Not Found"), answer.count(b"HTTP/1.1")) == (True, 2)


async def test_the_process_prints_its_address_and_ends_on_sigterm(tmp_path: Path) -> None:
    """The command prints one line once it serves, writes events to its file, and exits 0 on SIGTERM."""
    output = tmp_path / "events"
    command = [
        "-m",
        "sidecar.demo.emulator",
        "--name",
        "codfw",
        "--topic-prefix",
        "staging.",
        "--output",
        str(output),
    ]
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command, stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parent.parent.parent
    )
    assert process.stdout is not None
    try:
        ready = json.loads(await process.stdout.readline())
        async with httpx.AsyncClient(base_url=ready["url"], timeout=SECONDS) as client:
            answer = await client.post("/v1/events", headers=JSON, content=SCORE)
            fault = await client.get(f"{ready['control']}/_emulator/fault")
        assert (answer.status_code, fault.json()["mode"], ready["name"]) == (201, "none", "codfw")
        assert ready["pid"] == process.pid
        os.kill(process.pid, signal.SIGTERM)
        assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
    assert json.loads(output.read_bytes())["topic"] == "staging.mediawiki.revision-score-test"


async def until_served(client: httpx.AsyncClient, emulator: EventGateEmulator) -> None:
    """Return once the emulator has processed earlier requests: one event loop takes both in order."""
    await client.get(f"{emulator.control_url}/_emulator/fault")


async def connect(client: httpx.AsyncClient) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Return a raw connection to the client's server."""
    return await asyncio.open_connection(client.base_url.host, client.base_url.port)


def root(error: BaseException) -> BaseException:
    """Return the first cause."""
    *_, last = causes(error)
    return last


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and its causes, outermost first."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def test_recorded_gzip_bodies_are_gzip() -> None:
    """Bodies that a recording calls compressed decompress to events."""
    assert json.loads(gzip.decompress(exchanges.named("gzip body").body)) == json.loads(SCORE)
