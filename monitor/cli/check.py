"""``ood-monitor check``: validate the settings and reach every endpoint."""

from __future__ import annotations

import argparse

from monitor.cli.options import Commands, read_config, takes_config


def add(commands: Commands) -> None:
    """Describe the command."""
    takes_config(commands.add_parser("check", help="validate the settings and reach every endpoint"), run)


def run(options: argparse.Namespace) -> int:
    """Run the command, and return the exit code."""
    from monitor.service.check import check

    failed = False
    for name, problem, detail in check(read_config(options)):
        failed = failed or problem
        print(f"{'FAILED' if problem else 'ok':<7} {name}: {detail}")
    return int(failed)
