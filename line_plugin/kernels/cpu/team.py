"""Distributes rows over threads, on the threads of torch's own products, so that no others compete with them for cores.

That holds in a process that has imported torch. In any other process, a pool of Python threads scores. It has as many
threads as :func:`set_threads` sets, or one for each core that the process may use.

Torch's products run on OpenMP's threads, which stay awake for some milliseconds after each product. Other threads would
have to share the cores with them during that time. So the work is handed to OpenMP itself, through the function that
compilers call (``GOMP_parallel``) in the library that torch is linked to. If torch has no OpenMP, or after a fork
(OpenMP's threads do not survive one), a pool of Python threads does the same work. The bits are the same either way.
"""

from __future__ import annotations

import ctypes
import functools
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROWS_A_THREAD = 16
"""Fewer rows are not worth a thread."""

Native = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
"""A compiled function that takes the address of its job and returns once no part of the job is left to claim."""


_own_threads = 0


def set_threads(count: int) -> None:
    """Sets how many threads may score, and torch's number of threads if it is imported; 0 changes nothing."""
    global _own_threads  # noqa: PLW0603
    if count:
        _own_threads = count
        if (torch := _torch()) is not None:
            torch.set_num_threads(count)


def threads_for(n: int) -> int:
    """How many threads score ``n`` rows: as many as allowed, if each gets enough rows."""
    if n < 2 * ROWS_A_THREAD:
        return 1
    torch = _torch()
    allowed = torch.get_num_threads() if torch is not None else _own_threads or _cores()
    return max(1, min(allowed, n // ROWS_A_THREAD))


def _torch() -> Any:
    """Torch if the process has completely imported it, else ``None``."""
    torch = sys.modules.get("torch")
    return torch if hasattr(torch, "get_num_threads") else None


def _cores() -> int:
    """How many cores the process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run(work: Any, job: int, threads: int) -> None:
    """Calls ``work(job)`` on ``threads`` threads at once; each call claims its share of the job.

    OpenMP may provide fewer threads; these must do all of the work.

    Args:
        work: a :data:`Native`; job: the address of its job.
    """
    if threads == 1:
        work(job)
        return
    parallel = _openmp()
    if parallel is not None:
        parallel(work, job, threads, 0)
        return
    others = [_pool(threads).submit(work, job) for _ in range(threads - 1)]
    work(job)
    for other in others:
        other.result()


def each_span(n: int, task: Callable[[int, int], None]) -> None:
    """Calls ``task(first, last)`` for spans that together cover ``n`` rows, each span once.

    Raises:
        Exception: the first one that a task raised.
    """
    spans = threads_for(n)
    if spans == 1:
        task(0, n)
        return
    left, claiming, failed = iter(range(spans)), threading.Lock(), []

    def work(_job: int | None) -> None:
        while True:
            with claiming:
                i = next(left, None)
            if i is None:
                return
            try:
                task(n * i // spans, n * (i + 1) // spans)
            except Exception as error:  # an exception must not pass through C code; it is raised again below
                failed.append(error)

    run(Native(work), 0, spans)
    if failed:
        raise failed[0]


def _openmp() -> Any:
    """``GOMP_parallel`` of the OpenMP that torch runs on; ``None`` if there is none, or no torch."""
    return _openmp_of_torch() if _torch() is not None else None


@functools.cache
def _openmp_of_torch() -> Any:
    import torch

    if "OpenMP" not in torch.__config__.parallel_info():
        return None
    for path in sorted((Path(torch.__file__).parent / "lib").glob("libtorch_cpu.*")):
        try:
            parallel = ctypes.CDLL(str(path)).GOMP_parallel  # this searches the libraries that it is linked to
        except (OSError, AttributeError):
            continue
        parallel.restype = None
        parallel.argtypes = [Native, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
        return parallel
    return None


@functools.cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="line-scoring")


def _after_fork() -> None:
    global _openmp_of_torch  # noqa: PLW0603
    _pool.cache_clear()
    _openmp_of_torch = functools.cache(lambda: None)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
