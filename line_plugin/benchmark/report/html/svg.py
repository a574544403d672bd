"""Turns a matplotlib figure into SVG inside a page, with the page's colours, so that it turns dark with the page."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, MUTED, GRID = "#010203", "#010204", "#010205"
ID, NEAR, FAR = "#010206", "#010207", "#010208"
SERIES = tuple(f"#0103{i:02x}" for i in range(10))
"""Placeholder colours. Each is replaced by a variable of the page's style sheet."""

_VARIABLES = {INK: "--ink", MUTED: "--muted", GRID: "--line", ID: "--id", NEAR: "--near", FAR: "--far"}
_VARIABLES |= {colour: f"--c{i}" for i, colour in enumerate(SERIES)}

DASHES = ("", "5 2", "1.5 1.5", "6 2 1.5 2")
"""Dash patterns of SVG. After ten methods the colours repeat with dashes."""


@contextmanager
def page_style() -> Iterator[None]:
    """Matplotlib's settings for a figure of the page. A dollar sign in a name does not start mathematics."""
    import matplotlib as mpl

    settings = {
        "font.size": 9,
        "font.family": "sans-serif",
        "svg.fonttype": "none",
        "svg.hashsalt": "openood",
        "text.parse_math": False,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.edgecolor": MUTED,
        "axes.labelcolor": INK,
        "axes.titlesize": 9.5,
        "axes.facecolor": "none",
        "figure.facecolor": "none",
        "text.color": INK,
        "xtick.color": MUTED,
        "ytick.color": MUTED,
        "xtick.labelsize": 8,
        "ytick.labelsize": 8,
        "grid.color": GRID,
        "grid.linewidth": 0.7,
    }
    with mpl.rc_context(settings):
        yield


def inline(figure: Figure, name: str, described: str) -> str:
    """The figure as an ``<svg>`` element.

    Args:
        figure: a figure drawn within :func:`page_style`, at 72 dots per inch, so that a point is a unit of the SVG.
        name: letters and digits. The ids in the SVG start with it, since the ids of a page must differ.
        described: the text that a screen reader reads instead of the picture.
    """
    from html import escape

    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    found = text.getvalue()
    found = found[found.index("<svg") :]
    found = re.sub(r"<metadata>.*?</metadata>", "", found, flags=re.DOTALL)
    found = re.sub(r"<style[^>]*>.*?</style>", "", found, flags=re.DOTALL)
    found = re.sub(r"<!--.*?-->", "", found, flags=re.DOTALL)
    found = re.sub(r'\bid="', f'id="{name}-', found)
    found = re.sub(r"url\(#", f"url(#{name}-", found)
    found = re.sub(r'xlink:href="#', f'href="#{name}-', found)
    found = re.sub(r'\bd="[^"]*"', _shorten_path, found)
    found = re.sub(r"font-family:[^;\"]*;?|font: ([\d.]+px)[^;\"]*;?", _font_size, found)
    for colour, variable in _VARIABLES.items():
        found = found.replace(colour, f"var({variable})")
    width, height = (72 * float(v) for v in figure.get_size_inches())
    head = f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(described)}">'
    found = re.sub(r"<svg[^>]*>", lambda _: head, found, count=1)
    return re.sub(r"\n\s*", "\n", found).strip()


def _shorten_path(match: re.Match[str]) -> str:
    """Rounds a path to a hundredth of a point and removes needless spaces, which halves a page with many curves."""
    short = re.sub(r"\d+\.\d{3,}", lambda number: f"{float(number.group()):.2f}".rstrip("0").rstrip("."), match.group())
    return re.sub(r"\s*([A-Za-z])\s+", r"\1", short).replace(" \n", "").replace("\n", "")


def _font_size(match: re.Match[str]) -> str:
    return f"font-size: {match.group(1)};" if match.group(1) else ""
