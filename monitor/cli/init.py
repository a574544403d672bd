"""placeholder"""

from __future__ import annotations

from monitor.cli.options import Commands


def add(commands: Commands) -> None:
    """x"""
