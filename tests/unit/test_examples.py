"""Every example of the docstrings and of the pages is run, or given to whatever reads it."""

from __future__ import annotations

import doctest
import importlib
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PAGES = ["README.md", "CONTRIBUTING.md", *sorted(str(p.relative_to(ROOT)) for p in (ROOT / "docs").rglob("*.md"))]
MODULES = sorted(
    str(path.relative_to(ROOT).with_suffix("")).replace("/", ".").removesuffix(".__init__")
    for package in ("line_plugin", "monitor")
    for path in (ROOT / package).rglob("*.py")
    if re.search(r"^\s*>>> ", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
)
RUN_ELSEWHERE = {
    ("CONTRIBUTING.md", "python"): "tests/unit/test_contributing.py",
    ("docs/settings.md", "python"): "tests/unit/test_documentation.py",
    ("docs/score.md", "python"): "tests/unit/test_documentation.py",
    ("docs/evaluation.md", "yaml"): "tests/unit/test_documentation.py",
    ("docs/evaluation.md", "python"): "tests/integration/test_parquet.py",
    ("docs/imagenet.md", "python"): "tests/integration/test_imagenet_recipe.py",
}


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), flags=re.DOTALL)


def having(language: str) -> list[str]:
    """The pages whose examples are run here."""
    return [page for page in PAGES if blocks(page, language) and (page, language) not in RUN_ELSEWHERE]


def test_there_are_examples_of_each_kind() -> None:
    assert len(MODULES) >= 6
    assert len(having("python")) >= 5
    assert len(having("yaml")) >= 4


@pytest.mark.parametrize(("page", "test"), sorted({(page, test) for (page, _), test in RUN_ELSEWHERE.items()}))
def test_what_is_run_elsewhere_is_named_there(page: str, test: str) -> None:
    assert Path(page).stem in (ROOT / test).read_text(encoding="utf-8").replace("_", "-")


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_the_docstrings_give_what_they_show(name: str) -> None:
    found = doctest.testmod(importlib.import_module(name))
    assert found.attempted > 0
    assert found.failed == 0


# -- Python of the pages ---------------------------------------------------------------------------------------------


def classifier() -> Any:
    import torch

    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 16), torch.nn.ReLU(), torch.nn.Linear(16, 3))


def of_the_panel() -> dict[str, Any]:
    import torch

    images = torch.rand(600, 3, 2, 2)
    loader = [(images[i : i + 100], torch.arange(100) % 3) for i in range(0, 600, 100)]
    return {
        "model": classifier(), "train_loader": loader,
        "features": torch.rand(20, 16), "held_out_features": torch.rand(500, 16),
    }  # fmt: skip


def of_the_monitor() -> dict[str, Any]:
    import torch

    return {"model": classifier(), "images": torch.rand(2, 3, 2, 2)}


NAMES: dict[str, Callable[[], dict[str, Any]]] = {
    "docs/openood.md": lambda: {"net": classifier()},
    "docs/panel.md": of_the_panel,
    "docs/monitor.md": of_the_monitor,
}
"""What a page takes for granted."""
NOWHERE = {"kafka:9092": "127.0.0.1:9"}
"""Addresses that must not be looked up, and one at which nobody listens."""


def with_nobody_there(block: str) -> str:
    for address, nobody in NOWHERE.items():
        block = block.replace(address, nobody)
    return block


@pytest.mark.parametrize("page", having("python"))
def test_the_python_of_a_page_runs_from_top_to_bottom(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    scope = NAMES.get(page, dict)()
    for block in blocks(page, "python"):
        if "from openood." in block:  # it needs OpenOOD and its data: tests/integration/test_openood_parity.py runs it
            compile(block, page, "exec")
            continue
        exec(compile(with_nobody_there(block), page, "exec"), scope)
    if "publisher" in scope:
        scope["publisher"].close(0)
        assert scope["publisher"].dropped == 2


# -- YAML and JSON of the pages --------------------------------------------------------------------------------------

BASE = {
    "model": {"artifact": "line.safetensors"},
    "kafka": {"bootstrap_servers": "127.0.0.1:9092", "topic": "embeddings"},
    "redis": {"url": "redis://127.0.0.1:6379/0"},
}


def settings_of_the_monitor(document: dict[str, Any], folder: Path) -> None:
    """A part of ``monitor.yml``: valid beside the least that has to be there."""
    from monitor.config import validate

    named = json.dumps(document)
    for place in re.findall(r"/run/secrets/[\w.-]+", named):
        (folder / Path(place).name).write_text("0" * 64, encoding="utf-8")
    document = json.loads(named.replace("/run/secrets", str(folder)))
    base = {name: value for name, value in BASE.items() if not (name == "model" and "models" in document)}
    validate({**base, **document})


def routes_of_alertmanager(document: dict[str, Any], folder: Path) -> None:
    """A configuration of Alertmanager without its receivers; the routes name alerts that there are."""
    routes = [document["route"], *document["route"]["routes"]]
    page = (ROOT / "docs/monitor.md").read_text(encoding="utf-8")
    names = re.findall(r'alertname =~? "?([\w|]+)"?', json.dumps(document).replace('\\"', '"'))
    assert names
    assert all(f"| `{name}` |" in page for group in names for name in group.split("|"))
    amtool = shutil.which("amtool")
    if amtool:
        receivers = [{"name": name} for name in {route["receiver"] for route in routes}]
        (folder / "alertmanager.yml").write_text(yaml.safe_dump({**document, "receivers": receivers}), encoding="utf-8")
        subprocess.run(
            [amtool, "check-config", folder / "alertmanager.yml"], check=True, capture_output=True, timeout=60
        )


def secrets_of_the_chart(document: dict[str, Any], _folder: Path) -> None:
    from monitor.config import MonitorConfig

    for secret in document["secrets"]:
        section, key = secret["setting"].removeprefix("OOD_MONITOR__").lower().split("__")
        assert key in MonitorConfig.model_fields[section].annotation.model_fields  # type: ignore[union-attr]
        assert set(secret) == {"setting", "secret", "key"}


def sets_of_a_benchmark(document: dict[str, Any], _folder: Path) -> None:
    from line_plugin.benchmark.protocol.spec import ImageSet

    for one in document["near"].values():
        ImageSet.model_validate(one)


def logger_of_kserve(document: dict[str, Any], _folder: Path) -> None:
    manifest = (ROOT / "configs/recipes/kserve/inferenceservice.yaml").read_text(encoding="utf-8")
    assert document["logger"] in [one["spec"]["predictor"]["logger"] for one in yaml.safe_load_all(manifest)]


READERS: dict[str, Callable[[dict[str, Any], Path], None]] = {
    "route": routes_of_alertmanager,
    "secrets": secrets_of_the_chart,
    "near": sets_of_a_benchmark,
    "logger": logger_of_kserve,
}


@pytest.mark.parametrize("page", having("yaml"))
def test_the_yaml_of_a_page_is_what_its_reader_takes(page: str, tmp_path: Path) -> None:
    for block in blocks(page, "yaml"):
        document = yaml.safe_load(block)
        READERS.get(next(iter(document)), settings_of_the_monitor)(document, tmp_path)


@pytest.mark.parametrize("page", PAGES)
def test_no_example_is_in_a_language_that_nobody_runs(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    found = re.findall(r"^[ >]*```([^\n`]*)\n.*?^[ >]*```", text, flags=re.DOTALL | re.MULTILINE)
    # sh and console are held to the parsers by test_documentation.py and test_documented_commands.py.
    assert {name for name in found if not name.startswith("{")} <= {"python", "yaml", "sh", "console", "text", ""}
