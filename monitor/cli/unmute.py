"""``ood-monitor unmute``: end a mute before its time."""

from __future__ import annotations

import argparse

from monitor.cli.options import Commands, read_config, takes_config


def add(commands: Commands) -> None:
    """Describe the command."""
    command = takes_config(commands.add_parser("unmute", help="end a mute before its time"), run)
    command.add_argument("mute", metavar="ID", help="id of the mute; `ood-monitor mute` lists them")


def run(options: argparse.Namespace) -> int:
    """Run the command, and return the exit code."""
    from monitor.errors import HandlingError
    from monitor.service.assembly import open_store

    if not open_store(read_config(options)).unmute(options.mute):
        raise HandlingError(f"no mute {options.mute[:40]!r} is in force: `ood-monitor mute` lists those that are")
    print(f"mute {options.mute} has ended; alerts that still fire are sent to receivers now")
    return 0
