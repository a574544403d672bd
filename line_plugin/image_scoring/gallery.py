"""Draws the most OOD and the most ID images with their scores."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from line_plugin.benchmark.report.figures import DPI, FAR_COLOUR, ID_COLOUR, STYLE, save_figure, write_heading
from line_plugin.errors import DataError
from line_plugin.image_scoring.extremes import Extremes
from line_plugin.image_scoring.rows import ImageScore, printable, readable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ACROSS, SIDE, PIXELS = 6, 1.75, 224
"""Images in a row, inches of each, and pixels of its longer side."""
EACH = 2 * ACROSS
"""Images at each end."""


def draw_gallery(path: Path, extremes: Extremes, title: str = "") -> None:
    """Draws both ends of a run. With few images, one may be at both ends.

    Args:
        path: the PNG, written as a whole or not at all.
        extremes: the rows; at most :data:`EACH` are drawn at each end.
        title: the heading; a general one by default.

    Raises:
        DataError: no image has a score, or ``path`` cannot be written.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    ends = [("most OOD", FAR_COLOUR, list(extremes.most_ood())), ("most ID", ID_COLOUR, list(extremes.most_id()))]
    if not ends[0][2]:
        raise DataError(f"no image has a score, so there is nothing to draw in {path}")
    lines = sum(_lines(rows) for _, _, rows in ends)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(ACROSS * SIDE, lines * (SIDE + 0.45) + 0.9), dpi=DPI, layout="constrained")
        axes = figure.subplots(lines, ACROSS, squeeze=False)
        for ax in axes.flat:
            ax.set_axis_off()
        top = 0
        for name, colour, rows in ends:
            _draw_end(list(axes[top : top + _lines(rows)].flat), rows, name, colour)
            top += _lines(rows)
        about = "class and confidence below the file's name; p: share of held-out ID inputs that score as low"
        write_heading(figure, title or "The most OOD and the most ID images", about)
        save_figure(figure, path)


def _lines(rows: Sequence[ImageScore]) -> int:
    return -(-len(rows) // ACROSS)


def _draw_end(axes: Sequence[Axes], rows: Sequence[ImageScore], name: str, colour: str) -> None:
    for place, (ax, row) in enumerate(zip(axes, rows, strict=False), 1):
        ax.imshow(_thumbnail(row.path))
        ax.set_title(f"{name} {place}: {caption(row)}", fontsize=6.5, color=colour, loc="left", parse_math=False)


def caption(row: ImageScore) -> str:
    """File, class, confidence, p-value and, for a panel, the expert with the lowest score, in three short lines."""
    name = printable(readable(Path(row.path.name)))
    text = f"p {row.p_value:.3g}{', flagged' if row.flagged else ''}" if row.p_value is not None else "no p-value"
    if row.lowest_expert:
        text += f", {row.lowest_expert}"
    return f"{name[:18]}\n{(row.class_name or f'class {row.predicted}')[:14]}, {row.confidence:.4g}\n{text}"


def _thumbnail(path: Path) -> Any:
    """A thumbnail of the original image, not of the network's input; grey if the file has been removed."""
    import numpy as np
    from PIL import Image

    try:
        with Image.open(path) as image:
            small = image.convert("RGB")
            small.thumbnail((PIXELS, PIXELS))
            return np.asarray(small)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return np.full((8, 8, 3), 200, dtype=np.uint8)
