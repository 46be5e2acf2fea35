"""Promises of `endpoints`: what an upstream's endpoints are, and which addresses are behind them now."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from sidecar.errors import SettingError
from sidecar.eventgate.healthcheck import Target
from sidecar.events.outgoing import Load, Outgoing
from sidecar.routes.config import Upstream
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
    """The address is dialled; Host, SNI and path are the endpoint's."""
    pool = pool_of(url, **settings)
    (address,) = pool.endpoints[0].set_addresses(("10.0.0.1",))
    assert (address.target.tls is not None) is url.startswith("https")
    found = address.target
    assert Target(found.address, found.port, found.host, found.path, found.server_name, None) == expected


def test_each_datacenter_is_an_endpoint() -> None:
    """Endpoints come in order of preference, each with its datacenter's name, URL and host name."""
    pool = pool_of("http://staging.svc.{datacenter}.wmnet/v1/events", datacenters=["eqiad", "codfw"])
    assert [(each.name, each.url, each.known.name) for each in pool.endpoints] == [
        ("eqiad", "http://staging.svc.eqiad.wmnet/v1/events", "staging.svc.eqiad.wmnet"),
        ("codfw", "http://staging.svc.codfw.wmnet/v1/events", "staging.svc.codfw.wmnet"),
    ]


def test_without_datacenters_host_and_port_are_the_name() -> None:
    """An upstream with one URL has one endpoint, called by what is dialled."""
    (endpoint,) = pool_of("http://events.example:8192/v1/events").endpoints
    assert endpoint.name == "events.example:8192"


def test_an_unreadable_ca_file_is_the_operators_affair() -> None:
    """A CA file that is not there is named when the pools are made."""
    upstream = Upstream.read({"url": "https://a/v1/events", "tls": {"ca_file": "/nowhere/ca.pem"}})
    with pytest.raises(SettingError, match=r"^tls\.ca_file /nowhere/ca\.pem cannot be read as PEM certificates: "):
        make_pools({"main": upstream})


def test_a_ca_file_without_certificates_is_the_operators_affair(tmp_path: Path) -> None:
    """A CA file in which there is no certificate is named too."""
    (tmp_path / "ca.pem").write_text("no certificate")
    upstream = Upstream.read({"url": "https://a/v1/events", "tls": {"ca_file": str(tmp_path / "ca.pem")}})
    with pytest.raises(SettingError, match="cannot be read as PEM certificates"):
        make_pools({"main": upstream})


def test_a_ca_file_is_read_once() -> None:
    """Upstreams that trust the same authorities share them; one that speaks plain HTTP trusts nobody."""
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
    """What is known of an address survives a change of its neighbours; those gone are retired and told so."""
    endpoint = make_pool({"eqiad": ["10.0.0.1", "10.0.0.2"]}).endpoints[0]
    first, second = endpoint.addresses.values()
    new = endpoint.set_addresses(("10.0.0.2", "10.0.0.3"))
    assert [each.ip for each in new] == ["10.0.0.3"]
    assert (first.retired, first.check_now.is_set()) == (True, True)
    assert list(endpoint.addresses.values()) == [second, *new]
    assert (second.retired, second.standing.health, new[0].standing) == (False, Health.HEALTHY, Standing())


@pytest.mark.parametrize("health", [Health.EJECTED, Health.UNHEALTHY, Health.PROBATION])
def test_an_address_that_was_out_comes_back_as_it_went(health: Health) -> None:
    """DNS that leaves it out for a moment is no way back for one that fails."""
    endpoint = make_pool({"eqiad": ["10.0.0.1"]}).endpoints[0]
    (before,) = endpoint.addresses.values()
    before.standing.health = health
    endpoint.set_addresses((), 100.0)
    (after,) = endpoint.set_addresses(("10.0.0.1",), 700.0)
    assert (before.retired, after.retired, after.standing) == (True, False, before.standing)


def test_an_address_that_was_well_comes_back_unproven() -> None:
    """It is checked before events prefer it; how fast its answers were is remembered."""
    pool = make_pool({"eqiad": ["10.0.0.1"]})
    (endpoint,), (before,) = pool.endpoints, pool.addresses
    pool.judge.answered(before.standing, 0.25, 90.0)
    endpoint.set_addresses((), 100.0)
    (after,) = endpoint.set_addresses(("10.0.0.1",), 110.0)
    assert str(after.standing) == "unknown (not checked since it came back)"
    assert (list(after.standing.seconds), after.standing.last_answer) == ([0.25], 90.0)


def test_what_was_long_ago_is_forgotten() -> None:
    """After ten minutes nothing is known of an address, nor of more than 256."""
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
def test_dns_never_takes_the_last_endpoint(other: Health, *, kept: bool) -> None:
    """A dead address that DNS has not named for hours is given up only while another endpoint answers."""
    pool = make_pool({"eqiad": ["10.0.0.1"], "codfw": ["10.0.0.2"]})
    for address, health in zip(pool.addresses, (Health.UNHEALTHY, other), strict=True):
        address.standing.health = health
    pool.settle(pool.endpoints[0], 9999.0)
    assert ("10.0.0.1" in pool.endpoints[0].addresses) is kept


