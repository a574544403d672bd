"""Reads benchmarks from YAML: which image lists are ID, near-OOD, far-OOD and covariate-shifted ID."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PositiveInt,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from line_plugin.errors import DataError, SettingsError, unknown_name
from line_plugin.shipped import config_dir


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


Interpolation = Literal["bilinear", "bicubic", "nearest", "lanczos", "box", "hamming"]


class Preprocessing(_Frozen):
    """OpenOOD's test transform: RGB, Resize, CenterCrop, ToTensor, Normalize.

    Attributes:
        resize: length of the shorter side, or height and width, which changes the aspect ratio; null leaves the step
            out.
        crop: side of the square in the middle; null leaves the step out (OpenOOD does so for ImageNet-C).
        interpolation: the interpolation of Resize; OpenOOD's own is bilinear.
        mean, std: of each channel.
    """

    resize: PositiveInt | tuple[PositiveInt, PositiveInt] | None
    crop: int | None = Field(gt=0)
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: Interpolation = "bilinear"

    @model_serializer(mode="wrap")
    def _leave_out_the_usual(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out default values, so that cache keys and artifacts of earlier releases stay valid."""
        found: dict[str, Any] = write(self)
        if self.interpolation == "bilinear":
            del found["interpolation"]
        return found


class ImageSet(_Frozen):
    """One data set: an OpenOOD image list with its image folder, or a folder of images.

    Attributes:
        list_file: image list below the data root, lines ``relative/path label``.
        images: folder that the list's paths start from, below the data root.
        folder: a folder of images below the data root, instead of a list. For ID sets each subfolder is a class.
        count: how many images the published set has.
        sha256: SHA-256 of the published list, in lower-case hexadecimal.
        source, home: where to get it, and its authors' page; for people.
        resize, crop: replace those of the benchmark's preprocessing (0 leaves the step out).
    """

    list_file: str | None = Field(default=None, alias="list")
    images: str = ""
    folder: str | None = None
    count: int | None = Field(default=None, gt=0)
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")
    source: str = ""
    home: str = ""
    resize: int | None = Field(default=None, ge=0)
    crop: int | None = Field(default=None, ge=0)

    @model_validator(mode="after")
    def _one_kind(self) -> ImageSet:
        if (self.list_file is None) == (self.folder is None):
            raise ValueError("give either `list` (with `images`) or `folder`")
        return self


class IdSets(_Frozen):
    """The ID splits. ``train`` fits, ``val`` chooses and calibrates, ``test`` is scored."""

    train: ImageSet
    val: ImageSet
    test: ImageSet


class OodSets(_Frozen):
    """The OOD sets. ``val`` is only for choosing hyper-parameters."""

    val: ImageSet | None = None
    near: dict[str, ImageSet] = {}
    far: dict[str, ImageSet] = {}

    @model_validator(mode="after")
    def _some(self) -> OodSets:
        if not self.near and not self.far:
            raise ValueError("give at least one OOD set under `near` or `far`")
        return self


class Published(_Frozen):
    """Settings that a paper gives for one network on this ID data.

    Attributes:
        network: its name, as ``--arch`` takes it.
        settings: the settings by name.
    """

    network: str
    settings: dict[str, float | int | str | None]


class Benchmark(_Frozen):
    """One benchmark.

    Attributes:
        name, title: for the command line and for people.
        num_classes: K of the ID data.
        arch: the network that its checkpoints usually belong to; it is used if the command line does not name one.
        class_names: K names, or empty.
        volumes: whether its files are volumes, which can be checked for but not read.
        preprocessing: used for every set that does not replace it.
        id, csid, ood: the sets. csid is ID under covariate shift, added to ID by FS-OOD.
        methods: settings by method name, over the methods' own defaults, for every network.
        published: settings by method name for the one network that a paper published them for. On another network the
            method's defaults are used.
    """

    name: str
    title: str = ""
    num_classes: int = Field(gt=0)
    arch: str = ""
    class_names: tuple[str, ...] = ()
    volumes: bool = False
    preprocessing: Preprocessing
    id: IdSets
    csid: dict[str, ImageSet] = {}
    ood: OodSets
    methods: dict[str, dict[str, float | int | str | None]] = {}
    published: dict[str, Published] = {}

    @model_validator(mode="after")
    def _distinct(self) -> Benchmark:
        names = ["id", "train", "val", "ood val", *self.csid, *self.ood.near, *self.ood.far]
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise ValueError(f"the name {twice[0]!r} is given to two sets (id, train and val are taken)")
        if self.class_names and len(self.class_names) != self.num_classes:
            raise ValueError(f"{len(self.class_names)} class_names for {self.num_classes} classes")
        return self

    def require_images(self) -> None:
        """Refuse a benchmark of volumes before any of its files is opened.

        Raises:
            SettingsError: its files are volumes.
        """
        if self.volumes:
            raise SettingsError(
                f"the files of {self.name!r} are volumes, and this reads images: fit on the features of your own "
                "network with LINe.fit_features; `openood data` without --verify looks whether they are there"
            )

    def preprocessing_of(self, images: ImageSet) -> Preprocessing:
        """The preprocessing of one set."""
        changes = {k: v or None for k in ("resize", "crop") if (v := getattr(images, k)) is not None}
        return self.preprocessing.model_copy(update=changes)

    def ood_sets(self) -> Iterator[tuple[str, str, ImageSet]]:
        """``(group, name, set)`` in the order of OpenOOD's table."""
        for group in ("near", "far"):
            for name, images in getattr(self.ood, group).items():
                yield group, name, images


def shipped() -> dict[str, Path]:
    """The benchmarks that come with the package, by name."""
    return {p.stem: p for p in sorted((config_dir() / "benchmarks").glob("*.yml"))}


def load(name_or_path: str) -> Benchmark:
    """Load a shipped benchmark by name, or your own by the path of its YAML file.

    Raises:
        SettingsError: the name is unknown. DataError: the file does not exist, or its contents are not a benchmark.
    """
    known = shipped()
    if name_or_path in known:
        path = known[name_or_path]
    elif name_or_path.endswith((".yml", ".yaml")):
        path = Path(name_or_path)
    else:
        raise unknown_name("benchmark", name_or_path, known)
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"cannot read benchmark {path}: {error.strerror or error}") from error
    except yaml.YAMLError as error:
        raise DataError(f"{path} is not valid YAML: {str(error).splitlines()[0]}") from error
    try:
        return Benchmark.model_validate(raw)
    except ValidationError as error:
        raise DataError(f"{path}: {_describe_first(error)}") from error


def _describe_first(error: ValidationError) -> str:
    """Describe the first error in one line. For an unknown key, name the nearest known one."""
    # A misspelt key also shows up as a missing one. The misspelling is the more useful error.
    problem: dict[str, Any] = dict(min(error.errors(), key=lambda e: e["type"] != "extra_forbidden"))
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        keys = {f.alias or n for m in _Frozen.__subclasses__() for n, f in m.model_fields.items()}
        near = get_close_matches(str(problem["loc"][-1]), keys, n=1)
        return f"unknown key {key!r}" + (f": did you mean {near[0]!r}?" if near else "")
    more = len(error.errors()) - 1
    return f"{key or 'file'}: {problem['msg']}" + (f" (and {more} more problems)" if more else "")
