"""The client of the sidecar on this machine (see `http`), with limits on time and size."""

from __future__ import annotations

import contextlib
import json
import re
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn, cast

import httpx
from httpx_sse import EventSource

from sidecar.errors import SettingError
from sidecar.events.event import Event

SECONDS = 5.0
"""Timeout of each step of a request, and of the answer as a whole."""
PROBE_SECONDS = 25.0
"""For the answer to a probe: it may begin once the one before it has ended."""
SILENT_SECONDS = 15.0
"""Timeout of a tap, which sends comments while no events pass."""
MAX_ANSWER_BYTES = 16 * 1024 * 1024
MAX_MESSAGE_BYTES = 1024 * 1024
"""Of a tap, which shows up to 8 KiB of an event."""


def explained_by(address: str, event: Event) -> Any:
    """Return what the sidecar on `address` would do with `event`, which is not sent on.

    Raises:
        SettingError: no sidecar answers there.

    """
    return _asked(address, time.monotonic, "POST", "/_sidecar/explain", content=event.raw)


def status_of(address: str, clock: Callable[[], float] = time.monotonic) -> Any:
    """Return the status of the sidecar on `address`.

    Raises:
        SettingError: no sidecar answers there.

    """
    return _asked(address, clock, "GET", "/_sidecar/status.json")


def probed_by(address: str) -> Any:
    """Return what the sidecar at `address` finds when it probes its endpoints.

    Raises:
        SettingError: nothing answers there, or it is not a sidecar.

    """
    return _asked(address, time.monotonic, "GET", "/_sidecar/probe", seconds=PROBE_SECONDS)


def tapped(address: str, stream: str | None, outcomes: Sequence[str]) -> Iterator[Any]:
    """Open the tap of the sidecar on `address`; return its messages, until the sidecar stops.

    `stream` and `outcomes` filter the events (see `http`).

    Raises:
        SettingError: no sidecar answers there, or it refuses; or, later, the connection is lost.

    """
    wanted = {"stream": [stream] if stream is not None else [], "outcome": list(outcomes)}
    with contextlib.ExitStack() as open_until_the_end:
        client = open_until_the_end.enter_context(_client(address, SILENT_SECONDS))
        with _complaints(address):
            answer = open_until_the_end.enter_context(client.stream("GET", "/_sidecar/tap", params=wanted))
            if answer.status_code != 200 or not answer.headers.get("content-type", "").startswith("text/event-stream"):
                _refuse(address, answer, _read(answer, time.monotonic))
        return _messages(address, answer, open_until_the_end.pop_all())


def _messages(address: str, answer: httpx.Response, opened: contextlib.ExitStack) -> Iterator[Any]:
    answer.stream = _BoundedMessages(cast("httpx.SyncByteStream", answer.stream))
    with opened:
        try:
            for message in EventSource(answer).iter_sse():
                if message.event == "end":
                    return
                if message.data:
                    yield json.loads(message.data)
        except httpx.RemoteProtocolError:
            pass
        except (httpx.RequestError, ValueError) as error:
            raise SettingError(f"the sidecar at {address} stopped: {_of_system(error)!r}") from None
    raise SettingError(f"the sidecar at {address} stopped: its answer breaks off")


class _BoundedMessages(httpx.SyncByteStream):
    """Limits the size of each server-sent event."""

    def __init__(self, stream: httpx.SyncByteStream) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        begun = b""
        for chunk in self._stream:
            begun = (begun + chunk).rpartition(b"\n\n")[2]
            if len(begun) > MAX_MESSAGE_BYTES:
                raise ValueError(f"a message is over {MAX_MESSAGE_BYTES} bytes")
            yield chunk

    def close(self) -> None:
        self._stream.close()


def _asked(
    address: str, clock: Callable[[], float], method: str, path: str, seconds: float = SECONDS, **more: Any
) -> Any:
    with _client(address, seconds) as client, _complaints(address), client.stream(method, path, **more) as answer:
        body = _read(answer, clock)
        if answer.status_code != 200:
            _refuse(address, answer, body)
        return body


def _client(address: str, silent: float) -> httpx.Client:
    host, _, port = address.rpartition(":")
    if not host or not host.isprintable() or not re.fullmatch("[0-9]{1,5}", port) or int(port) > 65535:
        raise SettingError(f"{address!r} is not an address; write host:port, such as 127.0.0.1:8888")
    host = "127.0.0.1" if host == "0.0.0.0" else host.strip("[]")  # noqa: S104  it listens everywhere, here too
    return httpx.Client(
        base_url=httpx.URL(scheme="http", host=host, port=int(port)),
        headers={"content-type": "application/json", "accept-encoding": "identity"},
        timeout=httpx.Timeout(SECONDS, read=silent),
        trust_env=False,  # no proxy to this machine
        verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),  # unused; the usual one reads files first
    )


def _read(answer: httpx.Response, clock: Callable[[], float]) -> Any:
    """Read and decode an answer.

    Raises:
        TimeoutError: it was not complete in time.
        ValueError: it is too large, or not JSON.

    """
    body, deadline = b"", clock() + SECONDS
    for chunk in answer.iter_bytes():
        body += chunk
        if clock() > deadline:
            raise TimeoutError("timed out")
        if len(body) > MAX_ANSWER_BYTES:
            raise ValueError(f"the answer is over {MAX_ANSWER_BYTES} bytes")
    return json.loads(body)


@contextlib.contextmanager
def _complaints(address: str) -> Iterator[None]:
    try:
        yield
    except (httpx.RequestError, OSError, ValueError) as error:
        silent = isinstance(error, (httpx.NetworkError, httpx.TimeoutException, OSError))
        if not silent and "disconnected" not in str(error):
            raise SettingError(f"what answers at {address} is not a sidecar") from None
        cause = _of_system(error)
        why = getattr(cause, "strerror", None) or cause
        raise SettingError(f"no sidecar answers at {address}: {why}; use --listen to say where it listens") from None


def _of_system(error: Exception) -> BaseException:
    """Return the system's error that httpcore and httpx wrap, or the error itself."""
    cause: BaseException | None = error
    for _ in range(2):
        cause = cause and (cause.__cause__ or cause.__context__)
        if isinstance(cause, OSError):
            return cause
    return error


def _refuse(address: str, answer: httpx.Response, body: Any) -> NoReturn:
    if answer.status_code == 200:
        raise SettingError(f"what answers at {address} is not a sidecar with a tap")
    words = body.get("detail") if isinstance(body, dict) else body
    raise SettingError(f"the sidecar at {address} refuses: {words}")
