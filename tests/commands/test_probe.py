"""Promises of `probe`: its output and its exit statuses."""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from sidecar.commands.probe import probed as probe_config
from sidecar.commands.probe import show
from sidecar.eventgate.healthcheck import CheckResult, Phase
from sidecar.routes.language.config import Upstream
from sidecar.routes.language.loader import read
from sidecar.status.probe import Probed, all_reachable, as_data
from sidecar.upstreams.addresses import Known
from sidecar.upstreams.endpoints import Pool
from sidecar.upstreams.resolver import Resolver
from tests.fakes import PATIENCE, Authority, FakeEventGate, answer, hanging, refusing, stall
from tests.running import sidecar, to_one, upstream

ROOT = Path(__file__).parent.parent.parent

ANSWERS = CheckResult(
    True, "answers", {Phase.TCP: 0.00034, Phase.TLS: 0.0121, Phase.HTTP: 0.00254}, "envoy", mesh=True, expires=1.8e9
)
HANGS = CheckResult(words="connects, then silent in the TLS handshake for 1 s: hangs", seconds={Phase.TCP: 0.0004})
SILENT = "no name server answered within 1.5 s"


def found() -> list[Probed]:
    """Return example results: two upstreams, one of them half down."""
    production = Pool("production", Upstream(url="https://eventgate-main.discovery.wmnet:4492/v1/events"))
    staging = Pool(
        "staging", Upstream(url="https://staging.svc.{datacenter}.wmnet:4492/v1/events", datacenters=["eqiad", "codfw"])
    )
    worker = ("kubestage1003.eqiad.wmnet",)
    (main,), (eqiad, codfw) = production.endpoints, staging.endpoints
    return [
        Probed(main, Known(main.hostname, ("10.2.2.45",), problem=""), 0.0031, {"10.2.2.45": ANSWERS}),
        Probed(
            eqiad,
            Known(eqiad.hostname, ("10.64.32.105", "10.64.32.106"), worker, problem=""),
            0.0042,
            {"10.64.32.105": HANGS, "10.64.32.106": ANSWERS},
        ),
        Probed(codfw, Known(codfw.hostname, problem=SILENT), 1.5, {}),
    ]


def shown(probed: list[Probed], width: int = 100) -> str:
    """Return the output without trailing spaces."""
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    show(as_data(probed)["endpoints"], console)
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert [line for line in lines if len(line) > width and " → " not in line] == []
    return "\n".join(line.rstrip() for line in lines)


def test_the_table_at_a_hundred_columns() -> None:
    """Each upstream's answer, then endpoint, address, verdict, phases and certificate."""
    assert (
        shown(found())
        == """\
production: eventgate-main.discovery.wmnet:4492 answers
                                               dns  tcp  tls  http  cert.
  address    verdict                            ms   ms   ms    ms  until
  10.2.2.45  answers (through a service mesh)  3.1  0.3   12   2.5  2027-01-15

staging: eqiad answers
                                                                     dns  tcp  tls  http  cert.
  endpoint  address       verdict                                     ms   ms   ms    ms  until
  eqiad     10.64.32.105  connects, then silent in the TLS           4.2  0.4
                          handshake for 1 s: hangs
  eqiad     10.64.32.106  answers (through a service mesh)           4.2  0.3   12   2.5  2027-01-15
  codfw     none          no name server answered within 1.5 s      1500
  eqiad: staging.svc.eqiad.wmnet → kubestage1003.eqiad.wmnet → 10.64.32.105, 10.64.32.106
"""
    )


@pytest.mark.parametrize("width", [80, 90, 100, 200], ids=str)
def test_no_verdict_is_cut_off(width: int) -> None:
    """At any width from 80 on; nor is the certificate's date."""
    words = " ".join(shown(found(), width).split())
    for word in "hangs", "handshake", "service", "mesh)", "1.5", "2027-01-15", "10.64.32.106":
        assert f" {word} " in f" {words} "


def test_text_from_outside_is_not_markup() -> None:
    """Brackets and colons are printed as they are."""
    pool = Pool("main", Upstream(url="http://[fe80::1]:8192/v1/events"))
    words = "HTTP fails: illegal status line: [/red] [bold]:smile:[link=http://x]"
    known = Known("fe80::1", ("fe80::1",), ("[b]x[/b]",), problem="")
    text = shown([Probed(pool.endpoints[0], known, 0.0, {"fe80::1": CheckResult(words=words)})], 200)
    assert words in text
    assert "  [fe80::1]:8192: fe80::1 → [b]x[/b] → fe80::1" in text


