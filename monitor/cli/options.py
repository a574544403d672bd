"""Options that several commands share."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from monitor.config import MonitorConfig

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]
else:
    Commands = object


def takes_config(command: argparse.ArgumentParser, run: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
    """Add the option of the settings file to a command, and the function that runs it."""
    command.add_argument("--config", required=True, metavar="FILE", help="settings, see configs/monitor.yml")
    command.set_defaults(command=run)
    return command


def takes_words(command: argparse.ArgumentParser) -> None:
    """Add the options ``--by`` and ``--reason`` to a command, which people want to know later."""
    command.add_argument("--reason", help="why, for everybody who looks")
    command.add_argument("--by", default=_user(), metavar="NAME", help="your name; by default your login name")


def _user() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # an id without a name, as containers have
        return ""


def read_config(options: argparse.Namespace) -> MonitorConfig:
    """Read the settings of ``--config``. From then on no secret in them is printed."""
    from monitor.config import Redactor, load, secrets_of
    from monitor.service.secrecy import hide_secrets

    config = load(options.config)
    hide_secrets(Redactor(secrets_of(config)))
    return config
