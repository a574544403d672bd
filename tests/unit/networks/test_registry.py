"""Networks by name: OpenOOD's state dicts and OpenOOD's outputs."""

from __future__ import annotations

import contextlib
import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from line_plugin import networks
from line_plugin.errors import SettingsError
from line_plugin.networks.head import find_head
from line_plugin.networks.tap import forward

# Number of tensors and SHA-256 of the sorted lines "name shape" of upstream's classes at commit 3c35632, 10 classes
# (1000 for RegNet, where upstream has no other): digest(upstream class) below.
RECORDED = {
    "resnet18_32x32": (122, "6699f8ac0e1966fa1b3d9097a2db659777d14a9e1f7bff7a6dd0fc27322bb477"),
    "resnet18_64x64": (122, "6699f8ac0e1966fa1b3d9097a2db659777d14a9e1f7bff7a6dd0fc27322bb477"),
    "resnet18_224x224": (122, "475ae55b6d26f3f5e80f48caad521304555d7d951ddacc4b2b8ebb480bdd5bf4"),
    "resnet18_256x256": (122, "475ae55b6d26f3f5e80f48caad521304555d7d951ddacc4b2b8ebb480bdd5bf4"),
    "resnet50": (320, "5666a3a916402396945a7b46f81a997caa6c4e837a7c88b134eca85f785d77dd"),
    "densenet100_12": (596, "b93ff2addd5404c0a762c0268bce975acb121b8067de9b31d3dd821054a41102"),
    "wrn_28_10": (155, "733853da8aaa8952f93cc846d83f8ae7c5665e5a202157657c90cf5cddea0dec"),
    "wrn_40_2": (227, "0b55f662b02a18cd5cfb5ed8a6838d7a14bfb594efb8a6e1eae8c431de8ef636"),
    "lenet": (10, "3dcc32e8dae613ad3eb2e8d5ebc21663683ed0bd358c48a18338f03af5115fac"),
    "vit_b_16": (152, "d4726e88d78847ca13777c64b64fb014c0e9d0d2293f3cd14d7651ad2e03d735"),
    "swin_t": (185, "7a5baf87323a3757bbb567d7c18aab67189d9beaebe95f50f174cb9d2a9c94d4"),
    "regnet_y_16gf": (428, "70b0d5f51d476f40a574ec2df31af1c0ac5d9160261418b5e7712aceebc771e9"),
}
FEATURES = {
    "resnet18_32x32": (32, 512),
    "resnet18_64x64": (64, 512),
    "resnet18_224x224": (64, 512),
    "densenet100_12": (32, 342),
    "wrn_40_2": (32, 128),
    "lenet": (28, 84),
    "lenet_mnist": (28, 128),
}


def classes_of(name: str) -> int:
    return 1000 if name == "regnet_y_16gf" else 10


def built_without_weights(name: str, num_classes: int) -> nn.Module:
    """On the meta device, where torchvision can do it: no time is spent on random weights."""
    with contextlib.nullcontext() if name.startswith("regnet") else torch.device("meta"):
        return networks.build(name, num_classes)


def digest(model: nn.Module) -> tuple[int, str]:
    lines = sorted(f"{name} {tuple(tensor.shape)}" for name, tensor in model.state_dict().items())
    return len(lines), hashlib.sha256("\n".join(lines).encode()).hexdigest()


@pytest.mark.parametrize("name", RECORDED)
def test_state_dict_has_the_names_and_shapes_of_openood(name: str) -> None:
    assert digest(built_without_weights(name, classes_of(name))) == RECORDED[name]


