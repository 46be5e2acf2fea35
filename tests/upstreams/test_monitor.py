"""Promises of `monitor`: when names are looked up and addresses checked, and what follows."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from sidecar.eventgate.healthcheck import CheckResult, Phase, Target
from sidecar.routes.language.config import Upstream
from sidecar.telemetry.happenings import AddressesChanged, CaFileChanged, Checked, HealthChanged, Unexpected
from sidecar.upstreams.addresses import DnsAnswer, Found, NoAnswer
from sidecar.upstreams.endpoints import Pool
from sidecar.upstreams.failover import order
from sidecar.upstreams.health import Health
from sidecar.upstreams.monitor import Monitor
from tests.fakes import Authority
from tests.scripted import Recorder, all_healths, bare_pool, now, script

pytestmark = pytest.mark.looptime

SILENT = NoAnswer("no name server answered")
DENIED = NoAnswer("NXDOMAIN")


class Names:
    """A resolver with scripted answers."""

    def __init__(self, seconds: float = 0.0, **answers: DnsAnswer) -> None:
        self.answers = answers
        self.seconds = seconds
        """How long an answer takes."""
        self.asked: list[tuple[float, str]] = []
        self.broken: set[str] = set()
        """Names that nobody can ask for."""

    async def look_up(self, name: str) -> DnsAnswer:
        """Answer; block for names without an answer."""
        self.asked.append((now(), name))
        if name in self.broken:
            raise KeyError(name)
        await asyncio.sleep(self.seconds)
        return self.answers.get(name, SILENT)


class Checks:
    """A health check with scripted results."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.failing: set[str] = set()
        self.hanging: set[str] = set()
        self.seconds = seconds
        """How long a check takes that ends."""
        self.made: list[tuple[float, str]] = []
        self.broken: set[str] = set()

    async def check(self, target: Target, limit: float) -> CheckResult:
        """Return the result within `limit` seconds."""
        self.made.append((now(), target.address))
        if target.address in self.broken:
            raise KeyError(target.address)
        if target.address in self.hanging:
            await asyncio.sleep(limit)
            return CheckResult(words="hangs")
        await asyncio.sleep(self.seconds)
        if target.address in self.failing:
            return CheckResult(words="answers 503")
        return CheckResult(passed=True, words="answers", seconds={Phase.TCP: 0.25, Phase.HTTP: 0.5})


@contextlib.asynccontextmanager
async def watching(pools: Sequence[Pool], names: Names, checks: Checks, jitter: float = 0.5) -> AsyncIterator[Recorder]:
    """Run a monitor until the block is left; yield its happenings."""
    recorder = Recorder()
    monitor = Monitor(pools, names.look_up, checks.check, recorder, lambda: jitter, now)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(monitor.run())
        yield recorder
        task.cancel()


def authority_in(folder: Path) -> bytes:
    """Create a CA; return its certificate."""
    folder.mkdir()
    return Authority(folder).ca_file.read_bytes()


def found(*addresses: str, chain: Sequence[str] = (), ttl: float = 60.0) -> Found:
    """Return an answer."""
    return Found(addresses, tuple(chain), ttl)


# --- the first round ---


@pytest.mark.parametrize(
    ("look_up", "check", "hanging", "ready_after"),
    [
        pytest.param(0.0, 0.0, set(), 0.0, id="all at once"),
        pytest.param(0.3, 0.4, set(), 0.7, id="one look-up and one check long"),
        pytest.param(0.3, 0.0, {"10.1.0.1"}, 1.0, id="an address hangs"),
        pytest.param(9.0, 0.0, set(), 1.0, id="DNS hangs"),
        pytest.param(0.0, 9.0, set(), 1.0, id="the checks are slow"),
    ],
)
async def test_ready_after_the_first_round_or_a_second(
    look_up: float, check: float, hanging: set[str], ready_after: float
) -> None:
    """Look-ups and checks run in parallel, and delay `ready` by at most 1 s."""
    pools = [bare_pool("eqiad", "codfw"), bare_pool("esams", "drmrs")]
    names = Names(look_up, eqiad=found("10.1.0.1", "10.1.0.2"), codfw=found("10.2.0.1"), esams=found("10.3.0.1"))
    names.answers["drmrs"] = found("10.4.0.1")
    checks = Checks(check)
    checks.hanging = hanging
    monitor = Monitor(pools, names.look_up, checks.check, Recorder(), lambda: 0.5, now)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(monitor.run())
        await monitor.ready()
        assert now() == pytest.approx(ready_after)
        task.cancel()
    assert names.asked == [(0.0, "eqiad"), (0.0, "codfw"), (0.0, "esams"), (0.0, "drmrs")]
    assert sorted(checks.made) == [(look_up, each.ip) for pool in pools for each in pool.addresses]


