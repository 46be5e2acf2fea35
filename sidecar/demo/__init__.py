"""`eventgate-sidecar demo`: everything on one machine, and a proof of what went where.

`stage` starts three emulated EventGates and the sidecar as processes and stops them again, `modelserver`
posts scores as Lift Wing does, `proof` finds out what became of each, `screen` shows it.
"""

from sidecar.demo.stage import main

__all__ = ["main"]
