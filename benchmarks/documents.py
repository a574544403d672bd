"""Tables of a benchmark in the docs: each stands between two marks, and whoever measures again writes it anew.

A mark is a comment of its own line, ``<!-- table NAME -->``, and the table ends at ``<!-- end -->``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Table = Sequence[Mapping[str, Any]]
_MARKED = re.compile(r"^<!-- table (\S+) -->\n.*?^<!-- end -->$", re.MULTILINE | re.DOTALL)


def as_markdown(rows: Table) -> str:
    """The columns are those of the first row."""
    columns = list(rows[0])
    lines = [columns, ["-"] * len(columns), *([str(row[c]) for c in columns] for row in rows)]
    return "\n".join(f"|{'-|' * len(columns)}" if i == 1 else f"| {' | '.join(line)} |" for i, line in enumerate(lines))


def put(text: str, tables: Mapping[str, Table]) -> tuple[str, set[str]]:
    """The page with every table between its marks, and which tables it has a place for; the rest stays as it is."""
    found = {name for name in _MARKED.findall(text) if name in tables}

    def written(match: re.Match[str]) -> str:
        name = match[1]
        if name not in tables:
            return match[0]
        return f"<!-- table {name} -->\n{as_markdown(tables[name])}\n<!-- end -->"

    return _MARKED.sub(written, text), found


def put_tables(folder: Path, tables: Mapping[str, Table]) -> list[Path]:
    """Write the tables into the pages of a folder, and say which pages changed.

    Raises:
        SystemExit: a table has no place in any page; nothing is written then.
    """
    pages, placed = {}, set()
    for path in sorted(folder.glob("*.md")):
        before = path.read_text(encoding="utf-8")
        after, found = put(before, tables)
        placed |= found
        if after != before:
            pages[path] = after
    missing = sorted(set(tables) - placed)
    if missing:
        raise SystemExit(f"no place for the table {missing[0]} in {folder}: expected <!-- table {missing[0]} -->")
    for path, text in pages.items():
        path.write_text(text, encoding="utf-8")
    return list(pages)
