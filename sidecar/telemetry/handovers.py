"""What happens when a spool is handed over, at both ends, as typed values like those of `happenings`."""

from __future__ import annotations

from logging import INFO, WARNING

from sidecar.telemetry.happenings import Happening


class HandedOver(Happening, frozen=True):
    """Events of the spool were sent to the gateway: taken, refused, or doubtful: they may be in both places."""

    sampled_by = ("result", "reason")
    result: str
    events: int
    reason: str = ""
    """Why they are still here."""

    @property
    def level(self) -> int:
        """That they were taken is news as well: the gateway has them now."""
        return WARNING if self.reason else INFO


class TakenOver(Happening, frozen=True):
    """A sidecar with these labels handed over events, and they are in this spool."""

    level = INFO
    sampled_by = ("labels",)
    labels: str
    events: int
