"""`eventgate-sidecar spool`: inspects and repairs a spool, whether its sidecar runs or not."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sidecar.commands.terminal import FILE, counted, fail, json_option, print_json, setting, watched

if TYPE_CHECKING:
    from rich.table import Table as RichTable

    from sidecar.spool.file import SpoolFile, Table
    from sidecar.spool.record import DeadLetter, Spooled

    Entry = tuple[Spooled, DeadLetter | None, bool]  # an event, why it is dead if it is, and whether it is sound


BUSY_SECONDS = 10.0
"""How long to wait for a sidecar that is writing."""
CHUNK = 100
"""Events changed in one transaction; the sidecar waits for each, and then counts its events again."""

directory_option = setting(
    "--spool",
    "directory",
    envvar="SIDECAR_SPOOL",
    type=FILE,
    required=True,
    help="The directory given to serve --spool.",
    metavar="DIR",
)
dead_option = click.option("--dead", is_flag=True, help="Dead letters instead of waiting events.")
stream_option = click.option("--stream", help="Only events of this stream.", metavar="S")
numbers_argument = click.argument("numbers", type=int, nargs=-1, help="Numbers, as ls shows them.", metavar="[ID…]")


@click.group()
def spool() -> None:
    """Inspect and repair the spool; the sidecar may keep running."""


@spool.command()
@directory_option
@dead_option
@stream_option
@click.option("--limit", type=click.IntRange(min=0), default=50, help="At most this many; 0 shows all.", metavar="N")
@json_option
def ls(directory: Path, dead: bool, stream: str | None, limit: int, as_json: bool) -> None:
    """List the waiting events, the next to be sent first.

    Exit status: 0, even if there are none; 2 if the spool cannot be used.
    """
    from itertools import islice

    from rich.console import Console

    with _opened(directory) as file:
        totals, now = file.totals(), _now(file)
        found = (each for each in _all(file, dead=dead) if stream in (None, each[0].stream))
        shown = list(islice(found, limit or None))
    if as_json:
        listed = [_known(*each) for each in shown]
        print_json({"waiting": totals.events, "dead_letters": totals.dead, "bytes": totals.size, "events": listed})
        return
    if shown:
        Console(highlight=False).print(_table(shown, now))
    print(f"{counted(totals.events, 'event')} waiting ({_bytes(totals.size)}), {counted(totals.dead, 'dead letter')}")
    if limit and len(shown) == limit:
        print(f"these are the first {limit}; --limit 0 shows all")


@spool.command()
@click.argument("number", type=int, help="Number of an event, as ls shows it.", metavar="ID")
@directory_option
@json_option
def show(number: int, directory: Path, as_json: bool) -> None:
    """Show one event in full.

    That is: where it goes, what was tried, its bytes, and EventGate's verdict on a dead letter.

    Exit status: 0; 1 if there is no such event; 2 if the spool cannot be used.
    """
    with _opened(directory) as file:
        found = _find(file, number)
    if found is None:
        fail(f"there is no event {number} in {directory}: it was sent or dropped", 1)
    known = _known(*found) | {"event": found[0].body.decode(errors="replace")}
    if as_json:
        print_json(known)
        return
    for name, value in known.items():
        if value not in (None, "", []) and (name, value) != ("due", 0.0):
            print(f"{name + ':':17} {_shown(name, value)}")


@spool.command()
@directory_option
@numbers_argument
@click.option("--all", "everything", is_flag=True, help="All dead letters and all waiting events.")
@json_option
def retry(directory: Path, numbers: Sequence[int], everything: bool, as_json: bool) -> None:
    """Send events as soon as possible, dead letters too.

    Dead letters are queued again in their old place, and pauses after errors end.
    A dead letter with an order key is older than later events of that key; sending it may undo them.
    A damaged event is never sent.

    Exit status: 0; 1 if one is damaged or no longer there; 2 if the spool cannot be used.
    """
    with _opened(directory, write=True) as file:
        # The newest time in the file is the sidecar's; the wall clock may have stepped since.
        now = file.newest() or time.time()

        def again(file: SpoolFile, number: int) -> bool:
            return file.revive(number, now) or file.hurry(number)

        chosen = _chosen(file, numbers, everything=everything, tables=("dead", "waiting"))
        done = _each(file, chosen, again, "retrying")
    _report(chosen, done, "will be sent again", "damaged or no longer there", as_json=as_json)


def _open_now(path: str, flags: int) -> int:
    """Open a file for writing, without waiting for the reader of a pipe."""
    number = os.open(path, flags | os.O_NONBLOCK, 0o666)
    os.set_blocking(number, True)
    return number


@spool.command()
@directory_option
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path),
    default="-",
    help="Write to this file; - is standard output.",
    metavar="FILE",
)
@dead_option
@stream_option
def export(directory: Path, output: Path, dead: bool, stream: str | None) -> None:
    """Write events as JSON lines; nothing is removed.

    Each line has the event's bytes under "event". Damaged events are left out.

    Exit status: 0; 2 if the spool cannot be used, or the file cannot be written.
    """
    from sidecar.spool.record import line_of

    if (target := output.resolve()).parent == directory.resolve() and target.name.startswith("spool.db"):
        fail(f"cannot write to {output}: it is the spool itself; name another file")
    with _opened(directory) as file:
        total = file.totals().dead if dead else file.totals().events
        try:
            to_stdout = contextlib.nullcontext(sys.stdout.buffer)
            with to_stdout if str(output) == "-" else open(output, "wb", opener=_open_now) as out:
                for event, letter, sound in watched(_all(file, dead=dead), total, "exporting"):
                    if not sound:
                        print(f"event {event.arrival} is damaged and left out", file=sys.stderr)
                    elif stream in (None, event.stream):
                        out.write(line_of(event, letter))
                out.flush()
        except OSError as error:
            if str(output) == "-":
                raise
            fail(f"cannot write to {output}: {error.strerror}")


@spool.command()
@directory_option
@numbers_argument
@click.option("--all", "everything", is_flag=True, help="All dead letters and all waiting events.")
@click.option("--dead", is_flag=True, help="All dead letters.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@json_option
def drop(directory: Path, numbers: Sequence[int], everything: bool, dead: bool, yes: bool, as_json: bool) -> None:
    """Remove events for good: they will never be sent.

    One that is being sent now may still arrive.

    Exit status: 0; 1 if one is no longer there, or the answer was no; 2 if the spool cannot be used.
    """

    def forget(file: SpoolFile, number: int) -> bool:
        return file.drop_dead([number]) == 1 or bool(file.delivered([number]))

    with _opened(directory, write=True) as file:
        tables: Sequence[Table] = ("dead",) if dead else ("dead", "waiting")
        chosen = _chosen(file, numbers, everything=everything or dead, tables=tables)
        if chosen and not yes and not click.confirm(f"drop {counted(len(chosen), 'event')} for good?", err=True):
            fail("nothing was dropped", 1)
        done = _each(file, chosen, forget, "dropping")
    _report(chosen, done, "dropped", "no longer there", as_json=as_json)


@spool.command()
@directory_option
@json_option
def verify(directory: Path, as_json: bool) -> None:
    """Check the file and every event in it.

    It also lists the files that were set aside.

    Exit status: 0 if all is well; 1 if something is damaged; 2 if the spool cannot be used.
    """
    from sidecar.spool.directory import files_set_aside

    with _opened(directory, broken=1) as file:
        problems, totals = file.problems(), file.totals()
        for dead in (False, True):
            total = totals.dead if dead else totals.events
            checked = watched(_all(file, dead=dead), total, "checking")
            problems += [f"event {event.arrival} is damaged" for event, _, sound in checked if not sound]
    aside = [path.name for path in files_set_aside(directory)]
    if as_json:
        found = {"waiting": totals.events, "dead_letters": totals.dead, "problems": problems, "set_aside": aside}
        print_json({"ok": not problems, **found})
    else:
        for words in problems:
            print(words)
        for name in aside:
            print(f"set aside earlier: {name}")
        verdict = counted(len(problems), "problem") if problems else "all is well"
        print(f"{counted(totals.events, 'event')} waiting, {counted(totals.dead, 'dead letter')}; {verdict}")
    if problems:
        sys.exit(1)


# --- the file ---


@contextlib.contextmanager
def _opened(directory: Path, broken: int = 2, *, write: bool = False) -> Iterator[SpoolFile]:
    """Open the spool; on errors print a message and exit, with status `broken` if it is damaged."""
    from sidecar.spool.directory import FILE
    from sidecar.spool.schema import SQLITE_ERRORS, Unusable, in_words, is_trouble

    path = directory / FILE
    if not path.is_file():
        fail(f"there is no spool in {directory} (no file {FILE}); name the directory that serve was given")
    if write and not os.access(directory, os.W_OK):
        fail(f"{directory} cannot be written")
    damaged = "the sidecar sets it aside when it starts, and saves what can be read"
    try:
        with contextlib.ExitStack() as stack:
            yield _writable(path, stack) if write else _readable(path, stack)
    except Unusable as error:
        later = f"; {damaged}" if error.kind == "damaged" else ""
        fail(f"{path} is {error.kind}: {error.reason}{later}", broken if error.kind == "damaged" else 2)
    except SQLITE_ERRORS as error:
        if is_trouble(error) or "readonly" in str(error):
            fail(in_words(error, path))
        fail(f"{path} is damaged: {in_words(error, None)}; {damaged}", broken)


def _writable(path: Path, stack: contextlib.ExitStack) -> SpoolFile:
    from sidecar.spool.file import SpoolFile
    from sidecar.spool.record import Quota

    return stack.enter_context(contextlib.closing(SpoolFile(path, Quota(), BUSY_SECONDS, "write")))


def _readable(path: Path, stack: contextlib.ExitStack) -> SpoolFile:
    """Open the file for reading, or else a copy, since SQLite's log needs a writable directory."""
    import shutil
    import sqlite3
    import tempfile

    from sidecar.spool.file import SpoolFile
    from sidecar.spool.record import Quota
    from sidecar.spool.schema import log_of

    try:
        return stack.enter_context(contextlib.closing(SpoolFile(path, Quota(), BUSY_SECONDS, "read")))
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:
            raise
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="eventgate-sidecar-")))
    for each in (path, log_of(path)):
        if each.is_file():
            shutil.copyfile(each, folder / each.name)
    return _writable(folder / path.name, stack)