def upstream(name: str) -> nn.Module:
    """OpenOOD's own class. Its package cannot be imported as a whole on numpy 2, so its file is loaded alone."""
    import importlib.util

    found = importlib.util.find_spec("openood")
    if found is None or not found.submodule_search_locations:
        pytest.skip("upstream OpenOOD is not installed")
    files: dict[str, tuple[str, str, dict[str, Any]]] = {
        "densenet100_12": (
            "densenet",
            "DenseNet3",
            {"depth": 100, "growth_rate": 12, "reduction": 0.5, "bottleneck": True, "dropRate": 0.0},
        ),
        "wrn_28_10": ("wrn", "WideResNet", {"depth": 28, "widen_factor": 10}),
        "wrn_40_2": ("wrn", "WideResNet", {"depth": 40, "widen_factor": 2}),
        "lenet": ("lenet", "LeNet", {"num_channel": 3}),
        "resnet50": ("resnet50", "ResNet50", {}),
        "vit_b_16": ("vit_b_16", "ViT_B_16", {}),
        "swin_t": ("swin_t", "Swin_T", {}),
        "regnet_y_16gf": ("regnet_y_16gf", "RegNet_Y_16GF", {}),
        **{f"resnet18_{n}x{n}": (f"resnet18_{n}x{n}", f"ResNet18_{n}x{n}", {}) for n in (32, 64, 224, 256)},
    }
    file, kind, settings = files[name]
    path = Path(next(iter(found.submodule_search_locations))) / "networks" / f"{file}.py"
    spec = importlib.util.spec_from_file_location(f"upstream_{file}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if name != "regnet_y_16gf":
        settings = {**settings, "num_classes": 10}
    model: nn.Module = getattr(module, kind)(**settings)
    return model.eval()


@pytest.mark.openood
@pytest.mark.parametrize("name", RECORDED)
def test_outputs_equal_openoods_class_on_the_same_weights(name: str) -> None:
    theirs = upstream(name)
    assert digest(theirs) == RECORDED[name]
    ours = networks.build(name, classes_of(name))
    ours.load_state_dict(theirs.state_dict())
    side = FEATURES.get(name, (32 if name.startswith("wrn") else 224, 0))[0]
    images = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs(images), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", FEATURES)
def test_head_is_found_and_features_are_pooled_and_non_negative(name: str) -> None:
    side, width = FEATURES[name]
    model = networks.build(name, 7)
    images = torch.randn(3, 3, side, side, generator=torch.Generator().manual_seed(1))
    head = find_head(model, images)
    features, logits = forward(model, head, images)
    assert head.path == "fc"
    assert features.shape == (3, width)
    assert logits.shape == (3, 7)
    assert float(features.min()) >= 0


def test_networks_come_in_eval_mode_and_every_listed_name_builds() -> None:
    assert not any(built_without_weights(name, 3).training for name in networks.names())


@pytest.mark.parametrize(
    ("spelling", "name"), [("densenet", "densenet100_12"), ("wrn", "wrn_28_10"), ("swin-t", "swin_t")]
)
def test_openoods_spellings_are_understood(spelling: str, name: str) -> None:
    assert digest(built_without_weights(spelling, 10)) == RECORDED[name]


def test_library_networks_are_built_with_the_asked_number_of_classes() -> None:
    images = torch.zeros(1, 3, 64, 64)
    assert networks.build("torchvision:resnet18", 5)(images).shape == (1, 5)
    pytest.importorskip("timm", reason="needs the extra 'timm'")
    assert networks.build("timm:resnet10t.c3_in1k", 5)(images).shape == (1, 5)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet18_32", r"unknown architecture 'resnet18_32': did you mean 'resnet18_32x32'\?"),
        ("torchvision:resnet81", r"torchvision has no classifier 'resnet81': did you mean resnet18"),
        ("torchvision:fasterrcnn_resnet50_fpn", r"torchvision has no classifier"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest_one(name: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        networks.build(name, 10)


def test_an_unknown_timm_name_is_refused_with_the_nearest_one() -> None:
    pytest.importorskip("timm", reason="needs the extra 'timm'")
    with pytest.raises(SettingsError, match=r"timm has no classifier 'resnet81': did you mean"):
        networks.build("timm:resnet81", 10)


def test_a_missing_timm_is_named_with_the_extra_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(SettingsError, match=r"pip install 'openood-line\[timm\]'"):
        networks.build("timm:resnet10t", 10)


def test_a_class_count_below_one_is_refused() -> None:
    with pytest.raises(SettingsError, match="num_classes=0"):
        networks.build("lenet", 0)


def test_importing_the_package_imports_no_torch() -> None:
    code = "import sys, line_plugin.networks as a; a.names(); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.real_data
def test_the_published_densenet_gives_the_published_logits_and_features(real_data: Path) -> None:
    """Images of the CIFAR-10 test list; the recorded features are of all 10,000, in another order."""
    from PIL import Image
    from safetensors.torch import load_file
    from torchvision.transforms import functional as tv

    model = networks.build("densenet100_12", 10)
    networks.load_checkpoint(model, real_data / "checkpoints" / "densenet_bc100_12_cifar10.safetensors")
    recorded = load_file(real_data / "features" / "densenet_bc100_12_cifar10.safetensors")
    listed = real_data / "openood" / "benchmark_imglist" / "cifar10" / "test_cifar10.txt"
    lines = [line.split() for line in listed.read_text().splitlines()[:32]]
    mean, std = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
    images = torch.stack(
        [
            tv.normalize(
                tv.to_tensor(Image.open(real_data / "openood" / "images_classic" / p).convert("RGB")), mean, std
            )
            for p, _ in lines
        ]
    )
    head = find_head(model, images)
    features, logits = forward(model, head, images)
    assert torch.equal(head.linear.weight, recorded["weight"])
    assert torch.equal(head.linear.bias, recorded["bias"])
    nearest = torch.cdist(features, recorded["test.features"]).min(dim=1)
    largest = (features - recorded["test.features"][nearest.indices]).abs().max()
    assert float(largest) < 1e-4
    labels = torch.tensor([int(label) for _, label in lines])
    assert torch.equal(recorded["test.labels"][nearest.indices].long(), labels)
    assert (logits.argmax(1) == labels).float().mean() > 0.85
