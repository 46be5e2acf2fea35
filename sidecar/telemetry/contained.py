"""Restarts tasks that raise, so that a bug in one part of the sidecar does not end the others."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from sidecar.telemetry.happenings import Happening, Unexpected

PAUSE_SECONDS = 1.0
"""Before a task is restarted."""


async def keep_running(
    what: str, run: Callable[[], Awaitable[None]], emit: Callable[[Happening], None], pause: float = PAUSE_SECONDS
) -> None:
    """Run until it returns or is cancelled; when it raises, report that as `what` and restart it after `pause`.

    Otherwise the task group would cancel all its other tasks.
    """
    while True:
        try:
            return await run()
        except Exception as error:  # noqa: BLE001  see above
            emit(unexpected(what, error))
        await asyncio.sleep(pause)


def unexpected(what: str, error: Exception) -> Unexpected:
    """Report a bug; of an exception group, the first exception."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return Unexpected(what, f"{type(error).__name__}: {error}")
