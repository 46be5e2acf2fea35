"""`python -m tests.netns.elsewhere FOLDER`, in its own namespaces: try to make a sidecar send elsewhere.

The kernel records the destination of each first packet, whatever program or library sends it. Packets that leave the
namespace reach no host. The contacted addresses, the DNS queries and the answers are printed as JSON.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dns.message
import dns.rrset

from tests.fakes import Client, FakeEventGate, Reply, answer, connected, eventually, post, raw
from tests.running import Running, sidecar

FALSE = "203.0.113.66"
"""Nothing may be sent to this address (TEST-NET-3)."""
RULES = """
table inet watch {
    set seen { type ipv4_addr . inet_proto . inet_service; flags dynamic; size 1000; }
    set seen6 { type ipv6_addr . inet_proto . inet_service; flags dynamic; size 1000; }
    chain out {
        type filter hook output priority 0;
        tcp flags & (syn | ack) == syn add @seen { ip daddr . meta l4proto . tcp dport }
        tcp flags & (syn | ack) == syn add @seen6 { ip6 daddr . meta l4proto . tcp dport }
        meta l4proto udp udp sport != 53 add @seen { ip daddr . meta l4proto . udp dport }
        meta l4proto udp udp sport != 53 add @seen6 { ip6 daddr . meta l4proto . udp dport }
    }
}
"""
NAMES = {
    "into-the-pod.test": "127.0.0.9",
    "metadata.test": "169.254.169.254",
    "this-host.test": "0.0.0.0",
    "everyone.test": "224.0.0.1",
    "broadcast.test": "255.255.255.255",
}
"""The configured names, and their addresses in DNS."""
PORT = 4492
STREAMS = (
    f"http://{FALSE}/v1/events",
    f"s HTTP/1.1\r\nHost: {FALSE}\r\n\r\nGET http://{FALSE}/ HTTP/1.1",
    "{datacenter}",
    "{labels.env}",
    "../../{stream}",
    f"//{FALSE}/x",
    f"@{FALSE}",
    f"s#{FALSE}",
    "s\u0000",
    "s%0d%0aHost:%20x",
)
TARGETS = (
    f"http://{FALSE}/v1/events",
    f"https://{FALSE}:{PORT}/v1/events",
    f"//{FALSE}/v1/events",
    f"/v1/events?hasty=true&url=http://{FALSE}/",
    f"/v1/events/../../{FALSE}",
)
LEADING = {
    "host": FALSE,
    "forwarded": f"host={FALSE};proto=http",
    "x-forwarded-host": FALSE,
    "x-forwarded-for": FALSE,
    "x-envoy-original-dst-host": f"{FALSE}:80",
    "x-original-url": f"http://{FALSE}/",
    "x-rewrite-url": f"http://{FALSE}/",
    "via": f"1.1 {FALSE}",
    "proxy": f"http://{FALSE}:3128",
    "referer": f"http://{FALSE}/",
    "origin": f"http://{FALSE}",
}
LEADING_BACK = {
    "location": f"http://{FALSE}/v1/events",
    "refresh": f"0; url=http://{FALSE}/",
    "alt-svc": f'h2="{FALSE}:443"; ma=86400',
    "link": f"<http://{FALSE}/>; rel=preconnect",
    "content-location": f"http://{FALSE}/",
    "proxy-authenticate": "Basic",
    "www-authenticate": "Negotiate",
}
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "FTP_PROXY")


class NameServer(asyncio.DatagramProtocol):
    """Answers configured names with addresses of this machine, and all others with `FALSE`."""

    def __init__(self) -> None:
        self.asked: set[str] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport, which sends the answers."""
        self._transport: Any = transport

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        """Answer."""
        query = dns.message.from_wire(data)
        name = str(query.question[0].name).rstrip(".")
        self.asked.add(name)
        reply = dns.message.make_response(query)
        reply.answer.append(dns.rrset.from_text(f"{name}.", 1, "IN", "A", NAMES.get(name, FALSE)))
        self._transport.sendto(reply.to_wire(), addr)


def configuration(gate: str) -> dict[str, Any]:
    """Return a configuration in which one upstream, `main`, can be reached."""
    short = {"timeouts": {"connect": "200ms", "attempt": "300ms", "deadline": "500ms"}, "on_ambiguous": "fail"}
    upstreams: dict[str, Any] = {
        name.partition(".")[0]: {"url": f"http://{name}:{PORT}/v1/events", **short} for name in NAMES
    }
    upstreams["main"] = {"url": f"http://{gate}/v1/events", **short}
    upstreams["named"] = {"url": f"https://{gate}/v1/events", "tls": {"server_name": "elsewhere.test"}, **short}
    upstreams["several"] = {
        "url": f"http://{{datacenter}}.localhost:{gate.rpartition(':')[2]}/v1/events",
        "datacenters": ["eqiad", FALSE],
        **short,
    }
    routes = [
        {"name": f"to-{name}", "match": {"stream": f"for-{name}"}, "to": name} for name in upstreams if name != "main"
    ]
    templated = {"name": "templated", "match": {"stream": "/t(.*)/"}, "to": "main", "stream": "{1}-{labels.env}"}
    return {"version": 1, "upstreams": upstreams, "routes": [*routes, templated, {"name": "all", "to": "main"}]}


