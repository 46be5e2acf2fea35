"""Every wrong answer of a name server; tests/upstreams/test_resolver.py has silence and garbage."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import cast

import dns.flags
import dns.message
import dns.rrset
import pytest

from sidecar.upstreams.addresses import (
    MAX_NAMED,
    MAX_TTL,
    MIN_TTL,
    DnsAnswer,
    Found,
    Known,
    NoAnswer,
    learn,
)
from sidecar.upstreams.resolver import LIFETIME_SECONDS, Resolver
from tests.fakes import Line
from tests.scripted import now

pytestmark = pytest.mark.looptime

NAME = "staging.svc.eqiad.wmnet"
FALSE = "evil.example"
Message = dns.message.Message
Speak = Callable[[Message], Message]
"""From a question to what is said to it."""


def records(*lines: str) -> Speak:
    """Answer with records, each as `name TTL type value`, whatever was asked."""

    def speak(query: Message) -> Message:
        answer = dns.message.make_response(query)
        for name, ttl, kind, value in (line.split() for line in lines):
            answer.answer.append(dns.rrset.from_text(f"{name}.", int(ttl), "IN", kind, value))
        return answer

    return speak


def truncated(query: Message) -> Message:
    """Say that the answer does not fit, and give a part of it that is wrong."""
    answer = records(f"{NAME} 60 A 10.6.6.6")(query)
    answer.flags |= dns.flags.TC
    return answer


def to_another_question(query: Message) -> Message:
    """Answer what was not asked, under the id of what was."""
    other = dns.message.make_query(f"{FALSE}.", "A", id=query.id)
    return records(f"{FALSE} 60 A 10.6.6.6")(other)


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, speak: Sequence[Speak]) -> None:
        self._speak = speak

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str | object, int]) -> None:
        for speak in self._speak:
            self._transport.sendto(speak(dns.message.from_wire(data)).to_wire(), addr)


@contextlib.asynccontextmanager
async def asking(folder: Path, *udp: Speak, tcp: Speak | None = None, hosts: str = "") -> AsyncIterator[Resolver]:
    """Yield a resolver whose server sends each of these over UDP, and that over TCP; without, TCP is refused."""

    async def serve(reader: asyncio.StreamReader, line: Line) -> None:
        (length,) = struct.unpack("!H", await reader.readexactly(2))
        data = (tcp or truncated)(dns.message.from_wire(await reader.readexactly(length))).to_wire(max_size=65535)
        line.write(struct.pack("!H", len(data)) + data)
        line.close()

    # TCP first: of its ports many are in use, by connections too, of UDP's hardly any.
    server = await asyncio.start_server(serve, "127.0.0.1", 0) if tcp else None
    port = server.sockets[0].getsockname()[1] if server else 0
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: _Datagrams(udp), local_addr=("127.0.0.1", port)
    )
    port = transport.get_extra_info("sockname")[1]
    (folder / "resolv.conf").write_text("nameserver 127.0.0.1\n")
    (folder / "hosts").write_text(hosts)
    try:
        yield Resolver(folder / "resolv.conf", folder / "hosts", port)
    finally:
        transport.close()
        if server is not None:
            server.close()


async def looked_up(folder: Path, *udp: Speak, tcp: Speak | None = None) -> DnsAnswer:
    """Return what is made of that, which takes no longer than a look-up may."""
    async with asking(folder, *udp, tcp=tcp) as resolver:
        answer = await resolver.look_up(NAME)
    assert now() <= LIFETIME_SECONDS
    return answer


THOUSAND = [f"{NAME} 60 A 10.0.{number // 250}.{number % 250 + 1}" for number in range(1000)]
LOOP = (f"{NAME} 60 CNAME a.wmnet.", "a.wmnet 60 CNAME b.wmnet.", f"b.wmnet 60 CNAME {NAME}.")
LONG_CHAIN = [f"{NAME} 60 CNAME n0.wmnet."] + [f"n{n} 60 CNAME n{n + 1}." for n in range(100)]


@pytest.mark.parametrize(
    ("udp", "tcp", "expected"),
    [
        pytest.param(truncated, records(f"{NAME} 60 A 10.0.0.1"), Found(("10.0.0.1",)), id="truncated: TCP is asked"),
        pytest.param(truncated, None, NoAnswer(""), id="truncated, and no TCP"),
        pytest.param(records(*LOOP), None, NoAnswer(""), id="CNAME loop"),
        pytest.param(records(f"{NAME} 60 CNAME {NAME}."), None, NoAnswer(""), id="CNAME of itself"),
        pytest.param(records(*LONG_CHAIN), None, NoAnswer(""), id="long chain"),
        pytest.param(records(f"{FALSE} 60 A 10.6.6.6"), None, NoAnswer(""), id="answer for another name"),
        pytest.param(to_another_question, None, NoAnswer(""), id="answer to another question"),
        pytest.param(
            records(f"{NAME} 60 A 10.0.0.1", f"{FALSE} 60 A 10.6.6.6"),
            None,
            Found(("10.0.0.1",)),
            id="another name beside it",
        ),
        pytest.param(records(f"{NAME} 60 TXT 10.6.6.6"), None, NoAnswer(""), id="another type"),
    ],
)
async def test_a_wrong_answer_is_ignored(tmp_path: Path, udp: Speak, tcp: Speak | None, expected: DnsAnswer) -> None:
    """Only addresses of the queried name are used, and only from a complete answer to that question."""
    answer = await looked_up(tmp_path, udp, tcp=tcp)
    assert type(answer) is type(expected)
    assert isinstance(answer, Found) == isinstance(expected, Found)
    if isinstance(answer, Found) and isinstance(expected, Found):
        assert answer.addresses == expected.addresses


async def test_a_false_answer_before_the_true_one_is_ignored(tmp_path: Path) -> None:
    """Racing the name server with answers to other questions delays nothing."""
    answer = await looked_up(tmp_path, to_another_question, records(f"{NAME} 60 A 10.0.0.1"))
    assert answer == Found(("10.0.0.1",))


async def test_of_a_thousand_records_a_few_are_used(tmp_path: Path) -> None:
    """256 addresses are remembered, always the same, and the number of others is reported."""
    answer = await looked_up(tmp_path, truncated, tcp=records(*reversed(THOUSAND)))
    assert isinstance(answer, Found)
    known = learn(Known(NAME), answer, 0.0)
    assert known.addresses == tuple(sorted(line.split()[3] for line in THOUSAND)[:MAX_NAMED])
    assert str(known).endswith(", and 240 more (left out: 744 of 1000)")


@pytest.mark.parametrize(("ttl", "asked_after"), [(0, MIN_TTL), (1, MIN_TTL), (2**31 - 1, MAX_TTL)])
async def test_the_time_to_live_is_bounded(tmp_path: Path, ttl: int, asked_after: float) -> None:
    """With 0, DNS is not queried without pause; with 68 years, a move is found within a minute."""
    answer = await looked_up(tmp_path, records(f"{NAME} {ttl} A 10.0.0.1"))
    assert learn(Known(NAME), answer, 100.0).ask_again == 100.0 + asked_after


NOWHERE_ELSE = [
    "127.0.0.1",
    "127.255.255.254",
    "0.0.0.0",
    "0.1.2.3",
    "169.254.169.254",
    "169.254.0.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
]


@pytest.mark.parametrize("address", NOWHERE_ELSE)
async def test_a_name_that_leads_into_the_pod_is_not_followed(tmp_path: Path, address: str) -> None:
    """DNS cannot direct events to this machine, link-local or broadcast addresses; the message has the fix."""
    answer = await looked_up(tmp_path, records(f"{NAME} 60 CNAME {FALSE}.", f"{FALSE} 60 A {address}"))
    assert answer == NoAnswer(
        f"DNS leads to {address}, which is not another machine, so nothing is sent there; "
        "if this is intended, put the address into the url, or the name into the hosts file"
    )


async def test_addresses_known_before_stay_in_use(tmp_path: Path) -> None:
    """They are used while DNS points into the pod, and flagged stale with the reason."""
    known = learn(Known(NAME), Found(("10.0.0.1",)), 0.0)
    after = learn(known, await looked_up(tmp_path, records(f"{NAME} 60 A 127.0.0.1")), 10.0)
    assert (after.addresses, after.stale) == (("10.0.0.1",), True)
    assert "127.0.0.1, which is not another machine" in str(after)


async def test_good_addresses_beside_such_are_used(tmp_path: Path) -> None:
    """The others are left out, and that is reported."""
    answer = await looked_up(tmp_path, records(f"{NAME} 60 A 127.0.0.1", f"{NAME} 60 A 10.0.0.1"))
    assert str(learn(Known(NAME), answer, 0.0)) == f"{NAME} → 10.0.0.1 (left out: 127.0.0.1)"


@pytest.mark.parametrize(
    ("name", "hosts"),
    [
        ("127.0.0.1", ""),
        ("::1", ""),
        ("localhost", ""),
        ("eqiad.localhost", ""),
        (NAME, f"127.0.0.1 {NAME}\n"),
        (NAME, f"169.254.1.1 {NAME}\n"),
        (NAME, f"fe80::1 {NAME}\n"),
    ],
)
async def test_addresses_of_the_operator_are_trusted(tmp_path: Path, name: str, hosts: str) -> None:
    """A literal address, localhost and the hosts file may point into the pod, since no name server decides."""
    async with asking(tmp_path, records(f"{NAME} 60 A 10.0.0.1"), hosts=hosts) as resolver:
        answer = await resolver.look_up(name)
    assert isinstance(answer, Found)
    assert answer.addresses != ("10.0.0.1",)
