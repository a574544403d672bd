"""``ood-monitor alerts``: current alerts from Redis."""

from __future__ import annotations

import argparse
import json
import sys

from monitor.cli.options import Commands, read_config, takes_config


def add(commands: Commands) -> None:
    """Describe the command."""
    command = takes_config(commands.add_parser("alerts", help="current alerts from Redis"), run)
    command.add_argument("--watch", action="store_true", help="go on, one line a transition")
    command.add_argument("--history", type=int, default=0, metavar="N", help="the last N transitions instead")
    command.add_argument("--json", action="store_true", help="one JSON object a line")


def run(options: argparse.Namespace) -> int:
    """Carry the command out; the exit code."""
    from monitor.alerts.alert import line
    from monitor.judging.rules import budget
    from monitor.judging.spending import spending
    from monitor.service.assembly import open_store

    config = read_config(options)
    store = open_store(config)

    def show(alert: dict[str, str]) -> None:
        print(json.dumps(alert, sort_keys=True) if options.json else line(alert), flush=True)

    found = list(reversed(store.history(options.history))) if options.history else store.alerts()
    for alert in found:
        show(alert)
    if not options.json:
        nothing = "" if found else "no alert; "
        print(nothing + spending(store, budget(config.alerts), config.alerts.requests_per_second), file=sys.stderr)
    if options.watch:
        newest = store.history(1)
        at = newest[0]["id"] if newest else "0-0"
        while True:
            for event in store.wait(at, 1000):
                at = event["id"]
                show(event)
    return 0
