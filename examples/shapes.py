"""Make a small world for the tutorial: images of shapes, a benchmark of them, and a ResNet-18 trained on them.

    python examples/shapes.py shapes

Writes ``shapes/images`` with circles, squares and triangles to train, calibrate and test on, and two kinds of images
that no camera of this world should ever send; ``shapes/shapes.yml``, which names these folders as a benchmark; and
``shapes/resnet18.pt``, a state dict of torchvision's ResNet-18 with three classes. Bring your own in their place.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

import torch
import torchvision
import yaml
from PIL import Image, ImageDraw
from torch import Tensor, nn
from torchvision.transforms import functional

SIZE, CLASSES = 32, ("circle", "square", "triangle")
MEAN = STD = (0.5, 0.5, 0.5)
COUNTS = {"train": 300, "val": 500, "test": 100}
"""Images a class."""


def main() -> None:
    """Make the images, the benchmark and the network."""
    parser = argparse.ArgumentParser(description="images of shapes, a benchmark of them, and a ResNet-18 for them")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    torch.set_num_threads(1)  # images this small gain nothing from more, and the same seed gives the same network
    make_images(options.folder / "images", random.Random(options.seed))
    (options.folder / "shapes.yml").write_text(yaml.safe_dump(BENCHMARK, sort_keys=False), encoding="utf-8")
    model = train(options.folder / "images" / "train", options.epochs)
    torch.save(model.state_dict(), options.folder / "resnet18.pt")
    print(f"test images classified rightly: {accuracy(model, options.folder / 'images' / 'test'):.1%}")


BENCHMARK = {
    "name": "shapes",
    "num_classes": len(CLASSES),
    "preprocessing": {"resize": SIZE, "crop": SIZE, "mean": list(MEAN), "std": list(STD)},
    "id": {split: {"folder": split} for split in COUNTS},
    "ood": {"near": {"stars": {"folder": "stars"}}, "far": {"stripes": {"folder": "stripes"}}},
}


def make_images(folder: Path, chance: random.Random) -> None:
    """Every split of every class, and the two sets that are out of distribution."""
    for split, count in COUNTS.items():
        for name in CLASSES:
            save(folder / split / name, [draw_shape(name, chance) for _ in range(count)])
    save(folder / "stars", [draw_shape("star", chance) for _ in range(200)])
    save(folder / "stripes", [draw_stripes(chance) for _ in range(200)])


def save(folder: Path, images: list[Image.Image]) -> None:
    """As PNG files, numbered."""
    folder.mkdir(parents=True, exist_ok=True)
    for n, image in enumerate(images):
        image.save(folder / f"{folder.name}-{n:03}.png")


def draw_shape(name: str, chance: random.Random) -> Image.Image:
    """A bright shape somewhere on a dark ground."""
    image = Image.new("RGB", (SIZE, SIZE), tuple(chance.randrange(60) for _ in range(3)))
    radius = chance.uniform(8, 11)
    x, y = (chance.uniform(radius, SIZE - radius) for _ in range(2))
    box = (x - radius, y - radius, x + radius, y + radius)
    colour = tuple(chance.randrange(140, 256) for _ in range(3))
    draw, turn = ImageDraw.Draw(image), chance.uniform(-15, 15)
    if name == "circle":
        draw.ellipse(box, colour)
    elif name == "star":
        for more in (0, 180):
            draw.regular_polygon((x, y, radius), 3, turn + more, fill=colour)
    else:
        draw.regular_polygon((x, y, radius), {"triangle": 3, "square": 4}[name], turn, fill=colour)
    return image


def draw_stripes(chance: random.Random) -> Image.Image:
    """Bright stripes all over, as from a camera that is broken."""
    image, step = Image.new("RGB", (SIZE, SIZE)), chance.randrange(2, 6)
    draw = ImageDraw.Draw(image)
    for at in range(-SIZE, SIZE, 2 * step):
        draw.line((at, 0, at + SIZE, SIZE), tuple(chance.randrange(256) for _ in range(3)), step)
    return image


def load(folder: Path) -> tuple[Tensor, Tensor]:
    """Images (N, 3, H, W) as the benchmark prepares them, and classes (N,)."""
    files = [(path, label) for label, name in enumerate(CLASSES) for path in sorted((folder / name).glob("*.png"))]
    tensors = [functional.to_tensor(Image.open(path)) for path, _ in files]
    return functional.normalize(torch.stack(tensors), MEAN, STD), torch.tensor([label for _, label in files])


def train(folder: Path, epochs: int) -> nn.Module:
    """A ResNet-18 from random weights."""
    images, labels = load(folder)
    model = torchvision.models.resnet18(num_classes=len(CLASSES))
    rounds = epochs * (len(images) // 64)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=rounds)
    for step in range(rounds):
        if step % (rounds // epochs) == 0:
            order = torch.randperm(len(images))
        batch = order[step % (rounds // epochs) * 64 :][:64]
        loss = nn.functional.cross_entropy(model(images[batch]), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model.eval()


def accuracy(model: nn.Module, folder: Path) -> float:
    """Share of images that are classified rightly."""
    images, labels = load(folder)
    with torch.no_grad():
        return (model(images).argmax(1) == labels).double().mean().item()


if __name__ == "__main__":
    main()
