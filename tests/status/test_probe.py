"""Promises of `probe`: it returns which addresses answer now, and cannot be used to flood EventGate."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from sidecar.eventgate.healthcheck import CheckResult, Phase, Target
from sidecar.status.probe import APART_SECONDS, AT_ONCE, NOT_DONE, SECONDS, Prober, as_data, probe_all
from sidecar.upstreams.addresses import DnsAnswer, Found, NoAnswer
from sidecar.upstreams.endpoints import Pool
from sidecar.upstreams.health import Health
from tests.scripted import CODFW, EQIAD, ESAMS, make_pool, out

SILENT = "no name server answered within 1.5 s"


@dataclass
class World:
    """DNS and addresses, with the number of concurrent requests."""

    dns: DnsAnswer
    check_seconds: float = 0.1
    asked: list[str] = field(default_factory=list)
    at_once: int = 0
    most: int = 0

    async def look_up(self, host: str) -> DnsAnswer:
        """Answer like DNS."""
        del host
        return self.dns

    async def check(self, target: Target, _: float) -> CheckResult:
        """Answer like an address, after some time."""
        self.asked.append(target.address)
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        await asyncio.sleep(self.check_seconds)
        self.at_once -= 1
        return CheckResult(True, "answers", {Phase.TCP: 0.1})

    def prober(self, **pools: Pool) -> Prober:
        """Return a prober of these."""

        def known() -> Mapping[str, Pool]:
            return pools

        return Prober(known, self.look_up, self.check)


@pytest.mark.looptime
async def test_addresses_in_use_are_checked_while_dns_is_dead() -> None:
    """With their states, which do not change."""
    pool = make_pool({"eqiad": [EQIAD]})
    out(pool, Health.UNHEALTHY, EQIAD)
    before = pool.endpoints[0].known
    (found,) = await probe_all([pool], World(NoAnswer(SILENT)).look_up, World(NoAnswer(SILENT)).check)
    (address,) = as_data([found])["endpoints"][0]["addresses"]
    assert (found.known.problem, address["address"], address["verdict"]) == (SILENT, EQIAD, "answers")
    assert address["in_use"].startswith("unhealthy")
    assert (pool.endpoints[0].known, pool.addresses[0].standing.health) == (before, Health.UNHEALTHY)


@pytest.mark.looptime
async def test_new_addresses_in_dns_are_checked_too() -> None:
    """Before the sidecar uses them."""
    pool = make_pool({"eqiad": [EQIAD]})
    world = World(Found((CODFW,)))
    (found,) = await probe_all([pool], world.look_up, world.check)
    assert {ip: ip in found.states for ip in found.checks} == {CODFW: False, EQIAD: True}


@pytest.mark.looptime
async def test_many_clients_share_one_probe() -> None:
    """One runs at a time, and its result is cached for some seconds."""
    world = World(Found((EQIAD,)))
    prober = world.prober(main=make_pool({"eqiad": [EQIAD]}))
    results = await asyncio.gather(*(prober.result() for _ in range(100)))
    assert (world.asked, all(each["ok"] for each in results)) == ([EQIAD], True)
    await asyncio.sleep(APART_SECONDS - 0.1)
    assert ((await prober.result())["seconds_ago"], len(world.asked)) == (APART_SECONDS - 0.1, 1)
    await asyncio.sleep(0.2)
    assert ((await prober.result())["seconds_ago"], len(world.asked)) == (0.0, 2)


@pytest.mark.looptime
async def test_a_probe_has_a_deadline() -> None:
    """However many endpoints hang; unfinished ones are reported."""
    pools = {f"u{number}": make_pool({"eqiad": [ESAMS]}) for number in range(3 * AT_ONCE)}
    world = World(Found((ESAMS,)), check_seconds=SECONDS * 0.6)
    start = asyncio.get_running_loop().time()
    found = (await world.prober(**pools).result())["endpoints"]
    assert asyncio.get_running_loop().time() - start == pytest.approx(SECONDS, abs=0.1)
    assert (len(found), world.most) == (3 * AT_ONCE, AT_ONCE)
    assert [each["problem"] for each in found].count(NOT_DONE) == 2 * AT_ONCE