def test_every_upstream_needs_an_endpoint_that_answers() -> None:
    """One is enough; an upstream without one is named."""
    both = found()
    assert (all_reachable(both), all_reachable(both[:1]), all_reachable(both[2:])) == (True, True, False)
    assert shown(both[2:]).startswith("staging: nothing answers\n")
    eqiad = both[1]
    codfw = Probed(both[2].endpoint, Known("codfw", ("10.0.0.1",), problem=""), 0.0, {"10.0.0.1": ANSWERS})
    assert shown([eqiad, codfw]).startswith("staging: eqiad and codfw answer\n")


def test_json_has_everything() -> None:
    """Times are in milliseconds, and unknown values are null."""
    production, _, codfw = as_data(found())["endpoints"]
    assert production == {
        "upstream": "production",
        "endpoint": "eventgate-main.discovery.wmnet:4492",
        "url": "https://eventgate-main.discovery.wmnet:4492/v1/events",
        "name": "eventgate-main.discovery.wmnet",
        "chain": [],
        "dns_ms": 3.1,
        "problem": None,
        "healthy": True,
        "addresses": [
            {
                "address": "10.2.2.45",
                "healthy": True,
                "verdict": "answers",
                "tcp_ms": 0.34,
                "tls_ms": 12.1,
                "http_ms": 2.54,
                "certificate_expires": "2027-01-15",
                "server": "envoy",
                "service_mesh": True,
                "in_use": None,
            }
        ],
    }
    assert {key: codfw[key] for key in ("healthy", "problem", "addresses", "dns_ms")} == {
        "healthy": False,
        "problem": SILENT,
        "addresses": [],
        "dns_ms": 1500.0,
    }


async def test_endpoints_are_probed_in_parallel(tmp_path: Path) -> None:
    """Two that hang take no longer than one; a name without address has its reason."""
    settings: dict[str, Any] = {"health_check": {"timeout": "200ms"}}
    with hanging() as first, hanging() as second:
        upstreams = {"a": upstream(first, **settings), "b": upstream(second, **settings)}
        upstreams["c"] = {"url": "http://nowhere.test/v1/events"}
        config = read(
            json.dumps({**to_one(first), "upstreams": upstreams, "routes": [{"name": "all", "to": "a"}]}), "x"
        )
        loop = asyncio.get_running_loop()
        start = loop.time()
        probed = await probe_config(config, Resolver(tmp_path / "resolv.conf", tmp_path / "hosts"))
        assert loop.time() - start < 0.35
    hangs = ["no connection within 0.2 s: hangs"]
    ends = probed["endpoints"]
    assert [[address["verdict"] for address in each["addresses"]] for each in ends] == [hangs, hangs, []]
    assert ends[2]["problem"].startswith("the name servers failed: ")


def test_addresses_in_use_are_shown() -> None:
    """A dead DNS and a last known address that answers, and addresses not in use."""
    codfw = found()[2]
    known = Known("codfw", ("10.0.0.1", "10.0.0.2"), problem=SILENT)
    states = {"10.0.0.1": "healthy (its health check passed)"}
    text = shown([Probed(codfw.endpoint, known, 1.5, {"10.0.0.1": ANSWERS, "10.0.0.2": HANGS}, states)])
    assert re.search(r"10\.0\.0\.1 +answers .* healthy$", text, re.MULTILINE)
    assert re.search(r"10\.0\.0\.2 +connects,.* –$", text, re.MULTILINE)
    assert f"codfw: DNS fails ({SILENT}); the last known addresses are in use" in text


# --- the command ---


async def test_the_running_sidecar_probes(tmp_path: Path) -> None:
    """With `--running`, at any address, such as that of a port-forward; status 2 without an answer."""
    async with FakeEventGate(health=answer(200)) as gate, sidecar(to_one(gate.address), tmp_path) as running:
        ended = await run(tmp_path, {}, "--running", "--listen", running.address)
    assert (ended.status, ended.error) == (0, "")
    assert ended.lines[-2] == "127.0.0.1 answers # # # healthy"
    with refusing() as nobody:
        ended = await run(tmp_path, {}, "--running", "--listen", nobody)
    assert (ended.status, f"no sidecar answers at {nobody}" in ended.error) == (2, True)


