"""Train a small network without a ReLU on CIFAR-10, and keep its features: what no development network could say.

    python -m benchmarks.without_relu --arch convnext --output FOLDER     # about a quarter of an hour on one core
    python -m benchmarks.without_relu --arch vit --output FOLDER
    python -m benchmarks.methods_table --features FOLDER

The images are OpenOOD's of CIFAR-10 in the folder that ``OPENOOD_LINE_DATA`` names, 5,000 of them there; with so few no
transformer becomes good, so figures on it are those of a small network that errs often. ``convnext`` ends in a
LayerNorm over pooled GELU blocks, ``vit`` in the LayerNorm of its class token: about half of the activations before
their heads are negative. Features are written as :mod:`benchmarks.feature_files` reads them.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks import measure

SETS = {"near.cifar100": "test_cifar100", "near.tin": "test_tin", "far.textures": "test_texture"}
SETS |= {"far.mnist": "test_mnist"}
MEAN, STD = (0.491, 0.482, 0.447), (0.247, 0.243, 0.262)
BATCH = 125


def build(arch: str) -> nn.Module:
    """torchvision's own classes, made small enough for images of 32 pixels and one core."""
    from torchvision.models import VisionTransformer
    from torchvision.models.convnext import CNBlockConfig, ConvNeXt

    if arch == "vit":
        return VisionTransformer(32, 4, num_layers=4, num_heads=4, hidden_dim=128, mlp_dim=256, num_classes=10)
    stages = [CNBlockConfig(48, 96, 2), CNBlockConfig(96, 192, 2), CNBlockConfig(192, None, 2)]
    net = ConvNeXt(stages, stochastic_depth_prob=0.05, layer_scale=0.1, num_classes=10)
    stem: Any = net.features[0]
    stem[0] = nn.Conv2d(3, 48, kernel_size=2, stride=2)  # 4 x 4 would leave 8 pixels of 32
    return net


def read_images(root: Path, name: str) -> tuple[Tensor, Tensor]:
    """Images (N, 3, 32, 32), scaled by mean and deviation, and labels (N,) of one of OpenOOD's lists."""
    from PIL import Image

    lines = (root / "benchmark_imglist" / "cifar10" / f"{name}.txt").read_text().split("\n")
    pairs = [line.rsplit(" ", 1) for line in lines if line]
    pixels = [np.asarray(Image.open(root / "images_classic" / path).convert("RGB")) for path, _ in pairs]
    images = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float() / 255
    shift, scale = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    return (images - shift) / scale, torch.tensor([int(label) for _, label in pairs])


def augment(images: Tensor, g: torch.Generator) -> Tensor:
    """Each image flipped or not, and moved by up to 4 pixels."""
    flipped = torch.where(torch.rand(len(images), 1, 1, 1, generator=g) < 0.5, images.flip(3), images)
    wide = nn.functional.pad(flipped, (4, 4, 4, 4))
    moves = torch.randint(0, 9, (len(images), 2), generator=g).tolist()
    return torch.stack([row[:, y : y + 32, x : x + 32] for row, (y, x) in zip(wide, moves, strict=True)])


def train(net: nn.Module, images: Tensor, labels: Tensor, epochs: int, seed: int) -> None:
    """AdamW with one cycle of the learning rate."""
    g = torch.Generator().manual_seed(seed)
    steps = epochs * (len(images) // BATCH)
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=0.05)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, total_steps=steps, pct_start=0.2)
    for epoch in range(epochs):
        net.train()
        began, total = time.perf_counter(), 0.0
        for rows in torch.randperm(len(images), generator=g).split(BATCH):  # type: ignore[no-untyped-call]
            if len(rows) < BATCH:
                continue
            loss = nn.functional.cross_entropy(net(augment(images[rows], g)), labels[rows])
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimiser.step()
            rate.step()
            total += float(loss.detach()) * len(rows)
        took = time.perf_counter() - began
        print(f"epoch {epoch + 1} of {epochs}: loss {total / len(images):.3f}, {took:.0f} s", flush=True)


def features_of(net: nn.Module, images: Tensor) -> Tensor:
    """(N, D) what enters the head, as LINe's fit reads it."""
    from line_plugin.networks.tap import tap_batches

    batches = ((part, torch.zeros(len(part))) for part in images.split(250))  # type: ignore[no-untyped-call]
    return torch.cat([batch.features for batch in tap_batches(net, batches)])


def write_features(net: nn.Module, root: Path, path: Path) -> float:
    """The file of features; the accuracy on the ID test images."""
    from safetensors.torch import save_file

    from line_plugin.networks.head import find_head

    found: dict[str, Tensor] = {}
    for split in ("train", "test"):
        images, labels = read_images(root, f"{split}_cifar10")
        found |= {f"{split}.features": features_of(net, images), f"{split}.labels": labels}
    found |= {name: features_of(net, read_images(root, listed)[0]) for name, listed in SETS.items()}
    linear = find_head(net, images[:1]).linear
    weight, bias = linear.weight.detach(), linear.bias.detach()
    save_file({name: t.contiguous() for name, t in {**found, "weight": weight, "bias": bias}.items()}, path)
    predicted = (found["test.features"] @ weight.T + bias).argmax(dim=1)
    return float((predicted == found["test.labels"]).float().mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", choices=("convnext", "vit"), required=True)
    parser.add_argument("--output", type=Path, required=True, help="folder of NAME.safetensors")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    data = measure.real_data()
    if data is None:
        raise SystemExit("not measured: OPENOOD_LINE_DATA names no folder with openood/")
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    net, root = build(args.arch), data / "openood"
    began = time.perf_counter()
    train(net, *read_images(root, "train_cifar10"), args.epochs, args.seed)
    args.output.mkdir(parents=True, exist_ok=True)
    path = args.output / f"{args.arch}_cifar10.safetensors"
    accuracy = write_features(net, root, path)
    parameters = sum(p.numel() for p in net.parameters())
    took = (time.perf_counter() - began) / 60
    print(f"{path}: {parameters / 1e6:.2f} M parameters, accuracy {accuracy:.1%}, {took:.0f} minutes of one core")


if __name__ == "__main__":
    main()
