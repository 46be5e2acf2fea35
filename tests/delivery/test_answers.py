"""Promises of `answers`: each event keeps its best status."""

from __future__ import annotations

import msgspec
import pytest

from sidecar.delivery.answers import Answers
from sidecar.events.outgoing import Load, Outgoing
from sidecar.events.results import EventStatus, Outcome

SUCCESS = EventStatus("success", Outcome.DELIVERED)
INVALID = EventStatus("invalid", Outcome.INVALID)
ERROR = EventStatus("error", Outcome.FAILED, b"Kafka")
UNKNOWN = EventStatus("error", Outcome.FAILED, b"nobody knows", unreachable=True)


def load(*ids: str | None) -> Load:
    """Return events with these ids."""
    return Load("main", [Outgoing(index, b"{}", each, "s") for index, each in enumerate(ids)])


def test_events_with_errors_are_still_to_be_sent() -> None:
    """And no others."""
    answers = Answers(load("a", "b", "c"))
    assert answers.part == load("a", "b", "c")
    answers.learn([0, 1, 2], [SUCCESS, ERROR, INVALID], errors_with_others=False)
    assert (list(answers.places), [each.id for each in answers.part.events]) == ([1], ["b"])


def test_a_later_answer_replaces_an_error_and_nothing_else() -> None:
    """A late attempt may have been accepted although another got an error, and vice versa."""
    answers = Answers(load("a", "b"))
    answers.learn([0, 1], [SUCCESS, ERROR], errors_with_others=False)
    answers.learn([0, 1], [ERROR, SUCCESS], errors_with_others=False)
    assert answers.statuses(None) == [SUCCESS, SUCCESS]


def test_an_attempt_takes_more_only_if_it_takes_what_had_an_error() -> None:
    """Two endpoints that answer the same array alike say nothing against each other."""
    answers = Answers(load("a", "b"))
    answers.learn([0, 1], [SUCCESS, ERROR], errors_with_others=False)
    assert not answers.takes_more([0, 1], [SUCCESS, ERROR])
    assert answers.takes_more([0, 1], [ERROR, SUCCESS])
    two_left = Answers(load("a", "b"))
    two_left.learn([0, 1], [ERROR, ERROR], errors_with_others=False)
    assert two_left.takes_more([0, 1], [ERROR, SUCCESS])  # one is enough


def test_events_may_be_sent_later_if_endpoints_err_with_others_too() -> None:
    """If one endpoint returns errors for this event only, the event is to blame."""
    for with_others in (True, False):
        answers = Answers(load("a"))
        answers.learn([0], [ERROR], errors_with_others=True)
        answers.learn([0], [ERROR], errors_with_others=with_others)
        assert answers.statuses(None) == [msgspec.structs.replace(ERROR, may_be_sent_again=with_others)]


def test_an_error_is_unknown_if_another_attempt_may_have_been_accepted() -> None:
    """Settled events are not affected."""
    answers = Answers(load("a", "b"))
    answers.learn([0, 1], [SUCCESS, ERROR], errors_with_others=True)
    assert answers.statuses(lambda _: UNKNOWN) == [SUCCESS, UNKNOWN]


@pytest.mark.parametrize(
    ("ids", "statuses", "unknown"),
    [
        pytest.param([None, None], [ERROR, SUCCESS], True, id="some have errors"),
        pytest.param([None, None], [ERROR, ERROR], False, id="all have errors"),
        pytest.param([None], [ERROR], False, id="a lone event"),
        pytest.param(["a", "b"], [ERROR, SUCCESS], False, id="some have errors, but they have ids"),
    ],
)
def test_without_ids_events_with_errors_cannot_be_identified(
    ids: list[str | None], statuses: list[EventStatus], unknown: bool
) -> None:
    """Unless all have errors."""
    answers = Answers(load(*ids))
    answers.learn(range(len(ids)), statuses, errors_with_others=True)
    assert answers.cannot_be_told_apart is unknown