async def test_the_first_check_decides() -> None:
    """After the first round every address is healthy or unhealthy, and each check was counted."""
    pool, checks = bare_pool("eqiad", "codfw"), Checks()
    checks.failing = {"10.2.0.1"}
    names = Names(eqiad=found("10.1.0.1"), codfw=found("10.2.0.1"))
    async with watching([pool], names, checks) as recorder:
        await pool.looked_at.wait()
    assert all_healths(pool) == {"10.1.0.1": Health.HEALTHY, "10.2.0.1": Health.UNHEALTHY}
    assert [each.checked[1].passed for each in pool.addresses if each.checked] == [True, False]
    assert recorder.all_of(Checked) == [Checked("main", "eqiad", True, 0.75), Checked("main", "codfw", False, 0.0)]
    assert recorder.all_of(HealthChanged) == [
        HealthChanged("main", "eqiad", "10.1.0.1", "unknown", "healthy", "its health check passed"),
        HealthChanged("main", "codfw", "10.2.0.1", "unknown", "unhealthy", "answers 503"),
    ]


@pytest.mark.parametrize("dead", [SILENT, DENIED], ids=["silent", "NXDOMAIN"])
@pytest.mark.parametrize("healed_at", [0.05, 10.0, 10.11], ids=lambda at: f"healed at {at:g}")
async def test_a_sidecar_recovers_from_dead_dns_within_a_second(dead: DnsAnswer, healed_at: float) -> None:
    """Once DNS works, its address is known, checked and healthy within 1 s."""
    pool, names, checks = bare_pool("eqiad"), Names(eqiad=dead), Checks()
    async with watching([pool], names, checks):
        await asyncio.sleep(healed_at)
        assert all_healths(pool) == {}
        assert pool.looked_at.is_set()
        names.answers["eqiad"] = found("10.1.0.1")
        await asyncio.sleep(1.0)
        assert all_healths(pool) == {"10.1.0.1": Health.HEALTHY}


# --- checks ---


@pytest.mark.parametrize(
    ("jitter", "times"),
    [
        pytest.param(0.0, [0, 4, 8, 12], id="earliest"),
        pytest.param(0.5, [0, 5, 10, 15], id="middle"),
        pytest.param(1.0, [0, 6, 12], id="latest"),
    ],
)
async def test_checks_come_at_intervals(jitter: float, times: list[float]) -> None:
    """A healthy address is checked every 5 s, jittered by 20 %."""
    pool, checks = bare_pool("eqiad"), Checks()
    async with watching([pool], Names(eqiad=found("10.1.0.1")), checks, jitter):
        await asyncio.sleep(15.5)
    assert [at for at, _ in checks.made] == pytest.approx(times)


async def test_a_failing_address_is_checked_faster_until_unhealthy() -> None:
    """Second and third failure are 1 s apart; after that every 5 s."""
    pool, checks = bare_pool("eqiad"), Checks()
    async with watching([pool], Names(eqiad=found("10.1.0.1")), checks) as recorder:
        await asyncio.sleep(1.0)
        checks.failing = {"10.1.0.1"}
        await asyncio.sleep(17.0)
    assert [at for at, _ in checks.made] == pytest.approx([0, 5, 6, 7, 12, 17])
    assert [each.after for each in recorder.all_of(HealthChanged)] == ["healthy", "unhealthy"]


