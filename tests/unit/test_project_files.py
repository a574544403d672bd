"""What stands around the code agrees with it: releases, the citation, workflows, forms, and which tests run when."""

from __future__ import annotations

import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli", reason="Python 3.10 reads TOML with tomli")

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
AGREES = runpy.run_path(str(ROOT / ".ci" / "release_agrees.py"))
RELEASED = tuple(AGREES["found"](ROOT))


def read(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


# -- a release -----------------------------------------------------------------------------------------------------


def test_version_changelog_citation_and_chart_name_the_same_release() -> None:
    assert AGREES["differences"](ROOT) == []


@pytest.mark.parametrize("name", RELEASED)
def test_a_file_that_was_left_behind_is_named(name: str, tmp_path: Path) -> None:
    for one in RELEASED:
        (tmp_path / one).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / one, tmp_path / one)
    version = AGREES["found"](ROOT)[name][0]
    left = tmp_path / name
    left.write_text(left.read_text(encoding="utf-8").replace(version, "9.9.9"), encoding="utf-8")
    said = AGREES["differences"](tmp_path)
    expected = [one for one in RELEASED if one != RELEASED[0]] if name == RELEASED[0] else [name]
    assert [line.split()[0] for line in said] == expected


def test_the_released_chart_is_the_one_that_the_manifests_were_rendered_from() -> None:
    version = AGREES["found"](ROOT)["line_plugin/version.py"][0]
    text = (ROOT / "deploy" / "kubernetes" / "ood-monitor.yml").read_text(encoding="utf-8")
    assert set(re.findall(r"helm\.sh/chart: ood-monitor-(\S+)", text)) == {version}


def test_the_citation_names_the_paper_of_the_method_and_the_licence_of_the_project() -> None:
    citation = read("CITATION.cff")
    assert citation["license"] == PROJECT["project"]["license"]
    assert citation["title"] == PROJECT["project"]["name"]
    (paper,) = (r for r in citation["references"] if r["title"].startswith("LINe:"))
    assert [a["family-names"] for a in paper["authors"]] == ["Ahn", "Park", "Kim"]
    assert paper["title"].removeprefix("LINe: ") in " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())


def test_upgrading_says_what_this_release_reads_and_writes() -> None:
    from line_plugin.method.artifact_file import SCHEMA_VERSION as ARTIFACT
    from line_plugin.version import __version__
    from monitor.math.packing import FORMAT, WITHOUT_RHYTHM
    from monitor.store.keys import SCHEMA_VERSION

    text = (ROOT / "docs" / "upgrading.md").read_text(encoding="utf-8")
    (row,) = (line for line in text.splitlines() if line.startswith(f"| **{__version__}** |"))
    cells = [cell.strip() for cell in row.split("|")[2:-1]]
    assert cells == [
        str(SCHEMA_VERSION), str(FORMAT), f"{WITHOUT_RHYTHM}, {FORMAT}", str(ARTIFACT), str(ARTIFACT),
    ]  # fmt: skip


# -- workflows and forms -------------------------------------------------------------------------------------------


def test_the_tests_run_on_every_python_that_the_package_names_with_oldest_and_newest_dependencies() -> None:
    prefix = "Programming Language :: Python :: 3."
    named = [
        c.removeprefix("Programming Language :: Python :: ") for c in PROJECT["project"]["classifiers"] if prefix in c
    ]
    matrix = read(".github/workflows/ci.yml")["jobs"]["test"]["strategy"]["matrix"]
    assert named
    assert [python for python in matrix["python"] if python in named] == named
    assert PROJECT["project"]["requires-python"] == f">={named[0]}" == f">={matrix['python'][0]}"
    assert matrix["resolution"] == ["highest", "lowest-direct"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.name)
def test_a_workflow_has_no_right_that_no_job_asks_for_and_no_job_runs_for_ever(path: Path) -> None:
    workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert workflow["permissions"] == {}
    for name, job in workflow["jobs"].items():
        assert job["permissions"], name
        assert job["timeout-minutes"] <= 90, name


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.name)
def test_every_make_target_of_a_workflow_exists(path: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, flags=re.MULTILINE))
    steps = [s.get("run", "") for job in yaml.safe_load(path.read_text("utf-8"))["jobs"].values() for s in job["steps"]]
    used = {word for run in steps for line in re.findall(r"^make (.*)$", run, re.MULTILINE) for word in line.split()}
    assert used
    assert used <= targets


def test_actionlint_finds_nothing_in_the_workflows() -> None:
    tool = shutil.which("actionlint")
    if tool is None:
        pytest.skip("actionlint is not installed: go install github.com/rhysd/actionlint/cmd/actionlint@v1.7.12")
    done = subprocess.run([tool, *map(str, WORKFLOWS)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_zizmor_finds_nothing_in_the_workflows() -> None:
    tool = shutil.which("zizmor", path=str(Path(sys.executable).parent)) or shutil.which("zizmor")
    if tool is None:
        pytest.skip("zizmor is not installed: pip install zizmor")
    command = [tool, "--offline", "--quiet", "--config", ".github/zizmor.yml", ".github"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", ["wrong", "wish"])
def test_a_form_for_issues_has_what_its_host_asks_for(name: str) -> None:
    form = read(f".github/ISSUE_TEMPLATE/{name}.yml")
    assert set(form) == {"name", "description", "labels", "body"}
    asked = [part for part in form["body"] if part["type"] != "markdown"]
    assert len({part["id"] for part in asked}) == len(asked)
    for part in asked:
        assert part["type"] in {"textarea", "dropdown", "checkboxes"}
        assert part["attributes"]["label"]
        options = part["attributes"].get("options", [])
        assert all(isinstance(one, str) for one in options) or part["type"] == "checkboxes"
    assert any(part.get("validations", {}).get("required") for part in asked)


def test_every_folder_that_has_an_owner_exists() -> None:
    lines = (ROOT / ".github" / "CODEOWNERS").read_text(encoding="utf-8").splitlines()
    owned = [line.split()[0] for line in lines if line and not line.startswith("#")]
    assert len(owned) > 5
    for place in owned[1:]:
        assert (ROOT / place.lstrip("/")).exists(), place


def test_what_runs_before_a_commit_is_what_make_check_runs() -> None:
    local = [h for repo in read(".pre-commit-config.yaml")["repos"] if repo["repo"] == "local" for h in repo["hooks"]]
    assert [h["entry"].split()[0].removeprefix(".venv/bin/") for h in local] == ["ruff", "ruff", "mypy", "lint-imports"]


def test_every_decision_is_listed_and_has_its_three_parts() -> None:
    folder = ROOT / "docs" / "decisions"
    pages = sorted(folder.glob("0*.md"))
    assert [p.name[:4] for p in pages] == [f"{n:04d}" for n in range(1, len(pages) + 1)]
    listed = re.findall(r"\]\((\d{4}-[a-z-]+\.md)\)", (folder / "README.md").read_text(encoding="utf-8"))
    assert listed == [p.name for p in pages]
    for page in pages:
        parts = re.findall(r"^## (.*)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
        assert parts == ["Context", "Decision", "Consequences"], page.name
