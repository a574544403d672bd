"""Runs several training runs on several devices: each device fills the feature cache for one run at a time.

Only the passes of the networks are split among devices. Fitting and scoring then read the cache, in one process and in
the order of the runs, so the figures are the same as with one device.
"""

from __future__ import annotations

import argparse
import copy
import os
import queue
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from line_plugin.cli import options
from line_plugin.errors import LinePluginError, SettingsError

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

    from line_plugin.benchmark.protocol.image_list import Sets
    from line_plugin.benchmark.protocol.spec import Benchmark

_POLL_SECONDS = 0.5  # seconds between checks for a process that died silently


def devices_of(name: str, runs: int) -> list[str]:
    """The named devices, or with ``auto`` every CUDA device if there are several runs.

    Raises:
        SettingsError: several devices for one run, or of different kinds.
    """
    named = [part.strip() for part in name.split(",") if part.strip()]
    if not named:
        raise SettingsError("--device is empty: give auto, cpu, cuda, cuda:1, or several with commas")
    if named == ["auto"] and runs > 1:
        import torch

        if torch.cuda.device_count() > 1:
            named = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    if len(named) > 1 and runs < 2:
        raise SettingsError(
            f"--device {name} names several, which share the runs of --root: name one for a single network"
        )
    if len({part.partition(":")[0] for part in named}) > 1:
        raise SettingsError(
            f"--device {name} names devices of several kinds, whose features are not mixed: name one kind"
        )
    return named


def forward_all(
    args: argparse.Namespace,
    benchmark: Benchmark,
    sets: Sets,
    runs: Sequence[tuple[str, Path | None]],
    devices: list[str],
) -> int:
    """Forward every run into the cache and give the number of images that were forwarded.

    Raises:
        LinePluginError: a process failed; the others are ended.
    """
    for device in devices:
        options.device_of(device)  # a device that does not exist is refused before anything begins
    import multiprocessing  # takes a quarter of the imports of `openood --help`

    context = multiprocessing.get_context("spawn")  # CUDA does not survive a fork
    jobs, results = context.Queue(), context.Queue()
    for job in runs:
        jobs.put(job)
    count = min(len(devices), len(runs))
    for _ in range(count):
        jobs.put(None)
    mine = [(copy.copy(args), device) for device in devices[:count]]
    for one, device in mine:
        one.device = device
        one.num_workers = _workers(args, count)
    workers = [context.Process(target=_work, args=(one, benchmark, sets, jobs, results)) for one, _ in mine]
    for worker in workers:
        worker.start()
    try:
        return _collect(results, workers, len(runs))
    finally:
        for worker in workers:
            worker.terminate()  # the others have ended already
        for worker in workers:
            worker.join()
        jobs.cancel_join_thread()


def _workers(args: argparse.Namespace, count: int) -> int:
    """Decoding processes for each device: as many as one device would have, but no more than its share of the cores."""
    alone = options.workers_of(args)
    return alone if args.num_workers is not None else min(alone, max(1, (os.cpu_count() or 1) // count))


def _collect(results: Any, workers: Sequence[BaseProcess], runs: int) -> int:
    out, forwarded = options.console(stderr=True), 0
    done = 0
    while done < runs:
        try:
            name, device, images, error = results.get(timeout=_POLL_SECONDS)
        except queue.Empty:
            dead = [w for w in workers if w.exitcode not in (None, 0)]
            if dead and results.empty():
                raise SettingsError(
                    f"a process that forwards images died with exit code {dead[0].exitcode}, most often for want of "
                    "memory: give fewer devices, or a smaller --batch-size"
                ) from None
            continue
        if error:
            raise LinePluginError(f"{name} on {device}: {error}")
        done += 1
        forwarded += images
        out.print(f"{name}: forwarded on {device}")
    return forwarded


def _work(args: argparse.Namespace, benchmark: Benchmark, sets: Sets, jobs: Any, results: Any) -> None:
    """Runs in one process: takes runs for one device until none is left."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C and ends this process
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # with an exception, so that half a set is removed
    from line_plugin.benchmark.protocol import forwarding

    for name, checkpoint in iter(jobs.get, None):
        try:
            cache = options.cache_of(args, benchmark, checkpoint)
            forwarding.forward(benchmark, sets, cache)
        except Exception as error:
            if args.debug:
                traceback.print_exc()
            known = isinstance(error, LinePluginError)
            results.put((name, args.device, 0, str(error) if known else f"{type(error).__name__}: {error}"))
            return
        results.put((name, args.device, cache.forwarded, ""))
