"""Every command of the pages about data, evaluation and scores is run: here as it stands, or where the table says."""

from __future__ import annotations

import importlib
import json
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from line_plugin.benchmark.protocol import spec
from line_plugin.cli import main
from line_plugin.networks import registry
from tests.fixtures import openood_data
from tests.integration.small_world import make_world
from tests.integration.test_medical_benchmarks import build, small_net

ROOT = Path(__file__).parents[2]
PAGES = ("results", "evaluation", "data", "settings", "score", "report", "methods-by-network", "panel", "upstream")

# Command, without its remark: what runs it in place of this file, as FILE::TEST.
ELSEWHERE = {
    "openood eval --id-data imagenet --arch hf:models/vit-base-patch16-224 --postprocessor line,panel,msp": (
        "integration/test_hugging_face.py::test_the_features_of_a_run_are_those_of_transformers"
    ),
    "openood fit --id-data imagenet --arch hf:models/vit-base-patch16-224 --output vit.safetensors": (
        "integration/test_hugging_face.py::test_fit_calibrate_and_score_take_the_folder"
    ),
    "openood score photos/ --artifact vit.safetensors --arch hf:models/vit-base-patch16-224": (
        "integration/test_hugging_face.py::test_fit_calibrate_and_score_take_the_folder"
    ),
    "openood eval --root runs/ --device cuda:0,cuda:1 ...": (
        "integration/test_several_devices.py::test_two_devices_give_the_figures_of_one"
    ),
    "make demo": (
        "integration/test_quickstart_command.py::test_quickstart_ends_with_a_table_plots_and_a_calibrated_artifact"
    ),
    "bash scripts/ood/line/cifar10_test_ood_line.sh": (
        "integration/test_openood_contribution.py::"
        "test_openoods_own_script_with_the_contribution_scores_as_the_plugin_does"
    ),
    'cp -r "$CONTRIB/openood" "$CONTRIB/configs" "$CONTRIB/scripts" .': (
        "integration/test_openood_contribution.py::test_both_of_openoods_tables_of_methods_name_it"
    ),
    'cp -r "$CONTRIB/src" "$CONTRIB/docs" .': (
        "unit/integrations/test_pytorch_ood_contract.py::test_the_contribution_applies_and_is_exported"
    ),
    'git apply "$CONTRIB/registration.patch"': (
        "integration/test_openood_contribution.py::test_both_of_openoods_tables_of_methods_name_it"
    ),
}
# Commands that no test runs, and why. Their flags are held against the `--help` of the command.
NOT_RUN = {
    "benchmarks.methods_table": "forwards thousands of images and draws 500 samples a method: an hour on two cores",
    "benchmarks.without_relu": "trains a network for a quarter of an hour",
    "benchmarks.settings": "tries 50 clips on each of six networks: minutes",
    "benchmarks.choosing": "forwards a ResNet-50 for minutes",
    "benchmarks.panel": "fits 33 methods on each of six networks: minutes",
    "benchmarks.report_page": "draws two pages of nearly 10 MB: half a minute",
    "benchmarks.scoring_panel": "repeats each case until the ratio is steady: minutes",
}
EXIT = {  # what is not there on purpose
    "openood data imagenet --root /datasets": 3,
    "openood data imagenet --root data --fsood --sweep --strict --json": 3,
}
AS_IF = {"/new/data": "data", "/new/cache": "cache"}  # folders at the top of a file system
ONE_NETWORK = " --id-data cifar10 --data-root data --checkpoint best.ckpt"
SEVERAL_RUNS = " --id-data cifar10 --data-root data"


def documented() -> list[tuple[str, str]]:
    """``(page, command)`` of every block of shell, without remarks."""
    found = []
    for page in PAGES:
        text = (ROOT / f"docs/{page}.md").read_text(encoding="utf-8")
        for block in re.findall(r"```sh\n(.*?)```", text, flags=re.DOTALL):
            for line in block.replace("\\\n", " ").splitlines():
                command = re.split(r"\s{2,}#", line)[0].strip()
                if command and not command.startswith(("export ", "#")):
                    found.append((page, command))
        inline = re.findall(r"`(python -m benchmarks\.[^`]*)`", text)
        found += [(page, " ".join(command.split())) for command in inline]
    return list(dict.fromkeys(found))


def of_openood() -> list[tuple[str, str]]:
    return [(page, c) for page, c in documented() if c.startswith("openood ") and c not in ELSEWHERE]


def test_every_command_is_run_here_or_is_in_the_table() -> None:
    module = re.compile(r"python -m (benchmarks\.\w+)")
    unknown = [
        (page, command)
        for page, command in documented()
        if not command.startswith("openood ")
        and command not in ELSEWHERE
        and " pytest " not in command  # is a test; the next one looks whether it is there
        and not ((m := module.match(command)) and m.group(1) in NOT_RUN)
    ]
    assert unknown == [], "say in the table of this file what runs it, or why nothing does"
    typed = {command for _, command in documented()}
    assert set(ELSEWHERE) <= typed
    assert set(EXIT) <= typed
    assert set(re.findall(module, "\n".join(typed))) == set(NOT_RUN)


def test_a_test_that_a_page_types_is_there() -> None:
    typed = [word for _, command in documented() if " pytest " in command for word in command.split()]
    files = [word for word in typed if word.startswith("tests/")]
    assert files
    assert [f for f in files if not (ROOT / f).is_file()] == []


@pytest.mark.parametrize("named", sorted(set(ELSEWHERE.values())))
def test_the_test_that_the_table_names_is_there(named: str) -> None:
    file, _, test = named.partition("::")
    assert f"\ndef {test}(" in (ROOT / "tests" / file).read_text(encoding="utf-8")


