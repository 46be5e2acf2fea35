"""States after a power loss, sampled from a recording, each judged."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.simulation.power.disk import Change, Create, Disk, Kept, Mark, Op, Remove, Rename, Resize, Write, fates
from tests.simulation.power.history import SPOOL
from tests.simulation.power.judge import Found, Promised, lay_out, look

TOLD_BEFORE = 25
"""Operations told of before a power loss, writes in a row counting as one."""
TOLD_LOST = 60
"""Operations told of that were not synced."""


@dataclass(frozen=True)
class Failure:
    """A state in which a promise is broken."""

    recording: str
    number: int
    """Of the state among those sampled from the recording."""
    story: str


@dataclass
class Tally:
    """How many states were looked at."""

    states: int = 0
    different: int = 0


def moments(ops: Sequence[Op], count: int, chance: random.Random) -> list[int]:
    """Choose when the power goes: before so many operations, half of them at those where something is at stake.

    Not before the last mark `begun`: what was there at the beginning had been synced.
    """
    first = max((at + 1 for at, op in enumerate(ops) if isinstance(op, Mark) and op.kind == "begun"), default=0)
    turning = [
        at + after
        for at, op in enumerate(ops)
        if at >= first and not isinstance(op, Write)
        for after in ((1,) if isinstance(op, Mark) else (0, 1))
    ]
    return sorted(
        chance.choice(turning) if chance.random() < 0.5 else chance.randrange(first, len(ops) + 1) for _ in range(count)
    )


def failures(recording: str, ops: Sequence[Op], count: int, folder: Path, tally: Tally) -> Iterator[Failure]:
    """Judge so many states and yield those in which a promise is broken; the name of the recording is their seed."""
    disk, promised = Disk(), Promised()
    done, seen = 0, set()
    for number, moment in enumerate(moments(ops, count, random.Random(recording))):
        for op in itertools.islice(ops, done, moment):
            disk.do(op)
            if isinstance(op, Mark):
                promised.note(op)
        done = moment
        tally.states += 1
        kept = fates(disk.unsynced, random.Random(f"{recording} {number}"))
        state = disk.after_power_loss(kept)
        key = hash((tuple(state.items()), frozenset(promised.due)))
        if key in seen:
            continue
        seen.add(key)
        tally.different += 1
        lay_out(state, folder)
        found = asyncio.run(look(folder / SPOOL))
        if problems := found.broken(promised):
            yield Failure(recording, number, story(ops[:moment], disk.unsynced, kept, state, found, problems))


def story(
    before: Sequence[Op],
    unsynced: Sequence[Change],
    kept: Sequence[Kept],
    state: dict[str, bytes | None],
    found: Found,
    problems: Sequence[str],
) -> str:
    """Tell what happened, in order, as a person can follow it."""
    lines = [*_runs(before)[-TOLD_BEFORE:], "*** the power goes; of what was not synced:"]
    fated = _fates(unsynced, kept)
    lines += fated[:TOLD_LOST] + ([f"… and {len(fated) - TOLD_LOST} more"] if fated[TOLD_LOST:] else [])
    lines += ["*** the files are then:"]
    lines += [f"{name}: {'directory' if data is None else f'{len(data)} bytes'}" for name, data in state.items()]
    lines += ["*** a sidecar starts, and logs:", *found.log.splitlines()]
    lines += ["*** the promise is broken:", *problems]
    return "\n".join(line if line.startswith("***") else f"    {line[:400]}" for line in lines)


def _runs(ops: Sequence[Op]) -> list[str]:
    """Return the operations in words, writes to one file in a row as one."""
    lines = []
    for key, group in itertools.groupby(ops, lambda op: op.file if isinstance(op, Write) else id(op)):
        run = list(group)
        size = sum(len(op.data) for op in run if isinstance(op, Write))
        lines.append(str(run[0]) if len(run) == 1 else f"{len(run)} writes to file {key}, {size} bytes")
    return lines


def _fates(unsynced: Sequence[Change], kept: Sequence[Kept]) -> list[str]:
    lines = []
    for op, fate in zip(unsynced, kept, strict=True):
        if isinstance(op, Write | Resize | Create | Rename | Remove):
            lines.append(f"{fate}: {op}")
    return lines
