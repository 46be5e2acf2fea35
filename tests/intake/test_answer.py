"""Promises of `answer`: one answer for all events of a request, as in EventGate's routes/events.js."""

from __future__ import annotations

import json
from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar import errors
from sidecar.events.results import EventStatus, Outcome, StatusWord, failed, refused
from sidecar.intake.answer import Answer, headers_of, merge, of_error, wire
from tests.jsontext import Json, unhurried

OUTCOMES: dict[StatusWord, Outcome] = {
    "success": Outcome.DELIVERED,
    "invalid": Outcome.INVALID,
    "error": Outcome.FAILED,
}
KINDS: dict[str, StatusWord] = {"s": "success", "i": "invalid", "e": "error"}


def statuses(kinds: str) -> list[EventStatus]:
    """One status for each letter: s(uccess), i(nvalid), e(rror); each failure described by its index."""
    return [
        EventStatus(KINDS[kind], OUTCOMES[KINDS[kind]], b"" if kind == "s" else b'{"n":%d}' % index, upstream="u")
        for index, kind in enumerate(kinds)
    ]


@pytest.mark.parametrize(
    ("kinds", "answer"),
    [
        pytest.param(
            "s", Answer(201, "All 1 out of 1 events were accepted.", "delivered; upstream=u"), id="one accepted"
        ),
        pytest.param(
            "sss", Answer(201, "All 3 out of 3 events were accepted.", "delivered; upstream=u"), id="all accepted"
        ),
        pytest.param(
            "i",
            Answer(
                400,
                "1 out of 1 events were invalid and not accepted.",
                "invalid; upstream=u",
                b'{"invalid":[{"n":0}]}',
            ),
            id="one invalid",
        ),
        pytest.param(
            "ii",
            Answer(
                400,
                "2 out of 2 events were invalid and not accepted.",
                "invalid; upstream=u",
                b'{"invalid":[{"n":0},{"n":1}]}',
            ),
            id="all invalid",
        ),
        pytest.param(
            "si",
            Answer(
                207,
                "1 out of 2 events were accepted, but 1 failed (1 invalid and 0 errored).",
                "mixed; upstream=u",
                b'{"invalid":[{"n":1}],"error":[]}',
            ),
            id="accepted and invalid",
        ),
        pytest.param(
            "es",
            Answer(
                207,
                "1 out of 2 events were accepted, but 1 failed (0 invalid and 1 errored).",
                "mixed; upstream=u",
                b'{"invalid":[],"error":[{"n":0}]}',
            ),
            id="error and accepted",
        ),
        pytest.param(
            "eisie",
            Answer(
                207,
                "1 out of 5 events were accepted, but 4 failed (2 invalid and 2 errored).",
                "mixed; upstream=u",
                b'{"invalid":[{"n":1},{"n":3}],"error":[{"n":0},{"n":4}]}',
            ),
            id="some of each",
        ),
        pytest.param(
            "e",
            Answer(
                500,
                "1 out of 1 events had failures and were not accepted. (0 invalid and 1 errored).",
                "failed; upstream=u",
                b'{"invalid":[],"error":[{"n":0}]}',
            ),
            id="one error",
        ),
        pytest.param(
            "ei",
            Answer(
                500,
                "2 out of 2 events had failures and were not accepted. (1 invalid and 1 errored).",
                "mixed; upstream=u",
                b'{"invalid":[{"n":1}],"error":[{"n":0}]}',
            ),
            id="error and invalid",
        ),
    ],
)
def test_the_answer_is_eventgates(kinds: str, answer: Answer) -> None:
    """Status, reason phrase and body are EventGate's for the same mix, with failures grouped by kind."""
    assert merge(statuses(kinds), [""] * len(kinds), hasty=False) == answer


@pytest.mark.parametrize(
    ("kinds", "status", "reason"),
    [
        pytest.param("s", 202, "1 events hastily received.", id="one"),
        pytest.param("ss", 202, "2 events hastily received.", id="two"),
        pytest.param(
            "si",
            207,
            "1 out of 2 events were hastily received, but 1 failed (1 invalid and 0 errored).",
            id="some refused",
        ),
        pytest.param("i", 400, "1 out of 1 events were invalid and not accepted.", id="all refused"),
    ],
)
def test_a_hasty_answer_is_202(kinds: str, status: int, reason: str) -> None:
    """A producer that asked not to wait gets EventGate's 202, and still hears of what we refused ourselves.

    EventGate may yet find the others invalid, so no answer calls them accepted.
    """
    answer = merge(statuses(kinds), [""] * len(kinds), hasty=True)
    assert (answer.status, answer.reason) == (status, reason)


def expected(kinds: Sequence[str]) -> tuple[int, Json]:
    """Status and body in EventGate's routes/events.js for such a mix, implemented independently."""
    invalid = [{"n": index} for index, kind in enumerate(kinds) if kind == "i"]
    error = [{"n": index} for index, kind in enumerate(kinds) if kind == "e"]
    if not invalid and not error:
        return 201, None
    if len(invalid) == len(kinds):
        return 400, {"invalid": invalid}
    return (207 if len(invalid) + len(error) != len(kinds) else 500), {"invalid": invalid, "error": error}


@unhurried
@given(st.lists(st.sampled_from("sie"), min_size=1, max_size=9))
def test_every_mix_has_its_answer_in_the_order_of_the_request(kinds: list[str]) -> None:
    """Status and body are EventGate's, each kind in request order."""
    answer = merge(statuses("".join(kinds)), [""] * len(kinds), hasty=False)
    assert (answer.status, json.loads(answer.body) if answer.body else None) == expected(kinds)
    assert answer.retry_after is None