@pytest.mark.parametrize("module", sorted(NOT_RUN))
def test_a_benchmark_that_no_test_runs_has_the_flags_that_the_docs_type(
    module: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [module, "--help"])
    with pytest.raises(SystemExit, match="0"):
        importlib.import_module(module).main()
    said = capsys.readouterr().out
    for _, command in documented():
        if command.startswith(f"python -m {module} ") or command == f"python -m {module}":
            for flag in re.findall(r"--[\w-]+", command):
                assert re.search(rf"{flag}\b", said), command
    print(f"{module} is not run: {NOT_RUN[module]}")


# -- the commands, in a folder that has what they name -----------------------------------------------------------------


class Stage:
    """A folder with data, weights, images, artifacts and saved runs, and networks that forward in no time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        openood_data.build(folder / "data")
        world = make_world(folder / "mine")
        for part in ("images", "lists"):
            (folder / "data" / part).symlink_to(world.parent / part)
        shutil.copy(world, folder / "mine.yml")
        self.weights()
        self.images()

    def weights(self) -> None:
        ten = small_net(10).state_dict()
        (self.folder / "runs/s0").mkdir(parents=True)
        for name in ("best.ckpt", "dense.ckpt", "net.pt", "runs/s0/best.ckpt"):
            torch.save(ten, self.folder / name)
        for name, classes in (("midog", 3), ("phakir", 7), ("oasis3", 2)):
            build(self.folder / "OpenMIBOOD/data", spec.load(name))
            (self.folder / f"OpenMIBOOD/results/{name}").mkdir(parents=True)
            weights = self.folder / f"OpenMIBOOD/results/{name}/{name}_classifier.pth"
            torch.save(small_net(classes).state_dict(), weights)

    def images(self) -> None:
        rng = np.random.default_rng(0)
        for name in ("photos/1.png", "photos/2.png", "incoming/3.png", "a.png", "b.png"):
            path = self.folder / name
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(rng.integers(0, 255, (40, 40, 3), dtype=np.uint8)).save(path)
        (self.folder / "lists").mkdir()
        (self.folder / "lists/incoming.txt").write_text("3.png 0\n")

    def prepare(self) -> None:
        """Artifacts and runs that later pages start from."""
        of = ["--id-data", "cifar10", "--data-root", "data", "--checkpoint", "best.ckpt", "--num-workers", "0"]
        for method in ("line", "panel"):
            assert main(["fit", "--postprocessor", method, *of, "--output", f"{method}.safetensors"]) == 0
            assert main(["calibrate", f"{method}.safetensors", *of]) == 0
        assert main(["eval", "--postprocessor", "line,msp", *of, "--report", "--cache-dir", "cache"]) == 0
        for name in ("a", "b"):
            shutil.copytree("results/cifar10", f"results/{name}")


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("stage")
    made = Stage(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(registry, "_BUILDERS", dict.fromkeys(registry._BUILDERS, small_net))  # names are still checked
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache-home"))
        made.prepare()
        yield folder


@pytest.fixture
def here(stage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of the test's own that looks like the stage."""
    for entry in stage.iterdir():
        if entry.name == "results":
            shutil.copytree(entry, tmp_path / "results")
        elif entry.is_file():
            shutil.copy(entry, tmp_path)
        else:
            (tmp_path / entry.name).symlink_to(entry)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def arguments(command: str) -> list[str]:
    """The flags, with what the page leaves out as `...`, on the CPU and in this process."""
    for there, mine in AS_IF.items():
        command = command.replace(there, mine)
    words = shlex.split(command)[1:]
    if words[-1] == "...":
        words = [*words[:-1], *shlex.split(SEVERAL_RUNS if "--root" in words else ONE_NETWORK)]
    if words[0] in ("eval", "fit", "calibrate", "score"):
        if words[0] != "score" and "--data-root" not in words:
            words += ["--data-root", "data"]
        words += ["--num-workers", "0", "--device", "cpu"]
    return words


@pytest.mark.parametrize(("page", "command"), of_openood())
@pytest.mark.usefixtures("here")
def test_the_command_runs_as_the_page_types_it(
    page: str, command: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path for path in here.rglob("*") if path.is_file()}
    code = main(arguments(command))
    out, err = capsys.readouterr()
    assert code == EXIT.get(command, 0), err
    words = shlex.split(command)
    if "--json" in words:
        json.loads(out)
    if "--output" in words:
        assert (here / words[words.index("--output") + 1]).stat().st_size > 0
    if "--plots" in words:
        assert (here / words[words.index("--plots") + 1]).stat().st_size > 0
    written = {path.name for path in here.rglob("*") if path.is_file()} - {path.name for path in before}
    if "--save-parquet" in words:
        assert "features.parquet" in written
    if "--board" in words:
        assert {"cifar10.csv", "checkpoints.json"} <= written


@pytest.mark.parametrize("page", ["panel"])
@pytest.mark.usefixtures("here")
def test_the_example_in_python_runs(page: str) -> None:
    text = (ROOT / f"docs/{page}.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    torch.manual_seed(0)
    features = torch.rand(40, 12)
    loader = [(torch.randn(50, 3, 32, 32), torch.arange(50) % 10) for _ in range(20)]
    scope: dict[str, Any] = {"model": small_net(10), "train_loader": loader, "features": features}
    exec(code, scope | {"held_out_features": torch.rand(200, 12)})
    assert Path("panel.safetensors").stat().st_size > 0
