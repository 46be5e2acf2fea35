"""The two HTTP faces: the producers' (`POST /v1/events`) and the cluster's (metrics and probes).

Plain ASGI under Starlette's routes: reading a request and writing an answer is all that happens here.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from sidecar.errors import BodyTooLarge, MalformedBody, NotFound, Overloaded, RequestError, SlowBody
from sidecar.intake import MAX_BODY_BYTES, Intake, Post
from sidecar.listener import headers_of
from sidecar.results import Answer, of_error
from sidecar.telemetry import RequestAnswered, RequestRefused, Telemetry, Unexpected

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

MAX_DRAINED_BYTES = 8 * MAX_BODY_BYTES
"""How much of a body that is too large is read and dropped, so that its sender gets to read why."""
INTAKE_PATH = re.compile(r"/v1/events/?", re.IGNORECASE)
"""Its case does not matter, as Express has it."""
PASSED_ON = ("x-request-id", "traceparent", "tracestate", "user-agent")
"""Headers of the producer that EventGate sees: it fills `meta.request_id` from the first."""


@dataclass(frozen=True, slots=True)
class Capacity:
    """What is held of requests at once, and how long a body may take."""

    requests: int = 1024
    bytes: int = 64 * 1024 * 1024
    body_seconds: float = 5.0
    """Producers are in the same pod and give up after 5 s themselves."""


class Disconnected(Exception):
    """The producer went away before its request was complete."""


class EventsEndpoint:
    """`POST /v1/events`."""

    def __init__(self, intake: Intake, telemetry: Telemetry, capacity: Capacity | None = None) -> None:
        """`intake` takes what is read here."""
        self.intake = intake
        self._capacity = capacity or Capacity()
        self.in_flight = 0
        self.bytes_in_flight = 0
        self.last_active = 0.0
        """Monotonic time of the last request's start or end; `runtime` waits for quiet when it stops."""
        self._telemetry = telemetry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; whatever happens, there is an answer."""
        clock = time.monotonic
        self.in_flight += 1
        self.last_active = clock()
        taken = _Taken()
        answer: Answer | None = None
        try:
            answer = await self._answer(scope, receive, taken)
        except Disconnected:
            pass
        except RequestError as error:
            answer = of_error(error, scope["method"], _target(scope))
            detail = "" if isinstance(error, MalformedBody) else error.detail  # quotes what it stumbled over
            self._telemetry.emit(RequestRefused(answer.status, error.title, detail))
        except Exception as error:  # noqa: BLE001  a bug of ours must not cost the producer its answer
            answer = _bug(scope)
            self._telemetry.emit(Unexpected("intake", f"{type(error).__name__}: {error}"))
        finally:
            self.in_flight -= 1
            self._give_back(taken)
            self.last_active = clock()
        if answer is not None:
            start = taken.complete_at or clock()
            self._telemetry.emit(RequestAnswered(answer.status, clock() - start))
            await _send(answer, send, close=not taken.complete_at)

    async def _answer(self, scope: Scope, receive: Receive, taken: _Taken) -> Answer:
        headers = _first_of_each(scope)
        complete = scope.get("body_complete", False)  # from `listener`; other servers do not say
        body = await self._body(self._refusal(scope, headers), receive, taken, complete=complete)
        return await self.intake.take(
            Post(
                body=body,
                content_type=headers.get("content-type", ""),
                content_encoding=headers.get("content-encoding", ""),
                hasty=_is_hasty(scope["query_string"]),
                headers=tuple((name, headers[name]) for name in PASSED_ON if name in headers),
            )
        )

    def _refusal(self, scope: Scope, headers: dict[str, str]) -> RequestError | None:
        """Return why this request is not taken, whatever its body is."""
        if scope["method"] != "POST":
            return NotFound(f"Cannot {scope['method']} {_target(scope)}; events are POSTed to /v1/events")
        if self.in_flight > self._capacity.requests:
            limit = self._capacity.requests
            return Overloaded(f"{limit} requests are being answered already; try again in a second")
        length = headers.get("content-length", "")
        announced = int(length) if length.isdigit() else 0
        return self._too_much(announced) if announced <= MAX_BODY_BYTES else None

    async def _body(self, refusal: RequestError | None, receive: Receive, taken: _Taken, *, complete: bool) -> bytes:
        """Read the body, within its time and within what may be in flight; `complete`: it is there already.

        What is refused is read too, and dropped: its sender looks for the answer when all is sent.
        """
        taken.refusal = refusal
        if complete:
            body = await self._read(receive, taken)
        else:
            limit = self._capacity.body_seconds
            try:
                async with asyncio.timeout(limit):
                    body = await self._read(receive, taken)
            except TimeoutError:
                raise taken.refusal or SlowBody(f"the body was not complete within {limit:g} s") from None
        taken.complete_at = time.monotonic()
        if taken.refusal is not None:
            raise taken.refusal
        return body

    async def _read(self, receive: Receive, taken: _Taken) -> bytes:
        """Read the body to its end; empty, and `taken.refusal` set, where it is refused."""
        chunks: list[bytes] = []
        more, size = True, 0
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Disconnected
            chunk, more = message.get("body", b""), message.get("more_body", False)
            size += len(chunk)
            if size > MAX_DRAINED_BYTES:
                raise taken.refusal or BodyTooLarge("request entity too large")
            taken.refusal = taken.refusal or self._take(chunk, size, taken)
            if taken.refusal is None:
                chunks.append(chunk)
            else:
                chunks.clear()
                self._give_back(taken)
        return b"".join(chunks)

    def _take(self, chunk: bytes, size: int, taken: _Taken) -> RequestError | None:
        if size > MAX_BODY_BYTES:
            return BodyTooLarge("request entity too large")
        refusal = self._too_much(len(chunk))
        if refusal is None:
            taken.size += len(chunk)
            self.bytes_in_flight += len(chunk)
        return refusal

    def _give_back(self, taken: _Taken) -> None:
        self.bytes_in_flight -= taken.size
        taken.size = 0

    def _too_much(self, size: int) -> RequestError | None:
        if self.bytes_in_flight + size <= self._capacity.bytes:
            return None
        return Overloaded(f"{self._capacity.bytes} bytes are held already; try again in a second")


class _Taken:
    """What of a request has been read."""

    size = 0
    refusal: RequestError | None = None
    """Why it is not taken, as soon as that is known."""
    complete_at = 0.0
    """Monotonic time; 0.0 until the whole body is there."""


def make_intake_app(events: EventsEndpoint) -> ASGIApp:
    """Return the application of the producers' listener.

    Events go past Starlette, whose middleware and router cost a tenth of what an event costs in all.
    """
    others = Starlette(exception_handlers={404: _not_found})

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and INTAKE_PATH.fullmatch(scope["path"]):
            await events(scope, receive, send)
        else:
            await others(scope, receive, send)

    return app


def make_admin_app(telemetry: Telemetry, ready: Callable[[], bool]) -> Starlette:
    """Return the application of the cluster's listener; `ready` says whether events can be taken."""

    async def metrics(_: Request) -> Response:
        return Response(telemetry.exposition(), media_type=CONTENT_TYPE_LATEST)

    async def livez(_: Request) -> Response:
        return PlainTextResponse("the event loop turns\n")

    async def readyz(_: Request) -> Response:
        return PlainTextResponse("ready\n") if ready() else PlainTextResponse("starting\n", 503)

    return Starlette(routes=[Route("/metrics", metrics), Route("/livez", livez), Route("/readyz", readyz)])


