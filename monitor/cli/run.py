"""``ood-monitor run``: count and judge until stopped."""

from __future__ import annotations

import argparse
import sys

from monitor.cli.options import Commands, read_config, takes_config


def add(commands: Commands) -> None:
    """Describe the command."""
    help_text = "count and judge until stopped; SIGTERM finishes the batch in hand"
    command = takes_config(commands.add_parser("run", help=help_text), run)
    command.add_argument("--until-idle", type=float, metavar="SECONDS", help="stop after so long without a record")


def run(options: argparse.Namespace) -> int:
    """Carry the command out; the exit code."""
    import signal
    import time

    from monitor.service.process import Process
    from monitor.service.secrecy import log_to_stderr

    stop: list[int] = []
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda number, _frame: stop.append(number))
    config = read_config(options)
    log_to_stderr(options.debug)

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
    print("ood-monitor: stopped; the batch in hand is counted", file=sys.stderr)
    return 0
