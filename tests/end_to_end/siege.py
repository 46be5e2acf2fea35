"""What takes a sidecar's memory or time, each from a process of its own: `python -m tests.end_to_end.siege NAME …`.

The connections are held open for some seconds, and nothing is read but where it says so.
"""

from __future__ import annotations

import contextlib
import json
import select
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence

from tests.fakes import post

HEAD = b"host: 127.0.0.1\r\n"
OFFER = b"connection: upgrade\r\nupgrade: a\r\n"
MB = 1024 * 1024


@contextlib.contextmanager
def _sent(address: str, count: int, data: bytes, seconds: float = 2.0) -> Iterator[Sequence[socket.socket]]:
    """Send this on so many connections, as far as it is taken, for so many seconds at most."""
    host, _, port = address.rpartition(":")
    with contextlib.ExitStack() as stack:
        left: dict[socket.socket, memoryview] = {}
        for _ in range(count):
            with contextlib.suppress(OSError):
                one = stack.enter_context(socket.create_connection((host, int(port)), 5))
                one.setblocking(False)
                left[one] = memoryview(data)
        lines, end = list(left), time.monotonic() + seconds
        while left and time.monotonic() < end:
            _, ready, _ = select.select([], list(left), [], 0.1) if len(left) < 500 else ([], list(left), [])
            for one in ready:
                try:
                    left[one] = left[one][one.send(left[one]) :]
                except BlockingIOError:
                    continue
                except OSError:
                    del left[one]
                    continue
                if not left[one]:
                    del left[one]
        _wait(max(0.0, end - time.monotonic()))
        yield lines


def _wait(seconds: float) -> None:
    select.select([], [], [], seconds)


def _answer(address: str, data: bytes) -> bytes:
    """Send this and read what comes, for some seconds."""
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), 10) as one, contextlib.suppress(OSError):
        one.sendall(data)
        while one.recv(65536):
            pass
    return b""


def offers(address: str) -> None:
    """Many offers of another protocol in one piece, and a large body behind them."""
    large = b"POST /x HTTP/1.1\r\n" + HEAD + b"content-length: 400000\r\n\r\n"
    for kind in (b"GET / HTTP/1.1\r\n", b"POST /v1/events HTTP/1.1\r\ncontent-length: 0\r\n"):
        with _sent(address, 20, (kind + HEAD + OFFER + b"\r\n") * 980 + large + bytes(250_000)):
            pass


def pipelined(address: str) -> None:
    """As many short requests as fit into what is read at once."""
    for one in (b"GET / HTTP/1.1\r\nhost:\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n"):
        with _sent(address, 50, one * (255_000 // len(one))):
            pass


def short_headers(address: str) -> None:
    """As many as fit into 64 KiB, and not the last line."""
    with _sent(address, 600, b"GET /livez HTTP/1.1\r\n" + HEAD + b"".join(b"%x:\r\n" % i for i in range(9000)), 5):
        pass


def long_headers(address: str) -> None:
    """One of 60 kB each, in a request that is answered and kept, or not complete."""
    long = b"GET /livez HTTP/1.1\r\n" + HEAD + b"x: " + b"x" * 60_000
    for end in (b"", b"\r\n\r\n"):
        with _sent(address, 600, long + end):
            pass


def unread(address: str) -> None:
    """Everything that may be asked for, again and again, and nothing read of it."""
    for path in (b"/metrics", b"/_sidecar/status", b"/_sidecar/status.json", b"/_sidecar/openapi.json", b"/nope"):
        with _sent(address, 200, (b"GET " + path + b" HTTP/1.1\r\n" + HEAD + b"\r\n") * 16):
            pass


def explained(address: str) -> None:
    """Bodies for `explain`, not complete."""
    body = json.dumps({"meta": {"stream": "s"}, "x": "x" * (MB - 100)}).encode()
    with _sent(address, 300, post(body, "/_sidecar/explain", host="127.0.0.1")[:-9], 6):
        pass


def long_names(address: str) -> None:
    """Streams of 10 MB."""
    for name in ("x" * 10_400_000, "\U0001f600" + "x" * 10_400_000, "\u00e9" * 5_200_000, "\x01" * 1_700_000):
        body = json.dumps({"meta": {"stream": name, "id": "1"}}, ensure_ascii=False).encode()
        _answer(address, post(body, connection="close"))


def chunks(address: str) -> None:
    """Bodies of 10 MB in chunks of three bytes."""
    head = b"POST /v1/events HTTP/1.1\r\n" + HEAD + b"content-type: application/json\r\n"
    body = b'{"meta":{"stream":"busy"},"x":"' + b"x" * 10_000_000 + b'"}'
    whole = b"".join(b"3\r\n%b\r\n" % body[at : at + 3] for at in range(0, len(body) - 3, 3))
    with _sent(address, 3, head + b"transfer-encoding: chunked\r\n\r\n" + whole, 10):
        pass


def wide(address: str) -> None:
    """Events with as many members as may be, and arrays of as many events."""
    for body in wide_bodies().values():
        _answer(address, post(body, connection="close"))


def wide_bodies() -> dict[str, bytes]:
    """Return the bodies that take most time for their size."""
    members = b",".join(b'"k%06d":%d' % (number, number) for number in range(490_000))
    small = [b'{"meta":{"stream":"busy","id":"%d"},"x":"%b"}' % (number, b"y" * 900) for number in range(9_900)]
    return {
        "a wide event": b'{"meta":{"stream":"busy","id":"1"},%b}' % members,
        "without an id": b'{"meta":{"stream":"busy"},%b}' % members,
        "that is searched": b'{"meta":{"stream":"busy\\ud800"},%b}' % members,
        "many events": b"[%b]" % b",".join(small),
        "a long value": b'{"meta":{"stream":"busy"},"kind":"%b"}' % (b"\\u0001" * 1_700_000),
        "no JSON": b'{"meta":{"stream":"busy"},"x":[' + b"[]," * 240_000,
        "many that are not accepted": b"[%b]" % b",".join([b'{"meta":{"stream":"none"}}'] * 9_900),
    }


BOTH: dict[str, Callable[[str], None]] = {
    each.__name__: each for each in (offers, pipelined, short_headers, long_headers, unread)
}
"""What either listener may meet."""
PRODUCERS: dict[str, Callable[[str], None]] = {each.__name__: each for each in (explained, long_names, chunks, wide)}
"""What only the producers' listener has an answer for."""


if __name__ == "__main__":
    named, where = sys.argv[1:]
    (BOTH | PRODUCERS)[named](where)
