"""Promises of `answers`: each event keeps the best that was said of it."""

from __future__ import annotations

import msgspec

from sidecar.delivery.answers import Answers
from sidecar.events.outgoing import Load, Outgoing
from sidecar.events.results import EventStatus, Outcome

SUCCESS = EventStatus("success", Outcome.DELIVERED)
INVALID = EventStatus("invalid", Outcome.INVALID)
ERROR = EventStatus("error", Outcome.FAILED, b"Kafka")
UNKNOWN = EventStatus("error", Outcome.FAILED, b"nobody knows", unreachable=True)


def load(*ids: str | None) -> Load:
    """Return events of these ids."""
    return Load("main", [Outgoing(index, b"{}", each, "s") for index, each in enumerate(ids)])


def test_what_met_an_error_is_still_to_be_sent() -> None:
    """And nothing else is."""
    answers = Answers(load("a", "b", "c"))
    assert answers.part == load("a", "b", "c")
    answers.learn([0, 1, 2], [SUCCESS, ERROR, INVALID], errors_with_others=False)
    assert (list(answers.places), [each.id for each in answers.part.events]) == ([1], ["b"])


def test_a_later_answer_replaces_an_error_and_nothing_else() -> None:
    """An attempt that was late may have been accepted where another met an error, and the other way round."""
    answers = Answers(load("a", "b"))
    answers.learn([0, 1], [SUCCESS, ERROR], errors_with_others=False)
    answers.learn([0, 1], [ERROR, SUCCESS], errors_with_others=False)
    assert answers.statuses(None) == [SUCCESS, SUCCESS]


def test_who_errs_with_others_leaves_the_event_to_be_sent_later() -> None:
    """If one endpoint has errors with this event alone, it is the event."""
    for with_others in (True, False):
        answers = Answers(load("a"))
        answers.learn([0], [ERROR], errors_with_others=True)
        answers.learn([0], [ERROR], errors_with_others=with_others)
        assert answers.statuses(None) == [msgspec.structs.replace(ERROR, may_be_sent_again=with_others)]


def test_where_another_attempt_may_have_been_accepted_that_is_said() -> None:
    """Of an event with an error; what is settled is settled."""
    answers = Answers(load("a", "b"))
    answers.learn([0, 1], [SUCCESS, ERROR], errors_with_others=True)
    assert answers.statuses(lambda _: UNKNOWN) == [SUCCESS, UNKNOWN]


def test_without_ids_nobody_knows_which_event_met_the_error() -> None:
    """Unless all did."""
    for statuses, apart in (([ERROR, SUCCESS], True), ([ERROR, ERROR], False)):
        answers = Answers(load(None, None))
        answers.learn([0, 1], statuses, errors_with_others=True)
        assert answers.cannot_be_told_apart is apart