def test_the_pool_knows_its_addresses_in_order() -> None:
    """Addresses come endpoint by endpoint, as they are preferred."""
    pool = make_pool({"eqiad": ["10.0.0.1", "10.0.0.2"], "codfw": ["10.0.0.1"]})
    assert [(each.endpoint.name, each.ip) for each in pool.addresses] == [
        *(("eqiad", "10.0.0.1"), ("eqiad", "10.0.0.2"), ("codfw", "10.0.0.1")),
    ]


def test_a_pool_is_looked_at_when_every_endpoint_was() -> None:
    """The first round of a pool is over with its last endpoint, and stays over."""
    pool = pool_of("http://{datacenter}/v1/events", datacenters=["eqiad", "codfw"])
    eqiad, codfw = pool.endpoints
    seen = []
    for endpoint in (eqiad, eqiad, codfw, eqiad):
        pool.looked_at_endpoint(endpoint)
        seen.append(pool.looked_at.is_set())
    assert seen == [False, False, True, True]


def test_an_address_shows_what_is_known_of_it() -> None:
    """Upstream, endpoint, address, health and its reason, in one line."""
    (address,) = make_pool({"eqiad": ["10.0.0.1"]}).addresses
    assert repr(address) == "<main eqiad:80 10.0.0.1: healthy (its health check passed)>"


def test_every_change_of_health_is_told() -> None:
    """Each change is reported with where it is and why."""
    recorder = Recorder()
    (address,) = make_pool({"eqiad": ["10.0.0.1"]}).addresses
    tell(recorder.emit, address, [Transition(Health.HEALTHY, Health.SUSPECTED, Signal.DOUBT, "no answer after 100 ms")])
    assert recorder.happenings == [
        HealthChanged("main", "eqiad:80", "10.0.0.1", "healthy", "suspected", "no answer after 100 ms")
    ]


@pytest.mark.parametrize("after", list(Health))
def test_replay_is_woken_when_an_address_may_take_events_again(after: Health) -> None:
    """By the change to healthy or to probation, and by no other: what has just failed must not be tried at once."""
    (address,) = make_pool({"eqiad": ["10.0.0.1"]}).addresses
    woken: list[None] = []
    address.endpoint.healed = lambda: woken.append(None)
    tell(Recorder().emit, address, [Transition(Health.EJECTED, after, Signal.DOUBT, "words")])
    assert bool(woken) is (after in {Health.HEALTHY, Health.PROBATION})


def test_a_pool_says_how_each_of_its_endpoints_stands() -> None:
    """Each address of an endpoint; of one without addresses, what is wrong with its name."""
    pool = make_pool({"eqiad": ["10.0.0.1"], "codfw": []})
    assert pool.state == "eqiad: healthy (its health check passed); codfw: not looked up yet"


async def test_an_address_is_posted_to_under_its_endpoints_name() -> None:
    """The address is dialled; Host and path are those of the URL."""
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
async def test_the_first_round_is_waited_for_but_not_for_long() -> None:
    """Until every endpoint was looked at, or a second has gone by."""
    pool = pool_of("http://a/v1/events")
    await pool.first_round()
    assert now() == FIRST_ROUND_SECONDS == 1.0
    asyncio.get_running_loop().call_later(0.5, pool.looked_at_endpoint, pool.endpoints[0])
    await pool.first_round()
    assert now() == 1.5


def test_a_pool_that_is_kept_is_the_same() -> None:
    """What is known of its addresses survives a new configuration; an upstream that is new has a pool of its own."""
    kept = make_pools({"a": Upstream(url="http://a/v1/events")})
    pools = make_pools({name: Upstream(url=f"http://{name}/v1/events") for name in "ab"}, kept)
    assert pools["a"] is kept["a"]
    assert [pools["b"].name, pools["b"].config.url] == ["b", "http://b/v1/events"]


def test_a_new_pool_knows_the_names_of_those_before() -> None:
    """Its addresses are those in use, unproven: DNS may not answer while the configuration changes."""
    before = make_pool({"eqiad": ["10.0.0.1"], "codfw": []})
    config = Upstream(url="http://{datacenter}/v1/events", datacenters=["eqiad", "codfw", "esams"])
    (pool,) = make_pools({"other": config}, {}, [before]).values()
    assert [list(each.addresses) for each in pool.endpoints] == [["10.0.0.1"], [], []]
    assert pool.endpoints[0].known is before.endpoints[0].known
    (address,) = pool.addresses
    assert (address.endpoint, address.standing) == (pool.endpoints[0], Standing())


def test_a_new_pool_has_nothing_in_flight() -> None:
    """All of its budget is there."""
    budget = pool_of("http://a/v1/events").budget
    assert (budget.in_flight, budget.second_attempts, budget.allows) == (0, 0, True)


def test_an_endpoint_contacts_nothing_by_itself() -> None:
    """A new endpoint knows no address, and says that its name was not looked up."""
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
    """At most a fifth of what is in flight is under way twice, and ten always may be."""
    budget = Budget()
    budget.in_flight, budget.second_attempts = in_flight, second_attempts
    assert budget.allows is allows
