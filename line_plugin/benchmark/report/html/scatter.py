"""Draws near-OOD against far-OOD with one point for each method, and marks those that no other beats on both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from line_plugin.benchmark.report.html import svg

_SIZE = (560.0, 400.0)  # points
_FRAME = (52.0, 14.0, 544.0, 356.0)
_TICKS = (0, 20, 40, 50, 60, 70, 80, 85, 90, 93, 95, 97, 98, 99, 99.5, 99.8, 99.9, 99.95, 99.98, 99.99)
_FLOOR = 0.005  # the most points of AUROC below 100 that are drawn


@dataclass(frozen=True)
class Point:
    """A method's mean AUROCs, in per cent."""

    label: str
    near: float
    far: float


def pareto(points: Sequence[Point]) -> list[int]:
    """The indices of the points that no other point dominates in the two means, by near AUROC."""
    front = [
        i
        for i, p in enumerate(points)
        if not any(o.near >= p.near and o.far >= p.far and (o.near > p.near or o.far > p.far) for o in points)
    ]
    return sorted(front, key=lambda i: points[i].near)


def scatter(name: str, points: Sequence[Point]) -> str:
    """Draws the picture. Both axes are logarithmic in 100 - AUROC, so that good methods lie apart."""
    from matplotlib.figure import Figure

    front = pareto(points)
    with svg.page_style():
        figure = Figure(figsize=(_SIZE[0] / 72, _SIZE[1] / 72), dpi=72)
        left, top, right, bottom = _FRAME
        place = (left / _SIZE[0], 1 - bottom / _SIZE[1], (right - left) / _SIZE[0], (bottom - top) / _SIZE[1])
        ax = figure.add_axes(place)
        at = [(_missing(p.far), _missing(p.near)) for p in points]
        for axis, values in (("x", [x for x, _ in at]), ("y", [y for _, y in at])):
            _scale(ax, axis, values)
        ax.grid(visible=True)
        ax.plot([at[i][0] for i in front], [at[i][1] for i in front], color=svg.MUTED, lw=1, ls="--", zorder=2)
        for i, (x, y) in enumerate(at):
            chosen = i in front
            face, edge = (svg.NEAR, svg.INK) if chosen else (svg.MUTED, svg.MUTED)
            ax.plot([x], [y], "D" if chosen else "o", color=face, markeredgecolor=edge, ms=7 if chosen else 5, zorder=3)
        ax.set_xlabel("mean AUROC of far-OOD, %", labelpad=3)
        ax.set_ylabel("mean AUROC of near-OOD, %", labelpad=3)
        _write_labels(ax, [p.label for p in points], at, set(front))
        names = ", ".join(points[i].label for i in front)
        about = f"Mean AUROC of near-OOD against far-OOD for {len(points)} methods. On the Pareto front: {names}."
        return svg.inline(figure, name, about)


def _missing(auroc: float) -> float:
    return max(_FLOOR, 100 - auroc)


def _scale(ax: Any, axis: str, values: Sequence[float]) -> None:
    """Sets a logarithmic axis of 100 - AUROC that runs backwards and is labelled with the AUROC."""
    low, high = min(values) / 1.5, min(100.0, max(values) * 1.5)
    getattr(ax, f"set_{axis}scale")("log")
    getattr(ax, f"set_{axis}lim")(high, low)
    ticks = [t for t in _TICKS if low <= 100 - t <= high]
    getattr(ax, f"set_{axis}ticks")([100 - t for t in ticks], [f"{t:g}" for t in ticks])
    ax.minorticks_off()


def _write_labels(ax: Any, labels: Sequence[str], at: Sequence[tuple[float, float]], front: set[int]) -> None:
    """Writes names beside their points, away from other points and names. A thin line leads back to the point."""
    spots = [tuple(ax.transData.transform(p)) for p in at]
    left, top, right, bottom = _FRAME
    taken = [(x - 5, y - 5, x + 5, y + 5) for x, y in spots]
    for i in sorted(range(len(labels)), key=lambda i: (i not in front, spots[i])):
        x, y = spots[i]
        wide = 5.4 * len(labels[i])
        for radius in (9, 16, 26, 38, 52, 68, 86):
            boxes = [_box(x, y, dx * radius, dy * radius, wide) for dx, dy in _DIRECTIONS]
            free = [
                b for b in boxes if _inside(b, left, _SIZE[1] - bottom, right, _SIZE[1] - top) and not _hits(b, taken)
            ]
            if free:
                box = free[0]
                break
        else:
            box = _box(x, y, 9, 0, wide)
        taken.append(box)
        middle = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
        if radius > 9:
            line = [(x, y), (min(max(x, box[0]), box[2]), middle[1])]
            ends = [ax.transData.inverted().transform(p) for p in line]
            ax.plot([e[0] for e in ends], [e[1] for e in ends], color=svg.MUTED, lw=0.6, zorder=1)
        spot = ax.transData.inverted().transform((box[0], middle[1]))
        ax.text(*spot, labels[i], va="center", fontsize=9, weight="bold" if i in front else "normal", zorder=4)


_DIRECTIONS = ((1, 0), (-1, 0), (0, 1), (0, -1), (0.8, 0.8), (0.8, -0.8), (-0.8, 0.8), (-0.8, -0.8))
_Box = tuple[float, float, float, float]


def _box(x: float, y: float, dx: float, dy: float, wide: float) -> _Box:
    """The box of a name of that width at ``dx, dy`` from its point."""
    low = x + dx if dx > 0 else x + dx - wide if dx < 0 else x - wide / 2
    return (low, y + dy - 5.5, low + wide, y + dy + 5.5)


def _inside(box: _Box, left: float, bottom: float, right: float, top: float) -> bool:
    return box[0] >= left + 2 and box[1] >= bottom + 2 and box[2] <= right + 10 and box[3] <= top + 8


def _hits(box: _Box, taken: Sequence[_Box]) -> bool:
    return any(box[0] < t[2] and t[0] < box[2] and box[1] < t[3] and t[1] < box[3] for t in taken)
