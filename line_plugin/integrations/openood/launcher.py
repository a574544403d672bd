"""Runs one of upstream's scripts, unmodified, with LINe and the panel registered.

::

    python -m line_plugin.openood [--device auto] OpenOOD/scripts/eval_ood.py --postprocessor line --root RUNS ...
"""

from __future__ import annotations

import argparse
import importlib.util
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path

from line_plugin.errors import LinePluginError, SettingsError


def main(argv: Sequence[str] | None = None) -> int:
    """Run the script as ``__main__``.

    Returns:
        The exit status, which is 1 after an error of this package. Exceptions of the script are not caught.
    """
    parser = argparse.ArgumentParser(prog="python -m line_plugin.openood", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--device", default="auto", help="the device for upstream's .cuda() (default: CUDA, else MPS, else the CPU)"
    )
    parser.add_argument("script", type=Path, help="upstream's script, e.g. OpenOOD/scripts/eval_ood.py")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="passed to the script")
    given = parser.parse_args(argv)
    if not given.script.is_file():
        parser.error(f"no such script: {given.script}; clone OpenOOD and name scripts/eval_ood.py in it")
    try:
        _run(given.script.resolve(), given.arguments, given.device)
    except LinePluginError as error:  # upstream's own exceptions stay as they are
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


def _run(script: Path, arguments: list[str], device: str) -> None:
    if importlib.util.find_spec("openood") is None:
        sys.path.append(str(script.parent.parent))  # a clone need not be installed, as its scripts allow
    from line_plugin.integrations.openood import compat, register

    register()
    sys.argv = [str(script), *arguments]
    sys.path.insert(0, str(script.parent))  # as `python script` does
    with compat.importing(), compat.running(_device(device)):
        runpy.run_path(str(script), run_name="__main__")


def _device(name: str) -> str:
    import torch

    if name != "auto":
        try:
            return str(torch.device(name))
        except RuntimeError:
            raise SettingsError(f"--device {name}: expected auto, cpu, cuda, cuda:N or mps") from None
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
