"""The command line ``ood-monitor``. Heavy imports are made inside the commands."""

from __future__ import annotations

import argparse
import importlib
import io
import logging
import os
import sys
from collections.abc import Callable, Sequence

from line_plugin.version import __version__
from monitor.cli.exit_codes import ExitCode, describe_exit_codes

COMMANDS = (
    "init", "run", "check", "alerts", "acknowledge", "mute", "unmute", "replay", "promote", "retire", "ingest", "demo",
    "local",
)  # fmt: skip
"""The commands in the order of the help text. Each is the module with its name."""


EXTRA = {"demo": "monitor,quickstart,local", "local": "monitor,local"}
"""The extras that install everything a command needs, if ``monitor`` does not."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code (:mod:`monitor.cli.exit_codes`). An error is one line on stderr."""
    _open_missing_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name that a sender chose must not end a command
    options = parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return int(command(options))
    except KeyboardInterrupt:
        print("ood-monitor: stopped", file=sys.stderr)
        return ExitCode.INTERRUPTED.value
    except BrokenPipeError:
        return ExitCode.BROKEN_PIPE.value
    except Exception as error:
        return _report(error, options.debug, options.called).value


def _open_missing_streams() -> None:
    """Give a process that was started without stdin, stdout or stderr ones that lead nowhere.

    Otherwise the first log line would end it, and a connection could get the number of a stream that others print to.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # it gets the lowest number that is free: this one
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115  it stays open


def _report(error: Exception, debug: bool, command: str = "") -> ExitCode:
    """Print the error on one line, after the traceback if that was asked for, and return the exit code."""
    from line_plugin.errors import LinePluginError
    from line_plugin.optional import explain_missing
    from monitor.errors import MonitorError
    from monitor.messages.text import printable
    from monitor.service.logs import logs_json, traceback_lines
    from monitor.service.patience import WAIT_SECONDS, PatientWriter

    if isinstance(error, ModuleNotFoundError):
        error = explain_missing(error, "ood-monitor", EXTRA.get(command, "monitor")) or error
    text, code = printable(" ".join(str(error).split()), 4000), ExitCode.FAILED
    if not isinstance(error, (MonitorError, LinePluginError)):
        code = ExitCode.FAULT
        text = f"unexpected {type(error).__name__}: {text[:300]}{'' if debug else ' (--debug shows where)'}"
    if logs_json():
        more = {"exit_code": code.value}
        logging.getLogger("ood-monitor").critical("%s", text, exc_info=error if debug else None, extra=more)
        return code
    if not PatientWriter(sys.stderr).takes(WAIT_SECONDS):
        return code  # nobody reads it, and waiting would keep the process from its end
    if debug:
        sys.stderr.write(traceback_lines(error) + "\n")  # in one write: see monitor.service.secrecy
    print(f"ood-monitor: {text}", file=sys.stderr)
    return code


def parser() -> argparse.ArgumentParser:
    """Build the parser with all commands and options."""
    top = argparse.ArgumentParser(
        prog="ood-monitor",
        description="OOD alerts from embeddings in Kafka, with a budget.",
        epilog=describe_exit_codes(),
    )
    top.add_argument("--version", action="version", version=f"ood-monitor {__version__}")
    top.add_argument("--debug", action="store_true", help="show tracebacks and debug messages")
    commands = top.add_subparsers(required=True, metavar="command")

    for name in COMMANDS:
        importlib.import_module(f"monitor.cli.{name}").add(commands)
        commands.choices[name].set_defaults(called=name)
    return top
