"""Promises of `endpoints`: the endpoints of an upstream, and the addresses behind them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from sidecar.errors import SettingError
from sidecar.eventgate.healthcheck import Target
from sidecar.events.outgoing import Load, Outgoing
from sidecar.routes.language.config import Upstream
from sidecar.telemetry.happenings import HealthChanged
from sidecar.upstreams.endpoints import FIRST_ROUND_SECONDS, Budget, Endpoint, Pool, make_pools, tell
from sidecar.upstreams.health import Health, Signal, Standing, Transition
from tests.fakes import FakeEventGate, eventually
from tests.scripted import Recorder, make_pool, now


def pool_of(url: str, **settings: object) -> Pool:
    """Return the pool of an upstream with this URL."""
    return Pool("main", Upstream.read({"url": url, **settings}))


@pytest.mark.parametrize(
    ("url", "settings", "expected"),
    [
        pytest.param(
            "https://staging.svc.eqiad.wmnet:4492/v1/events",
            {},
            Target("10.0.0.1", 4492, "staging.svc.eqiad.wmnet:4492", "/_info", "staging.svc.eqiad.wmnet", None),
            id="https with a port",
        ),
        pytest.param(
            "https://Events.Example/v1/events",
            {"tls": {"server_name": "eventgate"}, "health_check": {"path": "/healthz"}},
            Target("10.0.0.1", 443, "Events.Example", "/healthz", "eventgate", None),
            id="https with a server name and a path",
        ),
        pytest.param(
            "http://events.example/v1/events",
            {},
            Target("10.0.0.1", 80, "events.example", "/_info", "events.example", None),
            id="http",
        ),
        pytest.param(
            "http://[::1]:8192/v1/events",
            {},
            Target("10.0.0.1", 8192, "[::1]:8192", "/_info", "::1", None),
            id="a literal IPv6 address",
        ),
    ],
)
def test_an_address_is_checked_under_its_endpoints_name(
    url: str, settings: dict[str, object], expected: Target
) -> None:
    """The connection goes to the address; Host, SNI and path are the endpoint's."""
    pool = pool_of(url, **settings)
    (address,) = pool.endpoints[0].set_addresses(("10.0.0.1",))
    assert (address.target.tls is not None) is url.startswith("https")
    found = address.target
    assert Target(found.address, found.port, found.host, found.path, found.server_name, None) == expected


def test_each_datacenter_is_an_endpoint() -> None:
    """In order of preference, each with the datacenter's name, URL and host name."""
    pool = pool_of("http://staging.svc.{datacenter}.wmnet/v1/events", datacenters=["eqiad", "codfw"])
    assert [(each.name, each.url, each.known.name) for each in pool.endpoints] == [
        ("eqiad", "http://staging.svc.eqiad.wmnet/v1/events", "staging.svc.eqiad.wmnet"),
        ("codfw", "http://staging.svc.codfw.wmnet/v1/events", "staging.svc.codfw.wmnet"),
    ]


def test_without_datacenters_host_and_port_are_the_name() -> None:
    """An upstream with one URL has one endpoint."""
    (endpoint,) = pool_of("http://events.example:8192/v1/events").endpoints
    assert endpoint.name == "events.example:8192"


def test_an_unreadable_ca_file_is_an_error() -> None:
    """It is named when the pools are made."""
    upstream = Upstream.read({"url": "https://a/v1/events", "tls": {"ca_file": "/nowhere/ca.pem"}})
    with pytest.raises(SettingError, match=r"^tls\.ca_file /nowhere/ca\.pem cannot be read as PEM certificates: "):
        make_pools({"main": upstream})


def test_a_ca_file_without_certificates_is_an_error(tmp_path: Path) -> None:
    """It is named as well."""
    (tmp_path / "ca.pem").write_text("no certificate")
    upstream = Upstream.read({"url": "https://a/v1/events", "tls": {"ca_file": str(tmp_path / "ca.pem")}})
    with pytest.raises(SettingError, match="cannot be read as PEM certificates"):
        make_pools({"main": upstream})


