"""`eventgate-sidecar spool`: what is printed, what is changed, and the exit statuses."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from sidecar.commands.cli import app
from sidecar.events.outgoing import LABELS
from sidecar.spool.directory import FILE
from sidecar.spool.record import key_of
from tests.spool.spools import NOON, fill, needs_root, small_disk, spool_file, spooled, waiting

COMMANDS = ("ls", "show", "retry", "export", "drop", "verify")


def run(*words: str | Path | int, folder: Path | None = None, given: str = "") -> Result:
    """Run a command of `spool`."""
    env = {"SIDECAR_SPOOL": str(folder) if folder else None, "COLUMNS": "100"}
    return CliRunner().invoke(app, ["spool", *(str(word) for word in words)], env=env, input=given)


def loaded(result: Result) -> Any:
    """Return the printed JSON."""
    return json.loads(result.stdout)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a spool with three waiting events and two dead letters."""
    events = [
        spooled(1, "enwiki 7", headers=(("x-request-id", "r"),)),
        spooled(2, stream="links", upstream="staging"),
        spooled(3),
        spooled(4),
        spooled(5, stream="links"),
    ]
    fill(tmp_path, *events)
    with spool_file(tmp_path) as file, file.transaction():
        file.failed(1, "nothing answers", NOON + 1)
        file.bury(4, "no such field", b'{"status":"invalid"}', NOON + 2)
        file.bury(5, "too old", b"", NOON + 3)
    return tmp_path


def dead(folder: Path) -> list[int]:
    """Return the numbers of the dead letters."""
    with spool_file(folder) as file:
        return file.arrivals("dead")


# --- all of them ---


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str) -> None:
    """--help says what it does and what its exit statuses mean."""
    result = run(command, "--help")
    assert result.exit_code == 0
    assert f"spool {command} [OPTIONS]" in result.stdout
    assert "Exit status: 0" in " ".join(result.stdout.split())


