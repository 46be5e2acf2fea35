"""`python -m tests.longrun`: run a schedule, report the findings, and with `--write` write docs/reliability.md."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from pathlib import Path

from tests.longrun import report, run, schedule
from tests.longrun.findings import found, misses
from tests.longrun.records import Records
from tests.netns import lab, needs
from tests.netns.network import LabError, folder_of_a_run


async def played(plan: schedule.Schedule, folder: Path) -> Records:
    """Build the lab, run the schedule in it, and always remove the lab."""
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None
    loop.add_signal_handler(signal.SIGTERM, task.cancel)
    async with lab.built(folder) as built:
        return await run.run(plan, built, folder, _say)


def main() -> int:
    """Exit status: 0 if all checks passed, 1 if not, 2 if it cannot run here, 130 if it was stopped."""
    options = _parser().parse_args()
    plan = schedule.made(options.seed, options.minutes * 60)
    if options.plan:
        sys.stdout.write("\n".join(plan.lines()) + "\n")
        return 0
    if why := needs.missing():
        _say(f"NOT RUN: the long run cannot run here: {why}")
        return 2
    _say("\n".join(plan.lines()))
    try:
        with folder_of_a_run(options.keep) as folder:
            return _told(asyncio.run(played(plan, folder)), options.write)
    except (asyncio.CancelledError, KeyboardInterrupt):
        _say("Stopped; everything is removed.")
        return 130
    except (LabError, ExceptionGroup) as error:
        if (why := _words_of_the_lab(error)) is None:
            raise
        _say(why)
        return 1


def _told(records: Records, write: Path | None) -> int:
    """Report a run, whose folder must still be there; return the exit status."""
    findings = found(records)
    sys.stdout.write(report.in_text(records, findings))
    if write and (why := report.write(write, records, findings)):
        _say(f"NOT DRAWN: {why}")
    return 1 if misses(findings) else 0


def _words_of_the_lab(error: Exception) -> str | None:
    """Return what failed in the lab; None if it is another error."""
    if isinstance(error, ExceptionGroup):
        told = [_words_of_the_lab(each) for each in error.exceptions]
        return "\n".join(each for each in told if each) if all(told) else None
    return str(error) if isinstance(error, LabError) else None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.longrun", description=__doc__)
    add = parser.add_argument
    add("--minutes", type=float, default=30.0, metavar="N", help="how long it posts (30)")
    add("--seed", type=int, default=1, metavar="N", help="which run: the same seed and length are the same run (1)")
    add("--plan", action="store_true", help="only print what would happen when")
    add("--write", type=Path, metavar="FILE", help="write what was found as Markdown, and the picture beside it")
    add("--keep", type=Path, metavar="DIR", help="a new folder where logs and records are left")
    return parser


def _say(words: str) -> None:
    sys.stderr.write(f"{words}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