def redirects() -> list[Reply]:
    """Return answers with every header that names another place."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in LEADING_BACK.items())
    hints = f"HTTP/1.1 103 Early Hints\r\n{lines}\r\n".encode()
    final = f"HTTP/1.1 201 Created\r\n{lines}content-length: 0\r\n\r\n".encode()
    statuses = (300, 301, 302, 303, 305, 307, 308, 401, 407, 421, 426, 511)
    return [answer(status, headers=LEADING_BACK) for status in statuses] + [raw(hints + final)]


def event(stream: str) -> bytes:
    """Return an event with another place in every field that may hold one."""
    meta = {"stream": stream, "id": "a", "uri": f"http://{FALSE}/", "domain": FALSE}
    return json.dumps({"$schema": f"http://{FALSE}/schema", "meta": meta}).encode()


async def attempt_all(it: Running, of_upstreams: int) -> list[int]:
    """Send everything; return the statuses."""
    statuses = [(await it.post(event("s"))).status for _ in range(of_upstreams)]
    statuses += [(await it.post(event(stream))).status for stream in (*STREAMS, *(f"t{each}" for each in STREAMS))]
    statuses += [await _on_new_connection(it, post(event("s"), target)) for target in TARGETS]
    statuses += [(await it.post(event("s"), **{name: value})).status for name, value in LEADING.items()]
    statuses.append(await _on_new_connection(it, f"CONNECT {FALSE}:443 HTTP/1.1\r\nhost: {FALSE}:443\r\n\r\n".encode()))
    for name in (*(each.partition(".")[0] for each in NAMES), "named", "several"):
        statuses.append((await it.post(event(f"for-{name}"))).status)
    return statuses


async def _on_new_connection(it: Running, data: bytes) -> int:
    async with connected(it.address) as client:
        return await _status(client, data)


async def _status(client: Client, data: bytes) -> int:
    await client.send(data)
    return (await client.answer()).status


@contextlib.contextmanager
def environment(folder: Path) -> Iterator[None]:
    """Set what makes programs send elsewhere: proxies, and a file of passwords."""
    logins = (f"machine {machine} login a password b\n" for machine in ("127.0.0.1", "eqiad.localhost", FALSE))
    (folder / ".netrc").write_text("".join(logins))
    proxies: Mapping[str, str] = dict.fromkeys(PROXIES, f"http://{FALSE}:3128")
    os.environ.update({**proxies, **{name.lower(): value for name, value in proxies.items()}})
    os.environ.update({"HOME": str(folder), "NETRC": str(folder / ".netrc"), "NO_PROXY": ""})
    yield


async def main(folder: Path) -> dict[str, Any]:
    """Run a sidecar, send everything, and return what was seen."""
    loop = asyncio.get_running_loop()
    _, server = await loop.create_datagram_endpoint(NameServer, local_addr=("127.0.0.1", 53))
    replies = redirects()
    async with FakeEventGate(*replies) as gate, running(gate, folder) as it:
        await eventually(lambda: len(server.asked) >= len(NAMES))
        return {
            "statuses": await attempt_all(it, len(replies)),
            "contacted": [*_seen("seen"), *_seen("seen6")],
            "configured": [["127.0.0.1", "tcp", int(gate.address.rpartition(":")[2])], ["127.0.0.1", "udp", 53]],
            "own": [["127.0.0.1", "tcp", int(each.rpartition(":")[2])] for each in (it.address, it.admin)],
            "asked": sorted(server.asked),
            "hosts": sorted({request.headers["host"] for request in gate.requests}),
            "gate": gate.address,
            "posts": len(gate.requests),
            "secrets": sorted({name for each in gate.requests for name in each.headers if "auth" in name}),
        }


def running(gate: FakeEventGate, folder: Path) -> contextlib.AbstractAsyncContextManager[Running]:
    """Run the sidecar, with a label that a template puts into the stream's name."""
    return sidecar(configuration(gate.address), folder, labels={"env": f"http://{FALSE}/"})


def _seen(which: str) -> list[list[Any]]:
    listed = json.loads(_command("nft", "-j", "list", "set", "inet", "watch", which))
    elements = listed["nftables"][1]["set"].get("elem", [])
    return [each["concat"] for each in elements]


def _command(*words: str, given: str = "") -> str:
    return subprocess.run(words, input=given, text=True, check=True, capture_output=True).stdout


def prepare(folder: Path) -> None:
    """Set up the network, and mount a resolv.conf and an empty hosts file over the machine's in this namespace."""
    _command("ip", "link", "add", "name", "out", "type", "veth", "peer", "name", "nobody")
    _command("ip", "address", "add", "198.51.100.2/24", "dev", "out")
    for device in ("lo", "out", "nobody"):
        _command("ip", "link", "set", device, "up")
    _command("ip", "route", "add", "default", "via", "198.51.100.1")
    _command("nft", "-f", "-", given=RULES)
    for name, text in (("resolv.conf", "nameserver 127.0.0.1\n"), ("hosts", "127.0.0.1 localhost\n")):
        (folder / name).write_text(text)
        _command("mount", "--bind", str(folder / name), f"/etc/{name}")


if __name__ == "__main__":
    place = Path(sys.argv[1])
    prepare(place)
    with environment(place):
        print(json.dumps(asyncio.run(main(place))))  # noqa: T201  it is what this is for
