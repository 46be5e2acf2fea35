"""`python -m tests.netns`: run every scenario, print the table, and with `--write` write docs/failover.md."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.netns import experiment, lab, needs, report
from tests.netns.network import folder_of_a_run
from tests.netns.scenarios import SCENARIOS, Scenario, misses


async def run(scenarios: Sequence[Scenario], folder: Path) -> report.Results:
    """Run the scenarios one after another; report each on standard error."""
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None
    loop.add_signal_handler(signal.SIGTERM, task.cancel)  # so that the namespaces are removed
    results = []
    async with lab.built(folder) as built:
        for scenario in scenarios:
            own = folder / scenario.name
            own.mkdir()
            measured = await experiment.run(built, scenario, own)
            results.append((scenario, measured))
            missed = misses(scenario, measured)
            sys.stderr.write(f"{scenario.name}: {'; '.join(missed) or 'held'}\n")
    return results


def main() -> int:
    """Exit status: 0 if every bar was held, 1 if not, 2 if the lab cannot run here, 130 if it was stopped."""
    options = _parser().parse_args()
    if why := needs.missing():
        sys.stderr.write(f"The failover lab cannot run here: {why}.\n")
        return 2
    chosen = [each for each in SCENARIOS if not options.only or each.name in options.only]
    try:
        with folder_of_a_run(options.keep) as folder:
            results = asyncio.run(run(chosen, folder))
    except (asyncio.CancelledError, KeyboardInterrupt):
        sys.stderr.write("Stopped; everything is removed.\n")
        return 130
    if options.json:
        sys.stdout.write(json.dumps(report.in_json(results), indent=2) + "\n")
    else:
        sys.stdout.write(report.in_text(results))
    if options.write:
        options.write.parent.mkdir(parents=True, exist_ok=True)
        options.write.write_text(report.in_markdown(results), encoding="utf-8")
    return 1 if any(misses(scenario, measured) for scenario, measured in results) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.netns", description=__doc__)
    names = [each.name for each in SCENARIOS]
    add = parser.add_argument
    add("--only", action="append", choices=names, metavar="NAME", help=f"repeatable; of {', '.join(names)}")
    add("--write", type=Path, metavar="FILE", help="write the table, with what it means, as Markdown")
    add("--json", action="store_true", help="print everything that was measured, as JSON")
    add("--keep", type=Path, metavar="DIR", help="a new folder where logs and records are left")
    return parser


if __name__ == "__main__":
    sys.exit(main())