def test_a_ca_file_is_read_once() -> None:
    """Upstreams with the same CA file share it; one with plain HTTP has none."""
    urls = {"one": "https://a/v1/events", "two": "https://b/v1/events", "plain": "http://c/v1/events"}
    pools = make_pools({name: Upstream(url=url) for name, url in urls.items()})
    one, two, plain = (pool.endpoints[0].trust for pool in pools.values())
    assert (one is two, one is None, plain) == (True, False, None)


@pytest.mark.parametrize(
    ("healths", "is_down"),
    [
        ([], True),
        ([Health.UNKNOWN], False),
        ([Health.HEALTHY], False),
        ([Health.SUSPECTED], False),
        ([Health.PROBATION], False),
        ([Health.UNHEALTHY], True),
        ([Health.EJECTED], True),
        ([Health.EJECTED, Health.UNHEALTHY], True),
        ([Health.EJECTED, Health.HEALTHY], False),
    ],
    ids=str,
)
def test_an_endpoint_is_down_when_all_its_addresses_are(healths: list[Health], is_down: bool) -> None:
    """One good address is enough, and one on probation is not down: it takes events, one at a time."""
    endpoint = make_pool({"eqiad": [f"10.0.0.{number}" for number in range(len(healths))]}).endpoints[0]
    for address, health in zip(endpoint.addresses.values(), healths, strict=True):
        address.standing.health = health
    assert endpoint.is_down is is_down


def test_an_address_that_stays_keeps_its_standing() -> None:
    """Its health survives a change of other addresses; removed ones are retired and notified."""
    endpoint = make_pool({"eqiad": ["10.0.0.1", "10.0.0.2"]}).endpoints[0]
    first, second = endpoint.addresses.values()
    new = endpoint.set_addresses(("10.0.0.2", "10.0.0.3"))
    assert [each.ip for each in new] == ["10.0.0.3"]
    assert (first.retired, first.check_now.is_set()) == (True, True)
    assert list(endpoint.addresses.values()) == [second, *new]
    assert (second.retired, second.standing.health, new[0].standing) == (False, Health.HEALTHY, Standing())


@pytest.mark.parametrize("health", [Health.EJECTED, Health.UNHEALTHY, Health.PROBATION])
def test_an_address_that_was_out_is_still_out_when_it_returns(health: Health) -> None:
    """An address that DNS omits for a moment is not considered recovered."""
    endpoint = make_pool({"eqiad": ["10.0.0.1"]}).endpoints[0]
    (before,) = endpoint.addresses.values()
    before.standing.health = health
    endpoint.set_addresses((), 100.0)
    (after,) = endpoint.set_addresses(("10.0.0.1",), 700.0)
    assert (before.retired, after.retired, after.standing) == (True, False, before.standing)


def test_an_address_that_was_healthy_is_unknown_when_it_returns() -> None:
    """It is checked before events prefer it; its answer times are remembered."""
    pool = make_pool({"eqiad": ["10.0.0.1"]})
    (endpoint,), (before,) = pool.endpoints, pool.addresses
    pool.judge.answered(before.standing, 0.25, 90.0)
    endpoint.set_addresses((), 100.0)
    (after,) = endpoint.set_addresses(("10.0.0.1",), 110.0)
    assert str(after.standing) == "unknown (not checked since it came back)"
    assert (list(after.standing.seconds), after.standing.last_answer) == ([0.25], 90.0)


def test_removed_addresses_are_forgotten() -> None:
    """After ten minutes, or when there are more than 256."""
    endpoint = make_pool({"eqiad": ["10.0.0.1"]}).endpoints[0]
    endpoint.addresses["10.0.0.1"].standing.health = Health.EJECTED
    endpoint.set_addresses((), 100.0)
    (after,) = endpoint.set_addresses(("10.0.0.1",), 700.1)
    assert after.standing == Standing()
    after.standing.health = Health.EJECTED
    for number in range(257):
        endpoint.set_addresses((f"10.1.{number}.1",), 701.0)
    (first,) = endpoint.set_addresses(("10.0.0.1",), 702.0)
    assert first.standing == Standing()


