"""How large the image of docker/Dockerfile is beside its base: what it installs, installed into an empty folder.

    python -m benchmarks.image_size                       # of docker/Dockerfile, for this machine
    python -m benchmarks.image_size --platform manylinux_2_28_aarch64 \\
        --platform manylinux_2_17_aarch64 --platform manylinux2014_aarch64    # for another machine
    python -m benchmarks.image_size --torch torch==2.9.1 --torch-index URL    # with torch, as before it was left out

The base image is not in the sum, nor is compression: a registry keeps about a third.
"""

from __future__ import annotations

import argparse
import os
import platform
import runpy
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
OF_CUDA = ("cuda", "nvrtc", "nvshmem", "cudnn", "cupti")


def pip_install(target: Path, what: list[str], *options: str) -> None:
    """Into a folder, as a build does it into its virtual environment."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-cache-dir", "--target", str(target), *options]
    subprocess.run([*command, *what], check=True, stdout=subprocess.DEVNULL)


def install(target: Path, options: argparse.Namespace) -> None:
    """Torch if it is asked for, the other requirements and the monitor itself."""
    extras = options.extras.split()
    requirements = runpy.run_path(str(ROOT / "docker/requirements.py"))["requirements"](ROOT / "pyproject.toml", extras)
    foreign = [part for name in options.platform for part in ("--platform", name)]
    foreign += ["--python-version", "3.12", "--only-binary=:all:"] * bool(foreign)
    index = ["--index-url", options.torch_index] * bool(options.torch_index)
    if not options.torch:
        pass
    elif options.torch_index and not options.platform:
        pip_install(target, [options.torch], *index)
    else:  # pip asks this machine whether CUDA's packages are needed
        pip_install(target, [options.torch], "--no-deps", *index, *foreign)
        pip_install(target, needed_by_torch(target, "".join(options.platform)), *foreign)
    pip_install(target, requirements, *foreign)
    pip_install(target, [str(ROOT)], "--no-deps")


def needed_by_torch(target: Path, machine: str) -> list[str]:
    """What torch asks for on that machine, but CUDA's packages and Triton."""
    there: dict[str, str] = {
        "platform_machine": "aarch64" if "aarch64" in machine else platform.machine(), "platform_system": "Linux",
        "python_version": "3.12", "extra": "",
    }  # fmt: skip
    (torch,) = (d for d in distributions(path=[str(target)]) if d.metadata["Name"] == "torch")
    asked = [Requirement(line) for line in torch.requires or ()]
    wanted = [r for r in asked if not r.marker or r.marker.evaluate(there)]
    return [f"{r.name}{r.specifier}" for r in wanted if not r.name.startswith(("nvidia", "cuda", "triton"))]


def sizes(target: Path, without_cuda: bool) -> dict[str, int]:
    """Bytes of each distribution, its byte code among them."""
    return {d.metadata["Name"]: sum(file_sizes(target, d, without_cuda)) for d in distributions(path=[str(target)])}


def file_sizes(target: Path, distribution: Distribution, without_cuda: bool) -> list[int]:
    """Of the files that the image keeps."""
    found = []
    for entry in distribution.files or ():
        path = Path(str(distribution.locate_file(entry)))
        if str(entry).startswith("torch/include/") or "tests" in entry.parts or not path.is_file():
            continue
        if without_cuda and entry.parts[:2] == ("torch", "lib") and any(word in entry.name for word in OF_CUDA):
            continue
        found.append(path.stat().st_size)
        found += [p.stat().st_size for p in path.parent.glob(f"__pycache__/{path.stem}.*.pyc")] * (path.suffix == ".py")
    return found


def kernels(target: Path, folder: Path) -> int:
    """Bytes of the kernels that the build compiles; 0 for another machine."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(folder), "PYTHONPATH": str(target)}
    subprocess.run([sys.executable, str(ROOT / "docker/warm_kernels.py")], check=True, env=environment)
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())


def main() -> None:
    """Install, add up, print."""
    parser = argparse.ArgumentParser(description="How large the image of docker/Dockerfile is beside its base.")
    parser.add_argument("--torch", default="", help="requirement of torch, such as torch==2.9.1; none by default")
    parser.add_argument("--torch-index", default="", metavar="URL", help="an index of CPU builds")
    parser.add_argument(
        "--platform", action="append", default=[], help="another machine's tag, as pip names it; or more"
    )
    parser.add_argument("--extras", default="monitor formats", help="as the build argument EXTRAS")
    parser.add_argument("--without-cuda", action="store_true", help="leave out the CUDA parts of the usual torch")
    options = parser.parse_args()
    scratch: Any = tempfile.mkdtemp(prefix="image-size-")
    try:
        target = Path(scratch) / "packages"
        install(target, options)
        found = sizes(target, options.without_cuda)
        if not options.platform:
            found["compiled kernels"] = kernels(target, Path(scratch) / "kernels")
    finally:
        shutil.rmtree(scratch)
    for name, size in sorted(found.items(), key=lambda item: -item[1])[:14]:
        print(f"{size / 1e6:8.1f} MB  {name}")
    print(f"{sum(found.values()) / 1e6:8.1f} MB  in {len(found)} packages")


if __name__ == "__main__":
    main()