async def test_checks_are_skipped_while_posts_are_answered() -> None:
    """An answer within the last interval replaces a check."""
    pool, checks = bare_pool("eqiad"), Checks()
    async with watching([pool], Names(eqiad=found("10.1.0.1")), checks):
        await asyncio.sleep(4.9)
        (address,) = pool.addresses
        for _ in range(10):
            pool.judge.answered(address.standing, 0.01, now())
            await asyncio.sleep(1.0)
        await asyncio.sleep(7.0)
    assert [at for at, _ in checks.made] == pytest.approx([0, 20])


async def test_a_requested_check_is_made_at_once() -> None:
    """`check_now` neither waits for the interval nor is skipped; the interval starts again."""
    pool, checks = bare_pool("eqiad"), Checks()
    async with watching([pool], Names(eqiad=found("10.1.0.1")), checks):
        await asyncio.sleep(2.0)
        (address,) = pool.addresses
        pool.judge.answered(address.standing, 0.01, now())
        address.check_now.set()
        await asyncio.sleep(6.0)
    assert [at for at, _ in checks.made] == pytest.approx([0, 2, 7])


async def test_requested_checks_are_limited_to_one_a_second() -> None:
    """Each failed POST requests a check; the first is made at once."""
    pool, checks = bare_pool("eqiad"), Checks()
    async with watching([pool], Names(eqiad=found("10.1.0.1")), checks):
        await asyncio.sleep(2.0)
        (address,) = pool.addresses
        checks.failing = {"10.1.0.1"}
        for _ in range(290):
            address.check_now.set()
            await asyncio.sleep(0.01)
    assert [at for at, _ in checks.made] == pytest.approx([0, 2, 3, 4], abs=0.02)


async def test_the_page_shows_the_end_of_an_outage_without_events() -> None:
    """Both datacenters stay ejected for up to 75 s, but after two checks they are shown as waiting for an event."""
    pool, checks = bare_pool("eqiad", "codfw"), Checks()
    async with watching([pool], Names(eqiad=found("10.1.0.1"), codfw=found("10.2.0.1")), checks):
        await asyncio.sleep(0.5)
        for address in pool.addresses:
            address.standing.ejections = 9
            for _ in range(3):
                pool.judge.failed(address.standing, "connection lost", now(), 1.0)
        assert [pool.may_get_events(each) for each in pool.endpoints] == [False, False]
        await asyncio.sleep(10.1)
        assert [pool.may_get_events(each) for each in pool.endpoints] == [True, True]
        assert set(all_healths(pool).values()) == {Health.EJECTED}
        pool.judge.answered(pool.addresses[1].standing, 0.01, now(), trial=True)
        assert [pool.may_get_events(each) for each in pool.endpoints] == [False, True]


async def test_the_end_of_an_ejection_is_reported() -> None:
    """Without events, an address leaves its ejection with its next check."""
    pool, checks = bare_pool("eqiad"), Checks()
    async with watching([pool], Names(eqiad=found("10.1.0.1")), checks) as recorder:
        await asyncio.sleep(0.5)
        (address,) = pool.addresses
        for _ in range(3):
            pool.judge.failed(address.standing, "connection lost", now(), 0.0)
        recorder.happenings.clear()
        await asyncio.sleep(5.0)
    assert recorder.all_of(HealthChanged) == [
        HealthChanged("main", "eqiad:80", "10.1.0.1", "ejected", "probation", "its ejection is over")
    ]


# --- names ---


@pytest.mark.parametrize(
    ("jitter", "times"),
    [
        pytest.param(0.0, [0, 9, 18, 27], id="earliest"),
        pytest.param(0.5, [0, 10, 20], id="middle"),
        pytest.param(1.0, [0, 11, 22], id="latest"),
    ],
)
async def test_names_are_looked_up_again_after_their_ttl(jitter: float, times: list[float]) -> None:
    """Jittered by 10 %; the same answer is not reported."""
    pool, names = bare_pool("eqiad"), Names(eqiad=found("10.1.0.1", ttl=10.0))
    async with watching([pool], names, Checks(), jitter) as recorder:
        await asyncio.sleep(29.0)
    assert [at for at, _ in names.asked] == pytest.approx(times)
    assert recorder.all_of(AddressesChanged) == [
        AddressesChanged("main", "eqiad:80", "eqiad → no address (not looked up yet)", "eqiad → 10.1.0.1")
    ]


