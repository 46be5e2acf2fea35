"""Promises of `addresses`: what stays known while DNS fails, and which addresses are used."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.upstreams.addresses import MAX_ADDRESSES, DnsAnswer, Found, Known, Left, NoAnswer, choose, learn
from sidecar.upstreams.health import Health, Standing

NAME = "staging.svc.eqiad.wmnet"
FOUND = Found(("10.0.0.2", "10.0.0.1"), ("worker.eqiad.wmnet",), 30.0)
GOOD = Known(NAME, ("10.0.0.1", "10.0.0.2"), ("worker.eqiad.wmnet",), 100.0, 130.0, "")
SILENT = NoAnswer("no name server answered")


def learnt(*answers: DnsAnswer, start: Known = GOOD) -> Known:
    """Return what is known after these answers, one a second from 101 on."""
    known = start
    for second, answer in enumerate(answers):
        known = learn(known, answer, 101.0 + second)
    return known


def test_a_good_answer_replaces_everything() -> None:
    """Addresses are sorted, and earlier failures are forgotten."""
    before = Known(NAME, ("10.9.9.9",), (), 1.0, 2.0, "NXDOMAIN", failing_since=2.0)
    assert learn(before, FOUND, 100.0) == Known(
        NAME, GOOD.addresses, GOOD.chain, 100.0, 130.0, "", previous=("10.9.9.9",)
    )


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
def test_the_ttl_has_limits(ttl: float, ask_again: float) -> None:
    """A name is looked up again after its TTL, but not before 5 s and not after 60 s."""
    assert learn(Known(NAME), Found(("10.0.0.1",), (), ttl), 100.0).ask_again == ask_again


@pytest.mark.parametrize(
    ("failing_for", "wait"),
    [
        pytest.param(0.0, 1.0, id="the first time"),
        pytest.param(20.0, 1.0, id="20 s"),
        pytest.param(60.0, 3.0, id="a minute"),
        pytest.param(100.0, 5.0, id="100 s"),
        pytest.param(86_400.0, 5.0, id="a day"),
    ],
)
def test_addresses_outlive_a_dns_failure(failing_for: float, wait: float) -> None:
    """Failed look-ups remove no address, and are repeated less and less often, but at least every 5 s."""
    known = learn(learn(GOOD, SILENT, 100.0), SILENT, 100.0 + failing_for)
    assert (known.addresses, known.stale, known.problem) == (GOOD.addresses, True, SILENT.reason)
    assert known.ask_again == pytest.approx(100.0 + failing_for + wait)


@pytest.mark.parametrize(("failing_for", "wait"), [(0.0, 0.2), (4.0, 0.2), (20.0, 1.0), (100.0, 5.0), (86_400.0, 5.0)])
def test_a_new_name_is_retried_quickly_at_first(failing_for: float, wait: float) -> None:
    """An outage at the start is noticed as over within 5 % of its time; a wrong name costs a query every 5 s."""
    known = learn(learn(Known(NAME), SILENT, 100.0), SILENT, 100.0 + failing_for)
    assert (known.addresses, known.stale, known.ask_again) == ((), False, 100.0 + failing_for + wait)


def test_an_answer_resets_the_retry_interval() -> None:
    """The next failures count from their own start."""
    assert learnt(SILENT, FOUND, SILENT).failing_since == 103.0


@pytest.mark.parametrize(
    ("known", "shown"),
    [
        pytest.param(Known(NAME), f"{NAME} → no address (not looked up yet)", id="not checked yet"),
        pytest.param(GOOD, f"{NAME} → worker.eqiad.wmnet → 10.0.0.1, 10.0.0.2", id="good"),
        pytest.param(
            learnt(SILENT),
            f"{NAME} → worker.eqiad.wmnet → 10.0.0.1, 10.0.0.2 (stale: no name server answered)",
            id="stale",
        ),
        pytest.param(learn(Known(NAME), Found(("::1",)), 0.0), f"{NAME} → ::1", id="no chain"),
    ],
)
def test_it_is_shown_in_one_line(known: Known, shown: str) -> None:
    """The chain from the name to its addresses, and what is wrong with it."""
    assert str(known) == shown


def test_of_too_many_addresses_the_same_are_kept() -> None:
    """Whatever their order, 256 are kept, the first 16 are shown, and the number left out is shown."""
    many = tuple(f"10.0.{number}.1" for number in range(100, 360))
    known = learn(Known(NAME), Found(many), 0.0)
    assert known == learn(Known(NAME), Found(tuple(reversed(many))), 0.0)
    assert (known.addresses, known.left_out) == (tuple(sorted(many))[:256], ("4 of 260",))
    assert str(known).endswith("10.0.115.1, and 240 more (left out: 4 of 260)")


@pytest.mark.parametrize(
    ("count", "end"),
    [
        (16, "10.0.115.1"),
        (17, "and 1 more"),
        (256, "and 240 more"),
        (257, "and 240 more (left out: 1 of 257)"),
    ],
)
def test_the_number_of_addresses_is_shown(count: int, end: str) -> None:
    """Sixteen are listed."""
    many = tuple(f"10.0.{number}.1" for number in range(100, 100 + count))
    assert str(learn(Known(NAME), Found(many), 0.0)).endswith(f", {end}")


def test_only_an_older_answer_is_stale() -> None:
    """A current answer is not, nor is none at all."""
    assert [each.stale for each in (GOOD, learnt(SILENT), learn(Known(NAME), SILENT, 0.0))] == [False, True, False]


def test_unused_addresses_are_shown() -> None:
    """Log and `probe` show which addresses of an answer are not used."""
    known = learn(Known(NAME), Found(("10.0.0.1",), left_out=("127.0.0.1",)), 0.0)
    assert str(known) == f"{NAME} → 10.0.0.1 (left out: 127.0.0.1)"


# --- which are used ---

A, B, C = "10.0.0.1", "10.0.0.2", "10.0.0.3"
WELL, NEW, DEAD = Standing(Health.HEALTHY), Standing(), Standing(Health.UNHEALTHY)
FAILING = Standing(Health.HEALTHY, failed_in_a_row=1)
RECOVERING = Standing(Health.UNHEALTHY, passed_in_a_row=1)
EJECTED = Standing(Health.EJECTED, passed_in_a_row=9)
HOUR = 3600.0


def knows(*addresses: str, previous: tuple[str, ...] = ()) -> Known:
    """Return what is known since 100.0."""
    return Known(NAME, addresses, (), 100.0, 160.0, "", previous=previous)


@pytest.mark.parametrize(
    ("known", "in_use", "expected"),
    [
        pytest.param(knows(A, B), {}, (A, B), id="the first answer"),
        pytest.param(knows(A), {A: DEAD}, (A,), id="a dead one that DNS names"),
        pytest.param(knows(B), {A: WELL}, (A, B), id="moved: the old one until the new one is checked"),
        pytest.param(knows(B), {A: WELL, B: DEAD}, (A, B), id="moved to one that is dead"),
        pytest.param(knows(B), {A: DEAD, B: DEAD}, (A, B), id="all dead"),
        pytest.param(knows(B, previous=(A,)), {A: WELL, B: WELL}, (A, B), id="one answer without it"),
        pytest.param(knows(B, previous=(B,)), {A: WELL, B: WELL}, (B,), id="two answers without it"),
        pytest.param(knows(B, previous=(A,)), {A: DEAD, B: WELL}, (B,), id="moved off a dead one"),
        pytest.param(knows(B, previous=(A,)), {A: FAILING, B: WELL}, (B,), id="moved off one that begins to fail"),
        pytest.param(knows(), {A: WELL}, (A,), id="nothing is known"),
    ],
)
def test_an_address_stays_until_another_replaces_it(
    known: Known, in_use: dict[str, Standing], expected: tuple[str, ...]
) -> None:
    """A new address in DNS removes nothing before it is healthy."""
    assert choose(known, in_use, {}, 1.0, spare=True) == expected


@pytest.mark.parametrize(
    ("standing", "silent_for", "spare", "stays"),
    [
        pytest.param(WELL, 100 * HOUR, True, True, id="it answers"),
        pytest.param(RECOVERING, 100 * HOUR, True, True, id="it answers again"),
        pytest.param(DEAD, HOUR, True, True, id="dead, for an hour without DNS"),
        pytest.param(DEAD, HOUR + 1, True, False, id="dead, and without DNS for longer"),
        pytest.param(EJECTED, HOUR + 1, True, False, id="its POSTs fail, and without DNS for longer"),
        pytest.param(DEAD, 100 * HOUR, False, True, id="dead, and no other endpoint answers"),
    ],
)
def test_without_dns_only_a_dead_address_is_dropped(
    standing: Standing, silent_for: float, *, spare: bool, stays: bool
) -> None:
    """After an hour, and only while another endpoint answers: DNS never takes the last address."""
    now = 100.0 + silent_for
    known = learn(knows(A), SILENT, now)
    assert choose(known, {A: standing}, {}, now, spare=spare) == ((A,) if stays else ())


FORTY = tuple(f"10.0.0.{number}" for number in range(100, 140))


def test_of_many_addresses_those_that_answer_stay() -> None:
    """Sixteen are used; while they answer, no other replaces them."""
    first = choose(knows(*FORTY), {}, {}, 0.0, spare=False)
    later = FORTY[20:36]
    assert first == FORTY[:16]
    assert choose(knows(*FORTY), dict.fromkeys(later, WELL), {}, 1.0, spare=False) == later


def test_sixteen_addresses_can_be_replaced_by_sixteen_others() -> None:
    """The old ones stay until the new ones are checked, and do not count."""
    known = knows(*FORTY[16:32])
    assert choose(known, dict.fromkeys(FORTY[:16], WELL), {}, 1.0, spare=True) == FORTY[:32]
    checked = dict.fromkeys(FORTY[:32], WELL)
    assert choose(known, checked, {}, 2.0, spare=True) == FORTY[16:32]


@pytest.mark.parametrize("standing", [DEAD, EJECTED], ids=["unhealthy", "ejected"])
def test_of_many_addresses_the_dead_are_replaced(standing: Standing) -> None:
    """First by those not tried yet, then by those tried longest ago, but not before 10 s."""
    known = knows(*FORTY)
    first = dict.fromkeys(FORTY[:15], standing) | {FORTY[15]: WELL}
    second = choose(known, first, {}, 1.0, spare=False)
    assert second == FORTY[15:31]
    left = {ip: Left(standing, 1.0) for ip in FORTY[:15]}
    third = choose(known, dict.fromkeys(second, standing), left, 2.0, spare=False)
    assert set(third) == {*FORTY[31:], *second[:7]}
    left = {ip: Left(standing, 2.0 if ip in second else 1.0) for ip in FORTY[:31]}
    assert choose(known, dict.fromkeys(third, standing), left, 10.9, spare=False) == third
    assert set(choose(known, dict.fromkeys(third, standing), left, 11.0, spare=False)) == {*FORTY[:15], third[0]}


STANDINGS = st.sampled_from([WELL, NEW, DEAD, FAILING, RECOVERING, EJECTED])
IPS = st.sampled_from(FORTY)


@given(
    named=st.frozensets(IPS),
    previous=st.frozensets(IPS),
    in_use=st.dictionaries(IPS, STANDINGS, max_size=32),
    now=st.floats(0.0, 9999.0),
    spare=st.booleans(),
)
def test_an_address_that_answers_is_only_replaced_by_another_that_does(
    named: frozenset[str], previous: frozenset[str], in_use: dict[str, Standing], now: float, *, spare: bool
) -> None:
    """The new one must be in DNS; there is always one, and never too many."""
    known = knows(*sorted(named), previous=tuple(sorted(previous)))
    chosen = choose(known, in_use, {}, now, spare=spare)
    well = {ip for ip, standing in in_use.items() if standing.health is Health.HEALTHY}
    assert len(named & set(chosen)) <= MAX_ADDRESSES >= len(set(chosen) - named)
    assert not well or well & set(chosen)
    assert (well <= set(chosen)) or (well & named & set(chosen)) or len(in_use) > MAX_ADDRESSES
    assert chosen or not in_use or spare
