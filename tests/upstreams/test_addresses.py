"""Promises of `addresses`: what stays known of a name while DNS answers, denies and is silent."""

from __future__ import annotations

import pytest

from sidecar.upstreams.addresses import DnsAnswer, Found, Known, NoAnswer, NoSuchName, learn

NAME = "staging.svc.eqiad.wmnet"
FOUND = Found(("10.0.0.2", "10.0.0.1"), ("worker.eqiad.wmnet",), 30.0)
GOOD = Known(NAME, ("10.0.0.1", "10.0.0.2"), ("worker.eqiad.wmnet",), 100.0, 130.0, "", 0)
DENIED = NoSuchName("NXDOMAIN")
SILENT = NoAnswer("no name server answered")


def learnt(*answers: DnsAnswer, start: Known = GOOD) -> Known:
    """Return what is known after these answers, one a second from 101 on."""
    known = start
    for second, answer in enumerate(answers):
        known = learn(known, answer, 101.0 + second)
    return known


def test_a_good_answer_replaces_everything() -> None:
    """Addresses come in a fixed order, and problem and denials are forgotten."""
    before = Known(NAME, ("10.9.9.9",), (), 1.0, 2.0, "NXDOMAIN", 1)
    assert learn(before, FOUND, 100.0) == GOOD


@pytest.mark.parametrize(
    ("ttl", "ask_again"),
    [
        pytest.param(0.0, 105.0, id="none"),
        pytest.param(4.9, 105.0, id="below the least"),
        pytest.param(5.0, 105.0, id="the least"),
        pytest.param(5.1, 105.1, id="above the least"),
        pytest.param(60.0, 160.0, id="the most"),
        pytest.param(3600.0, 160.0, id="above the most"),
    ],
)
def test_the_time_to_live_is_kept_within_reason(ttl: float, ask_again: float) -> None:
    """A name is asked for again after its TTL, but not before 5 s and not after 60 s."""
    assert learn(Known(NAME), Found(("10.0.0.1",), (), ttl), 100.0).ask_again == ask_again


@pytest.mark.parametrize(
    ("silent_for", "addresses", "wait"),
    [
        pytest.param(1.0, GOOD.addresses, 1.0, id="a second"),
        pytest.param(3600.0, GOOD.addresses, 1.0, id="an hour"),
        pytest.param(3600.1, (), 0.2, id="more than an hour"),
    ],
)
def test_good_addresses_outlive_silence(silent_for: float, addresses: tuple[str, ...], wait: float) -> None:
    """While DNS is silent the last addresses stay for an hour, flagged stale, and DNS is asked every second."""
    known = learn(GOOD, SILENT, 100.0 + silent_for)
    assert (known.addresses, known.stale, known.problem) == (addresses, bool(addresses), SILENT.reason)
    assert known.ask_again == pytest.approx(100.0 + silent_for + wait)


def test_a_name_never_found_is_asked_for_without_delay() -> None:
    """With no address at all DNS is asked five times a second, so that its healing is seen at once."""
    known = learn(Known(NAME), SILENT, 100.0)
    assert (known.addresses, known.stale, known.ask_again) == ((), False, 100.2)


@pytest.mark.parametrize(
    ("answers", "addresses", "denials"),
    [
        pytest.param([DENIED], GOOD.addresses, 1, id="once"),
        pytest.param([DENIED, DENIED], (), 2, id="twice"),
        pytest.param([DENIED, SILENT, DENIED], (), 2, id="twice, with silence between"),
        pytest.param([DENIED, FOUND, DENIED], GOOD.addresses, 1, id="found between"),
        pytest.param([DENIED, DENIED, DENIED], (), 3, id="three times"),
    ],
)
def test_a_denial_is_believed_the_second_time(
    answers: list[DnsAnswer], addresses: tuple[str, ...], denials: int
) -> None:
    """One NXDOMAIN changes no address, two in a row take them all; it is asked again a second later."""
    known = learnt(*answers)
    assert (known.addresses, known.denials, known.problem) == (addresses, denials, "NXDOMAIN")
    assert known.ask_again == 101.0 + len(answers)


@pytest.mark.parametrize(
    ("known", "shown"),
    [
        pytest.param(Known(NAME), f"{NAME} → no address (not looked up yet)", id="not asked yet"),
        pytest.param(GOOD, f"{NAME} → worker.eqiad.wmnet → 10.0.0.1, 10.0.0.2", id="good"),
        pytest.param(
            learnt(SILENT),
            f"{NAME} → worker.eqiad.wmnet → 10.0.0.1, 10.0.0.2 (stale: no name server answered)",
            id="stale",
        ),
        pytest.param(learnt(DENIED, DENIED), f"{NAME} → no address (NXDOMAIN)", id="gone"),
        pytest.param(learn(Known(NAME), Found(("::1",)), 0.0), f"{NAME} → ::1", id="no chain"),
    ],
)
def test_what_is_known_in_one_line(known: Known, shown: str) -> None:
    """The way from the name to its addresses, and what is wrong with it."""
    assert str(known) == shown


def test_of_very_many_addresses_always_the_same_are_used() -> None:
    """However they are ordered, 16 are taken, so that checks stay few; how many were left out is told."""
    many = tuple(f"10.0.0.{number}" for number in range(100, 120))
    known = learn(Known(NAME), Found(many), 0.0)
    assert known == learn(Known(NAME), Found(tuple(reversed(many))), 0.0)
    assert (known.addresses, known.left_out) == (many[:16], ("4 of 20",))


def test_what_was_left_out_is_told() -> None:
    """Log and `probe` show which addresses of an answer are not used."""
    known = learn(Known(NAME), Found(("10.0.0.1",), left_out=("127.0.0.1",)), 0.0)
    assert str(known) == f"{NAME} → 10.0.0.1 (left out: 127.0.0.1)"
