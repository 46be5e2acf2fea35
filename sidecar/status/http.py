"""The paths of the producers' listener under `/_sidecar/`.

    GET  /_sidecar/status         the status page; / and /_sidecar redirect to it
    GET  /_sidecar/status/live    the same page every two seconds, as server-sent events, for the page itself
    GET  /_sidecar/status.json    the same as JSON
    GET  /_sidecar/runbook        what to do about each problem on the page
    GET  /_sidecar/probe          which addresses of each endpoint answer now; one probe at a time
    GET  /_sidecar/config         the configuration in force, and what is wrong with the file on disk
    POST /_sidecar/explain        the route of the event in the body, and the addresses that would be tried now
    GET  /_sidecar/tap            passing events, as server-sent events; refused unless the tap is enabled
                                  filtered by ?stream=GLOB and ?outcome=WORD, which may be repeated
    GET  /_sidecar/openapi.json   the OpenAPI description of both listeners

Nothing here sends an event or changes anything. Clients must connect over loopback and use a loopback host name, which
excludes web pages whose host name was made to resolve to it (DNS rebinding).
"""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import yaml
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import Scope

from sidecar import __version__
from sidecar.errors import NotFound, RequestError
from sidecar.events.event import parse
from sidecar.events.results import Outcome
from sidecar.intake.answer import headers_of, of_error
from sidecar.intake.origins import address_of_client
from sidecar.routes.explain import explanation
from sidecar.routes.language.pattern import Pattern
from sidecar.status.gather import Sources, status_now, tried_now
from sidecar.status.page import FILTERS, policy, values_of
from sidecar.status.probe import Prober
from sidecar.status.problems import as_data
from sidecar.status.runbook import blocks_of, read_runbook
from sidecar.status.sse import Feeds, message
from sidecar.status.value import Status

if TYPE_CHECKING:
    from jinja2 import Template

    from sidecar.intake.tap import Tap, Wanted

NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})
"""Allowed host names, with any port."""
MAX_EXPLAINED_BYTES = 1024 * 1024
BODY_SECONDS = 5.0
MAX_TAPS = 4
"""Taps open at once."""
TAP_SECONDS = 0.2
"""How late an event may be shown."""
MAX_PAGES = 8
"""Live pages open at once; further ones reload."""
LIVE_SECONDS = 2.0
PAGE = "page.html.j2"
FOLDER = Path(__file__).parent
"""Has the description and the page's template, style and script."""

_Endpoint = Callable[[Request], Awaitable[Response]]


def make_intake_app(routes: Sequence[Route] = ()) -> Starlette:
    """Return the ASGI application for `routes`; other paths get a 404."""
    return Starlette(routes=routes, exception_handlers={404: _not_found, 405: _not_found})


def status_routes(sources: Sources, feeds: Feeds) -> list[Route]:
    """Return the routes of the status page; `feeds` are for live pages."""

    # The template is loaded at the first view, in a thread, so that events do not wait.
    async def html(_: Request) -> Response:
        await asyncio.to_thread(_template, PAGE)
        return HTMLResponse(html_of(status_now(sources)), headers=_headers())

    async def data(_: Request) -> Response:
        return JSONResponse(as_data(status_now(sources)), headers=_headers())

    async def live(request: Request) -> Response:
        await asyncio.to_thread(_template, PAGE)
        return feeds.answer(request, nullcontext(lambda: message(html_of(status_now(sources)))))

    async def runbook(_: Request) -> Response:
        return HTMLResponse(await asyncio.to_thread(_runbook), headers=_headers())

    async def lead(_: Request) -> Response:
        return RedirectResponse("/_sidecar/status")

    return [
        *(Route(path, local_alone(lead), methods=["GET"]) for path in ("/", "/_sidecar", "/_sidecar/")),
        Route("/_sidecar/runbook", local_alone(runbook), methods=["GET"]),
        Route("/_sidecar/status", local_alone(html), methods=["GET"]),
        Route("/_sidecar/status/live", local_alone(live), methods=["GET"]),
        Route("/_sidecar/status.json", local_alone(data), methods=["GET"]),
    ]


def html_of(status: Status) -> str:
    """Return the status page."""
    return _template(PAGE).render(values_of(status))


@functools.cache
def _runbook() -> str:
    return _template("runbook.html.j2").render(blocks=list(blocks_of(read_runbook())))


