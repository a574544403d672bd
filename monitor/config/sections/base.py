"""The base classes of settings sections."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from monitor.config.secret_files import read_secret_file


class Section(BaseModel):
    """A frozen section that refuses unknown keys. Errors never quote the value, since it may be a secret."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class ProcessSettings(Section):
    """All settings of one process, by section.

    Attributes:
        environment: the prefix of its environment variables.
    """

    environment: ClassVar[str]


def from_file(data: Any, secret: str) -> Any:
    """Fill ``secret`` from the file that ``<secret>_file`` names."""
    if not isinstance(data, Mapping) or not data.get(f"{secret}_file"):
        return data
    if data.get(secret):
        raise ValueError(f"{secret} and {secret}_file are both given: keep one")
    return {**data, secret: read_secret_file(f"{secret}_file", str(data[f"{secret}_file"]))}