@pytest.mark.parametrize(
    ("kinds", "status", "retry_after"),
    [
        pytest.param("u", 503, 1, id="nothing accepted, not reached"),
        pytest.param("uu", 503, 1, id="none reached"),
        pytest.param("ui", 503, 1, id="the rest invalid"),
        pytest.param("ue", 503, 1, id="the rest an error of EventGate's"),
        pytest.param("us", 207, None, id="the rest accepted"),
        pytest.param("e", 500, None, id="reached"),
    ],
)
def test_an_unreachable_endpoint_is_503(kinds: str, status: int, retry_after: int | None) -> None:
    """If nothing was accepted: trying again later may help."""
    mixed = [
        msgspec.structs.replace(each, unreachable=kind == "u")
        for kind, each in zip(kinds, statuses(kinds.replace("u", "e")), strict=True)
    ]
    answer = merge(mixed, [""] * len(kinds), hasty=False)
    assert (answer.status, answer.retry_after) == (status, retry_after)
    reached = [msgspec.structs.replace(each, unreachable=False) for each in mixed]
    plain = merge(reached, [""] * len(kinds), hasty=False)
    assert (answer.reason, answer.body) == (plain.reason, plain.body)


DELIVERED = EventStatus("success", Outcome.DELIVERED, upstream="production", endpoint="host:4492")


@pytest.mark.parametrize(
    ("each", "routes", "header"),
    [
        pytest.param(
            [DELIVERED],
            ["scores"],
            "delivered; upstream=production; endpoint=host:4492; route=scores",
            id="one delivered",
        ),
        pytest.param(
            [DELIVERED, msgspec.structs.replace(DELIVERED, upstream="a")],
            ["scores", "all"],
            "delivered; upstream=a,production; endpoint=host:4492; route=all,scores",
            id="two ways",
        ),
        pytest.param(
            [DELIVERED, refused(b"{}", "no", "never")],
            ["scores", "never"],
            "mixed; upstream=production; endpoint=host:4492; route=never,scores",
            id="one of them refused",
        ),
        pytest.param([refused(b"{}", "no", "")], [""], "refused", id="refused without a route"),
        pytest.param([failed(b"{}", "no", unreachable=True)], [""], "failed", id="never left"),
        pytest.param(
            [msgspec.structs.replace(failed(b"{}", "no", unreachable=True), upstream="production", spool="full")],
            ["scores"],
            "failed; upstream=production; route=scores; spool=full",
            id="no room in the spool",
        ),
    ],
)
def test_the_header_says_what_went_where(each: list[EventStatus], routes: list[str], header: str) -> None:
    """The outcome first, or `mixed`; then upstreams, endpoints and routes, each once and sorted."""
    assert merge(each, routes, hasty=False).outcome == header


@pytest.mark.parametrize(
    ("error", "reason", "retry_after"),
    [
        pytest.param(errors.MalformedBody("x"), "Internal Server Error", None, id="malformed"),
        pytest.param(errors.BodyTooLarge("x"), "Internal Server Error", None, id="too large"),
        pytest.param(errors.CorruptBody("x"), "Internal Server Error", None, id="corrupt"),
        pytest.param(errors.SlowBody("x"), "Request Timeout", None, id="slow"),
        pytest.param(errors.NotFound("x"), "Not Found", None, id="not found"),
        pytest.param(errors.Overloaded("x"), "Service Unavailable", 1, id="overloaded"),
    ],
)
def test_a_refused_request_is_answered_in_eventgates_shape(
    error: errors.RequestError, reason: str, retry_after: int | None
) -> None:
    """As EventGate's error handler answers."""
    answer = of_error(error, "POST", "/v1/events?a")
    assert msgspec.structs.replace(answer, body=b"") == Answer(error.status, reason, "refused", b"", retry_after)
    assert json.loads(answer.body) == {
        "status": error.status,
        "type": error.kind,
        "title": error.title,
        "detail": "x",
        "method": "POST",
        "uri": "/v1/events?a",
    }


def test_an_empty_body_is_answered_without_a_body() -> None:
    """EventGate reports it in the reason phrase only."""
    assert of_error(errors.EmptyBody(), "POST", "/v1/events") == Answer(
        400, "Request body was empty. Must provide JSON encoded events.", "refused"
    )


def test_answers_have_the_right_headers() -> None:
    """The outcome always, a content type with a body, and Retry-After if the request may be repeated."""
    assert headers_of(Answer(201, "fine", "delivered; upstream=staging")) == [
        (b"x-eventgate-sidecar", b"delivered; upstream=staging"),
        (b"content-length", b"0"),
    ]
    assert headers_of(Answer(503, "later", "failed", b"{}", retry_after=1)) == [
        (b"x-eventgate-sidecar", b"failed"),
        (b"content-length", b"2"),
        (b"content-type", b"application/json; charset=utf-8"),
        (b"retry-after", b"1"),
    ]


def test_an_answer_is_serialised_as_http() -> None:
    """Status line, headers, an empty line, the body; and `connection: close` if asked for."""
    assert wire(Answer(400, "bad", "invalid", b"{}"), close=True) == (
        b"HTTP/1.1 400 bad\r\nx-eventgate-sidecar: invalid\r\ncontent-length: 2\r\n"
        b"content-type: application/json; charset=utf-8\r\nconnection: close\r\n\r\n{}"
    )
