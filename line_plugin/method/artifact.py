"""One file that holds a fitted LINe: safetensors with JSON metadata and a content hash. No pickle.

The header key ``line_plugin`` holds one JSON object with sorted keys; ``content_sha256`` inside it covers every other
metadata field and every tensor's name, dtype, shape and bytes.
The same fit gives the same bytes: no time stamp is kept.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from line_plugin.errors import ArtifactCorruptError, ArtifactError, ArtifactVersionError

SCHEMA_VERSION = 1
_KEY = "line_plugin"


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


def write(path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]) -> str:
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


def write_whole(target: Path, blob: bytes) -> None:
    """Write ``blob`` beside ``target`` and rename it over: a reader never sees half a file."""
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(blob)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def read(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read and verify.

    Returns:
        The tensors, and the metadata with its ``content_sha256``.

    Raises:
        ArtifactError: no such file, or a safetensors file of something else.
        ArtifactCorruptError: truncated, or its bytes do not match its hash.
        ArtifactVersionError: written by a newer release.
    """
    target = Path(path)
    try:
        blob = target.read_bytes()
    except OSError as error:
        raise ArtifactError(f"cannot read {target}: {error.strerror or error}") from error
    metadata = _metadata(target, blob)
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


def _metadata(target: Path, blob: bytes) -> dict[str, Any]:
    """The JSON object of the header, read without trusting anything behind it."""
    try:
        (length,) = struct.unpack_from("<Q", blob)
        if length > len(blob) - 8:
            raise ValueError("the header is longer than the file")
        header = json.loads(blob[8 : 8 + length])
        text = header.get("__metadata__", {}).get(_KEY)
    except (struct.error, ValueError, AttributeError) as error:
        raise ArtifactCorruptError(
            f"{target} is broken or no safetensors file ({error}): fit again or fetch it again"
        ) from error
    if text is None:
        raise ArtifactError(f"{target} is a safetensors file but no LINe artifact: write one with `openood fit`")
    try:
        metadata = json.loads(text)
    except ValueError as error:
        raise ArtifactCorruptError(f"{target} has broken metadata ({error}): fit again") from error
    if not isinstance(metadata, dict):
        raise ArtifactCorruptError(f"{target} has broken metadata: fit again")
    return metadata