@dataclass(frozen=True)
class Ended:
    """A finished process."""

    status: int
    lines: list[str]
    """Of standard output, each with its numbers and runs of spaces made alike."""
    json: Any
    error: str


async def run(folder: Path, config: Mapping[str, Any] | str, *flags: str) -> Ended:
    """Run `eventgate-sidecar probe` with this configuration, 100 columns wide."""
    routes = folder / "routes.yaml"
    routes.write_text(config if isinstance(config, str) else json.dumps(config))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sidecar", "probe", "--routes", str(routes), *flags,
        cwd=ROOT, env={**os.environ, "COLUMNS": "100"}, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(PATIENCE):
        out, error = (text.decode() for text in await process.communicate())
    lines = [re.sub(r"(?<= )\d+(\.\d)?(?= |$)", "#", " ".join(line.split())) for line in out.splitlines()]
    return Ended(process.returncode or 0, lines, json.loads(out) if "--json" in flags else None, error)


async def test_one_datacenter_answers(tmp_path: Path) -> None:
    """Status 0, and the table says what is wrong with the other one."""
    async with FakeEventGate(health=answer(200)) as first, FakeEventGate(health=stall, beside=first.address) as second:
        config = to_one(first.address, second.address, health_check={"timeout": "300ms"})
        ended = await run(tmp_path, config)
    assert (ended.status, ended.error) == (0, "")
    assert ended.lines == [
        "main: # answers",
        "dns tcp tls http cert.",
        "endpoint address verdict ms ms ms ms until",
        "1 127.0.0.1 answers # # #",
        "2 127.0.0.2 connects, then silent for # s: hangs # #",
        "",
    ]


async def test_nothing_answers(tmp_path: Path) -> None:
    """Status 1, and JSON has the reason for each address: one hangs, one refuses."""
    with hanging() as first, refusing() as second:
        settings: dict[str, Any] = {"health_check": {"timeout": "300ms"}}
        upstreams = {"main": upstream(first, **settings), "other": upstream(second, **settings)}
        ended = await run(tmp_path, {**to_one(first), "upstreams": upstreams}, "--json")
    verdicts = {
        each["upstream"]: [address["verdict"] for address in each["addresses"]] for each in ended.json["endpoints"]
    }
    assert (ended.status, ended.error, ended.json["ok"]) == (1, "", False)
    assert verdicts == {
        "main": ["no connection within 0.3 s: hangs"],
        "other": ["refuses the connection"],
    }


async def test_the_expiry_of_a_certificate(tmp_path: Path) -> None:
    """It is shown if the certificate is accepted, else the reason why not."""
    authority = Authority(tmp_path)
    tls = {"ca_file": str(authority.ca_file), "server_name": "eventgate.test"}
    async with (
        FakeEventGate(health=answer(200), tls=authority.server("eventgate.test", days=40)) as good,
        FakeEventGate(tls=authority.server("eventgate.test", days=-1), beside=good.address) as expired,
    ):
        ended = await run(tmp_path, to_one(good.address, expired.address, scheme="https", tls=tls), "--json")
    first, second = (each["addresses"][0] for each in ended.json["endpoints"])
    assert (ended.status, ended.json["ok"]) == (0, True)
    assert re.fullmatch(r"20\d\d-\d\d-\d\d", first["certificate_expires"])
    assert second["verdict"] == "its certificate is not accepted: certificate has expired"


@pytest.mark.parametrize(
    ("config", "error"),
    [
        pytest.param("version: 2\n", "version", id="a wrong file"),
        pytest.param(
            {**to_one("127.0.0.1:1", scheme="https", tls={"ca_file": "/nowhere/ca.pem"})},
            "eventgate-sidecar: tls.ca_file /nowhere/ca.pem cannot be read",
            id="a wrong setting",
        ),
    ],
)
async def test_a_file_that_cannot_be_used(tmp_path: Path, config: Mapping[str, Any] | str, error: str) -> None:
    """Status 2, nothing on standard output, the problem on standard error."""
    ended = await run(tmp_path, config)
    assert (ended.status, ended.lines, error in ended.error) == (2, [], True)
