"""Reads secrets from files: from one that a key names, or from a folder."""

from __future__ import annotations

import os
from pathlib import Path


def read_secret_file(key: str, name: str) -> str:
    """Read a file without the newline at its very end. Everything else in it belongs to the secret.

    Raises:
        ValueError: the file cannot be read. The message names it only if its folder exists, because ``name`` may be the
            secret itself, given under the wrong key.
    """
    shown = name if _has_folder(name) else "..."
    try:
        text = Path(name).read_bytes().decode("utf-8")
    except OSError as error:
        raise ValueError(
            f"{key} {shown} cannot be read ({error.strerror}): expected the path of a file that holds the secret"
        ) from None
    except ValueError:  # not UTF-8, or a name with a NUL
        raise ValueError(f"{key} {shown} cannot be read: expected the path of a file of UTF-8 text") from None
    return without_final_newline(text)


def _has_folder(name: str) -> bool:
    try:
        folder = Path(name).parent
        return os.sep in name and folder != Path(folder.anchor) and folder.is_dir()
    except (OSError, ValueError):
        return False


def without_final_newline(text: str) -> str:
    """Remove one newline at the end, which editors add. Spaces and further newlines belong to the secret."""
    return text.removesuffix("\n").removesuffix("\r") if text.endswith("\n") else text


def read_secret_folder(folder: str, prefix: str) -> dict[str, str]:
    """Read the files of a folder that are named like environment variables. Other files are ignored.

    Raises:
        ValueError: the folder or one of these files cannot be read.
    """
    try:
        names = sorted(p.name for p in Path(folder).iterdir() if p.name.upper().startswith(prefix))
    except (OSError, ValueError) as error:
        raise ValueError(f"folder {folder} cannot be read ({getattr(error, 'strerror', error)})") from None
    return {name: read_secret_file("file", str(Path(folder) / name)) for name in names}
