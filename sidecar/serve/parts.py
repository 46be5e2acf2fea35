"""The parts that traces are made in, and what makes them: without traces they are what they always were.

So a sidecar that traces nothing asks nowhere whether it does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sidecar.delivery.sender import Delivery
from sidecar.intake.endpoint import EventsEndpoint
from sidecar.telemetry.telemetry import Telemetry


@dataclass(frozen=True, slots=True)
class Parts:
    """Makes each of them, from the same arguments as the plain one."""

    telemetry: Callable[..., Telemetry] = Telemetry
    delivery: Callable[..., Delivery] = Delivery
    events: Callable[..., EventsEndpoint] = EventsEndpoint


PLAIN = Parts()
"""Without traces."""
