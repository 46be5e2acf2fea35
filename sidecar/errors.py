"""What can go wrong, and whose move it is.

    SidecarError
    ├── RequestError          the request as a whole cannot be taken: the producer's move
    │   ├── EmptyBody         400  nothing to read as events
    │   ├── MalformedBody     500  not JSON
    │   ├── BodyTooLarge      500  over the limit
    │   ├── UnsupportedBody   500  a charset or content encoding EventGate does not read
    │   ├── CorruptBody       500  not compressed as its header says
    │   ├── MalformedRequest  400  not HTTP, or not all of it in time
    │   ├── SlowBody          408  the body did not arrive in time
    │   ├── NotFound          404  no such path, or not with this method
    │   └── Overloaded        503  more in flight than the sidecar holds: try again in a second
    ├── ConfigError           routes.yaml is wrong: the operator's move
    └── SettingError          a flag or an environment variable is wrong: the move of whoever starts it

What happens to one event (accepted, invalid, error) is a value, never an exception: see `results`.
What happens to one attempt at an endpoint is a value too: see `eventgate.failures`.

The statuses are EventGate's own (lib/util.js, setErrorHandler: a body it cannot parse and one that is too
large are both a 500 with `type: internal_error`), so that a producer sees no difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


class SidecarError(Exception):
    """Anything this package raises on purpose."""


class RequestError(SidecarError):
    """The whole request is refused; `status`, `kind` and `title` are what EventGate would answer."""

    status: ClassVar[int] = 500
    kind: ClassVar[str] = "internal_error"
    title: ClassVar[str] = "Error"

    def __init__(self, detail: str) -> None:
        """`detail` says in plain words what was found and what to do instead."""
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
    """The charset or the content encoding is none that EventGate reads."""

    title = "UnsupportedMediaTypeError"


class CorruptBody(RequestError):
    """A compressed body ended early, or is not what its header says; the detail is zlib's, as in EventGate."""

    title = "Error"


class MalformedRequest(RequestError):
    """What came is no HTTP request, is too long for one, or never became complete."""

    status = 400
    kind = "bad_request"
    title = "BadRequest"


class SlowBody(RequestError):
    """The body did not arrive within the time a local client needs many times over."""

    status = 408
    kind = "timeout"
    title = "RequestTimeout"


class NotFound(RequestError):
    """No such path, or a path that does not take this method."""

    status = 404
    kind = "not_found"
    title = "NotFound"


class Overloaded(RequestError):
    """Taking one more request would exceed what the sidecar holds in flight."""

    status = 503
    kind = "overloaded"
    title = "ServiceUnavailable"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in a file, where it stands, and the mend; line and column count from 1."""

    file: str
    line: int
    column: int
    path: str
    message: str
    text: str
    """The line it stands in."""
    warning: bool = False
    """Whether it does no harm, and the file is taken all the same."""

    def place(self) -> tuple[int, int]:
        """Return line and column, to put problems in the order of the file."""
        return self.line, self.column

    def __str__(self) -> str:
        """Return it as a compiler shows it: place, message, the line itself and a caret."""
        subject = f"{self.path} " if self.path else ""
        place = f"{self.file}:{self.line}:{self.column}"
        kind = "warning: " if self.warning else ""
        return f"{place}: {kind}{subject}{self.message}\n    {self.text}\n    {' ' * (self.column - 1)}^"


class ConfigError(SidecarError):
    """`routes.yaml` is wrong; `problems` holds every one of them."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        """`problems` is never empty, and in the order of the file."""
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


class SettingError(SidecarError):
    """A flag or an environment variable is wrong: the move of whoever starts the sidecar."""
