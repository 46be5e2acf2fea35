"""Promises of `ordering`: which event comes behind which."""

from __future__ import annotations

import pytest

from sidecar.spool.ordering import Key, Ordering, Place

KEY: Key = ("main", "enwiki 1")
OTHER: Key = ("main", "enwiki 2")


def test_events_are_numbered_as_they_come() -> None:
    """Each event has a place of its own, behind all before it."""
    order = Ordering()
    assert [order.arrive().arrival, order.arrive(KEY).arrival, order.arrive().arrival] == [1, 2, 3]


def test_numbers_go_on_behind_what_the_spool_holds() -> None:
    """After a restart new events come behind the old ones; numbers never go back."""
    order = Ordering()
    order.learn({}, 41)
    assert order.arrive().arrival == 42
    order.learn({}, 7)
    assert order.arrive().arrival == 43


def test_the_first_of_a_key_goes_out_live_and_the_next_comes_behind_it() -> None:
    """While one is under way, later ones have to go into the spool; another key is not held up."""
    order = Ordering()
    assert order.arrive(KEY) == Place(1, KEY, behind=False)
    assert order.arrive(KEY) == Place(2, KEY, behind=True)
    assert order.arrive(OTHER) == Place(3, OTHER, behind=False)


def test_a_key_is_free_again_once_all_of_its_events_are_settled() -> None:
    """Two under way: it takes both to be settled, in whichever order."""
    order = Ordering()
    first, second = order.arrive(KEY), order.arrive(KEY)
    order.settled(first)
    assert order.is_busy(KEY)
    order.settled(second)
    assert not order.is_busy(KEY)
    assert not order.arrive(KEY).behind


def test_an_event_in_the_spool_keeps_its_key_busy() -> None:
    """Only when the last of a key has left the spool may one of that key go out live."""
    order = Ordering()
    for _ in range(2):
        order.spooled(KEY)
    order.unspooled(KEY)
    assert order.arrive(KEY).behind
    order.unspooled(KEY)
    assert order.is_busy(KEY)


def test_the_same_key_elsewhere_is_another() -> None:
    """Upstreams do not wait for each other."""
    order = Ordering()
    order.arrive(("main", "a"))
    assert not order.arrive(("staging", "a")).behind


def test_the_spool_knows_what_to_hold_back() -> None:
    """Of a key that has events under way, none behind the first of them may be sent from the spool."""
    order = Ordering()
    first = order.arrive(KEY)
    order.arrive(KEY)
    assert order.earliest() == {KEY: 1}
    order.settled(first)
    assert order.earliest() == {KEY: 2}


@pytest.mark.parametrize("place", [Place(1), Place(9, KEY)])
def test_settling_twice_harms_nobody(place: Place) -> None:
    """An event without a key, or one long settled, changes nothing."""
    order = Ordering()
    order.settled(place)
    assert not order.is_busy(KEY)


def test_what_the_spool_says_replaces_what_was_known() -> None:
    """After an operator dropped events their keys are free; what is under way stays busy."""
    order = Ordering()
    order.spooled(KEY)
    order.arrive(OTHER)
    order.learn({}, 1)
    assert (order.is_busy(KEY), order.is_busy(OTHER)) == (False, True)
    order.unspooled(KEY)  # it had been counted before it was dropped
    assert not order.is_busy(KEY)