def _now(file: SpoolFile) -> float:
    """Return the time by which events age, as in a sidecar that starts now (`SpoolClock`)."""
    from sidecar.spool.policy import SpoolClock

    clock = SpoolClock(time.time, time.monotonic)
    if (newest := file.newest()) is not None:
        clock.begin_after(newest)
    return clock.now()


def _all(file: SpoolFile, *, dead: bool, only: int | None = None) -> Iterator[Entry]:
    span = () if only is None else (only, only)
    if dead:
        yield from ((letter.event, letter, sound) for letter, sound in file.dead_letters(*span))
    else:
        yield from ((event, None, sound) for event, sound in file.waiting(*span))


def _find(file: SpoolFile, number: int) -> Entry | None:
    from sidecar.spool.file import LAST

    if not 0 <= number < LAST:
        return None
    return next((each for dead in (False, True) for each in _all(file, dead=dead, only=number)), None)


def _chosen(file: SpoolFile, numbers: Sequence[int], *, everything: bool, tables: Sequence[Table]) -> list[int]:
    """Return the numbers of the events to change."""
    if bool(numbers) == everything:
        fail("name the events by their numbers, or all of them; ls shows what there is")
    return list(numbers or (number for table in tables for number in file.arrivals(table)))


def _each(file: SpoolFile, numbers: list[int], change: Callable[[SpoolFile, int], bool], words: str) -> list[int]:
    """Change events, in transactions of `CHUNK`; return the numbers of those that were there."""
    done = []
    chunks = [numbers[start : start + CHUNK] for start in range(0, len(numbers), CHUNK)]
    for chunk in watched(chunks, len(chunks), words):
        with file.transaction():
            done += [number for number in chunk if change(file, number)]
    return done


