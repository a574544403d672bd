"""``python -m monitor.service.catalogue [FOLDER]``: write the generated pages into the folder of the docs.

``--check`` writes nothing, and exits with 1 if a page is out of date.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from monitor.config import reference
from monitor.service.catalogue.page import page
from monitor.service.catalogue.reasons import with_reasons


def pages(folder: Path) -> dict[Path, str]:
    """Return each generated page as it should be."""
    runbook = folder / "runbook.md"
    return {
        folder / "metrics.md": page(),
        folder / "reference" / "settings.md": reference.page(),
        runbook: with_reasons(runbook.read_text(encoding="utf-8")),
    }


def main() -> int:
    """Write or check the pages, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m monitor.service.catalogue", description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("docs"))
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a page is out of date")
    options = parser.parse_args()
    old = []
    for path, text in pages(options.folder).items():
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        old.append(path)
        if not options.check:
            path.write_text(text, encoding="utf-8")
    done = "is out of date: run `make docs`" if options.check else "is written"
    sys.stdout.writelines(f"{path} {done}\n" for path in old)
    return int(options.check and bool(old))


if __name__ == "__main__":
    sys.exit(main())
