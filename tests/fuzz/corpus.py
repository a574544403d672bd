"""Records that once did harm, one JSON file each in the folder beside this module; bytes are packed by zlib."""

from __future__ import annotations

import base64
import json
import zlib
from pathlib import Path

from monitor.messages import Record

FOLDER = Path(__file__).with_name("corpus")


def _text(data: bytes | None) -> str | None:
    return None if data is None else base64.b64encode(zlib.compress(data, 9)).decode()


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else zlib.decompress(base64.b64decode(text))


def save(name: str, record: Record) -> Path:
    """Keep a record."""
    document = {
        "timestamp_ms": record.timestamp_ms,
        "key": _text(record.key),
        "headers": [[name, _text(value)] for name, value in record.headers],
        "value": _text(record.value),
    }
    path = FOLDER / f"{name}.json"
    path.write_text(json.dumps(document, indent=1) + "\n")
    return path


def load() -> dict[str, Record]:
    """All that are kept, by name."""
    found = {}
    for path in sorted(FOLDER.glob("*.json")):
        d = json.loads(path.read_text())
        headers = tuple((name, _bytes(value)) for name, value in d["headers"])
        found[path.stem] = Record("t", 0, 0, d["timestamp_ms"], _bytes(d["key"]), _bytes(d["value"]), headers)
    return found
