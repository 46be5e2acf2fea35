"""`/_sidecar/openapi.json`: what both listeners answer, described for programs.

It is written by hand, in `openapi.yaml`, and read when somebody asks for it first.
"""

from __future__ import annotations

import asyncio
import functools
import json
from pathlib import Path
from typing import Any

import yaml
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sidecar import __version__
from sidecar.status.http import local_alone

FILE = Path(__file__).with_name("openapi.yaml")


def openapi_routes() -> list[Route]:
    """Return the route."""

    async def described(_: Request) -> Response:
        # In a thread: YAML takes its time, and events do not wait for it.
        return Response(await asyncio.to_thread(_as_json), media_type="application/json")

    return [Route("/_sidecar/openapi.json", local_alone(described), methods=["GET"])]


def description() -> dict[str, Any]:
    """Return the description, as of this version."""
    read: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    read["info"]["version"] = __version__
    return read


@functools.cache
def _as_json() -> bytes:
    return json.dumps(description(), ensure_ascii=False).encode()
