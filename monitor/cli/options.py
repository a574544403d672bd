"""What several commands share."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]
else:
    Commands = object


def takes_config(command: argparse.ArgumentParser, run: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
    """Give a command its settings file and the function that carries it out."""
    command.add_argument("--config", required=True, metavar="FILE", help="settings, see configs/monitor.yml")
    command.set_defaults(command=run)
    return command


def log_to_stderr(debug: bool) -> None:
    """Log to stderr; the Kafka client's own lines only with ``--debug``."""
    import logging
    import sys

    style = "%(asctime)s %(levelname)s %(name)s: %(message)s"
    logging.basicConfig(level=logging.DEBUG if debug else logging.INFO, format=style, stream=sys.stderr)
    if not debug:
        logging.getLogger("kafka").setLevel(logging.ERROR)
