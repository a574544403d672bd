"""The folder of the configuration files that come with the package."""

from __future__ import annotations

from pathlib import Path


def config_dir() -> Path:
    """The folder of the shipped YAML files: inside an installed package, or at the top of a checkout."""
    here = Path(__file__).resolve().parent
    installed = here / "configs"
    return installed if installed.is_dir() else here.parent / "configs"
