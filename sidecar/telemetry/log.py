"""The form of the log: JSON in the Elastic Common Schema, or lines for people where it goes to a terminal."""

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
"""Fields that say in words what happened; on a terminal they come first."""

_DIM = "2"
_LEVELS = {"DEBUG": _DIM, "INFO": "32", "WARNING": "33", "ERROR": "31", "CRITICAL": "1;31"}
"""How each is shown, as the numbers of ECMA-48: green, yellow and red, the worst in bold."""


def make_log(stream: TextIO | None = None, variables: Mapping[str, str] = os.environ) -> logging.Logger:
    """Return the log: ECS JSON, or readable lines where `stream` (default: standard output) is a terminal.

    Standard output is written by a thread of its own, and lines are dropped while nobody reads it (`writer`).
    """
    log = logging.Logger("eventgate-sidecar", logging.INFO)  # noqa: LOG001  two sidecars in one process share none
    target = stream or LineWriter(STANDARD_OUTPUT, functools.partial(_say_dropped, log))
    handler = logging.StreamHandler(target)
    ecs = ecs_logging.StdlibFormatter(exclude_fields=["process", "log.origin", "log.original"])
    handler.setFormatter(ForPeople(in_colour=wants_colour(variables)) if target.isatty() else ecs)
    log.addHandler(handler)
    return log


def dropped_lines(log: logging.Logger) -> int:
    """Return how many lines could not be written since the start."""
    streams = [handler.stream for handler in log.handlers if isinstance(handler, logging.StreamHandler)]
    return sum(each.dropped for each in streams if isinstance(each, LineWriter))


def _say_dropped(log: logging.Logger, lines: int) -> None:
    fields = {"lines": lines, "reason": "standard output was not read"}
    words = f"lines={lines} reason={fields['reason']}"
    extra = {"event.action": "LogLinesDropped", "eventgate_sidecar": fields}
    log.warning("%s: %s%s", spaced("LogLinesDropped"), words, "", extra=extra)


def let_libraries_log() -> None:
    """Write what libraries have to say, asyncio above all, in the same form as ours; for a process of our own."""
    logging.captureWarnings(capture=True)
    logging.getLogger().handlers = make_log().handlers
    logging.getLogger("asyncio").addFilter(_is_news)


def _is_news(record: logging.LogRecord) -> bool:
    """Whether a line of asyncio's says anything that is not logged as a failed POST or check anyway.

    Where a connection is given up while the last of its TLS handshake arrives, uvloop closes it, still means to
    answer the handshake, and calls it a fatal error that it cannot.
    """
    error = record.exc_info[1] if record.exc_info else None
    is_closed = isinstance(error, RuntimeError) and "the handler is closed" in str(error)
    return not (is_closed and record.getMessage().startswith("Fatal error on SSL protocol"))


def wants_colour(variables: Mapping[str, str]) -> bool:
    """Whether a terminal is to be coloured: not with NO_COLOR (no-color.org), nor where it can show none."""
    return not variables.get("NO_COLOR") and variables.get("TERM") != "dumb"


class ForPeople(logging.Formatter):
    """One line for each message: when, how bad, what and why; dim behind it, to whom and where."""

    def __init__(self, *, in_colour: bool) -> None:
        """Without colour it is the same text."""
        super().__init__(datefmt="%H:%M:%S")
        self._in_colour = in_colour

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
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
    """Return the name of a happening in words: `HealthChanged` is `health changed`."""
    return "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in name).strip()


def short(value: object) -> str:
    """Return a value as a line of the log shows it: on one line, and not too long."""
    text = f"{value:.3f}" if isinstance(value, float) else str(value)
    text = "".join(each if each.isprintable() else _escaped(each) for each in text)
    return text if len(text) <= 300 else text[:297] + "..."


def _of_ours(record: logging.LogRecord) -> tuple[str, str, str]:
    """Return what happened and why, the other fields, and what goes below; `telemetry` gives a record all of that."""
    said: dict[str, Any] = record.__dict__
    fields: dict[str, object] = {name: value for name, value in said["eventgate_sidecar"].items() if value != ""}
    _, words, more = record.args if isinstance(record.args, tuple) else ("", "", "")
    below = str(words).partition("\n")[2]  # problems, each with its place and the mend
    if below:
        fields.pop("text", None)
    why = [short(fields.pop(name)) for name in REASONS if name in fields]
    where = " ".join(f"{name}={short(value)}" for name, value in fields.items())
    return f"{': '.join([spaced(said['event.action']), *why])}{more}", where, below


def _printable(text: str) -> str:
    """Escape what would move the cursor or change colours; several lines stay several."""
    return "".join(each if each.isprintable() or each == "\n" else _escaped(each) for each in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()
