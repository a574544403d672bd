"""The command line ``ood-monitor``. Heavy imports are made inside the commands."""

from __future__ import annotations

import argparse
import importlib
import io
import sys
import traceback
from collections.abc import Callable, Sequence

COMMANDS = ("run", "check", "alerts", "replay", "promote", "retire", "demo")
"""In the order in which help lists them; each is the module of its name."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. An error is one line on stderr: exit code 1, or 70 where it is none of this project's own."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # no name that a sender chose ends a command
    options = parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except KeyboardInterrupt:
        print("ood-monitor: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 141
    except Exception as error:
        return _report(error, options.debug)


def _report(error: Exception, debug: bool) -> int:
    """Say it in one line, below the traceback if that was asked for; the exit code."""
    from line_plugin.errors import LinePluginError
    from monitor.errors import MonitorError

    if debug:
        sys.stderr.write("".join(traceback.format_exception(error)))  # in one write: see monitor.service.secrecy
    said = " ".join(str(error).split())
    if isinstance(error, (MonitorError, LinePluginError)):
        print(f"ood-monitor: {said}", file=sys.stderr)
        return 1
    hint = "" if debug else " (--debug shows where)"
    print(f"ood-monitor: unexpected {type(error).__name__}: {said[:300]}{hint}", file=sys.stderr)
    return 70


def parser() -> argparse.ArgumentParser:
    """All commands and options."""
    top = argparse.ArgumentParser(prog="ood-monitor", description="OOD alerts from embeddings in Kafka, with a budget.")
    top.add_argument("--debug", action="store_true", help="show tracebacks and debug messages")
    commands = top.add_subparsers(required=True, metavar="command")

    for name in COMMANDS:
        importlib.import_module(f"monitor.cli.{name}").add(commands)
    return top
