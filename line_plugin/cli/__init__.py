"""The ``openood`` command line. Commands import what they need when they run: ``--help`` answers without torch."""

from __future__ import annotations

import argparse
import logging
import sys
import warnings
from collections.abc import Sequence
from typing import NoReturn

from line_plugin.cli import calibrate, data, evaluate, export, fit, listing, match, quickstart, report, score
from line_plugin.errors import ClusterWarning, LinePluginError
from line_plugin.optional import explain_missing
from line_plugin.version import __version__

EXTRA = {"quickstart": "quickstart"}
"""The extra that installs everything a command needs, if ``benchmark`` does not."""
_COMMANDS = (data, evaluate, report, fit, calibrate, score, export, match, listing, quickstart)


class _Parser(argparse.ArgumentParser):
    """A parser that reports a wrong flag in one line, like every other error."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message}; see `{self.prog} --help`\n")


def parser() -> argparse.ArgumentParser:
    """The parser with every command."""
    out = _Parser(
        prog="openood",
        description="Evaluate out-of-distribution detection by OpenOOD's protocol, LINe among the methods.",
        epilog="Start with `openood quickstart`, or `openood list` for benchmarks, methods and networks.",
    )
    out.add_argument("--version", action="version", version=f"openood-line {__version__}")
    commands = out.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_Parser)
    for command in _COMMANDS:
        sub = command.add(commands)
        sub.add_argument("--debug", action="store_true", help="show the traceback of an error")
        sub.set_defaults(run=command.run)
    return out


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        0, or 1 after an error, which is one line on stderr. A command may return 3: it ran to its end, but some of its
        images or sets are missing or broken. 130 after Ctrl-C.
    """
    args = parser().parse_args(argv)
    args.typed = report.typed(argv)
    warnings.showwarning = _show_warning
    warnings.simplefilter("always", ClusterWarning)  # the same loss may happen to several passes
    if sys.stderr.isatty():  # for example that the scoring kernel is being compiled, once
        logging.basicConfig(format="openood: %(message)s", level=logging.WARNING)
        logging.getLogger("line_plugin").setLevel(logging.INFO)
    try:
        return int(args.run(args) or 0)
    except LinePluginError as error:
        if args.debug:
            raise
        return _fail(str(error))
    except ModuleNotFoundError as error:
        missing = explain_missing(error, f"openood {args.command}", EXTRA.get(args.command, "benchmark"))
        if args.debug or missing is None:
            raise
        return _fail(str(missing))
    except KeyboardInterrupt:
        return _fail("interrupted; what was finished is kept, nothing half-written is left", 130)
    except BrokenPipeError:  # `openood list | head`
        sys.stderr.close()
        return 0
    except Exception as error:
        if args.debug:
            raise
        return _fail(f"unexpected {type(error).__name__}: {error} (--debug shows where)")


def _fail(message: str, code: int = 1) -> int:
    print(f"openood: {'' if code == 130 else 'error: '}{' '.join(message.split())}", file=sys.stderr)
    return code


def _show_warning(message: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
    """Our own warnings are meant for the user; a library's are shown with --debug only, by Python itself."""
    if category.__module__.startswith("line_plugin"):
        print(f"openood: note: {message}", file=sys.stderr)
