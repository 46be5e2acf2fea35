"""Only configured hosts are contacted, whatever producers, upstreams, DNS and environment try."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sidecar.errors import ConfigError
from sidecar.routes.language.loader import read
from tests.end_to_end.conftest import written
from tests.end_to_end.processes import ROOT, Emulator, sidecar
from tests.netns import elsewhere, needs
from tests.running import to_one, upstream

SECONDS = 60
IN_NAMESPACES = ("unshare", "--net", "--mount", "--map-root-user")


@pytest.fixture(scope="module")
def tried(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Try everything once, in namespaces of its own; return what was seen."""
    if why := needs.missing():
        pytest.skip(f"WHERE THE SIDECAR GOES IS NOT TESTED: there is no network of our own here: {why}")
    command = [*IN_NAMESPACES, sys.executable, "-m", "tests.netns.elsewhere", str(tmp_path_factory.mktemp("elsewhere"))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_only_what_is_configured_is_contacted(tried: Any) -> None:
    """All packets go to the configured address, the name server or the sidecar itself."""
    contacted = {tuple(each) for each in tried["contacted"]}
    configured = {tuple(each) for each in tried["configured"]}
    assert configured <= contacted, "what may be contacted was, so the kernel counted"
    assert contacted - configured - {tuple(each) for each in tried["own"]} == set()


def test_only_configured_names_are_looked_up(tried: Any) -> None:
    """No name in an event, a header, a Location, `tls.server_name` or a proxy variable is queried in DNS."""
    assert tried["asked"] == sorted(elsewhere.NAMES)


def test_upstreams_see_their_own_name_and_no_passwords(tried: Any) -> None:
    """The Host of every POST is the URL's, never the producer's; nothing of a netrc file is sent."""
    assert (set(tried["hosts"]) <= {tried["gate"], f"eqiad.localhost:{tried['gate'].rpartition(':')[2]}"}) is True
    assert tried["secrets"] == []


def test_every_attempt_was_answered(tried: Any) -> None:
    """Whether it was refused or delivered."""
    assert set(tried["statuses"]) <= {201, 202, 207, 400, 404, 500, 503}
    assert tried["posts"] > len(elsewhere.redirects()) + len(elsewhere.LEADING)


@pytest.mark.parametrize(
    "name", ["evil.example/x#", "a@evil.example", "evil.example:80", "a b", "a\r\nb", "", "{datacenter}", "%2e", "a?b"]
)
def test_a_datacenter_cannot_change_where_a_url_leads(name: str) -> None:
    """A value for `{datacenter}` is a name: it cannot contain a host, a port, a user or a path."""
    config = {"url": "http://staging.svc.{datacenter}.wmnet:4492/v1/events", "datacenters": ["eqiad", name]}
    with pytest.raises(ConfigError, match="datacenters"):
        read(json.dumps({"version": 1, "upstreams": {"main": config}, "routes": [{"name": "all", "to": "main"}]}))


@pytest.mark.parametrize(
    "url",
    [
        "http://user:secret@eventgate/v1/events",
        "http://eventgate/v1/events?to=http://evil.example",
        "http://eventgate/v1/events#x",
        "http://event gate/v1/events",
        "http://eventgate/v1/\r\nhost: evil.example",
        "file:///etc/passwd",
        "http://{stream}/v1/events",
        "//eventgate/v1/events",
    ],
)
def test_a_url_is_only_host_port_and_path(url: str) -> None:
    """No user, query, fragment, line break, placeholder or other scheme is accepted."""
    with pytest.raises(ConfigError, match="url"):
        read(json.dumps(to_one("x") | {"upstreams": {"main": upstream("x") | {"url": url}}}))


def test_there_are_only_two_listeners(eventgate: Emulator, tmp_path: Path) -> None:
    """With all its parts, a sidecar has two listening sockets, no other UDP port, and no Unix socket."""
    config = written(to_one(eventgate.address), tmp_path)
    with sidecar(config, "--spool", str(tmp_path / "spool"), "--last-good", str(tmp_path / "good")) as running:
        inodes = {
            link.readlink().name for link in Path(f"/proc/{running.process.pid}/fd").iterdir() if link.is_symlink()
        }
        listening = {
            row[1]
            for table, state in (("tcp", "0A"), ("tcp6", "0A"), ("udp", "07"), ("udp6", "07"))
            for row in (line.split() for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:])
            if row[3] == state and f"socket:[{row[9]}]" in inodes
        }
        unix = [
            line
            for line in Path("/proc/net/unix").read_text().splitlines()[1:]
            if f"socket:[{line.split()[6]}]" in inodes and len(line.split()) > 7
        ]
    wanted = {f"0100007F:{int(each.rpartition(':')[2]):04X}" for each in (running.address, running.admin)}
    assert (listening, unix) == (wanted, [])
