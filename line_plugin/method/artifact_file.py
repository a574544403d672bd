"""Reads and writes artifact files: safetensors with JSON metadata and a content hash, without pickle.

The header key ``line_plugin`` holds one JSON object with sorted keys. Its field ``content_sha256`` covers every other
metadata field and the name, dtype, shape and bytes of every array. The same fit gives the same bytes, since no time is
stored. Only numpy is needed, so that a process without torch can read an artifact.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from line_plugin.errors import ArtifactCorruptError, ArtifactError, ArtifactVersionError
from line_plugin.files import write_whole

SCHEMA_VERSION = 1
_KEY = "line_plugin"
_DTYPES = {name: f"torch.{name}" for name in ("float32", "float64", "float16", "int64", "int32", "uint8", "bool")}
"""The names of the dtypes in the hash. They are torch's, since torch wrote the first artifacts."""

Arrays = Mapping[str, NDArray[Any]]

OPENED_BY = {"line": "LINe.load", "panel": "Panel.load"}
"""The kinds of artifact, and the call that reads each."""


def check_kind(path: str | Path, metadata: Mapping[str, Any], kind: str) -> None:
    """Refuses an artifact of another kind.

    Raises:
        ArtifactError: it is of another kind; the message names the call that reads it.
    """
    found = metadata.get("kind")
    if found != kind:
        right = OPENED_BY.get(str(found))
        hint = f"open it with {right} or load_artifact" if right else "upgrade openood-line, or fit again"
        raise ArtifactError(f"{path} is an artifact of kind {found!r}, expected {kind!r}: {hint}")


def refuse_kind(path: str | Path, kind: object) -> ArtifactError:
    """The error for an artifact of a kind that this release does not know."""
    return ArtifactError(
        f"{path} is an artifact of kind {kind!r}, this release opens {' and '.join(OPENED_BY)}: upgrade openood-line"
    )


@contextmanager
def misstated(path: str | Path) -> Iterator[None]:
    """Raises an ArtifactCorruptError if something is missing or wrong in a verified file."""
    try:
        yield
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ArtifactCorruptError(f"{path} has a missing or wrong entry ({error}): fit again") from error


def content_hash(arrays: Arrays, metadata: Mapping[str, Any]) -> str:
    """SHA-256 over the metadata, without its own hash, and every array in the order of names.

    Raises:
        KeyError: an array has a dtype that no artifact holds.
    """
    digest = hashlib.sha256()
    plain = {k: v for k, v in metadata.items() if k != "content_sha256"}
    digest.update(json.dumps(plain, sort_keys=True, separators=(",", ":")).encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"\0{name}\0{_DTYPES[array.dtype.name]}\0{arrays[name].shape}\0".encode())
        digest.update(array.data)
    return digest.hexdigest()


def write_arrays(path: str | Path, arrays: Arrays, metadata: Mapping[str, Any]) -> str:
    """Writes the file as a whole, or not at all.

    Returns:
        The content hash.

    Raises:
        ArtifactError: the folder cannot be written.
    """
    from safetensors.numpy import save

    target = Path(path)
    meta = {**metadata, "schema_version": SCHEMA_VERSION}
    plain = {name: np.ascontiguousarray(array).reshape(array.shape) for name, array in arrays.items()}
    meta["content_sha256"] = content_hash(plain, meta)
    blob = save(plain, metadata={_KEY: json.dumps(meta, sort_keys=True, separators=(",", ":"))})
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_whole(target, blob)
    except OSError as error:
        raise ArtifactError(f"cannot write {target}: {error.strerror or error}") from error
    return str(meta["content_sha256"])


def read_arrays(path: str | Path) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Reads and verifies a file.

    Returns:
        The arrays, which must not be written to, and the metadata with its ``content_sha256``.

    Raises:
        ArtifactError: the file does not exist, or is a safetensors file of something else.
        ArtifactCorruptError: the file is truncated, or its bytes do not match its hash.
        ArtifactVersionError: a newer release wrote it."""
    target = Path(path)
    blob = _read_bytes(target)
    metadata = _read_metadata(target, blob)
    version = metadata.get("schema_version")
    if not isinstance(version, int) or version > SCHEMA_VERSION:
        raise ArtifactVersionError(
            f"{target} has schema version {version}, this release reads up to {SCHEMA_VERSION}: upgrade openood-line"
        )
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        arrays = load(blob)
        found = content_hash(arrays, metadata)
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactCorruptError(f"{target} is broken ({error}): fit again or fetch it again") from error
    if found != metadata.get("content_sha256"):
        raise ArtifactCorruptError(
            f"{target} does not match its content hash (stored {str(metadata.get('content_sha256'))[:12]}, "
            f"found {found[:12]}): fit again or fetch it again"
        )
    return arrays, metadata


def read_kind(path: str | Path) -> str:
    """The kind of artifact that a file claims to be, ``line`` or ``panel``, without a check.

    Raises:
        ArtifactError, ArtifactCorruptError: as :func:`read_arrays`.
    """
    return str(_read_metadata(Path(path), _read_bytes(Path(path))).get("kind"))


def _read_bytes(target: Path) -> bytes:
    try:
        return target.read_bytes()
    except OSError as error:
        raise ArtifactError(f"cannot read {target}: {error.strerror or error}") from error


def _read_metadata(target: Path, blob: bytes) -> dict[str, Any]:
    """Reads the JSON object of the header, without reading the arrays behind it."""
    try:
        if len(blob) < 8:
            raise ValueError(f"it holds {len(blob)} bytes")
        (length,) = struct.unpack_from("<Q", blob)
        if length > len(blob) - 8:
            raise ValueError("the header is longer than the file")
        header = json.loads(blob[8 : 8 + length])
        text = header.get("__metadata__", {}).get(_KEY)
    except (ValueError, AttributeError) as error:
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
