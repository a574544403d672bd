"""``--arch hf:FOLDER``: classifiers that transformers saved, as small as they may be, and folders that are no such."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from line_plugin import networks
from line_plugin.benchmark.protocol import images, spec
from line_plugin.cli import main, options, parser
from line_plugin.errors import CheckpointError, SettingsError
from line_plugin.networks.fingerprint import fingerprint
from line_plugin.networks.head import find_head
from line_plugin.networks.huggingface import load_folder, read_preprocessing
from tests.integration.small_world import CLASSES, make_world

transformers = pytest.importorskip("transformers", reason="needs transformers")
MEAN, STD = [0.4, 0.5, 0.6], [0.2, 0.3, 0.25]
PROCESSORS: dict[str, dict[str, Any]] = {
    "vit": {"image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 32}, "resample": 2},
    "resnet": {
        "image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 32}, "crop_pct": 0.8, "resample": 3
    },
    "convnext": {"feature_extractor_type": "ConvNextFeatureExtractor", "size": 32, "crop_pct": 0.8, "resample": 3},
    "swin": {"image_processor_type": "ViTImageProcessorFast", "size": {"height": 32, "width": 32}, "resample": 3},
}  # fmt: skip


def config_of(kind: str, **more: object) -> Any:
    made: dict[str, Any] = {
        "vit": lambda **k: transformers.ViTConfig(
            hidden_size=16, num_hidden_layers=2, intermediate_size=32, image_size=32, patch_size=8, **k
        ),
        "resnet": lambda **k: transformers.ResNetConfig(
            embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", **k
        ),
        "convnext": lambda **k: transformers.ConvNextConfig(hidden_sizes=[8, 16], depths=[1, 1], num_stages=2, **k),
        "swin": lambda **k: transformers.SwinConfig(
            image_size=32, patch_size=4, embed_dim=8, depths=[1, 1], num_heads=[1, 2], window_size=4, **k
        ),
    }
    heads = {"num_attention_heads": 2} if kind == "vit" else {}
    return made[kind](**{"num_labels": CLASSES, **heads, **more})


def save(folder: Path, kind: str = "vit", **more: object) -> Any:
    """Write a classifier and how its images are prepared; returns the network."""
    torch.manual_seed(0)
    net = transformers.AutoModelForImageClassification.from_config(config_of(kind, **more)).eval()
    net.save_pretrained(folder)
    write(folder, "preprocessor_config.json", {**PROCESSORS[kind], "image_mean": MEAN, "image_std": STD})
    return net


def write(folder: Path, name: str, content: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(content))


def change(folder: Path, name: str, **what: object) -> None:
    write(folder, name, {**json.loads((folder / name).read_text()), **what})


@pytest.mark.parametrize("kind", PROCESSORS)
def test_the_features_of_a_run_are_those_of_transformers(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net = save(tmp_path / "net", kind)
    world = make_world(tmp_path / "data")
    flags = ["--id-data", str(world), "--data-root", str(world.parent), "--arch", f"hf:{tmp_path / 'net'}"]
    flags += ["--device", "cpu", "--num-workers", "0", "--cache-dir", str(tmp_path / "cache")]
    capsys.readouterr()
    assert main(["eval", *flags, "--postprocessor", "line,msp", "--json"]) == 0, capsys.readouterr().err
    assert set(json.loads(capsys.readouterr().out)["methods"]) == {"line", "msp"}
    about = {json.loads(p.read_text())["set"]: p.parent for p in (tmp_path / "cache/features").glob("*/about.json")}
    found = np.load(about["small test"] / "features.npy")

    prepare = images.transform(spec.Preprocessing.model_validate(read_preprocessing(tmp_path / "net")))
    lines = (world.parent / "lists/test.txt").read_text().splitlines()
    batch = torch.stack([prepare(Image.open(world.parent / "images" / line.rsplit(" ", 1)[0])) for line in lines])
    seen: list[torch.Tensor] = []
    head = find_head(load_folder(tmp_path / "net"), batch[:1]).path.removeprefix("net.")
    net.get_submodule(head).register_forward_hook(lambda _m, inputs, _o: seen.append(inputs[0]))
    with torch.no_grad():
        predicted = net(pixel_values=batch).logits.argmax(dim=1)
    np.testing.assert_allclose(found, seen[0].numpy(), rtol=1e-4, atol=1e-5)
    assert np.load(about["small test"] / "predicted.npy").tolist() == predicted.tolist()


def test_fit_calibrate_and_score_take_the_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(tmp_path / "net")
    world = make_world(tmp_path / "data")
    network = ["--arch", f"hf:{tmp_path / 'net'}", "--device", "cpu", "--num-workers", "0"]
    data = ["--id-data", str(world), "--data-root", str(world.parent), "--cache-dir", str(tmp_path / "cache")]
    artifact = str(tmp_path / "line.safetensors")
    assert main(["fit", *data, *network, "--output", artifact]) == 0
    assert main(["calibrate", artifact, *data, *network]) == 0
    capsys.readouterr()
    scored = ["score", str(world.parent / "images/far_a"), "--artifact", artifact, "--format", "jsonl"]
    assert main([*scored, *network]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 16
    change(tmp_path / "net", "preprocessor_config.json", resample=0)
    assert main([*scored, *network]) == 1
    assert "was fitted on images prepared with" in capsys.readouterr().err


@pytest.mark.parametrize("kind", PROCESSORS)
def test_images_are_prepared_as_transformers_prepares_them(kind: str, tmp_path: Path) -> None:
    write(tmp_path, "preprocessor_config.json", {**PROCESSORS[kind], "image_mean": MEAN, "image_std": STD})
    ours = images.transform(spec.Preprocessing.model_validate(read_preprocessing(tmp_path)))
    classes = {"ViT": transformers.ViTImageProcessorPil, "ConvNext": transformers.ConvNextImageProcessorPil}
    name = str(PROCESSORS[kind].get("image_processor_type") or PROCESSORS[kind].get("feature_extractor_type"))
    theirs = next(c for n, c in classes.items() if name.startswith(n)).from_pretrained(tmp_path)
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8))
    expected = theirs(image, return_tensors="pt")["pixel_values"][0]
    torch.testing.assert_close(ours(image), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"image_processor_type": "BitImageProcessor", "size": {"shortest_edge": 256}, "do_center_crop": True,
          "crop_size": {"height": 224, "width": 224}, "resample": 3}, (256, 224, "bicubic")),
        ({"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 224}, "crop_pct": 0.875,
          "resample": 3}, (256, 224, "bicubic")),
        ({"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 384}, "crop_pct": 0.875,
          "resample": 3}, ((384, 384), None, "bicubic")),
        ({"feature_extractor_type": "ViTFeatureExtractor", "size": 224}, ((224, 224), None, "bilinear")),
        ({"image_processor_type": "DeiTImageProcessor", "size": 256, "crop_size": 224, "do_center_crop": True,
          "resample": 3}, ((256, 256), 224, "bicubic")),
        ({"image_processor_type": "ViTImageProcessor", "do_resize": False}, (None, None, "bilinear")),
    ],
)  # fmt: skip
def test_the_usual_preprocessors_are_understood(tmp_path: Path, told: dict[str, Any], expected: object) -> None:
    write(tmp_path, "preprocessor_config.json", {"image_mean": MEAN, "image_std": STD, **told})
    found = read_preprocessing(tmp_path)
    assert (found["resize"], found["crop"], found["interpolation"]) == expected
    assert (found["mean"], found["std"]) == (tuple(MEAN), tuple(STD))
    change(tmp_path, "preprocessor_config.json", do_normalize=False)
    assert read_preprocessing(tmp_path)["std"] == (1, 1, 1)


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"image_processor_type": "EfficientNetImageProcessor"}, "is of type EfficientNetImageProcessor, known: "),
        ({"image_processor_type": None}, r"is of type \(none\)"),
        ({"do_flip_channel_order": True}, "asks for do_flip_channel_order"),
        ({"do_rescale": False}, "does not divide by 255"),
        ({"rescale_factor": 1 / 127.5}, "does not divide by 255"),
        ({"image_mean": None}, "has no usable"),
        ({"image_mean": [0.5], "image_std": [0.5]}, "has 1 channels, expected 3"),
        ({"size": {"longest_edge": 20}}, "has no usable 'height'"),
        ({"do_center_crop": True, "crop_size": {"height": 20, "width": 30}}, "has no usable square crop_size"),
        ({"resample": 17}, "has no usable 17"),
    ],
)
def test_a_preprocessor_that_does_something_else_is_refused_and_the_flags_are_named(
    tmp_path: Path, told: dict[str, Any], message: str
) -> None:
    save(tmp_path)
    change(tmp_path, "preprocessor_config.json", **told)
    with pytest.raises(SettingsError, match=message) as caught:
        read_preprocessing(tmp_path)
    assert "--resize, --crop, --mean, --std, --interpolation" in str(caught.value)
    flags = [
        "--arch",
        f"hf:{tmp_path}",
        "--resize",
        "36",
        "--crop",
        "32",
        "--mean",
        "0",
        "0",
        "0",
        "--std",
        "1",
        "1",
        "1",
    ]
    given = options.benchmark_of(parser().parse_args(["eval", *flags])).preprocessing
    assert (given.resize, given.crop, given.std) == (36, 32, (1, 1, 1))


def test_flags_win_over_the_file_one_by_one(tmp_path: Path) -> None:
    save(tmp_path)
    args = parser().parse_args(["eval", "--arch", f"hf:{tmp_path}", "--resize", "40x50", "--crop", "0"])
    found = options.benchmark_of(args).preprocessing
    assert (found.resize, found.crop, found.mean, found.interpolation) == ((40, 50), None, tuple(MEAN), "bilinear")


@pytest.mark.slow
def test_nothing_is_asked_of_the_network(tmp_path: Path) -> None:
    save(tmp_path)
    code = (
        "import socket, sys\n"
        "def refuse(*a, **k): raise SystemExit('a connection was opened')\n"
        "socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse\n"
        "from line_plugin import networks\n"
        f"print(type(networks.build({f'hf:{tmp_path}'!r}, 3).net).__name__)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False)
    assert done.stdout.strip() == "ViTForImageClassification", done.stdout + done.stderr


def test_code_that_the_folder_brings_is_not_run(tmp_path: Path) -> None:
    save(tmp_path)
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Net: ...\nclass Config: ...\n")
    change(
        tmp_path, "config.json", auto_map={"AutoConfig": "evil.Config", "AutoModelForImageClassification": "evil.Net"}
    )
    with pytest.raises(SettingsError, match="wants to run code that it brings along, which is never done"):
        load_folder(tmp_path)
    assert not (tmp_path / "ran").exists()


def test_a_pickle_is_refused_unread(tmp_path: Path) -> None:
    net = save(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save(net.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"holds no model\.safetensors"):
        load_folder(tmp_path)
    for name in ("pytorch_model.bin", "../elsewhere.safetensors"):
        shards = dict.fromkeys(net.state_dict(), name)
        write(tmp_path, "model.safetensors.index.json", {"metadata": {}, "weight_map": shards})
        with pytest.raises(CheckpointError, match=f"names '{name}', and other formats can hold code"):
            load_folder(tmp_path)


def test_weights_in_several_files_are_read(tmp_path: Path) -> None:
    net = save(tmp_path / "one")
    net.save_pretrained(tmp_path / "many", max_shard_size="5KB")
    assert len(list((tmp_path / "many").glob("*.safetensors"))) > 1
    assert fingerprint(load_folder(tmp_path / "many")) == fingerprint(load_folder(tmp_path / "one"))


def test_a_network_without_a_trained_head_is_refused(tmp_path: Path) -> None:
    transformers.ViTModel(config_of("vit")).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=r"has no weights for classifier\.bias and 1 more"):
        load_folder(tmp_path)


def break_as(folder: Path, how: str) -> None:
    save(folder)
    {
        "no folder": lambda: [p.unlink() for p in folder.iterdir()] and folder.rmdir(),
        "no config": (folder / "config.json").unlink,
        "no json": lambda: (folder / "config.json").write_text("{half"),
        "deep json": lambda: (folder / "config.json").write_text("[" * 100_000),
        "a list": lambda: write(folder, "config.json", [1]),
        "too large": lambda: (folder / "config.json").write_bytes(b" " * (17 << 20)),
        "other kind": lambda: change(folder, "config.json", model_type="bert"),
        "no kind": lambda: change(folder, "config.json", model_type="never heard of"),
        "half the weights": lambda: (folder / "model.safetensors").write_bytes(
            (folder / "model.safetensors").read_bytes()[:-100]
        ),
        "no tensors": lambda: (folder / "model.safetensors").write_bytes(b"\xff" * 64),
        "other sizes": lambda: change(folder, "config.json", hidden_size=24),
    }[how]()


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("no folder", "is not a folder here, and nothing is downloaded"),
        ("no config", "has no config.json that can be read (No such file or directory)"),
        ("no json", "config.json is not JSON"),
        ("deep json", "config.json is not JSON"),
        ("a list", "config.json holds a list, expected an object"),
        ("too large", "at most 16,777,216 are read"),
        ("other kind", "cannot be loaded as an image classifier of transformers"),
        ("no kind", "cannot be loaded as an image classifier of transformers"),
        ("half the weights", "cannot be loaded as an image classifier of transformers"),
        ("no tensors", "cannot be loaded as an image classifier of transformers"),
        ("other sizes", "cannot be loaded as an image classifier of transformers"),
    ],
)
def test_a_folder_that_is_no_such_is_one_line(
    how: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world = make_world(tmp_path / "data")
    break_as(tmp_path / "net", how)
    capsys.readouterr()
    flags = ["--id-data", str(world), "--data-root", str(world.parent), "--cache-dir", str(tmp_path / "cache")]
    assert main(["eval", *flags, "--arch", f"hf:{tmp_path / 'net'}", "--device", "cpu"]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1, said
    assert message in said
    assert "unexpected" not in said.split("(")[0]


def test_the_number_of_heads_is_part_of_the_networks_identity(tmp_path: Path) -> None:
    save(tmp_path / "two", num_attention_heads=2)
    save(tmp_path / "four", num_attention_heads=4)
    save(tmp_path / "again", num_attention_heads=2)
    two, four, again = (fingerprint(load_folder(tmp_path / name)) for name in ("two", "four", "again"))
    assert two == again, "where the folder lies is none of it"
    assert two != four


def test_a_folder_takes_no_checkpoint_beside_it_and_needs_no_number_of_classes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(tmp_path / "net")
    world = make_world(tmp_path / "data")
    (tmp_path / "x.ckpt").write_bytes(b"x")
    flags = ["--id-data", str(world), "--data-root", str(world.parent), "--arch", f"hf:{tmp_path / 'net'}"]
    assert main(["eval", *flags, "--checkpoint", str(tmp_path / "x.ckpt")]) == 1
    assert "brings its own weights: leave out --checkpoint and --root" in capsys.readouterr().err
    assert main(["eval", "--id-data", "imagenet", "--data-root", "nowhere", "--arch", "hf:google/vit"]) == 1
    assert "is not a folder here, and nothing is downloaded" in capsys.readouterr().err


def test_without_transformers_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(SettingsError, match=r"pip install 'openood-line\[transformers\]'"):
        networks.build(f"hf:{tmp_path}", CLASSES)
