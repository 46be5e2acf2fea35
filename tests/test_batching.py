"""Promises of `batching`: no event travels with one it could be mistaken for."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.batching import array, groups
from sidecar.event import Outgoing
from tests.jsontext import unhurried


def outgoing(*ids: str | None) -> list[Outgoing]:
    """Events of these ids, in this order."""
    return [Outgoing(index, b'{"n":%d}' % index, each, "a") for index, each in enumerate(ids)]


@pytest.mark.parametrize(
    ("ids", "together"),
    [
        pytest.param(["a"], [[(0, "a")]], id="one"),
        pytest.param([None], [[(0, None)]], id="one without an id"),
        pytest.param(["a", "b", "c"], [[(0, "a"), (1, "b"), (2, "c")]], id="all told apart"),
        pytest.param(["a", "a"], [[(0, None), (1, None)]], id="one id twice"),
        pytest.param([None, "a", None], [[(1, "a")], [(0, None), (2, None)]], id="some without an id"),
        pytest.param(
            ["a", "b", "a", None, "c"],
            [[(1, "b"), (4, "c")], [(0, None), (2, None), (3, None)]],
            id="those that cannot be told apart travel by themselves",
        ),
    ],
)
def test_events_that_cannot_be_told_apart_travel_by_themselves(
    ids: list[str | None], together: list[list[tuple[int, str | None]]]
) -> None:
    """Events with an id of their own form one array; the others another, in which ids do not count."""
    found = groups(outgoing(*ids))
    assert [[(event.index, event.id) for event in group] for group in found] == together


@unhurried
@given(st.lists(st.sampled_from(["a", "b", "c", "d", None]), min_size=1, max_size=8))
def test_every_event_travels_once(ids: list[str | None]) -> None:
    """Grouping loses no event, doubles none, keeps the order and changes no bytes."""
    events = outgoing(*ids)
    found = groups(events)
    assert all(found)
    assert all(group == sorted(group, key=lambda event: event.index) for group in found)
    leaving = sorted((event for group in found for event in group), key=lambda event: event.index)
    assert [(event.index, event.body, event.stream) for event in leaving] == [
        (event.index, event.body, event.stream) for event in events
    ]
    for group in found:
        named = [event.id for event in group if event.id is not None]
        assert len(set(named)) == len(named) in (0, len(group))


@pytest.mark.parametrize(
    ("bodies", "body"),
    [
        pytest.param([b'{"a": 1.0}'], b'[{"a": 1.0}]', id="one without an id is an array too"),
        pytest.param([b"{}"], b"[{}]", id="an empty event is not an empty body"),
        pytest.param([b"{}", b"1", b'"\xff"'], b'[{},1,"\xff"]', id="bytes as they are"),
    ],
)
def test_a_post_is_an_array_of_the_bytes_as_they_are(bodies: list[bytes], body: bytes) -> None:
    """Each event in an array keeps its bytes."""
    assert array([Outgoing(index, each, None, "") for index, each in enumerate(bodies)]) == body


def test_a_lone_event_goes_as_it_is() -> None:
    """A lone event is no larger on its way out than it came, so the largest that was taken is also sent."""
    assert array([Outgoing(0, b'{"meta": {"id": "a"}}', "a", "")]) == b'{"meta": {"id": "a"}}'


def test_an_array_of_many_is_json() -> None:
    """As many events as there are come out again, in their order."""
    assert json.loads(array(outgoing("a", "b", "c"))) == [{"n": 0}, {"n": 1}, {"n": 2}]