async def test_a_moved_name_is_followed() -> None:
    """A failed check of the old address triggers a look-up; the new address is checked at once, the old one drained."""
    pool, checks = bare_pool("eqiad"), Checks()
    names = Names(eqiad=found("10.1.0.1", chain=["worker1"]))
    async with watching([pool], names, checks) as recorder:
        await asyncio.sleep(1.0)
        (old,) = pool.addresses
        fake = script(old)
        checks.failing, names.answers["eqiad"] = {"10.1.0.1"}, found("10.1.0.2", chain=["worker2"])
        recorder.happenings.clear()
        await asyncio.sleep(9.5)
    assert names.asked == [(0.0, "eqiad"), (5.0, "eqiad")]
    assert checks.made == [(0.0, "10.1.0.1"), (5.0, "10.1.0.1"), (5.0, "10.1.0.2"), (10.0, "10.1.0.2")]
    assert (all_healths(pool), old.retired, fake.closed) == ({"10.1.0.2": Health.HEALTHY}, True, True)
    assert recorder.all_of(AddressesChanged) == [
        AddressesChanged("main", "eqiad:80", "eqiad → worker1 → 10.1.0.1", "eqiad → worker2 → 10.1.0.2")
    ]


async def test_an_old_address_stays_until_the_new_one_is_checked() -> None:
    """If the new address does not answer, events still have somewhere to go."""
    pool, checks, names = bare_pool("eqiad"), Checks(), Names(eqiad=found("10.1.0.1", ttl=5.0))
    checks.failing = {"10.1.0.2"}
    async with watching([pool], names, checks):
        await asyncio.sleep(1.0)
        names.answers["eqiad"] = found("10.1.0.2", ttl=5.0)
        await asyncio.sleep(30.0)
        assert all_healths(pool) == {"10.1.0.1": Health.HEALTHY, "10.1.0.2": Health.UNHEALTHY}
        checks.failing.clear()
        pool.judge.answered(pool.addresses[1].standing, 0.01, now(), trial=True)
        await asyncio.sleep(7.0)
        assert all_healths(pool) == {"10.1.0.2": Health.HEALTHY}


@pytest.mark.parametrize("said", [SILENT, DENIED], ids=["silent", "NXDOMAIN"])
async def test_addresses_stay_while_dns_fails(said: NoAnswer) -> None:
    """They are used and checked for hours; it is reported once, and they are shown as stale."""
    pool, names, checks = bare_pool("eqiad"), Names(eqiad=found("10.1.0.1", ttl=10.0)), Checks()
    async with watching([pool], names, checks) as recorder:
        await asyncio.sleep(1.0)
        fake = script(pool.addresses[0])
        names.answers["eqiad"] = said
        await asyncio.sleep(12.5)
        assert [at for at, _ in names.asked] == pytest.approx([0, 10, 11, 12, 13])
        await asyncio.sleep(7200.0)
        assert (all_healths(pool), fake.closed) == ({"10.1.0.1": Health.HEALTHY}, False)
    assert [(each.after, each.problem) for each in recorder.all_of(AddressesChanged)] == [
        ("eqiad → 10.1.0.1", ""),
        (f"eqiad → 10.1.0.1 (stale: {said.reason})", said.reason),
    ]
    assert len(checks.made) == pytest.approx(7213.5 / 5, abs=1)


async def test_an_answer_that_changes_each_time_is_no_failover() -> None:
    """If DNS returns one of two good addresses at a time, both stay in use."""
    pool, checks = bare_pool("eqiad", "codfw"), Checks()
    names = Names(eqiad=found("10.1.0.1", ttl=5.0), codfw=found("10.2.0.1", ttl=5.0))
    seen: set[str] = set()
    async with watching([pool], names, checks):
        await pool.looked_at.wait()
        for second in range(600):
            names.answers["eqiad"] = found(f"10.1.0.{1 + second // 5 % 2}", ttl=5.0)
            for turn in range(10):
                choice = order(pool.addresses, pool.config.failback, turn, now())[0].address
                assert choice.endpoint.name == "eqiad"
                seen.add(choice.ip)
                pool.judge.answered(choice.standing, 0.01, now())
                await asyncio.sleep(0.1)
    assert seen == {"10.1.0.1", "10.1.0.2"}


