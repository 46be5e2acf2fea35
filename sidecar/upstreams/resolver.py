"""Resolves names to addresses with dnspython and the hosts file, and never hangs.

dnspython reads resolv.conf once, ignores the hosts file, waits the whole timeout for a dead name server at every query,
and may exceed its lifetime; this module corrects all four. Names are absolute: the pod's search list would send every
query to the cluster's own domains first.

Addresses of this machine and link-local ones are ignored in DNS answers. Otherwise the owner of a name could have
events posted to the sidecar itself, to another container of the pod or to a cloud's metadata service (DNS rebinding).
They are accepted if the operator wrote them: in the URL, as `localhost`, or in the hosts file.
"""

from __future__ import annotations

import asyncio
import io
import ipaddress
from pathlib import Path

import dns.asyncresolver
import dns.exception
import dns.name
import dns.rdatatype
import dns.resolver

from sidecar.errors import SettingError
from sidecar.routes.file import read_bytes
from sidecar.upstreams.addresses import MAX_ADDRESSES, MAX_TTL, MIN_TTL, SILENT_DNS, DnsAnswer, Found, NoAnswer

TIMEOUT_SECONDS = 0.4
"""Of one query to one name server."""
LIFETIME_SECONDS = 1.5
"""Of a look-up."""
ONLY_IPV6 = (
    "DNS has only IPv6 addresses for it (AAAA), which are not used; "
    "give it an IPv4 address (A), or write an address into the url or the hosts file"
)
THIS_NETWORK = ipaddress.ip_network("0.0.0.0/8")


class Resolver:
    """Looks up IPv4 addresses; IPv6 only from the hosts file."""

    def __init__(
        self,
        resolv_conf: Path = Path("/etc/resolv.conf"),
        hosts: Path = Path("/etc/hosts"),
        port: int = 53,
    ) -> None:
        """Both files are read again when they change. `port` is the name servers'."""
        self._resolv_conf = resolv_conf
        self._hosts = hosts
        self._port = port
        self._resolver: dns.asyncresolver.Resolver | None = None
        self._signature: tuple[int, int, int] | None = None

    async def look_up(self, host: str) -> DnsAnswer:
        """Look up `host` within `LIFETIME_SECONDS`; raises nothing but cancellation."""
        literal = _literal(host)
        if literal is not None:
            return Found((literal,), ttl=MAX_TTL)
        from_file = self._in_hosts_file(host)
        if from_file:
            return Found(from_file, ("the hosts file",), ttl=MIN_TTL)
        try:
            async with asyncio.timeout(LIFETIME_SECONDS):
                return await self._ask(host)
        except Exception as error:  # noqa: BLE001  any failure means no address
            return NoAnswer(_why_none(error))

    async def _ask(self, host: str) -> DnsAnswer:
        resolver = self._current()
        name = dns.name.from_text(host.rstrip(".") + ".")
        try:
            answer = await resolver.resolve(name, dns.rdatatype.A, search=False, lifetime=LIFETIME_SECONDS)
        except dns.resolver.NoAnswer as error:
            return NoAnswer(ONLY_IPV6 if await _has_ipv6(resolver, name) else _why_none(error))
        self._prefer(answer.nameserver)
        chain = tuple(str(record.target).rstrip(".") for rrset in answer.chaining_result.cnames for record in rrset)
        named = tuple(record.address for record in answer)
        addresses = tuple(each for each in named if not leads_nowhere_else(each))
        left_out = tuple(each for each in named if leads_nowhere_else(each))[:MAX_ADDRESSES]
        if not addresses:
            return NoAnswer(
                f"DNS leads to {', '.join(left_out)}, which is not another machine, so nothing is sent there; "
                "if this is intended, put the address into the url, or the name into the hosts file"
            )
        return Found(addresses, chain, float(answer.chaining_result.minimum_ttl), left_out)

    def _current(self) -> dns.asyncresolver.Resolver:
        """Return a resolver for the current resolv.conf."""
        signature = _signature(self._resolv_conf)
        if self._resolver is None or signature != self._signature:
            text = read_bytes(self._resolv_conf).decode(errors="replace")
            resolver = dns.asyncresolver.Resolver(configure=False)
            resolver.read_resolv_conf(io.StringIO(text))
            resolver.port = self._port
            resolver.timeout = TIMEOUT_SECONDS
            resolver.lifetime = LIFETIME_SECONDS
            resolver.cache = None
            self._resolver, self._signature = resolver, signature
        return self._resolver

    def _prefer(self, nameserver: str | None) -> None:
        """Try the name server that answered last first: dnspython does not remember dead ones."""
        if self._resolver is None or nameserver is None:
            return
        self._resolver.nameservers = sorted(self._resolver.nameservers, key=lambda each: str(each) != nameserver)

    def _in_hosts_file(self, host: str) -> tuple[str, ...]:
        """Return the addresses in the hosts file (in a pod: hostAliases), IPv4 if there are any."""
        try:
            lines = read_bytes(self._hosts).decode(errors="replace").splitlines()
        except SettingError:
            return ()
        wanted = host.rstrip(".").lower()
        found: list[str] = []
        for line in lines:
            address, *names = line.partition("#")[0].split() or [""]
            if wanted in (name.lower() for name in names) and _is_address(address):
                found.append(address)
        ipv4 = [address for address in found if ":" not in address]
        return tuple(dict.fromkeys(ipv4 or found))


def leads_nowhere_else(address: str) -> bool:
    """Whether the address is of this machine, link-local, multicast or reserved."""
    ip = ipaddress.ip_address(address)
    nowhere = ip.is_loopback or ip.is_link_local or ip.is_multicast or ip.is_reserved or ip.is_unspecified
    return nowhere or ip in THIS_NETWORK


async def _has_ipv6(resolver: dns.asyncresolver.Resolver, name: dns.name.Name) -> bool:
    try:
        await resolver.resolve(name, dns.rdatatype.AAAA, search=False, lifetime=LIFETIME_SECONDS)
    except dns.exception.DNSException:
        return False
    return True


def _why_none(error: Exception) -> str:
    match error:
        case dns.resolver.NXDOMAIN():
            asked, ended = error.kwargs["qnames"][0], error.canonical_name
            if ended != asked:
                return f"DNS says it is an alias of {_shown(ended)}, and there is no such name (NXDOMAIN)"
            return "DNS says there is no such name (NXDOMAIN)"
        case dns.resolver.NoAnswer():
            response = error.kwargs["response"]
            asked, ended = response.question[0].name, response.canonical_name()
            if ended != asked:
                return f"DNS says it is an alias of {_shown(ended)}, which has no address"
            return "DNS has the name, but no address for it"
        case TimeoutError() | dns.exception.Timeout():
            return f"{SILENT_DNS} within {LIFETIME_SECONDS:g} s"
    return f"the name servers failed: {_first_line(error)}"


def _shown(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True)


def _literal(host: str) -> str | None:
    """Return `host` if it is an address; localhost is never looked up (RFC 6761, 6.3)."""
    name = host.rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return "127.0.0.1"
    return host if _is_address(host) else None


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _signature(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _first_line(error: BaseException) -> str:
    text = str(error) or type(error).__name__
    return text.splitlines()[0][:200]
