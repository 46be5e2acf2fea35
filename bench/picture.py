"""Draws docs/performance.png: `picture.py FILE` reads on standard input what `report.drawing` chose.

It runs with .venv-bench's interpreter, which has matplotlib, and so it imports nothing of ours.
"""

from __future__ import annotations

import json
import sys

import matplotlib as mpl  # type: ignore[import-not-found,unused-ignore]

mpl.use("Agg")

from matplotlib import pyplot as plt  # type: ignore[import-not-found,unused-ignore]

COLOURS = {
    "sidecar": "#0072b2",
    "sidecar, spooled": "#56b4e9",
    "direct": "#333333",
    "Envoy": "#d55e00",
    "nginx + Lua": "#009e73",
    "HAProxy": "#cc79a7",
}


def main() -> None:
    """Draw a panel for each upstream."""
    panels = json.load(sys.stdin)
    figure, axes = plt.subplots(1, len(panels), figsize=(6 * len(panels), 4.2), squeeze=False, facecolor="white")
    for axis, panel in zip(axes[0], panels, strict=True):
        ticks = sorted({int(connections) for line in panel["lines"].values() for connections in line})
        for way, line in panel["lines"].items():
            by_connections = sorted((int(connections), value) for connections, value in line.items())
            at = [ticks.index(connections) for connections, _ in by_connections]
            width = 2.8 if way == "sidecar" else 1.5
            colour = COLOURS.get(way, "#888888")
            axis.plot(at, [value for _, value in by_connections], marker="o", lw=width, color=colour, label=way)
        axis.set_xticks(range(len(ticks)), [str(tick) for tick in ticks])
        axis.set_xlabel("connections, each with one POST under way")
        axis.set_ylabel("events per second")
        axis.set_title(f"single 1 kB events, against {panel['title']}", fontsize=11)
        axis.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axis.set_ylim(bottom=0)
        axis.grid(axis="y", color="#dddddd")
        axis.spines[["top", "right"]].set_visible(False)
        axis.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.15), ncols=5, fontsize=8)
    figure.tight_layout()
    figure.savefig(sys.argv[1], dpi=130, metadata={"Software": None})


if __name__ == "__main__":
    main()