async def test_of_forty_addresses_the_ones_that_answer_are_found() -> None:
    """The sixteen lowest hang: within 1.1 s sixteen others are healthy; those that fail later are replaced as well."""
    forty = [f"10.1.0.{number}" for number in range(100, 140)]
    pool, checks = bare_pool("eqiad"), Checks()
    checks.hanging = set(forty[:16])
    async with watching([pool], Names(eqiad=found(*forty)), checks):
        await asyncio.sleep(1.1)
        assert all_healths(pool) == dict.fromkeys(forty[16:32], Health.HEALTHY)
        checks.failing = set(forty[16:39])
        await asyncio.sleep(12.0)
        assert all_healths(pool)[forty[39]] is Health.HEALTHY


async def test_forty_dead_addresses_cost_few_checks_and_the_first_to_recover_is_found() -> None:
    """Each is checked now and then, whichever sixteen are in use."""
    forty = [f"10.1.0.{number}" for number in range(100, 140)]
    pool, checks = bare_pool("eqiad"), Checks()
    checks.failing = set(forty)
    async with watching([pool], Names(eqiad=found(*forty)), checks):
        await asyncio.sleep(60.0)
        assert len(checks.made) < 60 * 6
        for ip in forty:
            checks.failing.remove(ip)
            await asyncio.sleep(20.0)
            assert all_healths(pool)[ip] is Health.PROBATION
            checks.failing.add(ip)
            await asyncio.sleep(20.0)


async def test_requested_look_ups_are_limited_to_one_a_second() -> None:
    """Each of sixteen dead addresses requests one."""
    pool, names, checks = bare_pool("eqiad"), Names(eqiad=found(*(f"10.1.0.{n}" for n in range(16)))), Checks()
    checks.failing = {f"10.1.0.{n}" for n in range(16)}
    async with watching([pool], names, checks):
        for _ in range(290):
            for address in pool.addresses:
                address.check_now.set()
            await asyncio.sleep(0.01)
    assert [at for at, _ in names.asked] == pytest.approx([0, 0, 1, 2], abs=0.05)


async def test_a_bug_with_one_endpoint_does_not_affect_the_others() -> None:
    """Any exception is reported; the other endpoint is still watched, and this one again."""
    pool, names, checks = bare_pool("eqiad", "codfw"), Names(eqiad=found("10.1.0.1"), codfw=found("10.2.0.1")), Checks()
    names.broken.add("eqiad")
    checks.broken.add("10.2.0.1")
    async with watching([pool], names, checks) as told:
        await asyncio.sleep(3.5)
        assert {each.error for each in told.all_of(Unexpected)} == {"KeyError: 'eqiad'", "KeyError: '10.2.0.1'"}
        names.broken.clear()
        checks.broken.clear()
        await asyncio.sleep(30.0)
    assert all_healths(pool) == {"10.1.0.1": Health.HEALTHY, "10.2.0.1": Health.HEALTHY}


# --- trust ---


async def test_a_changed_ca_file_is_in_force_within_seconds(tmp_path: Path) -> None:
    """Even while POSTs replace checks; it is reported, and so is one that cannot be used."""
    old, new = (authority_in(tmp_path / name) for name in ("old", "new"))
    file = tmp_path / "ca.pem"
    file.write_bytes(old)
    pool = Pool("main", Upstream.read({"url": "https://eqiad/v1/events", "tls": {"ca_file": str(file)}}))
    async with watching([pool], Names(eqiad=found("10.1.0.1")), Checks()) as recorder:
        await asyncio.sleep(0.1)
        (address,) = pool.addresses
        before = address.target.tls
        for content in (new, b"broken"):
            file.write_bytes(content)
            for _ in range(5):
                pool.judge.answered(address.standing, 0.01, now())
                await asyncio.sleep(1.0)
    first, second = recorder.all_of(CaFileChanged)
    assert (first, second.problem[:20]) == (CaFileChanged(str(file)), f"tls.ca_file {file}"[:20])
    assert address.target.tls is not before


