"""How large the report of many methods and sets is, and what it costs: ``python -m benchmarks.report_page``.

Confidences are drawn, and the pictures of misses are noise, which is as large as a picture can be.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from line_plugin.benchmark.report.html import PageOptions, make_page
from tests.report_runs import drawn_run


def main() -> None:
    """Print the size, the pictures, and the CPU time with and without intervals."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--methods", type=int, default=20)
    parser.add_argument("--sets", type=int, default=10)
    parser.add_argument("--images", type=int, default=2000, help="of each set")
    parser.add_argument("--bootstrap", type=int, default=100, help="draws of the second page")
    args = parser.parse_args()
    names = [f"method{i}" for i in range(args.methods)]
    near = [f"near{i}" for i in range(args.sets // 3)]
    far = [f"far{i}" for i in range(args.sets - len(near))]
    with tempfile.TemporaryDirectory() as folder:
        run = drawn_run(
            names, near, far, images=args.images, classes=[f"class {k}" for k in range(100)], data_root=folder
        )
        write_noise(Path(folder), run.files)
        for draws in (0, args.bootstrap):
            start = time.process_time()
            text = make_page([run], PageOptions(replicates=draws))
            seconds = time.process_time() - start
            pictures = text.count("data:image/")
            print(f"{draws} draws: {len(text.encode()) / 1e6:.2f} MB, {pictures} pictures, {seconds:.1f} s of CPU")


def write_noise(root: Path, files: dict[str, list[str]]) -> None:
    """The same picture of noise at every path of a test image."""
    pixels = np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(root / "noise.png")
    for name, paths in files.items():
        (root / name).mkdir()
        if name == "train":
            continue
        for path in paths:
            os.link(root / "noise.png", root / path)


if __name__ == "__main__":
    main()
