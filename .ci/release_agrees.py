"""Whether version.py, CHANGELOG.md, CITATION.cff and the Helm chart name one release. Prints what differs."""

from __future__ import annotations

import re
import sys
from pathlib import Path

HEADING = re.compile(r"^## \[?(\d+\.\d+\.\d+(?:[-a-z.0-9]*)?)\]? - (\d{4}-\d{2}-\d{2})$", re.MULTILINE)


def found(root: Path) -> dict[str, tuple[str, str]]:
    """Of each file the version and the date that it names; '' if it names none."""

    def line(name: str, pattern: str) -> str:
        match = re.search(pattern, (root / name).read_text(encoding="utf-8"), re.MULTILINE)
        return match[1].strip('"') if match else ""

    released = HEADING.search((root / "CHANGELOG.md").read_text(encoding="utf-8"))
    return {
        "line_plugin/version.py": (line("line_plugin/version.py", r'^__version__ = "(.*)"$'), ""),
        "CHANGELOG.md": (released[1], released[2]) if released else ("", ""),
        "CITATION.cff": (line("CITATION.cff", r"^version: (.*)$"), line("CITATION.cff", r"^date-released: (.*)$")),
        "deploy/helm/ood-monitor/Chart.yaml": (line("deploy/helm/ood-monitor/Chart.yaml", r"^version: (.*)$"), ""),
    }


def differences(root: Path) -> list[str]:
    """One sentence for each file that does not agree with version.py, or with the date of the CHANGELOG."""
    stands = found(root)
    version, date = stands["line_plugin/version.py"][0], stands["CHANGELOG.md"][1]
    said = [
        f"{name} names release {number or 'none'}, line_plugin/version.py says {version}: change one of them"
        for name, (number, _) in stands.items()
        if number != version
    ]
    dated = stands["CITATION.cff"][1]
    if dated != date:
        said.append(f"CITATION.cff is dated {dated or 'not at all'}, CHANGELOG.md dates {version} {date}: change one")
    return said


if __name__ == "__main__":
    wrong = differences(Path(__file__).parents[1])
    print("\n".join(wrong) or "they agree")
    sys.exit(bool(wrong))