@pytest.mark.parametrize(("other", "kept"), [(Health.HEALTHY, False), (Health.UNHEALTHY, True)])
def test_dns_never_removes_the_last_endpoint(other: Health, *, kept: bool) -> None:
    """A dead address missing from DNS for hours is dropped only while another endpoint answers."""
    pool = make_pool({"eqiad": ["10.0.0.1"], "codfw": ["10.0.0.2"]})
    for address, health in zip(pool.addresses, (Health.UNHEALTHY, other), strict=True):
        address.standing.health = health
    pool.settle(pool.endpoints[0], 9999.0)
    assert ("10.0.0.1" in pool.endpoints[0].addresses) is kept


def test_addresses_are_in_order_of_preference() -> None:
    """Endpoint by endpoint."""
    pool = make_pool({"eqiad": ["10.0.0.1", "10.0.0.2"], "codfw": ["10.0.0.1"]})
    assert [(each.endpoint.name, each.ip) for each in pool.addresses] == [
        *(("eqiad", "10.0.0.1"), ("eqiad", "10.0.0.2"), ("codfw", "10.0.0.1")),
    ]


def test_the_first_round_ends_with_the_last_endpoint() -> None:
    """It stays over."""
    pool = pool_of("http://{datacenter}/v1/events", datacenters=["eqiad", "codfw"])
    eqiad, codfw = pool.endpoints
    seen = []
    for endpoint in (eqiad, eqiad, codfw, eqiad):
        pool.looked_at_endpoint(endpoint)
        seen.append(pool.looked_at.is_set())
    assert seen == [False, False, True, True]


def test_an_address_has_a_readable_repr() -> None:
    """Upstream, endpoint, address, health and reason, in one line."""
    (address,) = make_pool({"eqiad": ["10.0.0.1"]}).addresses
    assert repr(address) == "<main eqiad:80 10.0.0.1: healthy (its health check passed)>"


def test_every_change_of_health_is_reported() -> None:
    """With its place and its reason."""
    recorder = Recorder()
    (address,) = make_pool({"eqiad": ["10.0.0.1"]}).addresses
    tell(recorder.emit, address, [Transition(Health.HEALTHY, Health.SUSPECTED, Signal.DOUBT, "no answer after 100 ms")])
    assert recorder.happenings == [
        HealthChanged("main", "eqiad:80", "10.0.0.1", "healthy", "suspected", "no answer after 100 ms")
    ]


@pytest.mark.parametrize("after", list(Health))
def test_replay_is_woken_when_an_address_may_take_events_again(after: Health) -> None:
    """By a change to healthy or to probation, and by no other: what has just failed must not be tried at once."""
    (address,) = make_pool({"eqiad": ["10.0.0.1"]}).addresses
    woken: list[None] = []
    address.endpoint.healed = lambda: woken.append(None)
    tell(Recorder().emit, address, [Transition(Health.EJECTED, after, Signal.DOUBT, "words")])
    assert bool(woken) is (after in {Health.HEALTHY, Health.PROBATION})


def test_a_pool_describes_the_state_of_its_endpoints() -> None:
    """Each address, or what is wrong with the name if there is none."""
    pool = make_pool({"eqiad": ["10.0.0.1"], "codfw": []})
    assert pool.state == "eqiad: healthy (its health check passed); codfw: not looked up yet"


async def test_an_address_is_posted_to_under_its_endpoints_name() -> None:
    """The connection goes to the address; Host and path are those of the URL."""
    ended: list[object] = []
    async with FakeEventGate() as gate, asyncio.TaskGroup() as tasks:
        port = gate.address.rpartition(":")[2]
        (address,) = pool_of(f"http://events.example:{port}/v1/events").endpoints[0].set_addresses(("127.0.0.1",))
        address.eventgate.post(Load("main", [Outgoing(0, b"{}", "a", "s")]), tasks, ended.append)
        await eventually(lambda: bool(ended))
        address.eventgate.close()
    (request,) = gate.requests
    assert (request.target, request.headers["host"]) == ("/v1/events", f"events.example:{port}")


@pytest.mark.looptime
async def test_events_wait_for_the_first_round_for_a_second() -> None:
    """Or until every endpoint has been checked."""
    pool = pool_of("http://a/v1/events")
    await pool.first_round()
    assert now() == FIRST_ROUND_SECONDS == 1.0
    asyncio.get_running_loop().call_later(0.5, pool.looked_at_endpoint, pool.endpoints[0])
    await pool.first_round()
    assert now() == 1.5


