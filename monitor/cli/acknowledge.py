"""``ood-monitor acknowledge``: shows everybody that you take care of an alert."""

from __future__ import annotations

import argparse

from monitor.cli.options import Commands, read_config, takes_config, takes_words


def add(commands: Commands) -> None:
    """Describe the command."""
    command = takes_config(
        commands.add_parser("acknowledge", help="show everybody that you take care of an alert"), run
    )
    command.add_argument(
        "alert", metavar="FINGERPRINT", help="fingerprint of the alert; `ood-monitor alerts --json` shows it"
    )
    command.add_argument("--undo", action="store_true", help="withdraw your acknowledgement")
    takes_words(command)


def run(options: argparse.Namespace) -> int:
    """Run the command, and return the exit code."""
    from monitor.errors import HandlingError
    from monitor.service.assembly import open_store

    store = open_store(read_config(options))
    if options.undo:
        if not store.unacknowledge(options.alert):
            raise HandlingError(f"nobody has acknowledged an alert {options.alert[:40]!r}")
        print(f"alert {options.alert} is no longer acknowledged")
        return 0
    done = store.acknowledge(options.alert, options.by, options.reason or "")
    print(f"alert {options.alert} is acknowledged by {done.author}, until it is over")
    return 0
