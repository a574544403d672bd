"""The documentation site is whole: it builds without a warning, and its pages load nothing from elsewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("sphinx", reason="Sphinx is not installed: pip install '.[docs]'")

ROOT = Path(__file__).parents[2]


def build(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """What `make site` runs."""
    command = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "--quiet", "-b", "html"]
    return subprocess.run([*command, *map(str, arguments)], capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    built = build("-d", folder / "doctrees", ROOT / "docs", folder / "html")
    assert built.returncode == 0, built.stderr
    return folder / "html"


def test_make_site_builds_in_the_same_way() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "-m sphinx --fail-on-warning --keep-going --quiet -b html" in makefile


def test_every_page_is_there_and_none_loads_anything_from_another_host(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > len(list((ROOT / "docs").rglob("*.md")))
    loaded = re.compile(
        r"""<(?:script|img|iframe|source|video|audio|object|embed)\b[^>]*?\b(?:src|srcset|data)=["']?(?:https?:)?//[^"'>]*"""
        r"""|<link\b[^>]*?\bhref=["']?(?:https?:)?//[^"'>]*"""
    )
    from_sheets = re.compile(r"@import[^;]*//[^;]*|url\(\s*[\"']?(?:https?:)?//[^)]*")
    for page in pages:
        assert not loaded.findall(page.read_text(encoding="utf-8")), page.name
    for sheet in [*site.rglob("*.css"), *pages]:
        assert not from_sheets.findall(sheet.read_text(encoding="utf-8")), sheet.name


def test_the_pages_of_the_commands_hold_every_option(site: Path) -> None:
    import line_plugin.cli
    import monitor.cli

    for program in (line_plugin.cli, monitor.cli):
        parser = program.parser()
        text = (site / "reference" / f"{parser.prog}.html").read_text(encoding="utf-8")
        (commands,) = (action.choices for action in parser._actions if isinstance(action.choices, dict))
        for command in commands.values():
            for action in command._actions:
                for option in set(action.option_strings) - {"-h", "--help"}:
                    assert f">{option}<" in text, (command.prog, option)


def test_a_dead_link_anchor_or_picture_and_a_page_that_no_list_names_end_the_build(tmp_path: Path) -> None:
    pages = tmp_path / "pages"
    pages.mkdir()
    dead = ["[dead](nowhere.md)", "[dead](other.md#lost)", "[dead](#gone)", "![dead](missing.png)"]
    (pages / "index.md").write_text("# Index\n\n" + "\n\n".join([*dead, "```{toctree}\nother\n```"]), encoding="utf-8")
    (pages / "other.md").write_text("# Other\n\nText.\n", encoding="utf-8")
    (pages / "unlisted.md").write_text("# Unlisted\n\nText.\n", encoding="utf-8")
    built = build("-c", ROOT / "docs", pages, tmp_path / "html")
    assert built.returncode != 0
    for complaint in ("nowhere", "lost", "gone", "missing.png", "unlisted.md: WARNING: document isn't included"):
        assert complaint in built.stderr


def test_a_browser_asks_no_other_host_shows_every_picture_and_finds_words(site: Path, chromium: Any) -> None:
    page = chromium.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    pictures = 0
    for name in ("index", "architecture", "tutorial", "alerting", "reference/python", "explanation/line"):
        page.goto(f"{site.as_uri()}/{name}.html")
        page.wait_for_load_state("networkidle")
        widths = page.evaluate("[...document.images].map(image => image.complete ? image.naturalWidth : 0)")
        assert all(widths), name
        pictures += len(widths)
    assert pictures >= 4
    page.goto(f"{site.as_uri()}/search.html?q=canary")
    page.wait_for_selector("#search-results li a")
    assert len(asked) > 10
    assert [url for url in asked if not url.startswith(("file://", "data:"))] == []
