"""Promises of `policy.Ordering`: which events must wait behind which."""

from __future__ import annotations

import pytest

from sidecar.spool.policy import Ordering
from sidecar.spool.record import key_of

KEY, OTHER = key_of("main", "enwiki 1"), key_of("main", "enwiki 2")


@pytest.fixture
def order() -> Ordering:
    """Return an ordering for an empty spool."""
    made = Ordering()
    made.learn([])
    return made


def test_before_the_spool_was_read_every_key_is_busy() -> None:
    """It may have older events of any key; events without a key do not wait."""
    order = Ordering()
    assert order.arrive(KEY)
    assert not order.arrive(None)
    order.learn([OTHER])
    assert (order.arrive(KEY), order.arrive(OTHER)) == (False, True)


def test_the_first_event_of_a_key_is_live_and_the_next_waits(order: Ordering) -> None:
    """Other keys do not wait."""
    assert [order.arrive(key) for key in (KEY, KEY, OTHER)] == [False, True, False]


def test_a_key_is_free_again_once_its_first_event_is_settled(order: Ordering) -> None:
    """If nothing waits behind it."""
    order.arrive(KEY)
    order.settled(KEY)
    assert not order.is_busy(KEY)
    assert not order.arrive(KEY)


def test_an_event_in_the_spool_keeps_its_key_busy(order: Ordering) -> None:
    """Until the last event of the key has left the spool."""
    order.storing([KEY, KEY])
    order.wrote([KEY, KEY], stored=True)
    assert order.arrive(KEY)
    order.freed(KEY)
    assert not order.arrive(KEY)


def test_a_key_is_busy_until_its_transaction_has_ended(order: Ordering) -> None:
    """Whatever the producer was told: the disk may still take the event."""
    order.arrive(KEY)
    order.storing([KEY])
    order.settled(KEY)
    assert order.arrive(KEY)
    order.wrote([KEY], stored=False)
    assert not order.arrive(KEY)


def test_the_same_key_of_another_upstream_is_different(order: Ordering) -> None:
    """Upstreams do not wait for each other."""
    order.arrive(key_of("main", "a"))
    assert not order.arrive(key_of("staging", "a"))


def test_a_key_takes_little_memory_however_long_it_is() -> None:
    """It is stored as a hash, whatever characters it has."""
    assert 0 <= key_of("main", "\ud800" + "x" * 100_000) < 2**63


def test_keys_with_a_live_event_are_held_back(order: Ordering) -> None:
    """Nothing of such a key may be sent from the spool."""
    order.arrive(KEY)
    order.arrive(KEY)
    assert order.held_back() == {KEY}
    order.settled(KEY)
    assert order.held_back() == set()


def test_settling_twice_is_harmless(order: Ordering) -> None:
    """So is settling an event without a key."""
    for key in (None, KEY, KEY):
        order.settled(key)
    assert not order.is_busy(KEY)


def test_the_keys_of_the_file_replace_the_known_ones(order: Ordering) -> None:
    """Keys of events that an operator dropped are free; those in flight stay busy."""
    order.storing([KEY])
    order.wrote([KEY], stored=True)
    order.arrive(OTHER)
    order.learn([])
    assert (order.is_busy(KEY), order.is_busy(OTHER)) == (False, True)
