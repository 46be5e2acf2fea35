"""Ask the sidecar that runs on this machine (see `inquiry`)."""

from __future__ import annotations

import contextlib
import http.client
import json
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn
from urllib.parse import urlencode

from sidecar.errors import SettingError
from sidecar.events.event import Event

SECONDS = 5.0
SILENT_SECONDS = 15.0
"""A tap is never silent for so long: where nothing passes a comment comes."""


def explained_by(address: str, event: Event) -> Any:
    """Return what the sidecar that listens on `address` would do with `event`; nothing is sent on.

    Raises:
        SettingError: nobody answers there, or somebody else.

    """
    return _asked(address, "POST", "/_sidecar/explain", event.raw)


def status_of(address: str) -> Any:
    """Return what is true now of the sidecar that listens on `address`.

    Raises:
        SettingError: nobody answers there, or somebody else.

    """
    return _asked(address, "GET", "/_sidecar/status.json")


def tapped(address: str, stream: str | None, outcomes: Sequence[str]) -> Iterator[Any]:
    """Listen to the sidecar on `address`; return what passes, which ends when the sidecar stops.

    `stream` and `outcomes` say what is wanted (see `inquiry`).

    Raises:
        SettingError: nobody answers there, or somebody else, or it refuses; or, later, it went away.

    """
    query = urlencode([*([] if stream is None else [("stream", stream)]), *(("outcome", each) for each in outcomes)])
    connection = _connection(address, SILENT_SECONDS)
    answer = _answer(connection, address, "GET", f"/_sidecar/tap?{query}")
    if answer.status != 200 or answer.headers.get_content_type() != "text/event-stream":
        with contextlib.closing(connection):
            _refuse(address, answer, _read(address, answer))
    return _messages(address, connection, answer)


def _messages(address: str, connection: http.client.HTTPConnection, answer: http.client.HTTPResponse) -> Iterator[Any]:
    with contextlib.closing(connection):
        try:
            for line in answer:
                if line == b"event: end\n":
                    return
                if line.startswith(b"data: "):
                    yield json.loads(line.removeprefix(b"data: "))
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise SettingError(f"the sidecar at {address} went away: {error!r}") from None
    raise SettingError(f"the sidecar at {address} went away: its answer breaks off")


def _asked(address: str, method: str, path: str, content: bytes | None = None) -> Any:
    with contextlib.closing(_connection(address, SECONDS)) as connection:
        answer = _answer(connection, address, method, path, content)
        body = _read(address, answer)
    if answer.status != 200:
        _refuse(address, answer, body)
    return body


def _connection(address: str, seconds: float) -> http.client.HTTPConnection:
    host, _, port = address.rpartition(":")
    if not port.isdigit():
        raise SettingError(f"{address!r} is no address; write host:port, as 127.0.0.1:8888")
    host = "127.0.0.1" if host == "0.0.0.0" else host.strip("[]")  # noqa: S104  it listens everywhere, here too
    return http.client.HTTPConnection(host, int(port), timeout=seconds)


def _answer(
    connection: http.client.HTTPConnection, address: str, method: str, path: str, content: bytes | None = None
) -> http.client.HTTPResponse:
    with _complaints(address):
        connection.request(method, path, content, {"content-type": "application/json"} if content else {})
        return connection.getresponse()


def _read(address: str, answer: http.client.HTTPResponse) -> Any:
    with _complaints(address):
        return json.loads(answer.read())


@contextlib.contextmanager
def _complaints(address: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        why = error.strerror or error
        raise SettingError(f"no sidecar answers at {address}: {why}; say by --listen where it takes events") from None
    except (http.client.HTTPException, ValueError):
        raise SettingError(f"what answers at {address} is no sidecar") from None


def _refuse(address: str, answer: http.client.HTTPResponse, body: Any) -> NoReturn:
    if answer.status == 200:
        raise SettingError(f"what answers at {address} is no sidecar with a tap")
    words = body.get("detail") if isinstance(body, dict) else body
    raise SettingError(f"the sidecar at {address} refuses: {words}")
