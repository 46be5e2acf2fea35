"""What can go wrong, and who has to act.

    SidecarError
    ├── RequestError          the whole request is refused: the producer must change it
    │   ├── EmptyBody         400  nothing to read as events
    │   ├── MalformedBody     500  not JSON
    │   ├── BodyTooLarge      500  over the limit
    │   ├── UnsupportedBody   500  a charset or content encoding that EventGate does not support
    │   ├── CorruptBody       500  not compressed as its header says
    │   ├── MalformedRequest  400  not HTTP, or incomplete
    │   ├── SlowBody          408  the body did not arrive in time
    │   ├── Forbidden         403  a hand-over from a network that no setting names
    │   ├── NotFound          404  no such path, or not with this method
    │   └── Overloaded        503  too much in flight: try again in a second
    ├── ConfigError           routes.yaml is wrong: the operator must fix it
    └── SettingError          a flag or an environment variable is wrong: so is the command line or the pod spec

What happens to one event (accepted, invalid, error) is a value, never an exception: see `results`.
What happens to one attempt at an endpoint is a value too: see `eventgate.failures`.

The statuses are EventGate's own, so that a producer sees no difference (lib/util.js, setErrorHandler: a body that
cannot be parsed and one that is too large both get a 500 with `type: internal_error`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


class SidecarError(Exception):
    """Base of all errors that the sidecar raises on purpose."""


class RequestError(SidecarError):
    """The whole request is refused; `status`, `kind` and `title` are what EventGate would answer."""

    status: ClassVar[int] = 500
    kind: ClassVar[str] = "internal_error"
    title: ClassVar[str] = "Error"

    def __init__(self, detail: str) -> None:
        """`detail` says what was found and what to do instead."""
        super().__init__(detail)
        self.detail = detail


class EmptyBody(RequestError):
    """No event in the body; EventGate answers 400 without a body (routes/events.js)."""

    status = 400
    title = "EmptyBody"

    def __init__(self) -> None:
        """The detail is EventGate's reason phrase."""
        super().__init__("Request body was empty. Must provide JSON encoded events.")


class MalformedBody(RequestError):
    """The body is not a JSON object or array."""

    title = "SyntaxError"


class BodyTooLarge(RequestError):
    """The body, as sent or after inflating, is over the limit."""

    title = "PayloadTooLargeError"


class UnsupportedBody(RequestError):
    """EventGate does not support the charset or the content encoding."""

    title = "UnsupportedMediaTypeError"


class CorruptBody(RequestError):
    """A compressed body ended early, or is not what its header says; the detail is zlib's, as in EventGate."""

    title = "Error"


class MalformedRequest(RequestError):
    """The input is not an HTTP request, is too long, or is incomplete."""

    status = 400
    kind = "bad_request"
    title = "BadRequest"


class SlowBody(RequestError):
    """The body did not arrive in time."""

    status = 408
    kind = "timeout"
    title = "RequestTimeout"


class Forbidden(RequestError):
    """The client is not allowed to do this."""

    status = 403
    kind = "forbidden"
    title = "Forbidden"


class NotFound(RequestError):
    """No such path, or the path does not support this method."""

    status = 404
    kind = "not_found"
    title = "NotFound"


class Overloaded(RequestError):
    """The request would exceed the limits of what may be in flight."""

    status = 503
    kind = "overloaded"
    title = "ServiceUnavailable"


LONGEST_LINE = 200
LONGEST_MESSAGE = 2000
"""Maximum length of a shown problem."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in a file, its place, and the fix; line and column start at 1."""

    file: str
    line: int
    column: int
    path: str
    message: str
    text: str
    """The text of that line; of a long one what is around the column."""
    warning: bool = False
    """Whether the file is accepted all the same."""

    def __post_init__(self) -> None:
        """Shorten what is long: a line of a file may have 500 kB."""
        object.__setattr__(self, "path", _start_of(self.path, LONGEST_LINE))
        object.__setattr__(self, "message", _start_of(self.message, LONGEST_MESSAGE))
        if self.column > LONGEST_LINE + 1:
            start = self.column - 1 - LONGEST_LINE // 2
            object.__setattr__(self, "text", f"…{_start_of(self.text[start:], LONGEST_LINE)}")
        else:
            object.__setattr__(self, "text", _start_of(self.text, LONGEST_LINE))

    def place(self) -> tuple[int, int]:
        """Return line and column, to sort problems."""
        return self.line, self.column

    def __str__(self) -> str:
        """Format it like a compiler error: place, message, the line itself and a caret."""
        subject = f"{self.path} " if self.path else ""
        place = f"{self.file}:{self.line}:{self.column}"
        kind = "warning: " if self.warning else ""
        before = self.column - 1 if self.column <= LONGEST_LINE + 1 else LONGEST_LINE // 2 + 1
        return f"{place}: {kind}{subject}{self.message}\n    {self.text}\n    {' ' * before}^"


def _start_of(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[:length]}…"


class ConfigError(SidecarError):
    """`routes.yaml` is wrong; `problems` lists every mistake."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        """`problems` is not empty, and in file order."""
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


class SettingError(SidecarError):
    """A flag or an environment variable is wrong."""
