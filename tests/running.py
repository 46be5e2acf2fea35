"""The sidecar and its listener, running in a test's own event loop."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.types import ASGIApp

from sidecar.intake.budget import ByteBudget
from sidecar.intake.request import Limits
from sidecar.intake.server import Server, bind, make_server
from sidecar.serve.runtime import Outside, Runtime, Settings
from sidecar.telemetry.log import make_log
from tests.fakes import Answer, Client, connected, eventually


@contextlib.asynccontextmanager
async def serving(
    app: ASGIApp, limits: Limits | None = None, taker: Any = None, budget: ByteBudget | None = None
) -> AsyncIterator[str]:
    """Serve `app`, and events by `taker`, by the listener's protocol; yield its address.

    `taker` is a `Taker`, and None where no events are sent.
    """
    budget = budget or ByteBudget()
    async with listening(make_server(app, taker, budget, 1.0, limits)) as address:
        yield address
        await eventually(lambda: budget.held == 0)


@contextlib.asynccontextmanager
async def listening(server: Server) -> AsyncIterator[str]:
    """Listen as `server` would; yield its address, and wait for its connections to end."""
    server.config.load()
    listener = await asyncio.get_running_loop().create_server(
        lambda: server.config.http_protocol_class(  # type: ignore[call-arg]
            config=server.config, server_state=server.server_state, app_state={}
        ),
        sock=bind("127.0.0.1:0"),
    )
    try:
        yield f"127.0.0.1:{listener.sockets[0].getsockname()[1]}"
        await eventually(lambda: not server.server_state.connections and not server.server_state.tasks)
    finally:
        listener.close()


@dataclass(frozen=True)
class Running:
    """A sidecar that takes events."""

    address: str
    """Of the producers' listener."""
    admin: str
    """Of the cluster's listener."""
    runtime: Runtime
    task: asyncio.Task[None]
    """Runs it; done when it has stopped."""
    written: io.StringIO

    @property
    def log(self) -> list[dict[str, Any]]:
        """What was logged."""
        return [json.loads(line) for line in self.written.getvalue().splitlines()]

    async def post(self, body: bytes, target: str = "/v1/events", **headers: str) -> Answer:
        """POST on a connection of its own."""
        async with connected(self.address) as client:
            return await client.post(body, target, **headers)

    async def get(self, target: str, address: str | None = None) -> Answer:
        """GET from the cluster's listener, or from `address`."""
        async with connected(address or self.admin) as client:
            await client.send(f"GET {target} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
            return await client.answer()

    async def metrics(self, name: str) -> dict[str, float]:
        """Return the samples of one metric, by their labels as they are written there."""
        lines = (await self.get("/metrics")).body.decode().splitlines()
        found = (line.rpartition(" ") for line in lines if line.startswith(name + "{"))
        return {labels.removeprefix(name): float(value) for labels, _, value in found}


@contextlib.asynccontextmanager
async def reading(target: str, address: str) -> AsyncIterator[AsyncIterator[str]]:
    """Read a stream of server-sent events; what is yielded goes from message to message, to the stream's end."""
    async with connected(address) as client:
        await client.send(f"GET {target} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
        yield _messages(client)


async def _messages(client: Client) -> AsyncIterator[str]:
    assert (await client.answer()).headers["content-type"].startswith("text/event-stream")
    text = ""
    while chunk := await client.chunk():
        *complete, text = (text + chunk.decode()).split("\n\n")
        for each in complete:
            if each.startswith("data: "):
                yield "\n".join(line.removeprefix("data: ") for line in each.splitlines())


@contextlib.asynccontextmanager
async def sidecar(config: Mapping[str, Any], folder: Path, **settings: Any) -> AsyncIterator[Running]:
    """Run a whole sidecar with this configuration, on ports of its own; end it at once, as no signal does."""
    routes = folder / "routes.yaml"
    routes.write_text(json.dumps(config))  # JSON is YAML
    written = io.StringIO()
    outside = Outside(log=lambda: make_log(written))
    runtime = Runtime(Settings(routes, "127.0.0.1:0", "127.0.0.1:0", **settings), outside)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(runtime.run())
        try:
            await eventually(lambda: "Listening" in written.getvalue())
            intake, admin = (listening.getsockname() for _, listening in runtime._servers)
            yield Running(f"127.0.0.1:{intake[1]}", f"127.0.0.1:{admin[1]}", runtime, task, written)
        finally:
            for server, _ in runtime._servers:
                for listening in getattr(server, "servers", ()):
                    listening.close()
            task.cancel()


def upstream(*addresses: str, scheme: str = "http", **settings: object) -> dict[str, object]:
    """Return an upstream of `routes.yaml`, an endpoint at each address; several differ in their last number.

    The datacenters are called by that number: all that `{datacenter}` can stand for, where there is no DNS.
    """
    port = addresses[0].rpartition(":")[2]
    if len(addresses) == 1:
        return {"url": f"{scheme}://{addresses[0]}/v1/events", **settings}
    numbers = [address.rpartition(":")[0].rpartition(".")[2] for address in addresses]
    return {"url": f"{scheme}://127.0.0.{{datacenter}}:{port}/v1/events", "datacenters": numbers, **settings}


def to_one(*addresses: str, scheme: str = "http", **settings: object) -> dict[str, object]:
    """Return a whole `routes.yaml` that sends everything to one upstream, `main`."""
    upstreams = {"main": upstream(*addresses, scheme=scheme, **settings)}
    return {"version": 1, "upstreams": upstreams, "routes": [{"name": "all", "to": "main"}]}
