"""The whole lab: hosts, DNS, certificates and the emulated datacenters."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.netns.datacenter import EventGate, eventgate, make_authority, make_certificate
from tests.netns.nameserver import NameServer
from tests.netns.network import Network

EVENTGATES = {"eqiad": "eqiad", "eqiad2": "eqiad", "codfw": "codfw"}
"""Each host with an EventGate, and its datacenter."""


@dataclass(frozen=True)
class Lab:
    """What the experiments share; each restores what it changes."""

    network: Network
    names: NameServer
    eventgates: Mapping[str, EventGate]
    folder: Path
    ca_file: Path


@contextlib.asynccontextmanager
async def built(folder: Path) -> AsyncIterator[Lab]:
    """Build the lab for the duration of the block; its files are in `folder`."""
    async with contextlib.AsyncExitStack() as stack:
        network = await stack.enter_async_context(Network())
        names = NameServer(network, folder)
        await names.serve()
        stack.push_async_callback(names.stop)
        ca_file = await make_authority(folder)
        certificates = {each: await make_certificate(folder, each) for each in set(EVENTGATES.values())}
        async with asyncio.TaskGroup() as starts:
            tasks = {
                host: starts.create_task(
                    stack.enter_async_context(eventgate(network, host, certificates[datacenter], folder))
                )
                for host, datacenter in EVENTGATES.items()
            }
        eventgates = {host: task.result() for host, task in tasks.items()}
        yield Lab(network, names, eventgates, folder, ca_file)