# --- output ---


def _known(event: Spooled, letter: DeadLetter | None, sound: bool) -> dict[str, Any]:
    from sidecar.spool.record import as_json

    state = "dead letter" if letter else "waiting"
    known: dict[str, Any] = {"id": event.arrival, "state": state, "size": len(event.body)}
    known |= {"meta_id" if name == "id" else name: value for name, value in as_json(event).items()}
    del known["arrival"]
    if letter is not None:
        known |= {"reason": letter.reason, "died": letter.died, "verdict": letter.verdict.decode(errors="replace")}
    return known | ({} if sound else {"damaged": True})


def _table(entries: Sequence[Entry], now: float) -> RichTable:
    from rich.table import Table as RichTable
    from rich.text import Text

    table = RichTable(box=None, pad_edge=False, header_style="bold")
    for title in ("id", "age", "tries"):
        table.add_column(title, justify="right", no_wrap=True)
    handed_over = any(event.origin_words for event, _, _ in entries)
    for title in (*["origin"][:handed_over], "upstream", "stream", "why"):
        table.add_column(title, overflow="fold")
    for event, letter, sound in entries:
        why = letter.reason if letter else event.last_error
        words = why if sound else f"damaged; {why}"
        words = words if len(words) <= 200 else words[:197] + "..."
        place = (*[event.origin_words][:handed_over], event.upstream, event.stream, words)
        times = (str(event.arrival), _age(now - event.first_seen), str(event.attempts))
        table.add_row(*times, *map(Text, place))
    return table


def _report(chosen: list[int], done: list[int], words: str, why_not: str, *, as_json: bool) -> None:
    missing = sorted(set(chosen) - set(done))
    if as_json:
        print_json({"done": done, "missing": missing})
    else:
        print(f"{counted(len(done), 'event')} {words}")
        if missing:
            print(f"{why_not}: {', '.join(map(str, missing))}", file=sys.stderr)
    if missing:
        sys.exit(1)


def _shown(name: str, value: object) -> str:
    if name in ("first_seen", "last_attempt", "died", "due") and isinstance(value, float):
        return dt.datetime.fromtimestamp(value, dt.UTC).isoformat(timespec="milliseconds")
    if name == "headers" and isinstance(value, list):
        return "; ".join(f"{key}: {text}" for key, text in value)
    return str(value)


def _age(seconds: float) -> str:
    for unit, length in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds >= length:
            return f"{seconds / length:.1f}{unit}"
    return f"{max(seconds, 0):.0f}s"


def _bytes(size: int) -> str:
    return f"{size / 1024:.0f} KiB" if size < 1024 * 1024 else f"{size / 1024 / 1024:.1f} MiB"
