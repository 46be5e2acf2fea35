"""Promises of `verdict`: no event is called accepted unless EventGate surely accepted it.

The answers are made as EventGate makes them: failures only, grouped by kind, each event echoed with its defaults, as
Node's JSON.stringify writes it.
"""

from __future__ import annotations

import json
import re
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.eventgate import verdict
from sidecar.events.event import parse
from sidecar.events.outgoing import Outgoing
from sidecar.events.results import EventStatus, Outcome, StatusWord
from tests.jsontext import Json, unhurried

OUTCOMES: dict[StatusWord, Outcome] = {
    "success": Outcome.DELIVERED,
    "invalid": Outcome.INVALID,
    "error": Outcome.FAILED,
}


def stringified(value: Json) -> str:
    """Return JSON as Node writes it: no spaces, no escapes except for lone surrogates."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return re.sub("[\ud800-\udfff]", lambda found: f"\\u{ord(found[0]):04x}", text)


def outgoing(*ids: str | None, title: str = "") -> list[Outgoing]:
    """Return events with these ids; their indexes have gaps, as if others went elsewhere."""
    return [
        Outgoing(2 * place, stringified({"meta": {"id": each, "stream": "a"}, "title": title}).encode(), each, "a")
        for place, each in enumerate(ids)
    ]


def echo(kind: StatusWord, event: Outgoing) -> Json:
    """Return EventGate's echo of a failed event."""
    value = json.loads(event.body)
    value["meta"] = {"dt": "2026-11-22T00:00:00.000Z", "request_id": "r", **value["meta"]}
    value["added_by_default"] = {"id": "not this one", "meta": {"id": "nor this"}}
    return {"status": kind, "event": value, "context": {"errors": [], "errorsText": "'.x' should be number"}}


def answer(kinds: list[StatusWord], events: list[Outgoing]) -> tuple[int, str, bytes]:
    """Return status, reason and body as in EventGate's routes/events.js."""
    pairs = list(zip(kinds, events, strict=True))
    invalid = [echo(kind, event) for kind, event in pairs if kind == "invalid"]
    error = [echo(kind, event) for kind, event in pairs if kind == "error"]
    if not invalid and not error:
        return 201, f"All {len(kinds)} out of {len(kinds)} events were accepted.", b""
    if len(invalid) == len(kinds):
        return 400, "", stringified({"invalid": invalid}).encode()
    status = 500 if len(invalid) + len(error) == len(kinds) else 207
    return status, "", stringified({"invalid": invalid, "error": error}).encode()


def seen(kinds: list[StatusWord], events: list[Outgoing]) -> list[EventStatus]:
    """Return the statuses of these events, each failure with EventGate's bytes."""
    return [
        EventStatus(kind, OUTCOMES[kind], b"" if kind == "success" else stringified(echo(kind, event)).encode())
        for kind, event in zip(kinds, events, strict=True)
    ]


def read(status: int, reason: str, body: bytes, events: list[Outgoing]) -> list[EventStatus] | None:
    """Read the answer to a POST, a hasty one if the answer is."""
    return verdict.read(status, reason, body, events, hasty=status == 202)


statuses: st.SearchStrategy[StatusWord] = st.sampled_from(["success", "invalid", "error"])
names = st.text(min_size=1, max_size=5)


@unhurried
@given(st.lists(st.tuples(names, statuses), min_size=1, max_size=8, unique_by=lambda pair: pair[0]), names)
def test_every_event_gets_its_own_status(pairs: list[tuple[str, StatusWord]], title: str) -> None:
    """In the order of the events."""
    events = outgoing(*(name for name, _ in pairs), title=title)
    kinds = [kind for _, kind in pairs]
    assert read(*answer(kinds, events), events) == seen(kinds, events)


@unhurried
@given(st.lists(st.tuples(st.none(), statuses), min_size=1, max_size=8), st.booleans())
def test_without_ids_only_equal_statuses_count(pairs: list[tuple[None, StatusWord]], hasty: bool) -> None:
    """If some events failed, or in different ways, they cannot be matched."""
    events = outgoing(*(name for name, _ in pairs))
    kinds = [kind for _, kind in pairs]
    found = read(*((202, f"{len(events)} events hastily received.", b"") if hasty else answer(kinds, events)), events)
    if hasty or len(set(kinds)) == 1:
        assert found is not None
        assert [each.status for each in found] == (["success"] * len(events) if hasty else kinds)
    else:
        assert found is None


# --- answers that cannot be ---------------------------------------------------------------------------------


