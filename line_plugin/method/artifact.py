"""One file that holds a fitted LINe or Panel: safetensors with JSON metadata and a content hash. No pickle.

:class:`Contents` is what the file holds of a LINe; the functions below it write and read such a file safely.
The header key ``line_plugin`` holds one JSON object with sorted keys; ``content_sha256`` inside it covers every other
metadata field and every tensor's name, dtype, shape and bytes.
The same fit gives the same bytes: no time stamp is kept.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from line_plugin.errors import ArtifactCorruptError, ArtifactError, ArtifactVersionError
from line_plugin.files import write_whole
from line_plugin.math.contributions import ClassSums
from line_plugin.method.calibration import Calibration
from line_plugin.method.fit import Fitted
from line_plugin.method.settings import LINeSettings, Provenance
from line_plugin.version import __version__

SCHEMA_VERSION = 1
_KEY = "line_plugin"


@dataclass(frozen=True)
class Contents:
    """Settings, provenance, calibration and fit, as they are stored together."""

    settings: LINeSettings
    provenance: Provenance
    calibration: Calibration | None
    fitted: Fitted

    def write(self, path: str | Path) -> str:
        """Write the file and return its content hash. Equal contents give equal bytes."""
        return write_tensors(path, *self.parts())

    def parts(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """The tensors and the metadata of the file."""
        fitted, k, d = self.fitted, *self.fitted.weight.shape
        tensors = {
            "weight": fitted.weight,
            "bias": fitted.bias,
            "sums": fitted.sums.sums,
            "counts": fitted.sums.counts,
            "weight_thresholds": fitted.thresholds,
        }
        metadata: dict[str, Any] = {
            "kind": "line",
            "settings": asdict(self.settings),
            "num_classes": k,
            "width": d,
            "num_samples": fitted.sums.num_samples,
            "provenance": asdict(self.provenance),
            "versions": {"openood-line": __version__, "torch": torch.__version__, "numpy": np.__version__},
        }
        if self.calibration is not None:
            tensors["calibration_confidence"] = self.calibration.confidence
            metadata["calibration"] = {
                "n": self.calibration.n,
                "tpr": self.calibration.tpr,
                "threshold": _encode_float(self.calibration.threshold),
                "cell_bounds": [_encode_float(b) for b in self.calibration.cell_bounds()],
                "source": self.calibration.source,
                **({"class_counts": list(counts)} if (counts := self.calibration.class_counts) else {}),
            }
        return tensors, metadata

    @classmethod
    def read(cls, path: str | Path) -> tuple[Contents, str]:
        """Read and verify a file; the contents and their hash.

        Raises:
            ArtifactError and its kinds, see :func:`read_tensors`.
        """
        tensors, metadata = read_tensors(path)
        check_kind(path, metadata, "line")
        with misstated(path):
            return cls.of_parts(tensors, metadata), str(metadata["content_sha256"])

    @classmethod
    def of_parts(cls, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> Contents:
        """From what :meth:`parts` gave; raises whatever comes of parts that are missing or of another kind."""
        settings = LINeSettings(**metadata["settings"])
        sums = ClassSums(tensors["sums"], tensors["counts"])
        thresholds = tensors["weight_thresholds"]
        fitted = Fitted.make(tensors["weight"], tensors["bias"], sums, settings, thresholds=thresholds)
        provenance = dict(metadata["provenance"])
        provenance["class_names"] = tuple(provenance["class_names"])
        kept = metadata.get("calibration")
        calibration = kept and Calibration(
            tensors["calibration_confidence"], kept["tpr"], kept["source"], tuple(kept.get("class_counts", ()))
        )
        return cls(settings, Provenance(**provenance), calibration, fitted)


OPENED_BY = {"line": "LINe.load", "panel": "Panel.load"}
"""The kinds of artifact, and what reads one."""


def check_kind(path: str | Path, metadata: Mapping[str, Any], kind: str) -> None:
    """Refuse an artifact of another kind.

    Raises:
        ArtifactError: with the call that reads what it is.
    """
    found = metadata.get("kind")
    if found != kind:
        right = OPENED_BY.get(str(found))
        hint = f"open it with {right} or load_artifact" if right else "upgrade openood-line, or fit again"
        raise ArtifactError(f"{path} is an artifact of kind {found!r}, expected {kind!r}: {hint}")


@contextmanager
def misstated(path: str | Path) -> Iterator[None]:
    """What a verified file lacks or misstates, as an ArtifactCorruptError."""
    try:
        yield
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ArtifactCorruptError(f"{path} lacks or misstates {error}: fit again") from error


def _encode_float(value: float) -> float | str:
    """A float for JSON, which has no infinity."""
    return value if math.isfinite(value) else str(value)


def content_hash(tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> str:
    """SHA-256 over the metadata (without its own hash) and every tensor, in name order."""
    digest = hashlib.sha256()
    plain = {k: v for k, v in metadata.items() if k != "content_sha256"}
    digest.update(json.dumps(plain, sort_keys=True, separators=(",", ":")).encode())
    for name in sorted(tensors):
        t = tensors[name].detach().cpu().contiguous()
        digest.update(f"\0{name}\0{t.dtype}\0{tuple(t.shape)}\0".encode())
        digest.update(t.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def write_tensors(path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> str:
    """Write the file whole or not at all.

    Returns:
        The content hash.

    Raises:
        ArtifactError: the folder cannot be written.
    """
    from safetensors.torch import save

    target = Path(path)
    meta = {**metadata, "schema_version": SCHEMA_VERSION}
    plain = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
    meta["content_sha256"] = content_hash(plain, meta)
    blob = save(plain, metadata={_KEY: json.dumps(meta, sort_keys=True, separators=(",", ":"))})
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_whole(target, blob)
    except OSError as error:
        raise ArtifactError(f"cannot write {target}: {error.strerror or error}") from error
    return str(meta["content_sha256"])


def read_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read and verify.

    Returns:
        The tensors, and the metadata with its ``content_sha256``.

    Raises:
        ArtifactError: no such file, or a safetensors file of something else.
        ArtifactCorruptError: truncated, or its bytes do not match its hash.
        ArtifactVersionError: written by a newer release.
    """
    target = Path(path)
    blob = _read_bytes(target)
    metadata = _read_metadata(target, blob)
    version = metadata.get("schema_version")
    if not isinstance(version, int) or version > SCHEMA_VERSION:
        raise ArtifactVersionError(
            f"{target} has schema version {version}, this release reads up to {SCHEMA_VERSION}: upgrade openood-line"
        )
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        tensors = load(blob)
    except (SafetensorError, ValueError, KeyError) as error:
        raise ArtifactCorruptError(f"{target} is broken ({error}): fit again or fetch it again") from error
    found = content_hash(tensors, metadata)
    if found != metadata.get("content_sha256"):
        raise ArtifactCorruptError(
            f"{target} does not match its content hash (stored {str(metadata.get('content_sha256'))[:12]}, "
            f"found {found[:12]}): fit again or fetch it again"
        )
    return tensors, metadata


