"""The content of ``run.json`` of a saved run, version 1. docs/report.md describes it for people.

Names of methods and sets are the keys of the arrays in the two files that it names. JSON has only finite numbers, so
others are written as strings (``"-Infinity"``).
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Setting = float | int | str | None
FORMAT, VERSION = "openood-run", 1


class _Record(BaseModel):
    # Before 2.10, pydantic warned about a field called `model_...` in the middle of the command's output.
    model_config = ConfigDict(frozen=True, extra="ignore", ser_json_inf_nan="strings", protected_namespaces=())


class SetRecord(_Record):
    """A set of images: its ``group``, how many there are, and the key of its features in the cache."""

    name: str
    group: Literal["train", "id", "csid", "near", "far"]
    images: int = Field(ge=1)
    key: str


class Tried(_Record):
    """One combination of a sweep, and its AUROC (share) of ID val against OOD val."""

    settings: dict[str, Setting]
    auroc: float


class MethodRecord(_Record):
    """A method: its settings, their origin, the choices of its fit, and the combinations of a sweep."""

    name: str
    about: str = ""
    settings: dict[str, Setting]
    notes: tuple[str, ...] = ()
    choice: dict[str, Any] = {}
    sweep: tuple[Tried, ...] = ()


class CalibrationRecord(_Record):
    """The calibration of an artifact: what it supports, and what it cannot (``limits``).

    Attributes:
        flagged: the interval (shares) that holds the true rate of flagged ID inputs for 95 % of such calibration sets.
    """

    n: int
    tpr: float
    threshold: float
    source: str
    flagged: tuple[float, float]
    limits: tuple[str, ...]


class ArtifactRecord(_Record):
    """An artifact that a run describes. ``method`` is the method of the run with the same scores, if any.

    Attributes:
        settings: the settings of its fit; head, model_sha256, data_sha256: the origin of its fit, empty if unknown.
    """

    file: str
    kind: str
    content_sha256: str
    method: str = ""
    settings: dict[str, Setting] = {}
    head: str = ""
    model_sha256: str = ""
    data_sha256: str = ""
    calibration: CalibrationRecord | None = None


class Checkpoint(_Record):
    """The file of the weights and its SHA-256."""

    file: str
    sha256: str


class Network(_Record):
    """The network. ``model_sha256`` covers the weights, structure and code as loaded."""

    arch: str
    head: str
    model_sha256: str
    checkpoint: Checkpoint | None = None


class Made(_Record):
    """How the run was made: the command as typed, the time (UTC), the machine and the versions."""

    command: tuple[str, ...]
    started: str
    device: str
    platform: str
    versions: dict[str, str]


class Places(_Record):
    """The folders of images and cached features during the run; both may have moved or been deleted since."""

    data_root: str
    cache: str


class FileRecord(_Record):
    """A file beside ``run.json`` and its SHA-256."""

    name: str = Field(pattern=r"^[a-z]+-[0-9a-f]{12}\.npz$")
    sha256: str


class RunRecord(_Record):
    """The whole of ``run.json``."""

    format: Literal["openood-run"] = "openood-run"
    version: Literal[1] = 1
    name: str
    benchmark: str
    title: str = ""
    fsood: bool = False
    num_classes: int = Field(ge=1)
    class_names: tuple[str, ...] = ()
    preprocessing: dict[str, Any] = {}
    network: Network
    made: Made
    places: Places
    sets: tuple[SetRecord, ...]
    missing: tuple[str, ...] = ()
    methods: tuple[MethodRecord, ...] = Field(min_length=1)
    artifacts: tuple[ArtifactRecord, ...] = ()
    scores: FileRecord
    images: FileRecord

    def of_group(self, *groups: str) -> list[str]:
        """Names of the sets of some groups, in order."""
        return [s.name for s in self.sets if s.group in groups]
