"""What came out of an evaluation, for people and for scripts."""

from line_plugin.benchmark.report.choices import candidates
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
    "Summary",
    "as_json",
    "candidates",
    "comparison",
    "csv_text",
    "from_upstream",
    "rows_json",
    "save_csv",
    "save_scores",
    "summarise",
    "table",
]
