"""Keeps a task running: what one part of the sidecar raises must never end the others."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from sidecar.telemetry.happenings import Happening, Unexpected

PAUSE_SECONDS = 1.0
"""Before what failed is begun again."""


async def keep_running(
    what: str, run: Callable[[], Awaitable[None]], emit: Callable[[Happening], None], pause: float = PAUSE_SECONDS
) -> None:
    """Run until it returns or is cancelled. What it raises is reported as `what`, and it is begun again after `pause`.

    A task group ends all its tasks when one raises. Nothing that a task of `serve` meets is worth that.
    """
    while True:
        try:
            return await run()
        except Exception as error:  # noqa: BLE001  see above
            emit(unexpected(what, error))
        await asyncio.sleep(pause)


def unexpected(what: str, error: Exception) -> Unexpected:
    """Return the report of a mistake of ours; of several at once, the first."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return Unexpected(what, f"{type(error).__name__}: {error}")
