"""``--ray`` and ``--ray-actors``: run the passes of the network on Ray."""

from __future__ import annotations

import argparse
import contextlib
import os
from typing import TYPE_CHECKING

from line_plugin.cli import options
from line_plugin.errors import SettingsError

if TYPE_CHECKING:
    from line_plugin.benchmark.protocol.passes import Passes

LOCAL = "local"


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declare the flags."""
    work = parser.add_argument_group("several GPUs or machines (docs/ray.md)")
    work.add_argument(
        "--ray",
        nargs="?",
        const=LOCAL,
        type=_address,
        metavar="HOST:PORT",
        help="run the passes of the network on Ray actors: on this machine, or on the cluster at HOST:PORT",
    )
    work.add_argument(
        "--ray-actors",
        type=options.positive,
        metavar="N",
        help="how many (one for each GPU; on a CPU one for as many cores as torch has threads)",
    )


def _address(text: str) -> str:
    if "://" in text:
        raise argparse.ArgumentTypeError(
            f"{text} given, expected HOST:PORT of the head node: Ray's client protocol is not used, so run the command "
            "on a machine of the cluster"
        )
    host, colon, port = text.rpartition(":")
    if text != LOCAL and not (host and colon and port.isdecimal() and 0 < int(port) < 65536):
        raise argparse.ArgumentTypeError(
            f"{text} given, expected HOST:PORT of a cluster or nothing (other arguments come before a --ray that has "
            "none)"
        )
    return text


def passes_of(args: argparse.Namespace) -> contextlib.AbstractContextManager[Passes | None]:
    """The runner of the command's passes while the context lasts; None stands for this process.

    Raises:
        SettingsError: the flags contradict each other, or Ray is not installed.
    """
    if args.ray is None:
        if args.ray_actors is not None:
            raise SettingsError(f"--ray-actors {args.ray_actors} given without --ray: give both, or neither")
        return contextlib.nullcontext()
    from line_plugin.integrations.ray.sharing import RayPasses

    if ":" in args.device or "," in args.device:
        raise SettingsError(
            f"--device {args.device} given with --ray, which gives each actor a GPU of its own: give --device cuda"
        )
    args.num_workers = _workers(args)
    cuda = options.device_of(args.device).type == "cuda"
    return RayPasses(None if args.ray == LOCAL else args.ray, args.ray_actors, cuda=cuda)


def _workers(args: argparse.Namespace) -> int:
    """Decoding processes for each actor: the given number, or as one process would use on its share of the cores."""
    alone = options.workers_of(args)
    if args.num_workers is not None:
        return alone
    import torch

    count = args.ray_actors or max(1, torch.cuda.device_count())
    return min(alone, (os.cpu_count() or 1) // count)