@functools.cache
def _template(name: str) -> Template:
    from jinja2 import Environment, FunctionLoader, StrictUndefined  # noqa: PLC0415  only needed here

    environment = Environment(
        loader=FunctionLoader(_text), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= FILTERS
    environment.globals |= {"style": _text("page.css"), "script": _text("page.js")}
    return environment.get_template(name)


@functools.cache
def _headers() -> dict[str, str]:
    return {
        "content-security-policy": policy(_text("page.css"), _text("page.js")),
        "cache-control": "no-store",
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
    }


def _text(name: str) -> str:
    return FOLDER.joinpath(name).read_text(encoding="utf-8")


def inquiry_routes(sources: Sources, prober: Prober) -> list[Route]:
    """Return the routes of `config` and `explain`."""

    async def config(_: Request) -> Response:
        return JSONResponse(sources.configuration())

    async def explain(request: Request) -> Response:
        try:
            event, *others = parse(await _body(request))
            if others:
                return _refusal(400, "explain takes one event, not several")
            now = sources.in_force()
            found = explanation(now.router, event)  # reads deeper into the event than `parse`, and may refuse it
        except RequestError as error:
            return _refusal(400, error.detail)
        tried = tried_now(now.pools[found["upstream"]], sources.clock()) if found["upstream"] else []
        return JSONResponse({**found, "tried": tried, "configuration": sources.configuration()})

    async def probe(_: Request) -> Response:
        return JSONResponse(await prober.result())

    return [
        Route("/_sidecar/probe", local_alone(probe), methods=["GET"]),
        Route("/_sidecar/config", local_alone(config), methods=["GET"]),
        Route("/_sidecar/explain", local_alone(explain), methods=["POST"]),
    ]


def tap_route(tap: Tap | None, feeds: Feeds) -> Route:
    """Return the route of the tap; without `tap` it answers 403."""

    async def tapped(request: Request) -> Response:
        if tap is None:
            return _refusal(
                403,
                "the tap is off, because it shows the content of events; start the sidecar with --tap or SIDECAR_TAP=1",
            )
        try:
            wanted = _wanted(request)
        except ValueError as error:
            return _refusal(400, str(error))
        return feeds.answer(request, _messages(tap, wanted))

    return Route("/_sidecar/tap", local_alone(tapped), methods=["GET"])


def openapi_route() -> Route:
    """Return the route of the OpenAPI description."""

    async def described(_: Request) -> Response:
        # In a thread, since parsing YAML is slow.
        return Response(await asyncio.to_thread(_description_as_json), media_type="application/json")

    return Route("/_sidecar/openapi.json", local_alone(described), methods=["GET"])


def description() -> dict[str, Any]:
    """Return the OpenAPI description of both listeners."""
    read: dict[str, Any] = yaml.safe_load(_text("openapi.yaml"))
    read["info"]["version"] = __version__
    return read


@functools.cache
def _description_as_json() -> bytes:
    return json.dumps(description(), ensure_ascii=False).encode()


@contextmanager
def _messages(tap: Tap, wanted: Wanted) -> Iterator[Callable[[], bytes]]:
    with tap.listener(wanted) as take:
        yield lambda: b"".join(message(msgspec.json.encode(each).decode()) for each in take())


def _wanted(request: Request) -> Wanted:
    """Return the filter in the request.

    Raises:
        ValueError: it is invalid.

    """
    from sidecar.intake.tap import Wanted  # noqa: PLC0415  only loaded if there is a tap

    outcomes = request.query_params.getlist("outcome")
    for each in outcomes:
        if each not in list(Outcome):
            raise ValueError(f"there is no outcome {each!r}; use one of {', '.join(Outcome)}")
    stream = request.query_params.get("stream")
    try:
        pattern = None if stream is None else Pattern.parse(stream)
    except ValueError as error:
        raise ValueError(f"the stream {stream!r} {error}") from None
    return Wanted(pattern, frozenset(outcomes))


def local_alone(endpoint: _Endpoint) -> _Endpoint:
    """Refuse requests from other machines, or with another host name than a loopback one."""

    async def guarded(request: Request) -> Response:
        client = address_of_client(request.client.host if request.client else "")
        if client is None or not client.is_loopback:
            return _refusal(403, "this is only for requests from the sidecar's own machine")
        host = request.headers.get("host", "")
        name = host if host.endswith("]") else host.rpartition(":")[0] or host
        if name.lower() not in NAMES:
            return _refusal(403, f"the host {host!r} is not allowed; use http://127.0.0.1")
        await _turn(request)
        return await endpoint(request)

    return guarded


async def _turn(request: Request) -> None:
    """Wait for a turn of the event loop between two answers, so that many requests at once do not block events."""
    state = request.app.state
    if not hasattr(state, "turn"):
        state.turn = asyncio.Lock()
    async with state.turn:
        await asyncio.sleep(0)


async def _body(request: Request) -> bytes:
    """Read the body, within its limits.

    Raises:
        RequestError: it is too large, or incomplete.

    """
    body = b""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_EXPLAINED_BYTES:
                    raise RequestError(f"the event is over {MAX_EXPLAINED_BYTES} bytes")
    except TimeoutError:
        raise RequestError(f"the event was not complete within {BODY_SECONDS:g} s") from None
    except ClientDisconnect:
        raise RequestError("the client went away") from None
    return body


def _refusal(status: int, words: str) -> Response:
    return JSONResponse({"detail": words}, status)


async def _not_found(request: Request, _: Exception) -> Response:
    target = _target(request.scope)
    error = NotFound(f"Cannot {request.method} {target}; events are POSTed to /v1/events")
    answer = of_error(error, request.method, target)
    return Response(answer.body, answer.status, headers=dict(_decoded(headers_of(answer))))


def _decoded(headers: list[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]


def _target(scope: Scope) -> str:
    query = scope["query_string"].decode("latin-1")
    path = scope.get("raw_path", scope["path"].encode()).decode("latin-1")
    return f"{path}?{query}" if query else str(path)
