"""Train the small network of the ``quickstart`` benchmark: seeded, in some ten seconds on two quiet cores."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from line_plugin.benchmark.quickstart import IMAGES, LISTS, NUM_CLASSES
from line_plugin.errors import CheckpointError, ImageError, MissingDataError, SettingsError

if TYPE_CHECKING:
    from torch import Tensor, nn

ARCHITECTURE = "lenet_mnist"
# The values of configs/benchmarks/quickstart.yml; a test compares them.
SIDE, MEAN, STD = 28, (0.1307,) * 3, (0.3081,) * 3

_BATCH = 64
_LEARNING_RATE = 1e-3


class TrainingReport(TypedDict):
    """What :func:`train` did: accuracies are shares of images in 0..1, of the ID val and the ID train split."""

    val_accuracy: float
    train_accuracy: float
    epochs: int
    seconds: float


Progress = Callable[[int, int, float], None]
"""Called after each epoch with (epoch, epochs, mean training loss)."""


def train(
    root: Path, checkpoint: Path, *, seed: int = 0, epochs: int = 10, progress: Progress | None = None
) -> TrainingReport:
    """Train ``lenet_mnist`` on the ID training images and write its state dict as safetensors, whole or not at all.

    The same seed gives the same file on the same machine with the same number of threads. The global random state
    of torch is left as it was.

    Args:
        root: where :func:`line_plugin.benchmark.quickstart.prepare` wrote.
        checkpoint: the file to write; its folder is made.
        seed: of the initial weights and the order of the images.
        epochs: passes over the 2,800 training images, at least 1.
        progress: called after each epoch.

    Raises:
        SettingsError: fewer than one epoch.
        MissingDataError, ImageError: the benchmark is not there, or an image cannot be decoded.
        CheckpointError: the checkpoint cannot be written.
    """
    import torch

    from line_plugin import architectures

    if epochs < 1:
        raise SettingsError(f"epochs={epochs} given, expected at least 1")
    start = time.perf_counter()
    images, labels = _load(root, "train_quickstart")
    val_images, val_labels = _load(root, "val_quickstart")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = architectures.build(ARCHITECTURE, NUM_CLASSES)
        _optimise(model, images, labels, seed, epochs, progress)
    _write(model, checkpoint)
    return TrainingReport(
        val_accuracy=_accuracy(model, val_images, val_labels),
        train_accuracy=_accuracy(model, images, labels),
        epochs=epochs,
        seconds=time.perf_counter() - start,
    )


def _optimise(
    model: nn.Module, images: Tensor, labels: Tensor, seed: int, epochs: int, progress: Progress | None
) -> None:
    import torch

    order = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(model.parameters(), lr=_LEARNING_RATE)
    steps = -(-len(images) // _BATCH) * epochs
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    model.train()
    for epoch in range(1, epochs + 1):
        total = 0.0
        for batch in torch.split(torch.randperm(len(images), generator=order), _BATCH):
            # Digits have a margin of four black pixels, so rolling by up to two moves them and wraps nothing.
            shift = torch.randint(-2, 3, (2,), generator=order).tolist()
            shifted = images[batch].roll(shift, (2, 3))
            loss = torch.nn.functional.cross_entropy(model(shifted), labels[batch])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
            total += float(loss.detach()) * len(batch)
        if progress is not None:
            progress(epoch, epochs, total / len(images))
    model.eval()


def _accuracy(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    import torch

    with torch.no_grad():
        predicted = torch.cat([model(images[i : i + 500]).argmax(1) for i in range(0, len(images), 500)])
    return float((predicted == labels).float().mean())


def _load(root: Path, list_name: str) -> tuple[Tensor, Tensor]:
    """Decode a list once: images (N, 3, 28, 28) float32 as the benchmark preprocesses them, labels (N,) int64."""
    import torch
    from PIL import Image
    from torchvision import transforms

    path = root / LISTS / f"{list_name}.txt"
    if not path.is_file():
        raise MissingDataError(f"no image list {path}: prepare the quickstart benchmark in this data root first")
    preprocess = transforms.Compose(
        [
            transforms.Resize(SIDE, interpolation=transforms.InterpolationMode.BILINEAR),
            transforms.CenterCrop(SIDE),
            transforms.ToTensor(),
            transforms.Normalize(MEAN, STD),
        ]
    )
    images, labels = [], []
    for line in path.read_text().splitlines():
        name, label = line.rsplit(maxsplit=1)
        try:
            with Image.open(root / IMAGES.parent / name) as image:
                images.append(preprocess(image.convert("RGB")))
        except OSError as error:
            raise ImageError(f"cannot decode {name} of {path}: {error}; prepare the benchmark again") from error
        labels.append(int(label))
    return torch.stack(images), torch.tensor(labels)


def _write(model: nn.Module, checkpoint: Path) -> None:
    from safetensors.torch import save

    from line_plugin.artifact import write_whole

    try:
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        write_whole(checkpoint, save({n: t.contiguous() for n, t in model.state_dict().items()}))
    except OSError as error:
        raise CheckpointError(f"cannot write {checkpoint}: {error.strerror or error}") from error
