"""An operator runs the commands of `spool` beside the sidecar."""

from __future__ import annotations

import json
import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import rich.progress  # noqa: F401  the commands import it late, and its import uses up random numbers
from click.testing import CliRunner

from sidecar.commands.spool import spool
from tests.simulation.clocks import CLOCKS
from tests.simulation.oracle import Broken, invariant

if TYPE_CHECKING:
    from tests.simulation.world import World

UNDER_WAY_SECONDS = 10.0
"""So long an event that was dropped may still be sent: its attempt was under way, or its producer still waits."""

Rows = dict[int, tuple[str, int]]
"""What is in the file, by arrival: the table, and the number of the event."""


@dataclass
class Operator:
    """What the operator did, and what was wrong with it."""

    dropped: dict[int, float] = field(default_factory=dict)
    """When an event was dropped, by its number."""
    revived: set[int] = field(default_factory=set)
    """Dead letters that were queued again: they are late."""
    complaints: list[tuple[float, str]] = field(default_factory=list)
    """What a command said or left that is not so, with the time."""

    def run(self, folder: Path, command: str, chance: random.Random) -> str:
        """Run a command on the spool in `folder`; return it in words."""
        before = _rows(folder)
        match command:
            case "export":
                words = [command, *chance.choice([[], ["--dead"]])]
            case "verify":
                words = [command]
            case _:
                some = [str(each) for each in chance.sample(sorted(before), len(before) // 2)]
                words = [command, *(some if some and chance.random() < 0.5 else ["--all"])]
        yes = ["--yes"] if command == "drop" else []
        ended = CliRunner().invoke(spool, [*words, *yes, "--spool", str(folder)])
        if ended.exit_code:
            self._complain(f"spool {words[0]} ends with {ended.exit_code}: {ended.output.strip()}")
        after = _rows(folder)
        if command == "export":
            self._compare(ended.stdout, before, "dead" if "--dead" in words else "waiting")
        if command in ("export", "verify") and after != before:
            self._complain(f"spool {command} changed the file")
        chosen = set(before) if "--all" in words else {int(each) for each in words[1:] if each.isdigit()}
        for arrival in chosen if command in ("drop", "retry") else ():
            table, number = before[arrival]
            if command == "drop":
                self.dropped[number] = CLOCKS.now
            elif table == "dead":
                self.revived.add(number)
            expected = None if command == "drop" else ("waiting", number)
            if after.get(arrival) != expected:
                self._complain(f"after spool {command}, event {number} is {after.get(arrival)}")
        return f"spool {' '.join(words)}"

    def _compare(self, lines: str, rows: Rows, table: str) -> None:
        exported = [json.loads(line)["event"]["sim"]["n"] for line in lines.splitlines()]
        if sorted(exported) != sorted(number for each, number in rows.values() if each == table):
            self._complain(f"spool export wrote {exported}, and the file has {rows}")

    def _complain(self, words: str) -> None:
        self.complaints.append((CLOCKS.now, words))


def _rows(folder: Path) -> Rows:
    with closing(sqlite3.connect(f"{(folder / 'spool.db').as_uri()}?mode=ro", uri=True)) as connection:
        found = connection.execute(
            "SELECT arrival, 'waiting', body FROM waiting UNION ALL SELECT arrival, 'dead', body FROM dead"
        ).fetchall()
    return {arrival: (table, json.loads(body)["sim"]["n"]) for arrival, table, body in found}


@invariant
def the_spool_commands_do_what_they_say(world: World) -> Iterator[Broken]:
    """`spool` may be used while the sidecar runs: it changes what it says, and nothing else."""
    for at, words in world.operator.complaints:
        yield Broken("the_spool_commands_do_what_they_say", words, at)


@invariant
def what_was_dropped_is_not_sent(world: World) -> Iterator[Broken]:
    """`spool drop`: dropped events are never sent; one that is being sent may still arrive."""
    for number, at in world.operator.dropped.items():
        for exchange in world.ledger.events[number].exchanges:
            if exchange.at > at + UNDER_WAY_SECONDS:
                text = f"event {number}, dropped at {at:.3f} s, was sent at {exchange.at:.3f} s"
                yield Broken("what_was_dropped_is_not_sent", text, exchange.at, (number,))
