"""``openood quickstart``: from nothing to a results table on images that packages ship."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from line_plugin.errors import SettingsError


def add(commands: argparse._SubParsersAction[Any]) -> argparse.ArgumentParser:
    """Declare the command."""
    parser: argparse.ArgumentParser = commands.add_parser("quickstart", help="train, fit, calibrate, evaluate, plot")
    parser.add_argument("--output-dir", type=Path, default=Path("quickstart"), help="everything goes here (quickstart)")
    return parser


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    raise SettingsError("not wired yet")
