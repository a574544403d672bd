"""What ``--ray`` costs and gains: a pass over images by one process and by actors, one thread each.

    python -m benchmarks.ray_cost --images 128 512 --actors 1 2

Starting is measured apart: Ray itself, then the actors, each of which imports torch and takes the network over. Every
ratio is taken in one run. PNGs of 32 x 32 random pixels, an untrained DenseNet-BC-100-12.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks import measure
from line_plugin import networks
from line_plugin.benchmark.protocol import images, spec
from line_plugin.benchmark.protocol.image_passes import Forwarded, ForwardImages
from line_plugin.benchmark.protocol.passes import InProcess, Passes
from line_plugin.integrations.ray.sharing import RayPasses
from line_plugin.networks.head import find_head

ARCH, BENCHMARK, BATCH = "densenet100_12", "cifar10", 32


def make_images(folder: Path, count: int) -> tuple[Path, ...]:
    rng = np.random.default_rng(0)
    files = tuple(folder / f"{i:05d}.png" for i in range(count))
    for file in files:
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(file)
    return files


class Pass:
    """The same network over the first images of a folder."""

    def __init__(self, folder: Path, count: int) -> None:
        torch.set_num_threads(1)
        self.files, self.preprocessing = make_images(folder, count), spec.load(BENCHMARK).preprocessing
        net = networks.build(ARCH, 10).eval()
        head = find_head(net, next(images.batches([self._job(1)], 1, 0))[1])
        self.work = ForwardImages(net, head, torch.device("cpu"), 0)

    def _job(self, count: int) -> images.Job:
        return images.Job(self.files[:count], self.preprocessing)

    def run(self, passes: Passes, count: int) -> list[Forwarded]:
        return list(passes.run(self.work, images.plan([self._job(count)], BATCH)))


def measured(one: Pass, sizes: Sequence[int], actors: Sequence[int]) -> list[dict[str, float | str]]:
    """One row a number of images and of actors."""
    alone, seconds, rows = {}, {}, []
    for size in sizes:
        start = time.perf_counter()
        alone[size] = one.run(InProcess(), size)
        seconds[size] = time.perf_counter() - start
    for count in actors:
        with RayPasses(None, count, cuda=False) as passes:
            start = time.perf_counter()
            one.run(passes, count * BATCH)  # Ray, and every actor ready
            ready = time.perf_counter() - start
            for size in sizes:
                start = time.perf_counter()
                found = one.run(passes, size)
                taken = time.perf_counter() - start
                same = all(np.array_equal(a.features, b.features) for a, b in zip(found, alone[size], strict=True))
                rows.append(
                    {
                        "images": size,
                        "actors": count,
                        "pass / one process": taken / seconds[size],
                        "start / one process": ready / seconds[size],
                        "start, passes of 1,000 images": ready / (seconds[size] / size * 1000),
                        "equal": str(same),
                    }
                )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, nargs="+", default=[128, 512])
    parser.add_argument("--actors", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        one = Pass(Path(folder), max(args.images))
        one.run(InProcess(), BATCH)  # what is done once
        rows = measured(one, args.images, args.actors)
    width = one.work.head.linear.in_features
    print(f"{width * 4 + 8} bytes an image come back from an actor")
    measure.show(measure.about(f"{ARCH}, batches of {BATCH}, one thread each"), {"passes": rows}, args.json)


if __name__ == "__main__":
    main()
