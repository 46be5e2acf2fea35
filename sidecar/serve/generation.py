"""One configuration and all parts that depend on it, replaced as a whole at a reload.

All events of a request are routed, coalesced and delivered by one generation, even if the next takes over meanwhile. An
upstream that did not change keeps its pool: the connections, and the health of each address.
"""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from sidecar.delivery.coalescer import Coalescer
from sidecar.delivery.mirror import Mirroring
from sidecar.delivery.sender import Sender
from sidecar.errors import SettingError
from sidecar.intake.intake import Intake
from sidecar.routes.language.config import Config, Upstream
from sidecar.routes.routing import Router
from sidecar.telemetry.telemetry import Telemetry
from sidecar.upstreams.endpoints import Pool, make_pools

if TYPE_CHECKING:
    from sidecar.delivery.tries import Observer
    from sidecar.intake.tap import Tap
    from sidecar.spool.lifecycle import Spooling

SPARE_SECONDS = 1.0
"""How much longer than its deadline a request may take on a busy machine."""


class Generation:
    """The parts that depend on the configuration."""

    def __init__(
        self,
        config: Config,
        labels: Mapping[str, str],
        telemetry: Telemetry,
        before: Generation | None = None,
        spooling: Spooling | None = None,
        tap: Tap | None = None,
        observer: Observer | None = None,
    ) -> None:
        """Build all parts, without connecting; `before` is the generation in force.

        `spooling`, `tap` and `observer` (for traces) are shared by all generations.

        Raises:
            SettingError: a file that the configuration names cannot be read, or it needs a spool and there is none.

        """
        if spooling is None:
            _need_no_spool(config)
        self.config = config
        self.pools: dict[str, Pool] = make_pools(
            config.upstreams,
            _unchanged(before.pools, config.upstreams) if before else None,
            before.pools.values() if before else (),
        )
        self.router = Router(config, labels)
        reserve = spooling.reserve if spooling else 0.0
        self._sender = Sender(self.pools, telemetry, random.random, reserve=reserve, observer=observer)
        limits = {name: upstream.coalesce for name, upstream in config.upstreams.items()}
        joined = observer.joined if observer else None
        self._coalescer = Coalescer(self._sender, limits, telemetry, joined=joined)
        self._spooling = spooling
        self._keeping = spooling.keeping(self.pools, self._coalescer) if spooling else None
        deliver = self._keeping.deliver if self._keeping else self._coalescer.deliver
        self._mirror: Mirroring | None = None
        if self.router.mirrored_to:
            self._mirror = Mirroring(deliver, self._coalescer.deliver, limits, telemetry.emit)
            deliver = self._mirror.deliver
        self.intake = Intake(self.router, deliver, lambda: str(uuid.uuid4()), tap)

    @property
    def longest(self) -> float:
        """Maximum seconds that a request may take."""
        times = ((each.timeouts.deadline, each.coalesce.linger) for each in self.config.upstreams.values())
        return max(deadline + linger for deadline, linger in times) + SPARE_SECONDS

    def pools_not_in(self, other: Generation | None) -> list[Pool]:
        """Return the pools that `other` does not use."""
        used = set(other.pools.values()) if other else set()
        return [pool for pool in self.pools.values() if pool not in used]

    def use_spool(self) -> None:
        """Replay the spool, if there is one, through this generation."""
        if self._spooling is not None and self._keeping is not None:
            self._spooling.follow(self.pools, self._keeping, self._coalescer.pressing, self.router)

    def start(self, tasks: asyncio.TaskGroup) -> None:
        """Run connection attempts in `tasks`."""
        self._sender.start(tasks)

    def replaced(self) -> None:
        """Send nothing more of the spool, and no copies: another generation does. Live requests end here."""
        self._sender.replaced()
        self.end_copies()

    def end_copies(self) -> None:
        """Send no more copies: another generation takes events, or none does."""
        if self._mirror is not None:
            self._mirror.end()


def _unchanged(pools: Mapping[str, Pool], upstreams: Mapping[str, Upstream]) -> dict[str, Pool]:
    """Return the pools whose upstream did not change in anything that a pool uses."""
    return {
        name: pool
        for name, pool in pools.items()
        if name in upstreams and _of_pool(pool.config) == _of_pool(upstreams[name])
    }


def _of_pool(upstream: Upstream) -> Upstream:
    """Remove the settings that only `routing`, `coalescer` or tables use."""
    rest = Upstream(url=upstream.url)
    return msgspec.structs.replace(
        upstream,
        accepts=rest.accepts,
        topic_prefixes=rest.topic_prefixes,
        event_service=rest.event_service,
        coalesce=rest.coalesce,
    )


def _need_no_spool(config: Config) -> None:
    """Raise SettingError if the configuration needs a spool."""
    for want in config.needs_spool:
        raise SettingError(f"{want}, and there is no spool; give it a directory with --spool DIR")
