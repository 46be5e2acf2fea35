"""The sidecar answers recorded requests as the real EventGate did."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from tests.end_to_end.processes import Emulator, Sidecar, ask
from tests.exchanges import Exchange, assert_holds, load

JSON = "application/json; charset=utf-8"


def expected(exchange: Exchange) -> Exchange:
    """Return what the sidecar answers, where it is not what EventGate does, for these reasons.

    - EventGate's other pages are not the sidecar's: a path or a method it does not know is a 404, and like every
      refusal of its own it is in the JSON shape of EventGate's errors, not an HTML page.
    - A lone surrogate cannot be written as UTF-8; where an event is echoed, U+FFFD stands for it.
    """
    if not exchange.intake:
        words = f"Cannot {exchange.method} {exchange.path}; events are POSTed to /v1/events"
        shape = {"status": 404, "type": "not_found", "title": "NotFound", "detail": words}
        body = {**shape, "method": exchange.method, "uri": exchange.path}
        return replace(exchange, status=404, reason="Not Found", content_type=JSON, json=body, text=None)
    if exchange.name == "lone surrogate in an invalid event":
        echoed = json.loads(json.dumps(exchange.json).replace(r"\ud800", r"\ufffd"))
        return replace(exchange, json=echoed)
    return exchange


def without_parsers_words(body: Any) -> Any:
    """Forget how a parser says where JSON ends to be JSON: V8 changes its words from release to release."""
    if isinstance(body, dict) and body.get("title") == "SyntaxError":
        assert isinstance(body["detail"], str)
        assert body["detail"]
        return {**body, "detail": "…"}
    return body


@pytest.mark.parametrize("exchange", load(), ids=lambda each: each.name)
def test_the_recorded_answer_is_returned(exchange: Exchange, before: Sidecar) -> None:
    """Status, reason phrase, content type and body are EventGate's, besides the sidecar's own header."""
    seen = ask(before.address, exchange.method, exchange.path, exchange.body, exchange.headers)
    outcome = seen.headers["x-eventgate-sidecar"].partition(";")[0]
    assert outcome in {"delivered", "invalid", "refused", "failed", "mixed"}
    wanted = expected(exchange)
    wanted = replace(wanted, json=without_parsers_words(wanted.json))
    body = json.dumps(without_parsers_words(seen.json)).encode() if seen.body and wanted.text is None else seen.body
    assert_holds(wanted, seen.status, seen.reason, seen.headers, body, ids_assigned=True)


def test_the_emulator_answers_the_same_without_the_sidecar(eventgate: Emulator) -> None:
    """So the emulator is faithful: a good event is accepted in the same words."""
    (exchange,) = [each for each in load() if each.name == "one valid event"]
    seen = ask(eventgate.address, exchange.method, exchange.path, exchange.body, exchange.headers)
    assert (seen.status, seen.reason) == (exchange.status, exchange.reason)
