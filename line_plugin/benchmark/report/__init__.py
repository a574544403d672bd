"""The results of an evaluation: tables, plots, files for scripts, and the HTML report."""

from line_plugin.benchmark.report.board import Entry, file_of, needs_link, network_on_the_board, save_board
from line_plugin.benchmark.report.choices import candidates
from line_plugin.benchmark.report.published import published_json, published_rows, published_table
from line_plugin.benchmark.report.tables import (
    Summary,
    as_json,
    comparison,
    csv_text,
    from_upstream,
    rows_json,
    save_csv,
    save_scores,
    summarise,
    table,
)

__all__ = [
    "Entry",
    "Summary",
    "as_json",
    "candidates",
    "comparison",
    "csv_text",
    "file_of",
    "from_upstream",
    "needs_link",
    "network_on_the_board",
    "published_json",
    "published_rows",
    "published_table",
    "rows_json",
    "save_board",
    "save_csv",
    "save_scores",
    "summarise",
    "table",
]