# --- pools come and go ---


async def test_a_pool_added_later_is_watched() -> None:
    """It is looked up and checked at once."""
    names, checks = Names(eqiad=found("10.1.0.1"), esams=found("10.3.0.1")), Checks()
    first, later = bare_pool("eqiad", "codfw"), bare_pool("esams", "drmrs")
    monitor = Monitor([first], names.look_up, checks.check, Recorder(), lambda: 0.5, now)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(monitor.run())
        await monitor.ready()
        monitor.watch(later)
        await later.first_round()
        assert all_healths(later) == {"10.3.0.1": Health.HEALTHY}
        task.cancel()


@pytest.mark.parametrize("said", [SILENT, DENIED], ids=["silent", "NXDOMAIN"])
async def test_a_pool_added_during_a_dns_failure_starts_with_known_addresses(said: NoAnswer) -> None:
    """An edit of an upstream while DNS fails costs no event."""
    before, later = bare_pool("eqiad"), bare_pool("eqiad", "codfw")
    names = Names(eqiad=found("10.1.0.1"))
    monitor = Monitor([before], names.look_up, Checks().check, Recorder(), lambda: 0.5, now)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(monitor.run())
        await monitor.ready()
        names.answers["eqiad"] = said
        later.endpoints[0].follow(before.endpoints[0])
        monitor.watch(later)
        await later.first_round()
        assert all_healths(later) == {"10.1.0.1": Health.HEALTHY}
        await asyncio.sleep(60.0)
        assert all_healths(later) == {"10.1.0.1": Health.HEALTHY}
        task.cancel()


async def test_a_removed_pool_is_watched_for_its_last_requests() -> None:
    """Then its connections end, and it is no longer checked; the others stay."""
    names, checks = Names(eqiad=found("10.1.0.1", ttl=1.0), esams=found("10.3.0.1", ttl=1.0)), Checks()
    stays, goes = bare_pool("eqiad", "codfw"), bare_pool("esams", "drmrs")
    monitor = Monitor([stays, goes], names.look_up, checks.check, Recorder(), lambda: 0.5, now)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(monitor.run())
        await monitor.ready()
        eventgate = script(goes.addresses[0])
        monitor.forget(goes, 60.0)
        await asyncio.sleep(59.0)
        assert ([*goes.addresses] != [], eventgate.closed) == (True, False)
        await asyncio.sleep(2.0)
        assert ([*goes.addresses], eventgate.closed) == ([], True)
        asked, made = len(names.asked), len(checks.made)
        await asyncio.sleep(60.0)
        assert {name for _, name in names.asked[asked:]} == {"eqiad", "codfw"}
        assert {address for _, address in checks.made[made:]} == {"10.1.0.1"}
        task.cancel()


async def test_at_the_end_every_connection_is_closed() -> None:
    """Those of watched pools, and of pools being removed."""
    names = Names(eqiad=found("10.1.0.1"), esams=found("10.3.0.1"))
    stays, goes = bare_pool("eqiad", "codfw"), bare_pool("esams", "drmrs")
    monitor = Monitor([stays, goes], names.look_up, Checks().check, Recorder(), lambda: 0.5, now)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(monitor.run())
        await monitor.ready()
        eventgates = [script(address) for pool in (stays, goes) for address in pool.addresses]
        monitor.forget(goes, 60.0)
        task.cancel()
    monitor.close()
    assert [each.closed for each in eventgates] == [True, True]


async def test_pools_are_watched_only_while_it_runs() -> None:
    """Adding one before the start is an error."""
    monitor = Monitor([], Names().look_up, Checks().check, Recorder(), lambda: 0.5, now)
    with pytest.raises(RuntimeError, match="while the monitor runs"):
        monitor.watch(bare_pool("eqiad"))
