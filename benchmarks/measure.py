"""What the benchmarks of fitting and evaluating share: timing, children whose memory is read, images, the report."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def cpu_seconds(work: Callable[[], object]) -> float:
    """CPU time of this process, all threads: hardly depends on what else the machine does."""
    start = time.process_time()
    work()
    return time.process_time() - start


def peak_mb() -> float:
    """The highest resident memory of this process so far, data workers not counted.

    Linux's ``VmHWM``: ``ru_maxrss`` starts from what the parent process had.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        return int(status.read_text().split("VmHWM:")[1].split()[0]) / 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def child(module: str, *flags: str) -> dict[str, Any]:
    """Run ``python -m module flags`` and return the JSON of its last line."""
    done = subprocess.run([sys.executable, "-m", module, *flags], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{module} {' '.join(flags)} failed:\n{done.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def real_data() -> Path | None:
    """The folder of real images and checkpoints, where there is one."""
    named = os.environ.get("OPENOOD_LINE_DATA")
    return Path(named) if named and (Path(named) / "openood").is_dir() else None


def photographs(folder: Path, count: int) -> list[Path]:
    """JPEGs of 500 x 375 pixels, ImageNet's usual size: crops of the photographs that scikit-image ships."""
    import skimage
    from PIL import Image

    rng = np.random.default_rng(0)
    shipped = [Path(skimage.__file__).parent / "data" / f"{n}.png" for n in ("astronaut", "chelsea", "coffee")]
    pictures = [Image.open(path).convert("RGB") for path in shipped]
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for i in range(count):
        picture = pictures[i % len(pictures)]
        w, h = rng.uniform(0.6, 1, 2) * picture.size
        left, top = rng.uniform(0, picture.size[0] - w), rng.uniform(0, picture.size[1] - h)
        files.append(folder / f"{i:05d}.jpg")
        picture.resize((500, 375), box=(left, top, left + w, top + h)).save(files[-1], quality=90)
    return files


def about(method: str) -> dict[str, Any]:
    import torch

    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads",
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "numpy": np.__version__},
        "method": method,
        "date": time.strftime("%Y-%m-%d"),
    }


def show(header: Mapping[str, Any], tables: Mapping[str, Sequence[Mapping[str, Any]]], to: Path | None) -> None:
    """Print the header as JSON and each table as Markdown; write all of it as JSON."""
    print(json.dumps(header))
    for title, rows in tables.items():
        columns = list(rows[0])
        print(f"\n{title}\n\n| {' | '.join(columns)} |\n|{'-|' * len(columns)}")
        for row in rows:
            print(f"| {' | '.join(_text(row[c]) for c in columns)} |")
    if to:
        to.write_text(json.dumps({**header, **tables}, indent=2))


def _text(value: Any) -> str:
    return (
        f"{value:.3g}"
        if isinstance(value, float) and abs(value) < 1000
        else f"{value:,.0f}"
        if isinstance(value, float)
        else str(value)
    )