def read_kind(path: str | Path) -> str:
    """What kind of artifact a file says it is, unverified: ``line`` or ``panel``.

    Raises:
        ArtifactError, ArtifactCorruptError: as :func:`read_tensors`.
    """
    return str(_read_metadata(Path(path), _read_bytes(Path(path))).get("kind"))


def _read_bytes(target: Path) -> bytes:
    try:
        return target.read_bytes()
    except OSError as error:
        raise ArtifactError(f"cannot read {target}: {error.strerror or error}") from error


def _read_metadata(target: Path, blob: bytes) -> dict[str, Any]:
    """The JSON object of the header, read without trusting anything behind it."""
    try:
        (length,) = struct.unpack_from("<Q", blob)
        if length > len(blob) - 8:
            raise ValueError("the header is longer than the file")
        header = json.loads(blob[8 : 8 + length])
        text = header.get("__metadata__", {}).get(_KEY)
    except (struct.error, ValueError, AttributeError) as error:
        raise ArtifactCorruptError(
            f"{target} is broken or not a safetensors file ({error}): fit again or fetch it again"
        ) from error
    if text is None:
        raise ArtifactError(
            f"{target} is a safetensors file but not an artifact of this package: write one with `openood fit`"
        )
    try:
        metadata = json.loads(text)
    except ValueError as error:
        raise ArtifactCorruptError(f"{target} has broken metadata ({error}): fit again") from error
    if not isinstance(metadata, dict):
        raise ArtifactCorruptError(f"{target} has broken metadata: fit again")
    return metadata
