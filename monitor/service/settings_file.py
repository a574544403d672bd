"""Writes the settings file of `ood-monitor init`: the chosen keys, with the comments of the reference file.

Secrets are never in it. They are written to files of their own, which only their owner may read.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from monitor.config import load
from monitor.errors import ConfigError

_LINE = re.compile(r"  (\w+):(?:\s+(?:\"[^\"]*\"|'[^']*'|[^#]*?))?(?:\s+#\s?(?P<comment>.*))?")

HEADER = """\
# Settings of `ood-monitor`, written by `ood-monitor init`. Every key that is not here has its default; all of them are
# in {reference}.
# A variable goes before this file: OOD_MONITOR__KAFKA__TOPIC=requests ood-monitor run --config {name}
# No secret belongs in this file: keys that end in _file name files that hold one.
"""


def read_comments(reference: Path) -> dict[tuple[str, str], str]:
    """Read the comment after each key in a settings file such as ``configs/monitor.yml``, by section and key."""
    found, section = {}, ""
    for line in reference.read_text(encoding="utf-8").splitlines():
        if head := re.match(r"(\w+):", line):
            section = head[1]
        elif (key := _LINE.fullmatch(line)) and key["comment"]:
            found[section, key[1]] = key["comment"].strip(" ;,")
    return found


def render(settings: Mapping[str, Mapping[str, Any]], reference: Path, name: str) -> str:
    """Make the text of a settings file.

    Args:
        settings: values by section and key; none of them is a secret.
        reference: the file with the comments.
        name: the name of the new file, for its header.
    """
    comments = read_comments(reference)
    shown = "configs/monitor.yml (in the package: line_plugin/configs)"
    lines = [HEADER.format(reference=shown, name=name)]
    for section, values in settings.items():
        lines.append(f"{section}:")
        for key, value in values.items():
            line = f"  {key}: {_scalar(value)}"
            comment = comments.get((section, key), "")
            lines.append(f"{line:<33} # {comment}" if comment else line)
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _scalar(value: Any) -> str:
    """Write a value on one line, quoted if YAML would otherwise read something else."""
    text = yaml.safe_dump(value, width=2**31, allow_unicode=False, default_flow_style=True, default_style=None)
    return text.removesuffix("\n").removesuffix("\n...").strip()


def write_settings(path: Path, text: str, *, force: bool = False) -> None:
    """Write the file whole or not at all, after reading it back as settings.

    Raises:
        ConfigError: the settings are not valid, the file exists and ``force`` is not given, or it cannot be written.
    """
    with _temporary(path, text) as written:
        try:
            load(written, {})
        except ConfigError as error:
            raise ConfigError(f"nothing is written: {str(error).replace(str(written), str(path))}") from None
        written.chmod(0o644)  # it holds no secret, and a worker may run as somebody else
        _put(written, path, force)


def write_secret(path: Path, secret: str, *, force: bool = False) -> None:
    """Write a secret into a file that only its owner may read.

    Raises:
        ConfigError: the file exists and ``force`` is not given, or it cannot be written.
    """
    with _temporary(path, secret + "\n") as written:
        _put(written, path, force)


def refuse_existing(path: Path, force: bool) -> None:
    """Raise if a file exists that may not be overwritten.

    Raises:
        ConfigError: the file exists and ``force`` is not given.
    """
    if not force and os.path.lexists(path):
        raise ConfigError(
            f"{path} exists and is left as it is: choose another place with --output, or overwrite it with --force"
        )


@contextlib.contextmanager
def _temporary(path: Path, text: str) -> Iterator[Path]:
    """Make a complete file beside ``path`` that only its owner may read.

    It is removed at the end unless it was moved.
    """
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".new", dir=path.parent)
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written ({error.strerror}): make its folder, or choose another place with --output"
        ) from None
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        yield Path(name)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written ({error.strerror})") from None
    finally:
        Path(name).unlink(missing_ok=True)


def _put(written: Path, path: Path, force: bool) -> None:
    if force:
        written.replace(path)
        return
    try:
        os.link(written, path)  # fails if the file exists, even if it was made in the meantime
    except FileExistsError:
        refuse_existing(path, force)
        raise
    except OSError:  # a file system without hard links
        refuse_existing(path, force)
        written.replace(path)
