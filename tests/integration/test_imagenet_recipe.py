"""docs/imagenet.md, read and run: its data layout, its weights and every one of its commands, in order.

pytestmark = pytest.mark.slow

The tree has the lists and folders of the benchmark with a few tiny images each. Of the benchmark only the number of
classes is another; the networks are torchvision's, untrained.
"""

from __future__ import annotations

import csv
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
import yaml
from PIL import Image

from line_plugin.benchmark.protocol import images, spec
from line_plugin.cli import main, options, parser

PAGE = (Path(__file__).parents[2] / "docs/imagenet.md").read_text(encoding="utf-8")
CLASSES = 3
OOD = 1  # image of each OOD set


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)


def commands() -> list[list[str]]:
    lines = [line for block in blocks("sh") for line in block.replace("\\\n", " ").splitlines()]
    return [shlex.split(line)[1:] for line in lines if line.startswith("openood ")]


WEIGHTS = re.findall(r'\("(\w+)", "(\w+)", "([\w.-]+)"\)', blocks("python")[0])


def evaluations() -> list[list[str]]:
    return [c for c in commands() if c[0] == "eval" and "--fsood" not in c]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A working directory with ``data/`` and the weights that the page saves; the benchmark has 3 classes in it."""
    root = tmp_path_factory.mktemp("imagenet")
    raw = yaml.safe_load(spec.shipped()["imagenet"].read_text())
    raw["num_classes"] = CLASSES
    for images_of in (*raw["id"].values(), *raw["csid"].values()):
        build(root / "data", images_of, CLASSES if images_of is raw["id"]["train"] else 2, labelled=True)
    for images_of in (raw["ood"]["val"], *raw["ood"]["near"].values(), *raw["ood"]["far"].values()):
        build(root / "data", images_of, OOD, labelled=False)
    (root / "imagenet.yml").write_text(yaml.safe_dump(raw, sort_keys=False))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setenv("XDG_CACHE_HOME", str(root / "cache"))
        patch.setattr(spec, "shipped", lambda: {"imagenet": root / "imagenet.yml"})
        build_untrained(patch)
        exec(blocks("python")[0], {})
        yield root


def build(root: Path, images_of: dict[str, str], count: int, *, labelled: bool) -> None:
    """A list with its images, which are as small as they may be and all different."""
    path = root / images_of["list"]
    path.parent.mkdir(parents=True, exist_ok=True)
    name = "texture" if "textures" in path.stem else path.stem
    side = 224 if path.stem.endswith("imagenet_c") else 40  # the only set that is not resized
    rng = np.random.default_rng(sum(path.stem.encode()))
    lines = []
    for i in range(count):
        relative = f"{name}/{i}.png"
        (root / images_of["images"] / name).mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 255, (side, side + 8 if side == 40 else side, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / images_of["images"] / relative)
        lines.append(f"{relative} {i if labelled else -1}\n")
    path.write_text("".join(lines))


def build_untrained(patch: pytest.MonkeyPatch) -> None:
    """torchvision builds instead of downloading, if it knows such weights.

    Of RegNet it builds a small sister: an image of 384 x 384 takes seconds in the real one. Of ViT it keeps two layers.
    """
    real = torchvision.models.get_model

    def untrained(name: str, weights: str | None, num_classes: int = CLASSES) -> torch.nn.Module:
        assert weights is None or torchvision.models.get_model_weights(name)[weights]
        net = real(name.replace("y_16gf", "y_400mf"), weights=None, num_classes=num_classes)
        if name == "vit_b_16":
            net.encoder.layers = net.encoder.layers[:2]
        return net

    patch.setattr(torchvision.models, "get_model", untrained)


def test_the_page_has_the_commands_that_it_promises() -> None:
    assert [c[0] for c in commands()] == ["data", *["eval"] * 5, "data", "eval", "fit", "calibrate", "score"]
    assert [(c[c.index("--arch") + 1], c[c.index("--checkpoint") + 1]) for c in evaluations()] == [
        (f"torchvision:{name}", file) for name, _, file in WEIGHTS
    ]


@pytest.mark.parametrize("which", range(len(WEIGHTS)), ids=[f"{n} {w}" for n, w, _ in WEIGHTS])
def test_the_preprocessing_of_each_command_is_that_of_the_weights_bit_for_bit(which: int) -> None:
    name, weights, _ = WEIGHTS[which]
    theirs = torchvision.models.get_model_weights(name)[weights].transforms()
    benchmark = options.benchmark_of(parser().parse_args(evaluations()[which]))
    ours = images.transform(benchmark.preprocessing)
    pixels = np.random.default_rng(0).integers(0, 255, (300, 411, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    assert torch.equal(ours(image), theirs(image))


@pytest.mark.parametrize("number", range(len(commands())), ids=[f"{i} {c[0]}" for i, c in enumerate(commands())])
def test_every_command_of_the_page_runs(folder: Path, number: int, capsys: pytest.CaptureFixture[str]) -> None:
    command = commands()[number]
    assert main(command) == 0, capsys.readouterr().err
    said = capsys.readouterr().out
    if command[0] != "eval":
        return
    methods = command[command.index("--postprocessor") + 1].split(",")
    results = Path(command[command.index("--output-dir") + 1])
    assert sorted(p.stem for p in results.rglob("*.csv")) == sorted(methods)
    for path in results.rglob("*.csv"):
        with path.open(newline="") as file:
            rows = [row[0] for row in csv.reader(file)][1:]
        assert rows == ["ssb_hard", "ninco", "nearood", "inaturalist", "textures", "openimage_o", "farood"], path
    assert ("Published by others" in said) == ("--published" in command)


def test_the_figures_of_the_page_follow_from_the_lists_and_the_networks() -> None:
    raw = yaml.safe_load((spec.shipped()["imagenet"]).read_text())
    ood = raw["ood"]
    sets = [*raw["id"].values(), ood["val"], *ood["near"].values(), *ood["far"].values()]
    total = sum(s["count"] for s in sets)
    assert f"{total:,} images" in PAGE
    for row, width in (("ResNet-50", 2048), ("ViT-B/16, Swin-T", 768), ("RegNet-Y-16GF", 3024)):
        assert f"| {row} | {width:,} | {total * (width * 4 + 8) / 1e9:.1f} GB |" in PAGE
    for count in (s["count"] for s in (*ood["near"].values(), ood["far"]["inaturalist"], ood["far"]["textures"])):
        assert f"{count:,}" in PAGE
    both = ood["val"]["count"] + ood["far"]["openimage_o"]["count"]
    assert f"{both:,}" in PAGE