@unhurried
@given(
    st.sampled_from([207, 400, 500]),
    st.lists(
        st.tuples(st.sampled_from(["a", "b", "c", "stranger", None]), statuses.filter(lambda kind: kind != "success")),
        max_size=5,
    ),
)
def test_a_207_accepts_only_unlisted_events(status: int, named: list[tuple[str | None, StatusWord]]) -> None:
    """It must list other events, each once, and none that is unknown."""
    events = outgoing("a", "b", "c")
    by_kind = {
        kind: [echo(kind, outgoing(name)[0]) for name, each in named if each == kind] for kind in ("invalid", "error")
    }
    found = read(status, "", stringified(by_kind).encode(), events)
    in_order = [(name, kind) for kind in ("invalid", "error") for name, each in named if each == kind]
    names = [name for name, _ in in_order]
    sound = bool(names) and len(set(names)) == len(names) and set(names) <= {"a", "b", "c"}
    if sound and (status == 207 or len(names) == 3):
        assert found is not None
        assert [each.status for each in found] == [dict(in_order).get(event.id, "success") for event in events]
    else:
        assert found is None


@pytest.mark.parametrize("status", [207, 400, 500])
@pytest.mark.parametrize("names", [("a", "b"), (None, None)], ids=["with ids", "without ids"])
@pytest.mark.parametrize("body", ['{"invalid":[],"error":[]}', '{"invalid":[]}', '{"error":[]}'])
def test_an_empty_207_is_not_a_verdict(status: int, names: tuple[str | None, ...], body: str) -> None:
    """EventGate never answers so."""
    events = outgoing(*names)
    assert read(status, "", body.encode(), events) is None


@pytest.mark.parametrize("status", [400, 500])
@pytest.mark.parametrize("names", [("a", "b", "c"), (None, None, None)], ids=["with ids", "without ids"])
def test_a_400_or_500_must_list_all_events(status: int, names: tuple[str | None, ...]) -> None:
    """Otherwise it is impossible, since none was accepted."""
    events = outgoing(*names)
    body = stringified({"invalid": [echo("invalid", events[0])]}).encode()
    assert read(status, "", body, events) is None


@pytest.mark.parametrize(
    "described",
    [
        "null",
        "7",
        '"a"',
        "[]",
        "{}",
        '{"event":null}',
        '{"event":7}',
        '{"event":{"meta":null}}',
        '{"event":{"meta":{"id":7}}}',
        '{"event":{"meta":{"id":null}}}',
        '{"event":{"meta":{"ID":"a"}}}',
    ],
)
def test_a_failure_without_a_known_event_is_not_a_verdict(described: str) -> None:
    """It may be any event's, so nothing in the answer counts."""
    events = outgoing("a", "b")
    body = f'{{"invalid":[{stringified(echo("invalid", events[0]))},{described}],"error":[]}}'.encode()
    assert read(207, "", body, events) is None


# --- what else an answer may be -----------------------------------------------------------------------------


@pytest.mark.parametrize("status", [201, 202])
@pytest.mark.parametrize(
    "reason", ["", "Created", "All 3 out of 3 events were accepted.", "3 events hastily received."]
)
@pytest.mark.parametrize("body", [b"", b"<html>", b'{"invalid":[],"error":[]}'], ids=["empty", "text", "no failures"])
def test_a_201_or_202_accepts_all_events(status: int, reason: str, body: bytes) -> None:
    """With an id or without, whatever a proxy made of the reason."""
    events = outgoing("a", None, "b")
    assert read(status, reason, body, events) == seen(["success"] * 3, events)


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (201, "All 2 out of 2 events were accepted."),
        (201, "All 33 out of 33 events were accepted."),
        (201, "All 3 out of 4 events were accepted."),
        (202, "1 events hastily received."),
        (202, f"{'3' * 5000} events hastily received."),
    ],
)
def test_a_wrong_count_is_not_a_verdict(status: int, reason: str) -> None:
    """It would be the answer to another request."""
    events = outgoing("a", None, "b")
    assert read(status, reason, b"", events) is None


@pytest.mark.parametrize("status", [201, 202])
def test_failures_in_a_201_are_not_a_verdict(status: int) -> None:
    """Body and status contradict each other."""
    events = outgoing("a", "b")
    body = stringified({"invalid": [echo("invalid", events[0])]}).encode()
    assert read(status, "Created", body, events) is None


def test_an_unexpected_202_is_not_a_verdict() -> None:
    """EventGate answers 202 to hasty POSTs only."""
    events = outgoing("a")
    assert verdict.read(202, "Accepted", b"", events, hasty=False) is None
    assert verdict.read(202, "1 events hastily received.", b"", events, hasty=False) is None


