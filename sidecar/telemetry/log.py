"""The log format: JSON in the Elastic Common Schema, or readable lines on a terminal."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Mapping
from typing import Any, TextIO

import ecs_logging

from sidecar.telemetry.writer import LineWriter

STANDARD_OUTPUT = 1

REASONS = ("reason", "detail", "error")
"""Fields that a terminal shows first."""

_DIM = "2"
_LEVELS = {"DEBUG": _DIM, "INFO": "32", "WARNING": "33", "ERROR": "31", "CRITICAL": "1;31"}
"""Colours by level, as ECMA-48 numbers: green, yellow, red and bold red."""


def make_log(stream: TextIO | None = None, variables: Mapping[str, str] = os.environ) -> logging.Logger:
    """Return a logger that writes ECS JSON, or readable lines if `stream` (default: standard output) is a terminal.

    A thread writes to standard output; lines are dropped while it is not read (`writer`).
    """
    log = logging.Logger("eventgate-sidecar", logging.INFO)  # noqa: LOG001  not shared between sidecars of a process
    target = stream or LineWriter(STANDARD_OUTPUT, functools.partial(_say_dropped, log))
    handler = logging.StreamHandler(target)
    ecs = ecs_logging.StdlibFormatter(exclude_fields=["process", "log.origin", "log.original"])
    handler.setFormatter(ForPeople(in_colour=wants_colour(variables)) if target.isatty() else ecs)
    log.addHandler(handler)
    return log


def dropped_lines(log: logging.Logger) -> int:
    """Return the number of lines dropped since the start."""
    streams = [handler.stream for handler in log.handlers if isinstance(handler, logging.StreamHandler)]
    return sum(each.dropped for each in streams if isinstance(each, LineWriter))


def _say_dropped(log: logging.Logger, lines: int) -> None:
    fields = {"lines": lines, "reason": "standard output was not read"}
    words = f"lines={lines} reason={fields['reason']}"
    extra = {"event.action": "LogLinesDropped", "eventgate_sidecar": fields}
    log.warning("%s: %s%s", spaced("LogLinesDropped"), words, "", extra=extra)


def let_libraries_log() -> None:
    """Write the log lines of libraries, mainly asyncio's, in the sidecar's format; affects the whole process."""
    logging.captureWarnings(capture=True)
    logging.getLogger().handlers = make_log().handlers
    logging.getLogger("asyncio").addFilter(_is_news)


def _is_news(record: logging.LogRecord) -> bool:
    """Drop a line of asyncio's that a failed POST or check already reports.

    When a connection is abandoned just as its TLS handshake completes, uvloop closes it, then tries to write to it and
    logs a fatal error.
    """
    error = record.exc_info[1] if record.exc_info else None
    is_closed = isinstance(error, RuntimeError) and "the handler is closed" in str(error)
    return not (is_closed and record.getMessage().startswith("Fatal error on SSL protocol"))


def wants_colour(variables: Mapping[str, str]) -> bool:
    """Whether to use colours on a terminal: not with NO_COLOR (no-color.org), nor with TERM=dumb."""
    return not variables.get("NO_COLOR") and variables.get("TERM") != "dumb"


class ForPeople(logging.Formatter):
    """Formats readable lines: time, level, what happened and why; then the other fields, dimmed."""

    def __init__(self, *, in_colour: bool) -> None:
        """The text is the same with and without colour."""
        super().__init__(datefmt="%H:%M:%S")
        self._in_colour = in_colour

    def format(self, record: logging.LogRecord) -> str:
        """Format one message."""
        ours = hasattr(record, "eventgate_sidecar")
        what, where, below = _of_ours(record) if ours else (record.getMessage(), "", "")
        if record.exc_info:
            below = self.formatException(record.exc_info)
        time = self._shown(self.formatTime(record, self.datefmt), _DIM)
        level = self._shown(f"{record.levelname:<7}", _LEVELS.get(record.levelname, "0"))
        line = f"{time} {level} {_printable(what)}"
        if where:
            line += f"  {self._shown(_printable(where), _DIM)}"
        return f"{line}\n{_printable(below)}" if below else line

    def _shown(self, text: str, how: str) -> str:
        return f"\x1b[{how}m{text}\x1b[0m" if self._in_colour else text


def spaced(name: str) -> str:
    """Spell the name of a happening as words: `HealthChanged` becomes `health changed`."""
    return "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in name).strip()


def short(value: object) -> str:
    """Format a value for a log line: on one line, at most 300 characters."""
    text = f"{value:.3f}" if isinstance(value, float) else str(value)
    text = "".join(each if each.isprintable() else _escaped(each) for each in text)
    return text if len(text) <= 300 else text[:297] + "..."


def _of_ours(record: logging.LogRecord) -> tuple[str, str, str]:
    """Split a record of `telemetry` into what happened and why, the other fields, and the lines below."""
    said: dict[str, Any] = record.__dict__
    fields: dict[str, object] = {name: value for name, value in said["eventgate_sidecar"].items() if value != ""}
    _, words, more = record.args if isinstance(record.args, tuple) else ("", "", "")
    below = str(words).partition("\n")[2]  # problems, each with its place and fix
    if below:
        fields.pop("text", None)
    why = [short(fields.pop(name)) for name in REASONS if name in fields]
    where = " ".join(f"{name}={short(value)}" for name, value in fields.items())
    return f"{': '.join([spaced(said['event.action']), *why])}{more}", where, below


def _printable(text: str) -> str:
    """Escape control characters, which could move the cursor or change colours, except for line breaks."""
    return "".join(each if each.isprintable() or each == "\n" else _escaped(each) for each in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()
