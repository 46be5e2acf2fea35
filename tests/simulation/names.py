"""The name server of the world: real DNS messages, and answers of every kind."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

import dns.flags
import dns.message
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from tests.simulation.clocks import CLOCKS

ADDRESS = "10.9.9.9"
"""Its address, as in resolv.conf."""


@dataclass
class Record:
    """The answer for a name."""

    addresses: list[str]
    ttl: int = 5
    alias: str | None = None
    """The target of its CNAME."""
    mode: str = "right"
    """`right`, `nxdomain`, `nodata`, `alias` (a CNAME without addresses), `servfail` or `silent`."""


class NameServer:
    """Answers queries for addresses."""

    def __init__(self) -> None:
        """It knows no name."""
        self.records: dict[str, Record] = {}
        self.asked: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
        """When each process asked for the addresses of each name."""

    def ask(self, who: str, query: bytes, answer: Callable[[bytes], None]) -> None:
        """Answer a query of a process, or do not."""
        asked = dns.message.from_wire(query)
        name = asked.question[0].name.to_text().rstrip(".")
        if asked.question[0].rdtype == dns.rdatatype.A:
            self.asked[who, name].append(CLOCKS.now)
        record = self.records.get(name)
        if record is not None and record.mode == "silent":
            return
        reply = dns.message.make_response(asked)
        reply.flags |= dns.flags.RA
        if record is None or record.mode == "nxdomain":
            reply.set_rcode(dns.rcode.NXDOMAIN)
        elif record.mode == "servfail":
            reply.set_rcode(dns.rcode.SERVFAIL)
        elif record.mode != "nodata":
            self._fill(reply, record)
        answer(reply.to_wire())

    def _fill(self, reply: dns.message.Message, record: Record) -> None:
        owner = reply.question[0].name.to_text()
        alias = record.alias or (f"moved.{owner.rstrip('.')}" if record.mode == "alias" else None)
        if alias:
            reply.answer.append(dns.rrset.from_text(owner, record.ttl, "IN", "CNAME", f"{alias}."))
            owner = f"{alias}."
        if record.addresses and record.mode == "right":
            reply.answer.append(dns.rrset.from_text(owner, record.ttl, "IN", "A", *record.addresses))