def test_an_unchanged_upstream_keeps_its_pool() -> None:
    """Health survives a new configuration; a new upstream has a new pool."""
    kept = make_pools({"a": Upstream(url="http://a/v1/events")})
    pools = make_pools({name: Upstream(url=f"http://{name}/v1/events") for name in "ab"}, kept)
    assert pools["a"] is kept["a"]
    assert [pools["b"].name, pools["b"].config.url] == ["b", "http://b/v1/events"]


def test_a_new_pool_starts_with_known_addresses() -> None:
    """They are unproven: DNS may not answer while the configuration changes."""
    before = make_pool({"eqiad": ["10.0.0.1"], "codfw": []})
    config = Upstream(url="http://{datacenter}/v1/events", datacenters=["eqiad", "codfw", "esams"])
    (pool,) = make_pools({"other": config}, {}, [before]).values()
    assert [list(each.addresses) for each in pool.endpoints] == [["10.0.0.1"], [], []]
    assert pool.endpoints[0].known is before.endpoints[0].known
    (address,) = pool.addresses
    assert (address.endpoint, address.standing) == (pool.endpoints[0], Standing())


def test_a_new_pool_has_nothing_in_flight() -> None:
    """Its whole budget is available, no address is on trial, and none has had a turn."""
    pool = pool_of("http://a/v1/events")
    assert (pool.budget.in_flight, pool.budget.second_attempts, pool.budget.allows) == (0, 0, True)
    pool.endpoints[0].set_addresses(("10.0.0.1",))
    assert (pool.turn, [address.on_trial for address in pool.addresses]) == (0, [False])


def test_a_new_endpoint_does_not_connect() -> None:
    """It has no address, and says that its name was not looked up."""
    endpoint = Endpoint("main", "eqiad", "http://eqiad/v1/events", Upstream(url="http://eqiad/v1/events"), None)
    assert (endpoint.addresses, str(endpoint.known)) == ({}, "eqiad → no address (not looked up yet)")


@pytest.mark.parametrize(
    ("in_flight", "second_attempts", "allows"),
    [
        pytest.param(0, 0, True, id="the floor, with nothing in flight"),
        pytest.param(1, 9, True, id="one below the floor"),
        pytest.param(1, 10, False, id="the floor is used up"),
        pytest.param(54, 10, False, id="a share below the floor"),
        pytest.param(55, 10, True, id="a fifth is just above the floor"),
        pytest.param(500, 99, True, id="one below a fifth"),
        pytest.param(500, 100, False, id="a fifth"),
    ],
)
def test_second_attempts_have_a_budget(in_flight: int, second_attempts: int, allows: bool) -> None:
    """At most 20 % of what is in flight may be sent twice, and always ten."""
    budget = Budget()
    budget.in_flight, budget.second_attempts = in_flight, second_attempts
    assert budget.allows is allows


@pytest.mark.parametrize(
    ("eqiad", "codfw", "may"),
    [
        pytest.param(Health.HEALTHY, Health.HEALTHY, [True, True], id="both are healthy"),
        pytest.param(Health.UNHEALTHY, Health.HEALTHY, [False, True], id="one is out"),
        pytest.param(Health.EJECTED, Health.HEALTHY, [False, True], id="one awaits a trial, which the other saves"),
        pytest.param(Health.EJECTED, Health.UNHEALTHY, [True, False], id="the trial is all that is left"),
        pytest.param(Health.UNHEALTHY, Health.UNHEALTHY, [False, False], id="nothing is left"),
    ],
)
def test_which_endpoints_may_get_events(eqiad: Health, codfw: Health, may: list[bool]) -> None:
    """What is not down, and if all are down, what awaits a trial."""
    pool = make_pool({"eqiad": ["10.1.0.1"], "codfw": ["10.2.0.1"]})
    for address, health in zip(pool.addresses, (eqiad, codfw), strict=True):
        address.standing.health, address.standing.passed_in_a_row = health, 9
    assert [pool.may_get_events(each) for each in pool.endpoints] == may