@pytest.mark.parametrize("element", [b"1", b"{}", b'{"status":"invalid","event":{}}'], ids=["1", "{}", "echo"])
def test_failures_in_a_long_answer_are_counted_first(element: bytes) -> None:
    """Megabytes with more failures than events take no more memory than the answer."""
    body = b'{"invalid":[%b]}' % b",".join([element] * (8_000_000 // len(element)))
    tracemalloc.start()
    found = read(207, "", body, outgoing("a", "b"))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (found, most < len(body)) == (None, True)


def test_a_long_answer_is_read() -> None:
    """Up to 1 MiB even with lone surrogates."""
    events = outgoing("a", "b", title="x" * 100_000 + "\ud800")
    kinds: list[StatusWord] = ["invalid", "success"]
    found = read(*answer(kinds, events), events)
    assert found is not None
    assert [each.status for each in found] == kinds


@pytest.mark.parametrize("status", [207, 400, 500])
@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"Bad Request", id="text"),
        pytest.param(b"<!DOCTYPE html><html><body>upstream connect error</body></html>", id="HTML"),
        pytest.param(b"{}", id="neither key"),
        pytest.param(b'[{"invalid":[]}]', id="an array"),
        pytest.param(b'"invalid"', id="a string"),
        pytest.param(b'{"invalid":7}', id="invalid is a number"),
        pytest.param(b'{"invalid":null,"error":[]}', id="invalid is null"),
        pytest.param(b'{"invalid":[{"event":', id="half of it"),
        pytest.param(b'{"invalid":[]} x', id="more behind it"),
        pytest.param(b"\xff\xfe{\x00", id="not UTF-8"),
        pytest.param(b'{"invalid":' + b"[" * 100_000, id="nested without end"),
        pytest.param(b'{"error":"\\ud800"}', id="a lone surrogate"),
        pytest.param(b'{"error":[{"event":{"meta":{"id":"a"}}}],"x":"\\ud8"x"}', id="half an escape"),
        pytest.param(
            b'{"status":500,"type":"internal_error","title":"SyntaxError","detail":"x","method":"POST","uri":"/"}',
            id="EventGate's own error",
        ),
    ],
)
def test_an_answer_without_eventgates_lists_is_not_a_verdict(status: int, body: bytes) -> None:
    """It says nothing about the events."""
    assert read(status, "", body, outgoing("a", "b")) is None


@pytest.mark.parametrize(("status", "kind"), [(400, "invalid"), (500, "error")])
def test_one_of_the_lists_is_enough(status: int, kind: StatusWord) -> None:
    """The other is empty if it is missing."""
    events = outgoing("a", "b")
    body = stringified({kind: [echo(kind, event) for event in events]}).encode()
    assert read(status, "", body, events) == seen([kind, kind], events)


@pytest.mark.parametrize("status", [200, 204, 301, 401, 404, 413, 429, 501, 502, 503, 504])
def test_no_other_status_is_a_verdict(status: int) -> None:
    """Whatever the body looks like."""
    events = outgoing("a")
    assert read(status, "", answer(["invalid"], events)[2], events) is None


@unhurried
@given(st.sampled_from([207, 400, 500]), st.binary(max_size=40), st.booleans())
def test_any_body_is_a_verdict_or_none(status: int, noise: bytes, inside: bool) -> None:
    """Arbitrary bytes never raise, and never accept an event by chance."""
    events = outgoing("a", "b")
    found = read(status, "", b'{"invalid":[%b],"error":[]}' % noise if inside else noise, events)
    assert found is None or {each.status for each in found} <= {"invalid", "error", *["success"][: status == 207]}


def test_a_failure_keeps_eventgates_bytes() -> None:
    """Numbers, spaces and order reach the producer unchanged."""
    described = b'{ "context":{},"event":{"x":1e21, "meta":{"id":"a"},"x":null} }'
    assert read(400, "", b'{"invalid":[ %b ]}' % described, outgoing("a")) == [
        EventStatus("invalid", Outcome.INVALID, described)
    ]


def test_a_lone_surrogate_does_not_hide_the_verdict() -> None:
    r"""EventGate takes `"\ud800"` and echoes it; the failed event is still recognised."""
    texts = [rb"\ud800", rb"\ud83d\ude00\udc00", rb"\\ud800"]
    events = [
        Outgoing(each.index, each.raw, each.id, "a")
        for index, text in enumerate(texts)
        for each in parse(b'{"meta":{"id":"%d%b"}}' % (index, text))
    ]
    first = b'{"event":{"title":"\\\\ud800","meta":{"id":"0\\ud800"}}}'
    second = b'{"event":{"meta":{"id":"1\\ud83d\\ude00\\udc00"}}}'
    found = read(207, "", b'{"invalid":[%b],"error":[%b]}' % (first, second), events)
    assert found == [
        EventStatus("invalid", Outcome.INVALID, first.replace(rb"0\ud800", rb"0\ufffd")),
        EventStatus("error", Outcome.FAILED, second.replace(rb"\udc00", rb"\ufffd")),
        EventStatus("success", Outcome.DELIVERED),
    ]
