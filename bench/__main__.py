"""`python -m bench`: measure, show, compare with what was written last, and write it down."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import sidecar
from bench import idle, report
from bench.cases import CHECKED, CHECKED_WAYS, DIRECT, ENVOY, FULL, QUICK, WAYS, Case, ways_of
from bench.figures import Figures, changes, gross_regressions, median
from bench.install import ROOT, Tools, tools
from bench.load import LoadError
from bench.measure import Plan, runs
from bench.processes import StartError
from bench.results import load_runs, write_runs
from bench.upstream import UpstreamError, Upstreams, given, running

LOOPBACK = {"127.0.0.1", "localhost"}
CHECK_SECONDS = 85.0
"""The check ends by then, whatever happens."""
SECONDS = 2
AGAIN = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 0 where all was measured, 1 where something failed or regressed, 2 where nothing can be."""
    options = _parser().parse_args(arguments)
    try:
        with tempfile.TemporaryDirectory(prefix="eventgate-sidecar-bench-") as folder:
            return asyncio.run((_idle if options.idle else _main)(options, Path(folder)))
    except (UpstreamError, StartError, LoadError) as error:
        sys.stderr.write(f"bench: {error}\n")
        return 2
    except TimeoutError:
        sys.stderr.write(f"bench: the check did not end within {CHECK_SECONDS:.0f} s\n")
        return 1
    except KeyboardInterrupt:
        return 130


async def _main(options: argparse.Namespace, folder: Path) -> int:
    if options.upstream and given(options.upstream).host not in LOOPBACK and not options.anyway:
        raise UpstreamError("the bench floods its upstream; for one that is not on this machine, say --anyway")
    async with asyncio.timeout(CHECK_SECONDS if options.check else None):
        ways, cases = _chosen(options)
        found = await tools(ways=ways, may_install=not options.check)
        if not found.wrk:
            raise UpstreamError(f"there is no load without wrk: {found.left_out['wrk']}")
        left_out = {name: why for name, why in found.left_out.items() if name != "picture" or options.write}
        for name, why in left_out.items():
            _say(f"LEFT OUT {name}: {why}")
        async with running(options.upstream, folder) as upstreams:
            plan = Plan(
                [case for case in cases if case.tls in upstreams.by_tls and ways_of(case, ways)],
                [way for way in ways if way not in left_out],
                options.repetitions or (3 if not (options.quick or options.check) else 2),
                options.seconds,
                again=0 if options.check else AGAIN,
            )
            run = await _measured(plan, upstreams, found, folder)
    return _shown(options, upstreams.kind, replace(run, left_out=left_out), found)


async def _idle(options: argparse.Namespace, folder: Path) -> int:
    async with running(None, folder) as upstreams:
        found = await idle.measured(upstreams, folder, options.idle)
    sys.stdout.write(f"{found}\n")
    return 0 if found.holds else 1


async def _measured(plan: Plan, upstreams: Upstreams, found: Tools, folder: Path) -> report.Run:
    gathered: dict[str, dict[str, list[Figures]]] = {
        case.name: {way: [] for way in ways_of(case, plan.ways)} for case in plan.cases
    }
    done = 0
    async for case, way, figures in runs(plan, upstreams, folder, found.envoy):
        done += 1
        gathered[case.name][way].append(figures)
        _say(report.progress(case.name, way, figures, done=done, of=len(plan)))
    table = {case: {way: median(each) for way, each in ways.items()} for case, ways in gathered.items()}
    cores = len(os.sched_getaffinity(0))
    return report.Run(upstreams.name, sidecar.__version__, _python(), cores, plan.repetitions, plan.seconds, {}, table)


def _python() -> str:
    """Return which Python this is, which runs the sidecar too."""
    return f"Python {platform.python_version()} ({'the system’s' if sys.base_prefix == '/usr' else 'a local build'})"


def _shown(options: argparse.Namespace, kind: str, run: report.Run, found: Tools) -> int:
    written = load_runs()
    sys.stdout.write(f"\n{report.terminal(run)}\n\n")
    sys.stdout.write(report.changed(changes(run.table, written[kind].table if kind in written else {})) + "\n")
    failed = [figures.why for ways in run.table.values() for figures in ways.values() if figures.why]
    if options.check:
        failed = gross_regressions(run.table, written[kind].table if kind in written else {})
        sys.stdout.writelines(f"REGRESSION  {words}\n" for words in failed)
        if not failed:
            sys.stdout.write("check: no gross regression\n")
    if options.write:
        every = write_runs({**written, kind: run})
        _draw(every, found)
    return 1 if failed else 0


def _draw(every: Sequence[report.Run], found: Tools) -> None:
    if found.python is None:
        _say("LEFT OUT the picture: there is no matplotlib; docs/performance.png is as it was")
        return
    command = [str(found.python), str(Path(__file__).with_name("picture.py")), str(ROOT / "docs/performance.png")]
    subprocess.run(command, input=json.dumps(report.drawing(every)), text=True, check=True, timeout=60)  # noqa: S603


def _chosen(options: argparse.Namespace) -> tuple[tuple[str, ...], tuple[Case, ...]]:
    """Choose ways and cases; words of --only that name no way are looked for in the names of cases."""
    if options.check:
        return CHECKED_WAYS, CHECKED
    ways: tuple[str, ...] = WAYS
    cases = QUICK if options.quick else FULL
    only = [word.strip() for word in options.only.split(",") if word.strip()]
    named = {word for word in only if word in WAYS}
    if named:
        ways = tuple(way for way in WAYS if way in {DIRECT, *named})
    for word in set(only) - named:
        cases = tuple(case for case in cases if word in case.name)
    if not cases:
        raise UpstreamError(f"--only {options.only} leaves nothing to measure")
    return ways, cases


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description="The sidecar and its peers side by side.")
    add = parser.add_argument
    add("--upstream", metavar="URL", help="an EventGate, as http[s]://HOST:PORT; else emulators of our own")
    add("--quick", action="store_true", help="fewer kinds of load, and two repetitions")
    add(
        "--check",
        action="store_true",
        help=f"for CI: fail where a ratio is under half of what it was; {ENVOY} if there",
    )
    add(
        "--idle",
        type=int,
        nargs="?",
        const=60,
        choices=range(1, 3601),
        metavar="S",
        help="what a sidecar costs that has nothing to do, measured for S seconds (60); nothing else is measured",
    )
    add("--only", default="", metavar="WORDS", help=f"some of {', '.join(WAYS)}, or parts of a case's name; by commas")
    add("--write", action="store_true", help="write bench/results.json, docs/performance.md and .png")
    add("--repetitions", type=int, choices=range(1, 10), metavar="N", help="3, or 2 with --quick")
    add("--seconds", type=int, default=SECONDS, choices=range(1, 61), metavar="S", help=f"per run ({SECONDS})")
    add("--anyway", action="store_true", help="flood an upstream that is not on this machine")
    return parser


def _say(text: str) -> None:
    sys.stderr.write(f"bench: {text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
