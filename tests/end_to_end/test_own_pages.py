"""Pages under `/_sidecar/` are only for the sidecar's own machine, and change nothing."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.end_to_end.conftest import written
from tests.end_to_end.processes import Sidecar, ask, sidecar
from tests.fakes import connected
from tests.running import to_one

PAGES = {
    "/_sidecar/status": "GET",
    "/_sidecar/status.json": "GET",
    "/_sidecar/config": "GET",
    "/_sidecar/runbook": "GET",
    "/_sidecar/probe": "GET",
    "/_sidecar/explain": "POST",
}
EVENT = b'{"meta":{"stream":"s"}}'


def own_address() -> str | None:
    """Return an address of this machine that is not loopback; None where it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
        except OSError:
            return None
        return str(probe.getsockname()[0])


async def asked(address: str, method: str, path: str, *headers: bytes) -> int:
    """Ask with exactly these headers; return the status."""
    async with connected(address) as client:
        first = f"{method} {path} HTTP/1.1\r\n".encode()
        await client.send(first + b"".join(each + b"\r\n" for each in headers))
        await client.send(b"content-length: %d\r\n\r\n%b" % (len(EVENT), EVENT))
        return (await client.answer(method)).status


@pytest.mark.parametrize("path", PAGES)
async def test_only_loopback_names_are_answered(before: Sidecar, path: str) -> None:
    """A page in a browser whose own name points here (DNS rebinding) gets nothing."""
    method = PAGES[path]
    for host in ("127.0.0.1:8888", "localhost", "LOCALHOST:80", "[::1]:1"):
        assert (host, await asked(before.address, method, path, f"host: {host}".encode())) == (host, 200)
    for host in (
        "evil.test",
        "evil.test:8888",
        "127.0.0.1.evil.test",
        "localhost.evil.test",
        "127.0.0.1@evil.test",
        "",
    ):
        assert (host, await asked(before.address, method, path, f"host: {host}".encode())) == (host, 403)
    assert await asked(before.address, method, path) == 400


@pytest.mark.parametrize("path", [*PAGES, "/_sidecar", "/_sidecar/", "/_sidecar/tap", "/_sidecar/reload"])
@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "PROPFIND", "TRACE", "OPTIONS"])
async def test_nothing_is_written_over_http(before: Sidecar, method: str, path: str) -> None:
    """No method that could change anything is served; `explain` sends its event nowhere."""
    assert await asked(before.address, method, path, b"host: localhost") in (404, 405)


@pytest.mark.parametrize("path", [path for path, method in PAGES.items() if method == "GET"])
async def test_a_page_takes_no_post(before: Sidecar, path: str) -> None:
    """Pages refuse POSTs."""
    assert await asked(before.address, "POST", path, b"host: localhost") in (404, 405)


def test_another_machine_is_refused(tmp_path: Path) -> None:
    """Even if the sidecar listens on every address, only loopback clients are answered."""
    address = own_address()
    if address is None:
        pytest.skip("this machine has no address but loopback")
    options = ("--listen", "0.0.0.0:0", "--gateway", "--spool", str(tmp_path / "spool"))
    with sidecar(written(to_one("127.0.0.1:1"), tmp_path), *options) as running:
        port = running.address.rpartition(":")[2]
        for path, method in PAGES.items():
            headers = {"host": "localhost"}
            assert ask(f"{address}:{port}", method, path, EVENT, headers).status == 403
            assert ask(f"127.0.0.1:{port}", method, path, EVENT, headers).status == 200


@pytest.mark.parametrize("path", ["/", "/_sidecar/status.json", "/_sidecar/config", "/v1/events"])
def test_the_other_listener_has_none_of_them(before: Sidecar, path: str) -> None:
    """The cluster's listener has metrics and probes, and no event data."""
    assert ask(before.admin, "GET", path).status == 404
    assert ask(before.admin, "POST", path, EVENT).status == 404
