"""What a running sidecar answers about itself under `/_sidecar/`, to its own machine alone.

    GET  /_sidecar/config    which configuration is in force, and what is wrong with the file on disk
    POST /_sidecar/explain   the way of the event in the body, and the addresses that would be tried now
    GET  /_sidecar/tap       events as they pass, as server-sent events; refused unless the tap is enabled
                             ?stream=GLOB and ?outcome=WORD, which may be repeated, say which

Nothing here sends an event or changes anything. Who asks must sit on the loopback interface and call it by a
loopback name: a page in somebody's browser, whose host name was made to point here, does not.
"""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sidecar.errors import RequestError
from sidecar.events.event import parse
from sidecar.events.results import Outcome
from sidecar.routes.explain import Tried, explanation
from sidecar.routes.pattern import Pattern
from sidecar.serve.generation import Generation
from sidecar.status.sse import Streams, message
from sidecar.upstreams.endpoints import Pool
from sidecar.upstreams.failover import order

if TYPE_CHECKING:
    from sidecar.intake.tap import Tap, Wanted

NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})
"""What the host may be called; its port does not matter."""
MAX_BODY_BYTES = 1024 * 1024
BODY_SECONDS = 5.0
MAX_TAPS = 4
"""Who listens at once."""
TAP_SECONDS = 0.2
"""How late an event may be shown."""

_Endpoint = Callable[[Request], Awaitable[Response]]


def inquiry_routes(
    generation: Callable[[], Generation],
    configuration: Callable[[], dict[str, Any]],
    clock: Callable[[], float] = time.monotonic,
) -> list[Route]:
    """Return the routes; `generation` is what is in force, `configuration` what is known of its file."""

    async def config(_: Request) -> Response:
        return JSONResponse(configuration())

    async def explain(request: Request) -> Response:
        try:
            event, *others = parse(await _body(request))
            if others:
                return _refusal(400, "explain takes one event, not several")
            now = generation()
            found = explanation(now.router, event)  # looks deeper into it than `parse`, and may meet its end there
        except RequestError as error:
            return _refusal(400, error.detail)
        tried = tried_now(now.pools[found["upstream"]], clock()) if found["upstream"] else []
        return JSONResponse({**found, "tried": tried, "configuration": configuration()})

    return [
        Route("/_sidecar/config", local_alone(config), methods=["GET"]),
        Route("/_sidecar/explain", local_alone(explain), methods=["POST"]),
    ]


def tap_route(tap: Tap | None, streams: Streams) -> Route:
    """Return the route of the tap; None: it is not enabled."""

    async def tapped(request: Request) -> Response:
        if tap is None:
            return _refusal(403, "the tap is off, as it shows what is in events; start it with --tap or SIDECAR_TAP=1")
        try:
            wanted = _wanted(request)
        except ValueError as error:
            return _refusal(400, str(error))
        return streams.answer(request, _messages(tap, wanted))

    return Route("/_sidecar/tap", local_alone(tapped), methods=["GET"])


@contextmanager
def _messages(tap: Tap, wanted: Wanted) -> Iterator[Callable[[], bytes]]:
    with tap.listener(wanted) as take:
        yield lambda: b"".join(message(msgspec.json.encode(each).decode()) for each in take())


def _wanted(request: Request) -> Wanted:
    """Return which events are asked for.

    Raises:
        ValueError: no event can be meant by that.

    """
    from sidecar.intake.tap import Wanted  # noqa: PLC0415  loaded only where there is a tap

    outcomes = request.query_params.getlist("outcome")
    for each in outcomes:
        if each not in list(Outcome):
            raise ValueError(f"there is no outcome {each!r}; there are {', '.join(Outcome)}")
    stream = request.query_params.get("stream")
    try:
        pattern = None if stream is None else Pattern.parse(stream)
    except ValueError as error:
        raise ValueError(f"the stream {stream!r} {error}") from None
    return Wanted(pattern, frozenset(outcomes))


def tried_now(pool: Pool, now: float) -> list[Tried]:
    """Return the addresses of an upstream: those that would be tried in their order, then the others."""
    choices = order(pool.addresses, pool.config.failback, 0, now)
    places = {each.address: place for place, each in enumerate(choices, 1)}
    addresses = [
        Tried(
            endpoint=each.endpoint.name,
            address=each.ip,
            state=str(each.standing),
            place=places.get(each),
        )
        for each in pool.addresses
    ]
    return sorted(addresses, key=lambda each: each["place"] or len(addresses) + 1)


def local_alone(endpoint: _Endpoint) -> _Endpoint:
    """Let only those ask who sit on this machine and call it by a loopback name."""

    async def guarded(request: Request) -> Response:
        if not _is_loopback(request.client.host if request.client else ""):
            return _refusal(403, "this is for the machine that the sidecar runs on; ask from there")
        host = request.headers.get("host", "")
        name = host if host.endswith("]") else host.rpartition(":")[0] or host
        if name.lower() not in NAMES:
            return _refusal(403, f"this is not for whoever calls it {host!r}; write http://127.0.0.1")
        return await endpoint(request)

    return guarded


def _is_loopback(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


async def _body(request: Request) -> bytes:
    """Read the body, within its bounds.

    Raises:
        RequestError: it is too large, or not complete in time.

    """
    body = b""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_BODY_BYTES:
                    raise RequestError(f"the event is over {MAX_BODY_BYTES} bytes")
    except TimeoutError:
        raise RequestError(f"the event was not complete within {BODY_SECONDS:g} s") from None
    except ClientDisconnect:
        raise RequestError("the client went away") from None
    return body


def _refusal(status: int, words: str) -> Response:
    return JSONResponse({"detail": words}, status)
