"""``ood-monitor alerts``: current alerts from Redis."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

from monitor.cli.options import Commands, read_config, takes_config

if TYPE_CHECKING:
    from monitor.store.handling import Handling


def add(commands: Commands) -> None:
    """Describe the command."""
    command = takes_config(commands.add_parser("alerts", help="current alerts from Redis"), run)
    command.add_argument("--watch", action="store_true", help="go on with one line for each transition")
    command.add_argument("--history", type=int, default=0, metavar="N", help="the last N transitions instead")
    command.add_argument("--json", action="store_true", help="one JSON object a line")


def run(options: argparse.Namespace) -> int:
    """Run the command, and return the exit code."""
    from monitor.judging.rules import budget
    from monitor.judging.spending import spending
    from monitor.service.assembly import open_store

    config = read_config(options)
    store = open_store(config)
    found = list(reversed(store.history(options.history))) if options.history else store.alerts()
    handling = store.handling()
    for alert in found:
        show(alert, handling, as_json=options.json)
    if not options.json:
        for mute in handling.in_force():
            print(f"muted: {mute.words()}", file=sys.stderr)
        nothing = "" if found else "no alert; "
        print(nothing + spending(store, budget(config.alerts), config.alerts.requests_per_second), file=sys.stderr)
    if options.watch:
        newest = store.history(1)
        at = newest[0]["id"] if newest else "0-0"
        while True:
            for event in store.wait(at, 1000):
                at = event["id"]
                show(event, store.handling(), as_json=options.json)
    return 0


def show(alert: Mapping[str, str], handling: Handling, *, as_json: bool) -> None:
    """Print one alert with its acknowledgement and its mute."""
    from monitor.alerts.alert import line
    from monitor.messages.text import printable

    if as_json:
        print(json.dumps(alert, sort_keys=True), flush=True)
        return
    print(line(alert), flush=True)
    taken, mute = handling.annotated(alert), handling.mute_of(alert)
    if "acknowledged_by" in taken:
        at, why = taken["acknowledged_at"], printable(taken["acknowledged_reason"], 500)
        print(f"    acknowledged by {printable(taken['acknowledged_by'], 200)} at {at}: {why}", flush=True)
    if mute is not None and alert.get("status") == "firing":
        print(f"    muted: {mute.words()}", flush=True)
