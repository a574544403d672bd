"""``ood-monitor run``: count and judge until stopped."""

from __future__ import annotations

import argparse
import logging
import os

from monitor.cli.exit_codes import ExitCode
from monitor.cli.options import Commands, read_config, takes_config

log = logging.getLogger(__name__)


def add(commands: Commands) -> None:
    """Describe the command."""
    help_text = "count and judge until stopped; SIGTERM finishes the current batch"
    command = takes_config(commands.add_parser("run", help=help_text), run)
    command.add_argument(
        "--until-idle", type=float, metavar="SECONDS", help="stop after this many seconds without a record"
    )
    command.add_argument(
        "--log-format",
        choices=("text", "json"),
        help="replaces logging.format; json writes one object on each line",
    )


def run(options: argparse.Namespace) -> int:
    """Run the command, and return the exit code."""
    import signal
    import time

    from monitor.service.logs import log_to_stderr
    from monitor.service.process import Process

    stop: list[int] = []
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda number, _frame: stop.append(number))
    if _asked_for(options) == "json":  # so that an error in the settings is JSON, too
        log_to_stderr(options.debug, "json")
    config = read_config(options)
    log_to_stderr(options.debug, options.log_format or config.logging.format)

    process = Process(config)
    last = time.monotonic()

    def stopping() -> bool:
        return bool(stop) or (options.until_idle is not None and time.monotonic() - last > options.until_idle)

    try:
        while not stopping():
            if process.step():
                last = time.monotonic()
    finally:
        process.close()
    log.info("stopped; the current batch is counted")
    return ExitCode.DONE


def _asked_for(options: argparse.Namespace) -> str:
    """Return the form of the log, as far as it is known before the settings are read."""
    from monitor.config import PREFIX

    return str(options.log_format or os.environ.get(f"{PREFIX}LOGGING__FORMAT", ""))
