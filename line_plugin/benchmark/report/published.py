"""Rows that others published, stored in this package. They are shown beside measured tables, never in them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from line_plugin.errors import SettingsError
from line_plugin.shipped import config_dir

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class Source:
    """The source of rows: title, address, what exactly was read, and when."""

    title: str
    url: str
    read: str
    date: str


@dataclass(frozen=True)
class PublishedRow:
    """One method on one network, in per cent as in its source: ``88.03 ± 0.25``, ``76.02``, or empty if not given.

    Attributes:
        near, far: AUROC of the near-OOD and the far-OOD mean.
        acc: accuracy on ID test.
        note: a remark to read before comparing; mostly empty.
    """

    method: str
    network: str
    near: str
    far: str
    acc: str
    note: str
    source: Source


def published_rows(benchmark: str, network: str | None = None) -> list[PublishedRow]:
    """Published rows of a benchmark, the best mean of near and far first.

    Args:
        benchmark: its name, such as ``cifar10``.
        network: the network's name on the leaderboard, such as ``ResNet18``. Rows that name another are left out,
            unless no row names this one.

    Raises:
        SettingsError: no rows of this benchmark are known.
    """
    known = _read()
    if benchmark not in known["rows"]:
        raise SettingsError(
            f"no published rows of benchmark {benchmark!r}, only of {', '.join(known['rows'])}: leave out --published"
        )
    sources = {name: Source(**{k: str(v) for k, v in s.items()}) for name, s in known["sources"].items()}
    rows = [
        PublishedRow(
            **{k: row[k] for k in ("method", "network", "near", "far", "acc")},
            note=known["notes"].get(row["method"], ""),
            source=sources[row["source"]],
        )
        for row in known["rows"][benchmark]
    ]
    if any(row.network == network for row in rows):
        rows = [row for row in rows if row.network in (network, "")]
    return sorted(rows, key=lambda row: -(number_of(row.near) + number_of(row.far)))


def published_beside(methods: Sequence[str], rows: Sequence[PublishedRow]) -> dict[str, PublishedRow]:
    """The best published row of each of our methods, by our names; methods without a published row are left out."""
    from line_plugin.benchmark.report.board import name_on_the_board

    found: dict[str, PublishedRow] = {}
    for row in sorted(rows, key=lambda r: -(number_of(r.near) + number_of(r.far))):
        found.setdefault(row.method, row)
    return {m: found[name_on_the_board(m)] for m in methods if name_on_the_board(m) in found}


def number_of(text: str) -> float:
    """The mean in ``88.03 ± 0.25``."""
    found = re.match(r"\d+(\.\d+)?", text)
    if not found:
        raise ValueError(f"{text!r} given, expected a number such as 88.03")
    return float(found.group())


def published_json(rows: Sequence[PublishedRow]) -> list[dict[str, Any]]:
    """Rows for ``--json``, each with its source."""
    return [asdict(row) for row in rows]


def published_table(rows: Sequence[PublishedRow]) -> Table:
    """A table of its own, with its sources and their dates as the caption."""
    from rich import box
    from rich.table import Table

    sources = list(dict.fromkeys(row.source for row in rows))
    marks = {source: "*" * i for i, source in enumerate(sources)}
    out = Table(
        title="Published by others, not measured here: AUROC",
        title_justify="left",
        title_style="bold",
        caption="\n".join(f"{marks[s]}{s.title}, {s.date}: {s.url} ({s.read})" for s in sources),
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    for name in ("method", "network"):
        out.add_column(name)
    for name in ("near", "far", "ACC"):
        out.add_column(name, justify="right")
    out.add_column("note", style="dim")
    for row in rows:
        out.add_row(row.method + marks[row.source], row.network or "?", row.near, row.far, row.acc or "-", row.note)
    return out


def _read() -> dict[str, Any]:
    import yaml

    found: dict[str, Any] = yaml.safe_load((config_dir() / "published.yml").read_text(encoding="utf-8"))
    return found
