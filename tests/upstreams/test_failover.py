"""Promises of `failover`: the order in which addresses are tried."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from sidecar.upstreams.failover import Choice, next_elsewhere, order
from sidecar.upstreams.health import Health, Standing

FAILBACK = 30.0
NOW = 1000.0
LONG_AGO = float("-inf")


@dataclass(frozen=True)
class Candidate:
    """An address; the number distinguishes those of an endpoint."""

    endpoint: str
    number: str
    standing: Standing
    on_trial: bool = False


def at(
    place: str, health: str, *, back: float = LONG_AGO, answered: float = LONG_AGO, on_trial: bool = False
) -> Candidate:
    """Return a candidate; `eqiad 2` is the second address of eqiad."""
    endpoint, _, number = place.partition(" ")
    standing = Standing(Health(health), back_since=back, last_answer=answered)
    return Candidate(endpoint, number or "1", standing, on_trial)


def shown(choices: list[Choice[Candidate]]) -> list[str]:
    """Format the choices as in the tables below."""
    return [
        each.address.endpoint
        + ("" if each.address.number == "1" else f" {each.address.number}")
        + (" as a trial" if each.trial else "")
        for each in choices
    ]


@pytest.mark.parametrize(
    ("candidates", "expected"),
    [
        pytest.param([], [], id="no address known"),
        pytest.param([at("eqiad", "healthy"), at("codfw", "healthy")], ["eqiad", "codfw"], id="all healthy"),
        pytest.param([at("eqiad", "suspected"), at("codfw", "healthy")], ["codfw", "eqiad"], id="suspected"),
        pytest.param([at("eqiad", "unknown"), at("codfw", "healthy")], ["codfw", "eqiad"], id="unknown"),
        pytest.param([at("eqiad", "suspected"), at("codfw", "unknown")], ["codfw", "eqiad"], id="nothing proven"),
        pytest.param([at("eqiad", "suspected"), at("codfw", "suspected")], ["eqiad", "codfw"], id="all suspected"),
        pytest.param([at("eqiad", "unhealthy"), at("codfw", "healthy")], ["codfw"], id="unhealthy"),
        pytest.param([at("eqiad", "ejected"), at("codfw", "healthy")], ["codfw"], id="ejected"),
        pytest.param([at("eqiad", "unhealthy"), at("codfw", "suspected")], ["codfw"], id="better doubt"),
    ],
)
def test_the_healthy_come_first_in_order_of_preference(candidates: list[Candidate], expected: list[str]) -> None:
    """Then unproven ones, and none that is out."""
    assert shown(order(candidates, FAILBACK, 0, NOW)) == expected


@pytest.mark.parametrize(
    ("eqiad_back", "codfw_back", "expected"),
    [
        pytest.param(NOW, LONG_AGO, ["codfw", "eqiad"], id="back just now"),
        pytest.param(NOW - 29.99, LONG_AGO, ["codfw", "eqiad"], id="not long enough"),
        pytest.param(NOW - 30.0, LONG_AGO, ["eqiad", "codfw"], id="long enough"),
        pytest.param(NOW - 5, NOW - 20, ["eqiad", "codfw"], id="neither long enough"),
        pytest.param(NOW - 50, NOW - 20, ["eqiad", "codfw"], id="the other not long enough"),
    ],
)
def test_failback_waits_until_the_preferred_is_stable(
    eqiad_back: float, codfw_back: float, expected: list[str]
) -> None:
    """A preferred endpoint that was out gets its place back after it has been healthy for the failback time."""
    candidates = [at("eqiad", "healthy", back=eqiad_back), at("codfw", "healthy", back=codfw_back)]
    assert shown(order(candidates, FAILBACK, 0, NOW)) == expected


@pytest.mark.parametrize(
    ("turn", "expected"),
    [
        (0, ["eqiad", "eqiad 2", "eqiad 3", "codfw", "codfw 2"]),
        (1, ["eqiad 2", "eqiad 3", "eqiad", "codfw 2", "codfw"]),
        (2, ["eqiad 3", "eqiad", "eqiad 2", "codfw", "codfw 2"]),
        (3, ["eqiad", "eqiad 2", "eqiad 3", "codfw 2", "codfw"]),
    ],
    ids=lambda value: f"turn {value}" if isinstance(value, int) else "",
)
def test_the_addresses_of_an_endpoint_take_turns(turn: int, expected: list[str]) -> None:
    """Each is first in turn, and no endpoint overtakes a preferred one."""
    places = ("eqiad", "eqiad 2", "eqiad 3", "codfw", "codfw 2")
    candidates = [at(place, "healthy") for place in places]
    assert shown(order(candidates, FAILBACK, turn, NOW)) == expected


def test_two_addresses_take_turns() -> None:
    """The usual case: each is first every other time."""
    candidates = [at("eqiad", "healthy"), at("eqiad 2", "healthy")]
    firsts = [shown(order(candidates, FAILBACK, turn, NOW))[0] for turn in range(4)]
    assert firsts == ["eqiad", "eqiad 2", "eqiad", "eqiad 2"]


@pytest.mark.parametrize(
    ("candidates", "expected"),
    [
        pytest.param([at("eqiad", "healthy"), at("codfw", "probation")], ["codfw as a trial", "eqiad"], id="due"),
        pytest.param([at("eqiad", "healthy"), at("codfw", "probation", on_trial=True)], ["eqiad"], id="under way"),
        pytest.param([at("eqiad", "probation"), at("codfw", "probation")], ["eqiad as a trial"], id="one by one"),
        pytest.param(
            [at("eqiad", "probation", on_trial=True), at("codfw", "probation"), at("codfw 2", "healthy")],
            ["codfw as a trial", "codfw 2"],
            id="one for each address",
        ),
    ],
)
def test_an_address_on_probation_gets_the_next_event(candidates: list[Candidate], expected: list[str]) -> None:
    """A trial comes first, one at a time for each address."""
    assert shown(order(candidates, FAILBACK, 0, NOW)) == expected


@pytest.mark.parametrize(
    ("candidates", "expected"),
    [
        pytest.param(
            [at("eqiad", "unhealthy"), at("codfw", "ejected")],
            ["eqiad as a trial", "codfw as a trial"],
            id="none ever answered: the preferred first",
        ),
        pytest.param(
            [at("eqiad", "unhealthy", answered=5.0), at("codfw", "unhealthy", answered=6.0)],
            ["codfw as a trial", "eqiad as a trial"],
            id="the one that answered last first",
        ),
        pytest.param(
            [at("eqiad", "unhealthy", on_trial=True), at("codfw", "ejected")],
            ["codfw as a trial"],
            id="a trial is under way at one",
        ),
        pytest.param(
            [at("eqiad", "unhealthy", on_trial=True), at("codfw", "probation", on_trial=True)],
            [],
            id="a trial is under way at each",
        ),
    ],
)
def test_when_all_addresses_are_out_each_gets_one_trial(candidates: list[Candidate], expected: list[str]) -> None:
    """The address that answered last comes first."""
    assert shown(order(candidates, FAILBACK, 0, NOW)) == expected


EQIAD, EQIAD_2, CODFW = (Choice(at(place, "healthy")) for place in ("eqiad", "eqiad 2", "codfw"))


@pytest.mark.parametrize(
    ("choices", "tried", "other_endpoint", "expected"),
    [
        pytest.param([EQIAD, CODFW], [], False, EQIAD, id="nothing tried"),
        pytest.param([EQIAD, CODFW], [EQIAD], False, CODFW, id="the next"),
        pytest.param([EQIAD, EQIAD_2, CODFW], [EQIAD], False, EQIAD_2, id="never sent: the next address"),
        pytest.param([EQIAD, EQIAD_2, CODFW], [EQIAD], True, CODFW, id="sent: another endpoint"),
        pytest.param([EQIAD, EQIAD_2], [EQIAD], True, EQIAD_2, id="sent: no other endpoint is left"),
        pytest.param([EQIAD, CODFW], [EQIAD, CODFW], True, None, id="all tried"),
        pytest.param([], [], False, None, id="none there"),
        pytest.param([Choice(EQIAD.address, trial=True)], [EQIAD], False, None, id="tried, now out"),
    ],
)
def test_the_next_address_was_not_tried_yet(
    choices: list[Choice[Candidate]],
    tried: list[Choice[Candidate]],
    *,
    other_endpoint: bool,
    expected: Choice[Candidate] | None,
) -> None:
    """Events that may be in process go to another endpoint if there is one."""
    assert next_elsewhere(choices, [each.address for each in tried], other_endpoint=other_endpoint) == expected
