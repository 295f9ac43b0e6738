"""Draws what `make bench` found out, which it gets as JSON on standard input; the argument is the picture to write."""

from __future__ import annotations

import json
import sys
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt

MET, MISSED, OTHER, OWN = "#2a7f62", "#c8553d", "#9aa5b1", "#2563a8"


def main() -> None:
    """Draw bars of times, and a bar for each aim."""
    data: dict[str, Any] = json.load(sys.stdin)
    tables, aims = data["tables"], data["aims"]
    heights = [0.34 * len(table["bars"]) + 1 for table in tables] + [0.27 * len(aims) + 1.2]
    figure, axes = plt.subplots(
        len(heights), 1, figsize=(11, sum(heights)), height_ratios=heights, layout="constrained", squeeze=False
    )
    for axis, table in zip(axes[:-1, 0], tables, strict=True):
        draw_times(axis, table)
    draw_aims(axes[-1, 0], aims)
    figure.savefig(sys.argv[1], dpi=110, metadata={"Software": None})


def draw_times(axis: Any, table: dict[str, Any]) -> None:
    """Draw the medians, with the quartiles as whiskers, on a logarithmic axis."""
    names, medians, lows, highs = zip(*table["bars"], strict=True)
    errors = [
        [median - low for median, low in zip(medians, lows, strict=True)],
        [high - median for median, high in zip(medians, highs, strict=True)],
    ]
    colours = [OWN if name.startswith("releaser") else OTHER for name in names]
    axis.barh(names, medians, xerr=errors, color=colours, ecolor="#333333", capsize=3)
    for place, (median, high) in enumerate(zip(medians, highs, strict=True)):
        axis.text(high * 1.12, place, spell(median), va="center", fontsize=8)
    axis.set_xscale("log")
    axis.set_xlim(min(medians) / 2, max(highs) * 3)
    axis.set_xlabel("seconds, logarithmic; whiskers are the quartiles", fontsize=8)
    finish(axis, table["title"])


def draw_aims(axis: Any, aims: list[dict[str, Any]]) -> None:
    """Draw how much each aim allows is used; beyond the line it is missed."""
    shares = [max(aim["share"], 0.02) for aim in aims]  # so that each has a bar
    names = [aim["what"] for aim in aims]
    axis.barh(range(len(aims)), shares, color=[MET if share <= 1 else MISSED for share in shares])
    axis.set_yticks(range(len(aims)), names)
    for place, (share, aim) in enumerate(zip(shares, aims, strict=True)):
        axis.text(share * 1.06, place, aim["said"], va="center", fontsize=7)
    axis.axvline(1, color="#333333", linewidth=1)
    axis.set_xscale("log")
    axis.set_xlim(0.01, max([*shares, 1.0]) * 12)
    axis.set_xlabel("part of what the aim allows, logarithmic; at most 1 is met", fontsize=8)
    finish(axis, "Aims")


def finish(axis: Any, title: str) -> None:
    """Write the title, and put the first bar at the top."""
    axis.set_title(title, loc="left", fontsize=10, fontweight="bold")
    axis.tick_params(labelsize=8)
    axis.invert_yaxis()
    axis.spines[["top", "right"]].set_visible(False)


def spell(seconds: float) -> str:
    """Write a duration."""
    return f"{seconds * 1000:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


if __name__ == "__main__":
    main()