async def _not_found(request: Request, _: Exception) -> Response:
    target = _target(request.scope)
    error = NotFound(f"Cannot {request.method} {target}; events are POSTed to /v1/events")
    answer = of_error(error, request.method, target)
    return Response(answer.body, answer.status, headers=dict(_decoded(headers_of(answer))))


def _decoded(headers: list[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]


async def _send(answer: Answer, send: Send, *, close: bool) -> None:
    headers = headers_of(answer)
    if close:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": answer.status, "reason": answer.reason, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})


def _bug(scope: Scope) -> Answer:
    error = RequestError("the sidecar met an error of its own; its log has more")
    return of_error(error, scope["method"], _target(scope))


def _is_hasty(query: bytes) -> bool:
    return bool(query) and any(parse_qs(query.decode("latin-1")).get("hasty", ()))


def _first_of_each(scope: Scope) -> dict[str, str]:
    """Return the headers, names in lower case; of a repeated one the first, as Node's http does for these."""
    headers: dict[str, str] = {}
    for name, value in scope["headers"]:
        headers.setdefault(name.decode("latin-1"), value.decode("latin-1"))
    return headers


def _target(scope: Scope) -> str:
    query = scope["query_string"].decode("latin-1")
    path = scope.get("raw_path", scope["path"].encode()).decode("latin-1")
    return f"{path}?{query}" if query else str(path)
