"""Promises of `ordering`: which event comes behind which."""

from __future__ import annotations

import pytest

from sidecar.spool.ordering import Ordering, key_of

KEY, OTHER = key_of("main", "enwiki 1"), key_of("main", "enwiki 2")


@pytest.fixture
def order() -> Ordering:
    """Return what is known beside a spool with nothing in it."""
    made = Ordering()
    made.learn([])
    return made


def test_before_the_spool_was_read_every_key_is_busy() -> None:
    """It may hold older events of any; those without a key wait for nobody."""
    order = Ordering()
    assert order.arrive(KEY)
    assert not order.arrive(None)
    order.learn([OTHER])
    assert (order.arrive(KEY), order.arrive(OTHER)) == (False, True)


def test_the_first_of_a_key_goes_out_live_and_the_next_comes_behind_it(order: Ordering) -> None:
    """While one is under way, later ones have to go into the spool; another key is not held up."""
    assert [order.arrive(key) for key in (KEY, KEY, OTHER)] == [False, True, False]


def test_a_key_is_free_again_once_its_first_event_is_settled(order: Ordering) -> None:
    """Where nothing came behind it."""
    order.arrive(KEY)
    order.settled(KEY)
    assert not order.is_busy(KEY)
    assert not order.arrive(KEY)


def test_an_event_in_the_spool_keeps_its_key_busy(order: Ordering) -> None:
    """Only when the last of a key has left the spool may one of that key go out live."""
    order.storing([KEY, KEY])
    order.wrote([KEY, KEY], stored=True)
    assert order.arrive(KEY)
    order.freed(KEY)
    assert not order.arrive(KEY)


def test_a_key_is_busy_until_its_transaction_has_ended(order: Ordering) -> None:
    """Whatever the producer was told meanwhile: the disk may take the event yet."""
    order.arrive(KEY)
    order.storing([KEY])
    order.settled(KEY)
    assert order.arrive(KEY)
    order.wrote([KEY], stored=False)
    assert not order.arrive(KEY)


def test_the_same_key_elsewhere_is_another(order: Ordering) -> None:
    """Upstreams do not wait for each other."""
    order.arrive(key_of("main", "a"))
    assert not order.arrive(key_of("staging", "a"))


def test_a_key_takes_little_memory_however_long_it_is() -> None:
    """It is known by a number, and what is no text does not matter."""
    assert 0 <= key_of("main", "\ud800" + "x" * 100_000) < 2**63


def test_the_spool_knows_what_to_hold_back(order: Ordering) -> None:
    """Of a key whose first event is under way, nothing may be sent from the spool."""
    order.arrive(KEY)
    order.arrive(KEY)
    assert order.held_back() == {KEY}
    order.settled(KEY)
    assert order.held_back() == set()


def test_settling_twice_harms_nobody(order: Ordering) -> None:
    """An event without a key, or one long settled, changes nothing."""
    for key in (None, KEY, KEY):
        order.settled(key)
    assert not order.is_busy(KEY)


def test_what_the_spool_says_replaces_what_was_known(order: Ordering) -> None:
    """After an operator dropped events their keys are free; what is under way stays busy."""
    order.storing([KEY])
    order.wrote([KEY], stored=True)
    order.arrive(OTHER)
    order.learn([])
    assert (order.is_busy(KEY), order.is_busy(OTHER)) == (False, True)
