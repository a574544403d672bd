"""Trains the small network of the ``quickstart`` benchmark from a seed, in well under a minute on one core."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypedDict

from line_plugin.errors import CheckpointError, SettingsError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from line_plugin.benchmark.protocol.spec import Benchmark, ImageSet

_BATCH = 64
_LEARNING_RATE = 1e-3


class TrainingReport(TypedDict):
    """The result of :func:`train`.

    Accuracies are shares in 0..1, of the images of the ID val and the ID train split.
    """

    val_accuracy: float
    train_accuracy: float
    epochs: int
    seconds: float


Progress = Callable[[int, int, float], None]
"""Called after each epoch with (epoch, epochs, mean training loss)."""


def train(
    root: Path, checkpoint: Path, *, seed: int = 0, epochs: int = 10, progress: Progress | None = None
) -> TrainingReport:
    """Trains ``lenet_mnist`` on the ID training images, and writes its state dict as safetensors, whole or not at all.

    The same seed gives the same file on the same machine. It runs on one thread, so that sums do not depend on the
    number of cores. Several threads that wait for each other on a busy machine made it five times slower. Torch's
    global random state and number of threads do not change.

    Args:
        root: the folder that :func:`line_plugin.quickstart.dataset.prepare` wrote to.
        checkpoint: the file to write; its folder is made.
        seed: seed of the initial weights and of the order of the images.
        epochs: passes over the 2,800 training images, at least 1.
        progress: called after each epoch.

    Raises:
        SettingsError: ``epochs`` is below 1.
        MissingDataError, ImageError: the benchmark does not exist, or an image cannot be decoded.
        CheckpointError: the checkpoint cannot be written.
    """
    import torch

    from line_plugin import networks
    from line_plugin.benchmark.protocol import spec

    if epochs < 1:
        raise SettingsError(f"epochs={epochs} given, expected at least 1")
    start = time.perf_counter()
    benchmark = spec.load("quickstart")
    with _one_thread(), torch.random.fork_rng(devices=[]):  # the data loader uses the global random state too
        images, labels = _load(root, benchmark, "train")
        val_images, val_labels = _load(root, benchmark, "val")
        torch.manual_seed(seed)
        model = networks.build(benchmark.arch, benchmark.num_classes)
        _optimise(model, images, labels, seed, epochs, progress)
    _write(model, checkpoint)
    return TrainingReport(
        val_accuracy=_accuracy(model, val_images, val_labels),
        train_accuracy=_accuracy(model, images, labels),
        epochs=epochs,
        seconds=time.perf_counter() - start,
    )


@contextmanager
def _one_thread() -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


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
            # Digits have a margin of four black pixels, so rolling by up to two moves them without wrapping.
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


def _load(root: Path, benchmark: Benchmark, split: Literal["train", "val"]) -> tuple[Tensor, Tensor]:
    """Decode a split once: images (N, 3, 28, 28) float32 as the benchmark preprocesses them, labels (N,) int64."""
    import torch

    from line_plugin.benchmark.protocol import image_list, images

    wanted: ImageSet = getattr(benchmark.id, split)
    listed = image_list.read(f"{benchmark.name} {split}", wanted, root, benchmark.num_classes)
    job = images.Job(listed.files, benchmark.preprocessing_of(wanted))
    return torch.cat([batch for _, batch in images.batches([job], 500, 0)]), torch.from_numpy(listed.labels)


def _write(model: nn.Module, checkpoint: Path) -> None:
    from safetensors.torch import save

    from line_plugin.files import write_whole

    try:
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        write_whole(checkpoint, save({n: t.contiguous() for n, t in model.state_dict().items()}))
    except OSError as error:
        raise CheckpointError(f"cannot write {checkpoint}: {error.strerror or error}") from error
