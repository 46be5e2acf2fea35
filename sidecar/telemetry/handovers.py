"""Happenings of hand-overs, on both sides; see `happenings`."""

from __future__ import annotations

from logging import INFO, WARNING

from sidecar.telemetry.happenings import Happening


class HandedOver(Happening, frozen=True):
    """Events of the spool were sent to the gateway: taken, refused, or doubtful, when they may be in both places."""

    sampled_by = ("result", "reason")
    result: str
    events: int
    reason: str = ""
    """Why they are still here."""

    @property
    def level(self) -> int:
        """Success is logged too, since the gateway has the events now."""
        return WARNING if self.reason else INFO


class TakenOver(Happening, frozen=True):
    """A sidecar with these labels handed over events, which are in this spool now."""

    level = INFO
    sampled_by = ("labels",)
    labels: str
    events: int
