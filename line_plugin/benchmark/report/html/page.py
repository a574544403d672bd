"""Computes every part of the page, only from the files of the runs."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from line_plugin.benchmark.protocol.features import Progress
from line_plugin.benchmark.report.html import charts, choices, details, differences
from line_plugin.benchmark.report.html import entries as rows
from line_plugin.benchmark.report.html.scatter import Point, pareto, scatter
from line_plugin.benchmark.report.published import PublishedRow, published_beside, published_rows
from line_plugin.benchmark.report.run_folder import Run
from line_plugin.errors import SettingsError
from line_plugin.version import __version__

_TEMPLATES = Path(__file__).parent / "templates"
MOST_BYTES = 10_000_000
_ROOM = 10_000  # extra bytes to free, for the sentence that reports what was left out


@dataclass(frozen=True)
class PageOptions:
    """What to put on a page.

    Attributes:
        replicates, seed: bootstrap draws for the intervals (0 leaves them out), and their seed.
        misses: the most images of ID and of each OOD set that are shown, worst first.
        neighbours: how many training images are shown beside each.
        data_root, cache: the folders of images and features; None if they have not moved since the run.
    """

    replicates: int = 1000
    seed: int = 0
    misses: int = 6
    neighbours: int = 3
    data_root: Path | None = None
    cache: Path | None = None


def make_page(runs: Sequence[Run], chosen: PageOptions, progress: Progress | None = None) -> str:
    """Makes the page as text. Equal runs, images and features give equal text.

    Args:
        runs: one or more on the same images.
        chosen: the options of the page.
        progress: called with (steps done, steps in all).

    Raises:
        SettingsError: the runs are on different images, or the page would be larger than 10 MB.
    """
    report = progress or (lambda _done, _total: None)
    images = rows.shared_images(runs)
    report(0, 4)
    entries = rows.measure(runs, images, replicates=chosen.replicates, seed=chosen.seed)
    report(1, 4)
    shown, album = details.show_details(runs, entries, images, chosen)
    report(2, 4)
    compared = differences.compare(entries, images)
    published = _published(runs)
    context = {
        "title": runs[0].record.title or runs[0].record.benchmark,
        "runs": [run.record for run in runs],
        "entries": entries,
        "images": images,
        "metrics": rows.METRICS,
        "best": _best(entries, images),
        "findings": _findings(entries, images, compared),
        "chosen": chosen,
        "scatter": _scatter(entries, images),
        "details": shown,
        "album": album,
        "detailed_neighbours": any(m.neighbours for d in shown for g in d.groups for m in g.shown),
        "roc": _roc(entries, images),
        "dashes": [charts.style_of(i)[1] for i in range(len(entries))],
        "compared": compared,
        "choices": choices.choices_of(entries),
        "sweeps": choices.sweeps_of(entries),
        "published": published,
        "beside": published_beside([e.method.name for e in entries], published),
        "version": __version__,
        "again": _again(chosen),
        "data": _as_data(shown, album, images),
    }
    report(3, 4)
    text = _render(context)
    if (over := len(text.encode()) - MOST_BYTES) > 0 and album.pictures:
        album.drop(over + _ROOM)
        text = _render(context | {"data": _as_data(shown, album, images)})
    if len(text.encode()) > MOST_BYTES:
        raise SettingsError(
            f"the page would have {len(text.encode()) / 1e6:.0f} MB, expected at most {MOST_BYTES / 1e6:.0f}: "
            "show fewer runs or methods, or --misses 0"
        )
    report(4, 4)
    return text


def _render(context: dict[str, Any]) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    style, script = ((_TEMPLATES / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    env = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters |= {"breakable": _breakable, "figure": _figure, "setting": choices.show_setting, "shell": shlex.join}
    hashed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    # Style, script and drawings come from this package, and _as_data escapes the JSON for HTML.
    trusted = {"style": Markup(style), "script": Markup(script), "data": Markup(context["data"])}  # noqa: S704
    env.globals |= {"svg": Markup, "script_sha256": hashed}
    return env.get_template("page.html").render(**(context | trusted)) + "\n"


def _figure(value: float, decimals: int = 2) -> str:
    """Prints a number with a true minus sign, or an en dash if it is missing."""
    return "–" if math.isnan(value) else f"{value:.{decimals}f}".replace("-", "−")


def _breakable(text: str) -> Any:
    """Escapes a name, and allows line breaks in it after an underscore or a slash."""
    from markupsafe import Markup, escape

    wbr = Markup("<wbr>")
    return escape(text).replace("_", "_" + wbr).replace("/", "/" + wbr)


def _best(entries: Sequence[rows.Entry], images: rows.Images) -> dict[str, dict[str, float]]:
    """The best value of each column, as it is printed."""
    return {
        metric: {
            column: (min if metric in rows.LOWER_IS_BETTER else max)(
                round(e.cells[metric][column].value, 2) for e in entries
            )
            for column in images.columns
        }
        for metric in rows.METRICS
    }


def _findings(entries: Sequence[rows.Entry], images: rows.Images, compared: Sequence[differences.Matrix]) -> list[str]:
    """Summarize the page in sentences: which method leads each group, and which do not differ significantly from it."""
    out = []
    matrices = {m.group: m for m in compared}
    for group in images.groups:
        leader = max(entries, key=lambda e: e.cells["auroc"][f"{group}ood"].value)
        cell = leader.cells["auroc"][f"{group}ood"]
        spread = f" (95 % interval {cell.low:.2f} to {cell.high:.2f})" if cell.low == cell.low else ""
        text = f"On {group}-OOD {leader.label} has the highest mean AUROC, {cell.value:.2f} %{spread}."
        if matrix := matrices.get(group):
            same = matrix.not_told_apart(leader.label)
            text += f" These images do not tell it from {_enumerate(same)}." if same else " It differs from all others."
        out.append(text)
    return out


def _enumerate(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


def _scatter(entries: Sequence[rows.Entry], images: rows.Images) -> dict[str, Any] | None:
    if len(images.groups) < 2:
        return None
    points = [Point(e.label, *(e.cells["auroc"][f"{g}ood"].value for g in ("near", "far"))) for e in entries]
    return {"picture": scatter("scatter", points), "front": [points[i].label for i in pareto(points)]}


def _roc(entries: Sequence[rows.Entry], images: rows.Images) -> list[dict[str, str]]:
    out = []
    for number, name in enumerate(images.ood):
        curves = [charts.thin(e.id_scores, e.ood_scores[name]) for e in entries]
        pictures = {
            scale: charts.roc(f"roc{number}{scale}", name, curves, logarithmic=scale == "log")
            for scale in ("lin", "log")
        }
        out.append({"name": name, **pictures})
    return out


def _published(runs: Sequence[Run]) -> list[PublishedRow]:
    """The rows that others published for this benchmark, on the network of the runs if there are any."""
    from line_plugin.benchmark.report.board import network_on_the_board

    record = runs[0].record
    if record.fsood:
        return []
    try:
        return published_rows(record.benchmark, network_on_the_board(record.network.arch) or None)
    except SettingsError:  # nobody has published rows of your own benchmark
        return []


def _again(chosen: PageOptions) -> str:
    return f"openood report RUN --bootstrap {chosen.replicates} --bootstrap-seed {chosen.seed} --misses {chosen.misses}"


def _as_data(shown: Sequence[details.Detail], album: Any, images: rows.Images) -> str:
    """Write the script's data as JSON in which ``<`` and similar characters are escaped, so that no element can end."""
    data = {
        "sets": ["ID", *images.ood],
        "counts": [images.counts["ID"], *(images.counts[n] for n in images.ood)],
        "frame": charts.FRAME,
        "leastFpr": charts.LEAST_FPR,
        "entries": [
            {
                "label": d.label,
                "thresholds": [float(f"{v:.9g}") for v in d.thresholds.values],
                "flagged": [d.thresholds.flagged[n].tolist() for n in ("ID", *images.ood)],
                "span": d.span,
                "calibrated": d.calibrated_position,
            }
            for d in shown
        ],
        "pictures": album.pictures,
    }
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
