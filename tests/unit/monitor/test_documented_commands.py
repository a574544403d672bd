"""Every `ood-monitor` command that the documentation shows is one that the program takes."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from monitor.cli import parser

ROOT = Path(__file__).parents[3]


def commands() -> list[tuple[str, str]]:
    """Page and command, of every block of shell in README.md and docs."""
    found = []
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        for block in re.findall(r"```(?:sh|bash|console)\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL):
            for line in block.replace("\\\n", " ").splitlines():
                bare = line.split("  #")[0].strip().removeprefix("$ ")
                if bare.startswith("ood-monitor "):
                    found.append((str(page.relative_to(ROOT)), bare))
    return found


def test_there_are_commands_to_check():
    assert len(commands()) >= 10


@pytest.mark.parametrize(("page", "line"), commands())
def test_every_command_in_the_docs_parses(page, line):
    words = shlex.split(line.split(" | ")[0].split(" > ")[0].removesuffix("&"))
    parser().parse_args(words[1:])
