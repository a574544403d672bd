"""What the README and the docs tell people to type is valid."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from line_plugin.cli import parser

ROOT = Path(__file__).parents[2]
PAGES = [
    "README.md", "docs/evaluation.md", "docs/results.md", "docs/settings.md", "docs/panel.md", "docs/report.md",
    "docs/score.md", "docs/data.md", "docs/imagenet.md", "docs/ray.md",
]  # fmt: skip


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), flags=re.DOTALL)


def commands() -> list[tuple[str, str]]:
    lines = [(page, line) for page in PAGES for block in blocks(page, "sh") for line in joined(block)]
    return [(page, line.split("  #")[0].replace(" ...", "")) for page, line in lines if line.startswith("openood ")]


def joined(block: str) -> list[str]:
    return block.replace("\\\n", " ").splitlines()


def test_there_are_commands_to_check() -> None:
    assert len(commands()) >= 7


@pytest.mark.parametrize(("page", "line"), commands())
def test_every_openood_command_in_the_docs_parses(page: str, line: str) -> None:
    parser().parse_args(shlex.split(line)[1:])


def test_the_readmes_first_example_runs() -> None:
    scope: dict[str, object] = {}
    exec(blocks("README.md", "python")[0], scope)
    assert getattr(scope["confidence"], "shape", None) == (8,)


def test_the_example_of_the_settings_runs() -> None:
    scope: dict[str, Any] = {}
    first, second = blocks("docs/settings.md", "python")
    exec(first, scope)
    assert len(scope["line"].choice.candidates) == 13
    exec(second, scope)
    assert scope["detector"].choice == scope["line"].choice


def test_the_example_of_an_explanation_runs_and_sums_to_the_confidence() -> None:
    scope: dict[str, Any] = {}
    exec(blocks("docs/score.md", "python")[0], scope)
    assert scope["total"] == pytest.approx(scope["found"].confidence, abs=1e-6, rel=1e-6)


def test_the_benchmark_in_the_docs_is_valid() -> None:
    from line_plugin.benchmark.protocol.spec import Benchmark

    (text,) = blocks("docs/evaluation.md", "yaml")
    benchmark = Benchmark.model_validate(yaml.safe_load(text))
    assert benchmark.num_classes == 12


@pytest.mark.parametrize(
    "page", [str(p.relative_to(ROOT)) for p in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]]
)
def test_every_link_to_a_file_leads_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", text):
        assert ((ROOT / page).parent / target).exists(), target
