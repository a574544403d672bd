"""``ood-monitor retire``: forget a stream that will not come back."""

from __future__ import annotations

import argparse

from monitor.cli.options import Commands, read_config, takes_config


def add(commands: Commands) -> None:
    """Describe the command."""
    help_text = "forget a stream that will not come back: its evidence, its alerts and its place under streams.limit"
    command = takes_config(commands.add_parser("retire", help=help_text), run)
    command.add_argument("stream", nargs="+", metavar="STREAM", help="name of a stream, as in the record key")


def run(options: argparse.Namespace) -> int:
    """Run the command, and return the exit code: 1 if one of the streams is not known."""
    import sys

    from monitor.service.assembly import open_store

    store = open_store(read_config(options))
    known = store.streams()
    for stream in options.stream:
        if stream in known:
            store.ask_to_retire(stream)
            print(f"stream {stream!r} is forgotten within seconds, by the worker that judges")
        else:
            print(f"ood-monitor: no stream {stream!r} is known; {len(known)} others are", file=sys.stderr)
    return int(any(stream not in known for stream in options.stream))