@pytest.mark.parametrize("command", COMMANDS)
def test_a_directory_without_a_spool_is_reported(tmp_path: Path, command: str) -> None:
    """In a message, with status 2; no spool is created."""
    result = run(command, *(["1"] if command == "show" else []), folder=tmp_path)
    assert (result.exit_code, result.stdout, result.stderr) == (
        2,
        "",
        f"eventgate-sidecar: there is no spool in {tmp_path} (no file spool.db); "
        "name the directory that serve was given\n",
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", COMMANDS)
def test_a_damaged_file_is_reported(tmp_path: Path, command: str) -> None:
    """With what will happen to it; `verify` exits with 1, the others with 2."""
    (tmp_path / FILE).write_bytes(b"noise" * 1000)
    result = run(command, *(["1"] if command == "show" else []), folder=tmp_path)
    assert result.exit_code == (1 if command == "verify" else 2)
    assert result.stderr == (
        f"eventgate-sidecar: {tmp_path / FILE} is damaged: file is not a database; "
        "the sidecar sets it aside when it starts, and saves what can be read\n"
    )
    assert (tmp_path / FILE).read_bytes() == b"noise" * 1000


def test_another_programs_file_is_left_alone(tmp_path: Path) -> None:
    """The message differs from that of a damaged file."""
    with sqlite3.connect(tmp_path / FILE) as connection:
        connection.execute("CREATE TABLE notes (text)")
    connection.close()
    result = run("ls", folder=tmp_path)
    assert (result.exit_code, "is foreign: it is a database of another program" in result.stderr) == (2, True)


# --- ls and show ---


def test_ls_lists_waiting_events(folder: Path) -> None:
    """In the order of sending, with attempts and totals."""
    result = run("ls", folder=folder)
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["id", "age", "tries", "upstream", "stream", "why"]
    assert [line.split()[0] for line in lines[1:4]] == ["1", "2", "3"]
    assert lines[1].split()[2:] == ["1", "main", "score", "nothing", "answers"]
    assert lines[4:] == ["3 events waiting (1 KiB), 2 dead letters"]


def test_ls_and_show_name_the_origin_of_handed_over_events(tmp_path: Path) -> None:
    """At a gateway an operator sees whose events wait."""
    fill(tmp_path, spooled(1, headers=((LABELS, "env=staging&isvc=enwiki"),)), spooled(2))
    lines = run("ls", folder=tmp_path).stdout.splitlines()
    assert lines[0].split() == ["id", "age", "tries", "origin", "upstream", "stream", "why"]
    assert lines[1].split()[3:] == ["env=staging,isvc=enwiki", "main", "score"]
    assert "origin:           env=staging,isvc=enwiki" in run("show", "1", folder=tmp_path).stdout


def test_ls_can_be_narrowed(folder: Path) -> None:
    """To dead letters, to a stream, to the first few."""
    assert [each["id"] for each in loaded(run("ls", "--dead", "--json", folder=folder))["events"]] == [4, 5]
    assert [each["id"] for each in loaded(run("ls", "--stream", "links", "--json", folder=folder))["events"]] == [2]
    assert run("ls", "--limit", 1, folder=folder).stdout.endswith("these are the first 1; --limit 0 shows all\n")
    assert len(loaded(run("ls", "--limit", 0, "--json", folder=folder))["events"]) == 3


def test_ls_of_an_empty_spool_is_no_error(tmp_path: Path) -> None:
    """Nothing waits: status 0."""
    fill(tmp_path)
    result = run("ls", folder=tmp_path)
    assert (result.exit_code, result.stdout) == (0, "0 events waiting (0 KiB), 0 dead letters\n")


def test_names_are_not_markup(tmp_path: Path) -> None:
    """A stream's name is printed unchanged."""
    fill(tmp_path, spooled(1, stream="[bold]x[/bold]"))
    assert "[bold]x[/bold]" in run("ls", folder=tmp_path).stdout


def test_show_prints_all_about_one_event(folder: Path) -> None:
    """Its upstream, its attempts, its bytes; the verdict of a dead letter, too."""
    lines = [line.split(None, 1) for line in run("show", 1, folder=folder).stdout.splitlines()]
    told = {name.rstrip(":"): rest for name, rest in lines}
    assert (told["state"], told["upstream"], told["order_key"]) == ("waiting", "main", str(key_of("main", "enwiki 7")))
    assert (told["headers"], told["last_attempt"]) == ("x-request-id: r", "2027-01-15T08:00:01.000+00:00")
    assert told["event"] == '{"meta":{"stream":"score","id":"1"}}'
    found = loaded(run("show", 4, "--json", folder=folder))
    assert (found["state"], found["reason"]) == ("dead letter", "no such field")
    assert (found["verdict"], found["died"]) == ('{"status":"invalid"}', NOON + 2)


@pytest.mark.parametrize("number", [9, 2**70])
def test_show_of_a_missing_event_is_status_1(folder: Path, number: int) -> None:
    """It may have been sent meanwhile."""
    result = run("show", number, folder=folder)
    assert (result.exit_code, result.stderr) == (
        1,
        f"eventgate-sidecar: there is no event {number} in {folder}: it was sent or dropped\n",
    )


@needs_root
@pytest.mark.parametrize("tidy", [True, False], ids=["closed", "killed"])
def test_events_can_be_rescued_from_a_read_only_disk(*, tmp_path: Path, tidy: bool) -> None:
    """Reading commands work there, and find events in the log of a killed sidecar."""
    with small_disk(tmp_path / "disk", "8m") as disk:
        fill(tmp_path / "spool", spooled(1))
        with spool_file(tmp_path / "spool") as file:
            if not tidy:
                with file.transaction():
                    file.put([spooled(0)])
            for each in (FILE, f"{FILE}-wal"):
                if not tidy or each == FILE:
                    shutil.copy(tmp_path / "spool" / each, disk)
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        with pytest.raises(OSError, match="Read-only file system"):
            (disk / "x").touch()
        there = [1] if tidy else [1, 2]
        assert [each["id"] for each in loaded(run("ls", "--json", folder=disk))["events"]] == there
        lines = run("export", folder=disk).stdout.splitlines()
        assert [json.loads(line)["arrival"] for line in lines] == there
        verified = run("verify", folder=disk)
        assert (verified.exit_code, verified.stdout[:2]) == (0, f"{len(there)} ")
        assert run("show", there[-1], folder=disk).exit_code == 0
        refused = run("drop", "--all", "--yes", folder=disk)
        assert (refused.exit_code, refused.stderr) == (2, f"eventgate-sidecar: {disk} cannot be written\n")


# --- retry and drop ---


def test_retry_makes_dead_letters_wait_again(folder: Path) -> None:
    """In their old place; the others stay dead."""
    result = run("retry", 5, folder=folder)
    assert (result.exit_code, result.stdout) == (0, "1 event will be sent again\n")
    assert (waiting(folder), dead(folder)) == ([1, 2, 3, 5], [4])


def test_retry_can_take_all(folder: Path) -> None:
    """Dead letters and waiting events."""
    assert loaded(run("retry", "--all", "--json", folder=folder)) == {"done": [4, 5, 1, 2, 3], "missing": []}
    assert (waiting(folder), dead(folder)) == ([1, 2, 3, 4, 5], [])


@pytest.mark.parametrize("off", [-90_000.0, 90_000.0], ids=["ahead", "behind"])
def test_a_wall_clock_that_is_a_day_off_ages_no_event(tmp_path: Path, off: float) -> None:
    """A revived dead letter uses the clock of the others: neither it nor they are too old."""
    time_of_file = tmp_path.stat().st_mtime + off
    fill(tmp_path, spooled(1, first_seen=time_of_file), spooled(2, first_seen=time_of_file - 9 * 86_400))
    with spool_file(tmp_path) as file, file.transaction():
        file.bury(2, "too old", b"", time_of_file)
    assert run("retry", 2, folder=tmp_path).exit_code == 0
    _, event = loaded(run("ls", "--json", folder=tmp_path))["events"]
    assert event["id"] == 2
    assert event["first_seen"] == time_of_file
    ages = [line.split()[1] for line in run("ls", folder=tmp_path).stdout.splitlines()[1:3]]
    assert ages in (["0s", "0s"], ["1.0h", "1.0h"])


@pytest.mark.parametrize("command", ["retry", "drop"])
def test_missing_events_are_reported(folder: Path, command: str) -> None:
    """The others are changed nevertheless; the status is 1."""
    result = run(command, 5, 99, *(["--yes"] if command == "drop" else []), folder=folder)
    assert (result.exit_code, result.stderr.endswith("no longer there: 99\n")) == (1, True)
    assert dead(folder) == [4]


@pytest.mark.parametrize("words", [(), ("1", "--all")])
@pytest.mark.parametrize("command", ["retry", "drop"])
def test_events_must_be_selected(folder: Path, command: str, words: tuple[str, ...]) -> None:
    """By numbers or with `--all`; else the status is 2."""
    result = run(command, *words, folder=folder)
    words_then = "eventgate-sidecar: name the events by their numbers, or all of them; ls shows what there is\n"
    assert (result.exit_code, result.stderr) == (2, words_then)


def test_drop_asks_for_confirmation(folder: Path) -> None:
    """The answer no drops nothing; `--yes` does not ask."""
    refused = run("drop", 1, 4, folder=folder, given="n\n")
    assert (refused.exit_code, "drop 2 events for good?" in refused.stderr) == (1, True)
    assert (waiting(folder), dead(folder)) == ([1, 2, 3], [4, 5])
    accepted = run("drop", 1, 4, folder=folder, given="y\n")
    assert (accepted.exit_code, accepted.stdout.splitlines()[-1]) == (0, "2 events dropped")
    assert (waiting(folder), dead(folder)) == ([2, 3], [5])
    assert run("drop", 2, "--yes", folder=folder).exit_code == 0
    assert waiting(folder) == [3]


def test_drop_can_take_the_dead_or_all(folder: Path) -> None:
    """`--dead` keeps waiting events; `--all` keeps nothing."""
    run("drop", "--dead", "--yes", folder=folder)
    assert (waiting(folder), dead(folder)) == ([1, 2, 3], [])
    run("drop", "--all", "--yes", folder=folder)
    assert (waiting(folder), dead(folder)) == ([], [])


# --- export and verify ---


def test_export_writes_a_line_for_each_event(folder: Path, tmp_path: Path) -> None:
    """To standard output or a file; nothing is removed."""
    lines = [json.loads(line) for line in run("export", folder=folder).stdout.splitlines()]
    assert [(line["arrival"], line["event"]["meta"]["id"]) for line in lines] == [(1, "1"), (2, "2"), (3, "3")]
    assert run("export", "--dead", "--stream", "links", "-o", tmp_path / "out", folder=folder).exit_code == 0
    (line,) = (tmp_path / "out").read_text().splitlines()
    assert (json.loads(line)["arrival"], json.loads(line)["dead"]) == (5, "too old")
    assert (waiting(folder), dead(folder)) == ([1, 2, 3], [4, 5])


def test_export_does_not_wait_for_a_pipe(folder: Path, tmp_path: Path) -> None:
    """A pipe without a reader is refused; one with a reader, as in `-o >(gzip)`, is written to."""
    os.mkfifo(tmp_path / "pipe")
    result = run("export", "-o", tmp_path / "pipe", folder=folder)
    assert (result.exit_code, result.stderr.endswith("pipe: No such device or address\n")) == (2, True)
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    assert run("export", "-o", tmp_path / "pipe", folder=folder).exit_code == 0
    assert os.read(reader, 65536) == run("export", folder=folder).stdout_bytes
    os.close(reader)


def test_export_says_where_it_cannot_write(folder: Path) -> None:
    """In a message, with status 2."""
    result = run("export", "-o", "/no/such/folder/out", folder=folder)
    assert (result.exit_code, result.stderr) == (
        2,
        "eventgate-sidecar: cannot write to /no/such/folder/out: No such file or directory\n",
    )


@pytest.mark.parametrize("name", [FILE, f"{FILE}-wal"])
def test_export_does_not_overwrite_the_spool(folder: Path, tmp_path: Path, name: str) -> None:
    """Neither its file nor its log, under no name."""
    (tmp_path / "link").symlink_to(folder / name)
    for output in (folder / name, tmp_path / "link"):
        result = run("export", "-o", output, folder=folder)
        assert (result.exit_code, result.stderr) == (
            2,
            f"eventgate-sidecar: cannot write to {output}: it is the spool itself; name another file\n",
        )
    assert waiting(folder) == [1, 2, 3]


def test_verify_says_that_all_is_well(folder: Path) -> None:
    """In one line, and as JSON; files set aside earlier are listed."""
    (folder / f"{FILE}.damaged-2026-01-01T000000Z").write_bytes(b"")
    result = run("verify", folder=folder)
    assert (result.exit_code, result.stdout) == (
        0,
        "set aside earlier: spool.db.damaged-2026-01-01T000000Z\n3 events waiting, 2 dead letters; all is well\n",
    )
    found = loaded(run("verify", "--json", folder=folder))
    assert (found["ok"], found["problems"], len(found["set_aside"])) == (True, [], 1)


def test_verify_finds_damaged_events(folder: Path) -> None:
    """Each by its number; status 1."""
    with sqlite3.connect(folder / FILE) as connection:
        connection.execute("UPDATE waiting SET body = x'7b7d' WHERE arrival = 2")
    connection.close()
    result = run("verify", folder=folder)
    assert (result.exit_code, result.stdout) == (
        1,
        "event 2 is damaged\n3 events waiting, 2 dead letters; 1 problem\n",
    )


def test_a_damaged_event_is_neither_exported_nor_sent_again(folder: Path) -> None:
    """Waiting or dead: retrying it would give it a checksum that fits."""
    with sqlite3.connect(folder / FILE) as connection:
        connection.execute("UPDATE waiting SET body = x'7b7d' WHERE arrival = 2")
        dead = connection.execute("UPDATE dead SET body = x'7b7d' RETURNING arrival").fetchall()[0][0]
    connection.close()
    exported = run("export", folder=folder)
    assert [json.loads(line)["arrival"] for line in exported.stdout.splitlines()] == [1, 3]
    assert exported.stderr == "event 2 is damaged and left out\n"
    retried = run("retry", str(dead), folder=folder)
    assert (retried.exit_code, retried.stderr) == (1, f"damaged or no longer there: {dead}\n")


def test_many_events_can_be_changed_while_the_sidecar_writes(tmp_path: Path) -> None:
    """A sidecar that stores events meanwhile never waits for all of them."""
    fill(tmp_path, *(spooled(number) for number in range(1, 1001)))
    with spool_file(tmp_path) as ours:
        assert run("drop", "--all", "--yes", folder=tmp_path).stdout == "1000 events dropped\n"
        with ours.transaction():
            assert ours.edited()
            ours.put([spooled(2000)])
    assert waiting(tmp_path) == [2000]
