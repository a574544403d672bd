"""Opens the Ray of a replay: one of its own on this machine, or a running cluster.

:mod:`line_plugin.integrations.ray.session` starts, joins and ends it. Here its errors become this package's.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

from line_plugin import errors as plugin
from line_plugin.integrations.ray.session import joined_ray, local_ray, require_ray
from monitor.errors import MissingLibraryError, ReplayError
from monitor.service.replaying.fleet import Fleet

STORE_BYTES = 128 * 2**20
"""Shared memory of a Ray that is started here. It holds the counts of a few pieces."""


@contextmanager
def open_ray(fleet: Fleet) -> Iterator[Any]:
    """Open a quiet Ray. If it was started here, its processes and files are gone when this ends.

    Raises:
        MissingLibraryError: Ray is not installed.
        ReplayError: Ray does not start, or cannot be reached.
    """
    with ExitStack() as ending:
        # Ray's listener prints what happens to actors on stdout, which is the report's.
        ending.enter_context(redirect_stdout(ending.enter_context(Path(os.devnull).open("w", encoding="utf-8"))))
        try:
            require_ray()
            cpus = max(fleet.actors, os.cpu_count() or 1)
            ray = ending.enter_context(joined_ray(fleet.address) if fleet.address else local_ray(cpus, STORE_BYTES))
        except plugin.MissingLibraryError as error:
            raise MissingLibraryError(str(error)) from None
        except plugin.ClusterError as error:
            raise ReplayError(str(error)) from error
        yield ray
