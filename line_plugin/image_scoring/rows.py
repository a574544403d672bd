"""The result for one image, and its layout as a record."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class ImageScore:
    """The result for one image.

    Attributes:
        path: as it was named or found.
        label: from an image list, else None.
        predicted, class_name: the class and its name; None and "" for an image that cannot be scored.
        confidence: high = ID; a float32.
        p_value: the share of held-out ID inputs at or below this confidence; None without a calibration.
        flagged: whether the p-value is at most the level; None without a calibration.
        experts: each expert's score in units of its own spread, by name, for a panel; p_values: their p-values.
        lowest_expert: the expert with the lowest score, which the monitor's alerts name; "" for LINe alone.
        error: why the image cannot be scored; "" if it has a score.
        features: (D,) the input of the head, if features are kept.
    """

    path: Path
    label: int | None = None
    predicted: int | None = None
    class_name: str = ""
    confidence: float | None = None
    p_value: float | None = None
    flagged: bool | None = None
    experts: dict[str, float] | None = None
    p_values: dict[str, float | None] | None = None
    lowest_expert: str = ""
    error: str = ""
    features: Tensor | None = None


@dataclass(frozen=True)
class Column:
    """One column of the output: its name and its type (``text``, ``integer``, ``number`` or ``truth``)."""

    name: str
    kind: str


@dataclass(frozen=True)
class Layout:
    """The columns. They are the same for every image of a run, so that a stream can be read row by row.

    Attributes:
        labels: whether images come from lists with labels.
        experts: names of the panel's experts; empty for LINe.
    """

    labels: bool
    experts: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns in order."""
        found = [Column("path", "text")]
        found += [Column("label", "integer")] if self.labels else []
        found += [Column("predicted", "integer"), Column("class_name", "text"), Column("confidence", "number")]
        found += [Column("p_value", "number"), Column("flagged", "truth")]
        for name in self.experts:
            found += [Column(f"expert_{name}", "number"), Column(f"p_{name}", "number")]
        found += [Column("lowest_expert", "text")] if self.experts else []
        return (*found, Column("error", "text"))

    def record(self, row: ImageScore) -> dict[str, Any]:
        """Returns the values of a row by column; None for a missing value."""
        found: dict[str, Any] = {"path": readable(row.path)}
        if self.labels:
            found["label"] = row.label
        found |= {
            "predicted": row.predicted,
            "class_name": row.class_name or None,
            "confidence": row.confidence,
            "p_value": row.p_value,
            "flagged": row.flagged,
        }
        for name in self.experts:
            found[f"expert_{name}"] = (row.experts or {}).get(name)
            found[f"p_{name}"] = (row.p_values or {}).get(name)
        if self.experts:
            found["lowest_expert"] = row.lowest_expert or None
        return found | {"error": row.error or None}


def readable(path: Path) -> str:
    """A path as UTF-8 text. Bytes of a file name that are not UTF-8 are written as ``\\xNN``."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def printable(text: str) -> str:
    """Text that is safe to print on a terminal, without control characters of a file name."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
