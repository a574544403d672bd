"""Writes the rows of ``openood score``: as a table on the terminal, or as records of a format."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

from line_plugin.cli import options
from line_plugin.errors import SettingsError

if TYPE_CHECKING:
    from line_plugin.image_scoring.rows import ImageScore, Layout
    from line_plugin.image_scoring.scorer import ImageScorer
    from line_plugin.image_scoring.writers import Writer


@contextmanager
def open_receiver(
    args: argparse.Namespace, form: str, scorer: ImageScorer, layout: Layout
) -> Iterator[Table | Records]:
    """The receiver of the rows: a table on the terminal, or a writer of a format."""
    from line_plugin.image_scoring import writers

    if form == "table":
        yield Table(args, scorer, layout)
        return
    artifact = scorer.artifact
    about = {"artifact": artifact.content_sha256, "kind": type(artifact).__name__, "level": scorer.level}
    if args.output is not None:
        with writers.open_output(args.output) as file:
            yield Records(writers.make_writer(form, file, layout, about), scorer, layout, args.explain)
        options.console(stderr=True).print(f"Saved {args.output}", soft_wrap=True, markup=False)
        return
    if form == "parquet" and sys.stdout.isatty():
        raise SettingsError("Parquet is not text for a terminal: give --output FILE.parquet, or redirect")
    stdout: IO[bytes] = sys.stdout.buffer
    yield Records(writers.make_writer(form, stdout, layout, about), scorer, layout, args.explain)
    stdout.flush()


class Records:
    """Writes rows as records of a format, one by one."""

    def __init__(self, writer: Writer, scorer: ImageScorer, layout: Layout, explain: int) -> None:
        self._writer, self._scorer, self._layout, self._explain = writer, scorer, layout, explain

    def write(self, row: ImageScore) -> None:
        """Write one row."""
        from line_plugin.image_scoring.tables import explanation_json

        record = self._layout.record(row)
        if self._explain:
            found = self._scorer.explain(row)
            record["explanation"] = found and explanation_json(found, self._explain)
        self._writer.write(record)

    def end(self, counts: dict[str, int]) -> None:
        """Write what comes after the last row."""
        self._writer.end(counts)


class Table:
    """Prints a table of all rows if they are few, otherwise of the most OOD ones."""

    def __init__(self, args: argparse.Namespace, scorer: ImageScorer, layout: Layout) -> None:
        from line_plugin.image_scoring.extremes import Extremes

        self._scorer, self._layout, self._limit, self._explain = scorer, layout, args.rows, args.explain
        self._first: list[ImageScore] = []
        self._failed: list[ImageScore] = []
        self._worst = Extremes(args.rows)

    def write(self, row: ImageScore) -> None:
        """Keep a row if it may be shown."""
        if len(self._first) <= self._limit:
            self._first.append(row)
        if row.error and len(self._failed) < self._limit:
            self._failed.append(row)
        self._worst.add(row)

    def end(self, counts: dict[str, int]) -> None:
        """Print the table."""
        from line_plugin.image_scoring.tables import explanation_table, score_table

        out, few = options.console(), counts["images"] <= self._limit
        shown = self._first if few else [*self._worst.most_ood(), *self._failed]
        title = "" if few else f"The {len(shown) - len(self._failed)} most OOD of {counts['images']:,} images"
        out.print(score_table(shown, self._layout, title))
        if not few:
            out.print("--rows N shows more of them, --format csv all.")
        for row in shown if self._explain else ():
            found = self._scorer.explain(row)
            if found is not None:
                before, table, after = explanation_table(row, found, self._explain)
                out.print(f"\n{before}", soft_wrap=True, markup=False)
                out.print(table)
                out.print(after, soft_wrap=True, markup=False)
