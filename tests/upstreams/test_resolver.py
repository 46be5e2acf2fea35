"""Promises of `resolver`: queries and the handling of answers, with real datagrams."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import inspect
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import cast

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from sidecar.upstreams.addresses import DnsAnswer, Found, NoAnswer
from sidecar.upstreams.resolver import ONLY_IPV6, Resolver, _first_line, leads_nowhere_else
from tests.scripted import now

pytestmark = pytest.mark.looptime

NAME = "staging.svc.eqiad.wmnet"
NXDOMAIN = NoAnswer("DNS says there is no such name (NXDOMAIN)")
NODATA = NoAnswer("DNS has the name, but no address for it")
SILENCE = NoAnswer("no name server answered within 1.5 s")

Entry = tuple[str, ...] | dns.rcode.Rcode | bytes | None
"""Records such as `A 60 10.0.0.1`; an error; what is sent in place of an answer; or nothing at all."""
Zone = Mapping[str, Entry | Sequence[Entry]]
"""To each name an entry, or a list of one for each time that it is asked for, the last for ever."""


class NameServer(asyncio.DatagramProtocol):
    """Serves one zone, and records its queries."""

    def __init__(self, zone: Zone) -> None:
        self.zone: dict[str, list[Entry]] = {
            f"{name}.": list(entry) if isinstance(entry, list) else [cast("Entry", entry)]
            for name, entry in zone.items()
        }
        self.asked: list[str] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str | object, int]) -> None:
        """Answer as the zone says."""
        query = dns.message.from_wire(data)
        (question,) = query.question
        self.asked.append(f"{question.name} {dns.rdatatype.to_text(question.rdtype)}")
        entry = self._entry(str(question.name))
        if isinstance(entry, bytes):
            self._transport.sendto(entry.replace(b"ID", data[:2]), addr)
        elif entry is not None:
            self._transport.sendto(self._answer(query, entry).to_wire(), addr)

    def _entry(self, name: str) -> Entry:
        entries = self.zone.get(name, [dns.rcode.NXDOMAIN])
        return entries.pop(0) if len(entries) > 1 else entries[0]

    def _answer(self, query: dns.message.Message, entry: tuple[str, ...] | dns.rcode.Rcode) -> dns.message.Message:
        answer = dns.message.make_response(query)
        if isinstance(entry, dns.rcode.Rcode):
            answer.set_rcode(entry)
            return answer
        name = str(query.question[0].name)
        while entry:
            kind, ttl, *_ = entry[0].split()
            values = [each.split()[2] for each in entry]
            answer.answer.append(dns.rrset.from_text(name, int(ttl), "IN", kind, *values))
            if kind != "CNAME":
                break
            name = values[0]
            following = self._entry(name)
            if isinstance(following, dns.rcode.Rcode):
                answer.set_rcode(following)
                break
            assert isinstance(following, tuple)
            entry = following
        return answer


@contextlib.asynccontextmanager
async def serving(*zones: Zone) -> AsyncIterator[tuple[int, list[NameServer]]]:
    """Serve each zone at 127.0.0.1, 127.0.0.2 and so on, all on one port; yield the port and the servers."""
    loop = asyncio.get_running_loop()
    servers: list[NameServer] = []
    port = 0
    async with contextlib.AsyncExitStack() as stack:
        for number, zone in enumerate(zones, 1):
            transport, server = await loop.create_datagram_endpoint(
                lambda zone=zone: NameServer(zone),  # type: ignore[misc]
                local_addr=(f"127.0.0.{number}", port),
            )
            stack.callback(transport.close)
            port = transport.get_extra_info("sockname")[1]
            servers.append(server)
        yield port, servers


def resolver(folder: Path, port: int, servers: int = 1, hosts: str = "") -> Resolver:
    """Return a resolver with this number of name servers and this hosts file."""
    lines = [f"nameserver 127.0.0.{number}" for number in range(1, servers + 1)]
    (folder / "resolv.conf").write_text("\n".join([*lines, "search svc.cluster.local wmnet", "options ndots:5", ""]))
    (folder / "hosts").write_text(hosts)
    return Resolver(folder / "resolv.conf", folder / "hosts", port)


@pytest.mark.parametrize(
    ("zone", "expected"),
    [
        pytest.param({NAME: ("A 60 10.0.0.1",)}, Found(("10.0.0.1",), (), 60.0), id="one address"),
        pytest.param({NAME: ("A 9 10.0.0.2", "A 9 10.0.0.1")}, Found(("10.0.0.1", "10.0.0.2"), (), 9.0), id="two"),
        pytest.param(
            {NAME: ("CNAME 300 worker.wmnet.",), "worker.wmnet": ("A 60 10.0.0.1",)},
            Found(("10.0.0.1",), ("worker.wmnet",), 60.0),
            id="an alias",
        ),
        pytest.param(
            {NAME: ("CNAME 300 a.wmnet.",), "a.wmnet": ("CNAME 7 b.wmnet.",), "b.wmnet": ("A 60 10.0.0.1",)},
            Found(("10.0.0.1",), ("a.wmnet", "b.wmnet"), 7.0),
            id="a chain: the smallest TTL counts",
        ),
        pytest.param({}, NXDOMAIN, id="no such name"),
        pytest.param({NAME: ()}, NODATA, id="a name without address"),
        pytest.param(
            {NAME: ("CNAME 300 worker.wmnet.",)},
            NoAnswer("DNS says it is an alias of worker.wmnet, and there is no such name (NXDOMAIN)"),
            id="an alias that leads nowhere",
        ),
        pytest.param(
            {NAME: ("CNAME 9 b.wmnet.",), "b.wmnet": ()},
            NoAnswer("DNS says it is an alias of b.wmnet, which has no address"),
            id="an alias of a name without address",
        ),
        pytest.param({NAME: [(), ("AAAA 60 2620:0:861::1",)]}, NoAnswer(ONLY_IPV6), id="IPv6 only"),
    ],
)
async def test_an_answer_has_addresses_chain_and_ttl(tmp_path: Path, zone: Zone, expected: DnsAnswer) -> None:
    """The TTL is the smallest of the chain; without an address there is a reason."""
    async with serving(zone) as (port, (server,)):
        answer = await resolver(tmp_path, port).look_up(NAME)
    if isinstance(answer, Found):  # in any order
        answer = dataclasses.replace(answer, addresses=tuple(sorted(answer.addresses)))
    assert (answer, server.asked[0]) == (expected, f"{NAME}. A")


async def test_ipv6_is_only_looked_up_without_ipv4(tmp_path: Path) -> None:
    """One query is enough if it returns an address or the name does not exist."""
    async with serving({NAME: ("A 60 10.0.0.1",), "other.wmnet": ()}) as (port, (server,)):
        asking = resolver(tmp_path, port)
        for name in (NAME, "none.wmnet", "other.wmnet"):
            await asking.look_up(name)
    assert server.asked == [f"{NAME}. A", "none.wmnet. A", "other.wmnet. A", "other.wmnet. AAAA"]


@pytest.mark.parametrize("name", ["eventgate", "eventgate.", NAME, f"{NAME}."])
async def test_names_are_absolute(tmp_path: Path, name: str) -> None:
    """The search list is never used, however few dots a name has."""
    async with serving({}) as (port, (server,)):
        assert await resolver(tmp_path, port).look_up(name) == NXDOMAIN
    assert server.asked == [f"{name.rstrip('.')}. A"]


async def test_servfail_is_no_answer(tmp_path: Path) -> None:
    """It says nothing about the name, and is not remembered."""
    async with serving({NAME: [dns.rcode.SERVFAIL, ("A 60 10.0.0.1",)]}) as (port, (server,)):
        asking = resolver(tmp_path, port)
        failed = await asking.look_up(NAME)
        assert isinstance(failed, NoAnswer)
        assert failed.reason.startswith("the name servers failed: ")
        assert failed.reason.endswith("SERVFAIL")
        assert await asking.look_up(NAME) == Found(("10.0.0.1",), (), 60.0)
    assert (now(), len(server.asked)) == (0.0, 2)


async def test_after_servfail_the_next_server_is_asked_at_once(tmp_path: Path) -> None:
    """It costs no time."""
    async with serving({NAME: dns.rcode.SERVFAIL}, {NAME: ("A 60 10.0.0.1",)}) as (port, _):
        assert await resolver(tmp_path, port, 2).look_up(NAME) == Found(("10.0.0.1",), (), 60.0)
    assert now() == 0.0


async def test_a_silent_server_is_given_up_within_the_lifetime(tmp_path: Path) -> None:
    """It is asked several times, for 1.5 s in all."""
    async with serving({NAME: None}) as (port, (server,)):
        assert await resolver(tmp_path, port).look_up(NAME) == SILENCE
    assert (now() <= 1.5, len(server.asked)) == (True, 3)


async def test_two_silent_servers_are_given_up_within_the_lifetime(tmp_path: Path) -> None:
    """1.5 s in all, however many are dead."""
    async with serving({NAME: None}, {NAME: None}, {NAME: None}) as (port, servers):
        assert await resolver(tmp_path, port, 3).look_up(NAME) == SILENCE
    assert (now() <= 1.5, [len(server.asked) for server in servers]) == (True, [2, 1, 1])


async def test_a_lost_answer_is_requested_again(tmp_path: Path) -> None:
    """One look-up survives two lost datagrams, so recovering DNS is noticed within a second."""
    async with serving({NAME: [None, None, ("A 60 10.0.0.1",)]}) as (port, _):
        assert await resolver(tmp_path, port).look_up(NAME) == Found(("10.0.0.1",), (), 60.0)
    assert now() <= 1.2


async def test_a_dead_name_server_costs_its_time_once(tmp_path: Path) -> None:
    """Later look-ups start with the server that answered."""
    async with serving({NAME: None}, {NAME: ("A 60 10.0.0.1",)}) as (port, (dead, good)):
        asking = resolver(tmp_path, port, 2)
        took = []
        for _ in range(3):
            before = now()
            assert await asking.look_up(NAME) == Found(("10.0.0.1",), (), 60.0)
            took.append(round(now() - before, 3))
    assert (took, len(dead.asked), len(good.asked)) == ([0.4, 0.0, 0.0], 1, 3)


async def test_a_server_that_dies_later_is_replaced(tmp_path: Path) -> None:
    """When the preferred name server fails, the other one is found and preferred again."""
    answer = ("A 60 10.0.0.1",)
    async with serving({NAME: [None, answer]}, {NAME: [answer, None]}) as (port, (first, second)):
        asking = resolver(tmp_path, port, 2)
        for _ in range(3):
            assert await asking.look_up(NAME) == Found(("10.0.0.1",), (), 60.0)
    assert (len(first.asked), len(second.asked)) == (3, 2)
    assert now() == pytest.approx(0.8, abs=0.05)  # dnspython reads the real clock, too


async def test_resolv_conf_is_read_again_when_it_changes(tmp_path: Path) -> None:
    """New name servers are used from then on."""
    async with serving({NAME: ("A 60 10.0.0.1",)}, {NAME: ("A 60 10.0.0.2",)}) as (port, _):
        asking = resolver(tmp_path, port)
        assert await asking.look_up(NAME) == Found(("10.0.0.1",), (), 60.0)
        (tmp_path / "resolv.conf").write_text("# moved\nnameserver 127.0.0.2\n")
        assert await asking.look_up(NAME) == Found(("10.0.0.2",), (), 60.0)


@pytest.mark.parametrize(
    "written",
    [pytest.param(None, id="no file"), pytest.param("", id="empty"), pytest.param("search wmnet\n", id="no server")],
)
async def test_without_name_servers_there_is_no_answer(tmp_path: Path, written: str | None) -> None:
    """A missing or empty resolv.conf is not fatal, and one that appears is used."""
    async with serving({NAME: ("A 60 10.0.0.1",)}) as (port, _):
        if written is not None:
            (tmp_path / "resolv.conf").write_text(written)
        asking = Resolver(tmp_path / "resolv.conf", tmp_path / "hosts", port)
        failed = await asking.look_up(NAME)
        assert isinstance(failed, NoAnswer)
        assert failed.reason.startswith("the name servers failed: ")
        (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.1\n")
        assert await asking.look_up(NAME) == Found(("10.0.0.1",), (), 60.0)


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"ID", id="only an id"),
        pytest.param(b"no DNS message at all", id="text"),
        pytest.param(b"ID\x81\x80\xff\xff\xff\xff\xff\xff\xff\xff", id="counts without records"),
        pytest.param(b"ID\x81\x80" + b"\x00" * 8, id="an answer to no question"),
        pytest.param(b"ID\x83\x80\x00\x01" + b"\x00" * 6 + b"\xc0\x0c\x00\x01\x00\x01", id="a name within itself"),
        pytest.param(b"ID\x81\x80" + b"\xc0" * 500, id="pointers everywhere"),
    ],
)
async def test_garbage_is_no_answer(tmp_path: Path, sent: bytes) -> None:
    """Whatever a name server sends, the look-up ends in time without an answer."""
    async with serving({NAME: sent}) as (port, _):
        assert isinstance(await resolver(tmp_path, port).look_up(NAME), NoAnswer)
    assert now() <= 1.5


async def test_a_loop_of_aliases_is_no_answer(tmp_path: Path) -> None:
    """An endless chain of aliases is given up."""
    chain = {f"n{number}.wmnet": (f"CNAME 60 n{number + 1}.wmnet.",) for number in range(40)}
    async with serving({NAME: ("CNAME 60 n0.wmnet.",), **chain, "n40.wmnet": ("A 60 10.0.0.1",)}) as (port, _):
        assert isinstance(await resolver(tmp_path, port).look_up(NAME), NoAnswer)


@pytest.mark.parametrize("name", ["a..b", "x" * 64 + ".wmnet", "x." * 127 + "wmnet", "\udc80"], ids=ascii)
async def test_an_invalid_name_is_no_answer(tmp_path: Path, name: str) -> None:
    """It is reported as such, and nothing is sent."""
    async with serving({}) as (port, (server,)):
        assert isinstance(await resolver(tmp_path, port).look_up(name), NoAnswer)
    assert server.asked == []


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("::1", "::1"),
        ("2620:0:861::1", "2620:0:861::1"),
        ("localhost", "127.0.0.1"),
        ("LocalHost.", "127.0.0.1"),
        ("eqiad.localhost", "127.0.0.1"),
    ],
)
async def test_addresses_and_localhost_are_not_looked_up(tmp_path: Path, name: str, expected: str) -> None:
    """Whatever DNS and the hosts file say."""
    async with serving({}) as (port, (server,)):
        asking = resolver(tmp_path, port, hosts="10.9.9.9 localhost eqiad.localhost\n")
        assert await asking.look_up(name) == Found((expected,), (), 60.0)
    assert server.asked == []


@pytest.mark.parametrize(
    ("hosts", "expected"),
    [
        pytest.param(f"10.0.0.9 {NAME}\n", ("10.0.0.9",), id="one line"),
        pytest.param(f"# hosts\n\n10.0.0.9\tother {NAME.upper()} # {NAME}\n", ("10.0.0.9",), id="case and comment"),
        pytest.param(f"10.0.0.9 {NAME}\n10.0.0.8 {NAME}\n10.0.0.9 {NAME}\n", ("10.0.0.9", "10.0.0.8"), id="several"),
        pytest.param(f"::9 {NAME}\n10.0.0.9 {NAME}\n", ("10.0.0.9",), id="IPv4 before IPv6"),
        pytest.param(f"::9 {NAME}\n", ("::9",), id="IPv6 alone"),
        pytest.param(f"nonsense {NAME}\n10.0.0.9 {NAME}\n", ("10.0.0.9",), id="a line that is wrong"),
        pytest.param(f"# 10.0.0.9 {NAME}\n10.0.0.9 not.{NAME}\n", None, id="other names"),
    ],
)
@pytest.mark.parametrize("name", [NAME, f"{NAME}."], ids=["as it is", "with its dot"])
async def test_the_hosts_file_comes_first(
    tmp_path: Path, hosts: str, expected: tuple[str, ...] | None, name: str
) -> None:
    """Its names are not looked up in DNS, and it is read again soon."""
    async with serving({NAME: ("A 60 10.0.0.1",)}) as (port, (server,)):
        answer = await resolver(tmp_path, port, hosts=hosts).look_up(name)
    if expected is None:
        assert (answer, len(server.asked)) == (Found(("10.0.0.1",), (), 60.0), 1)
    else:
        assert (answer, server.asked) == (Found(expected, ("the hosts file",), 5.0), [])


async def test_name_servers_are_asked_on_port_53() -> None:
    """Unless a test says otherwise."""
    assert inspect.signature(Resolver).parameters["port"].default == 53


@pytest.mark.parametrize(
    ("address", "nowhere"),
    [
        ("127.0.0.1", True),
        ("0.0.0.0", True),
        ("0.1.2.3", True),
        ("169.254.169.254", True),
        ("224.0.0.1", True),
        ("240.0.0.1", True),
        ("10.0.0.1", False),
        ("192.168.1.1", False),
        ("208.80.154.224", False),
    ],
)
def test_only_other_machines_are_used(address: str, *, nowhere: bool) -> None:
    """Private addresses are other machines, too."""
    assert leads_nowhere_else(address) is nowhere


def test_of_an_error_the_first_line_is_shown() -> None:
    """Or its name, if it says nothing."""
    assert [_first_line(error) for error in (OSError("one\ntwo"), OSError())] == ["one", "OSError"]
