"""Draws docs/reliability.png: `picture.py FILE` reads the output of `report.drawing` on standard input.

It runs with the interpreter of .venv-bench, which has matplotlib, so it imports nothing of this project.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import matplotlib as mpl  # type: ignore[import-not-found,unused-ignore]

mpl.use("Agg")

from matplotlib import pyplot as plt  # type: ignore[import-not-found,unused-ignore]
from matplotlib.lines import Line2D  # type: ignore[import-not-found,unused-ignore]
from matplotlib.patches import Patch  # type: ignore[import-not-found,unused-ignore]

SIDECAR, OTHER, FAULT = "#0072b2", "#333333", "#f7e6d4"
KILLS = {"SIGKILL": "#d62728", "SIGTERM": "#cc79a7"}
EDITS = {"good": "#009e73", "broken": "#d55e00"}


def main() -> None:
    """Draw a panel for each measured value, one below the other."""
    drawing = json.load(sys.stdin)
    panels = drawing["panels"]
    heights = [panel["height"] for panel in panels]
    figure, axes = plt.subplots(
        len(panels), 1, figsize=(13, 2.1 * sum(heights)), sharex=True, height_ratios=heights, facecolor="white"
    )
    for axis, panel in zip(axes, panels, strict=True):
        _draw(axis, panel)
        _mark(axis, drawing)
    for at, kind in drawing["edits"]:
        place = axes[0].get_xaxis_transform()
        axes[0].plot([at], [0.97], marker="v", ms=5, color=EDITS[kind], transform=place, zorder=3, clip_on=False)
    axes[-1].set_xlabel("minutes")
    axes[-1].set_xlim(0, drawing["minutes"])
    figure.legend(handles=_legend(), frameon=False, loc="upper left", ncols=5, fontsize=10)
    figure.tight_layout(rect=(0, 0, 1, 0.97))
    figure.align_ylabels(axes)
    figure.savefig(sys.argv[1], dpi=110, metadata={"Software": None})


def _draw(axis: Any, panel: dict[str, Any]) -> None:
    for line, colour in zip(panel["lines"], (SIDECAR, OTHER), strict=False):
        at, values = zip(*line["points"], strict=True) if line["points"] else ((), ())
        style: dict[str, Any] = {"marker": "o", "ms": 4} if line["dots"] else {"lw": 1.1}
        axis.plot(at, values, color=colour, label=line["name"], **style)
    axis.set_ylabel(panel["name"])
    if panel["log"]:
        axis.set_yscale("log")
    else:
        axis.set_ylim(bottom=0)
    axis.yaxis.set_major_formatter(lambda value, _: f"{value:,g}")
    axis.grid(axis="y", color="#dddddd")
    axis.spines[["top", "right"]].set_visible(False)
    if len(panel["lines"]) > 1:
        axis.legend(frameon=False, loc="lower right", bbox_to_anchor=(1, 0.98), ncols=2, fontsize=10)


def _mark(axis: Any, drawing: dict[str, Any]) -> None:
    """Mark when something was wrong."""
    for began, ended in drawing["faults"]:
        axis.axvspan(began, ended, color=FAULT, lw=0, zorder=0)
    for at, name in drawing["kills"]:
        axis.axvline(at, color=KILLS[name], lw=1.2, zorder=1)


def _legend() -> list[Any]:
    kills = [Line2D([], [], color=colour, label=name) for name, colour in KILLS.items()]
    edits = [
        Line2D([], [], color=colour, marker="v", lw=0, label=f"routes.yaml, {kind}") for kind, colour in EDITS.items()
    ]
    return [Patch(color=FAULT, label="a fault"), *kills, *edits]


if __name__ == "__main__":
    main()
