"""Writes one row per image as Parquet: its path, its label, the scores of all methods, and its features.

Tools that draw embeddings read it, such as embedding-atlas and FiftyOne. Numbers have the same bits as in the
cache and in the scores.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from line_plugin.benchmark.protocol.results import Evaluation
from line_plugin.errors import DataError, SettingsError
from line_plugin.files import open_whole

FILE = "features.parquet"
_GROUP_BYTES = 32 << 20  # bytes of features in a row group, which is in memory at once


def require_pyarrow() -> None:
    """Refuses before the run starts if pyarrow is missing, since the file could not be written.

    Raises:
        SettingsError: pyarrow is not installed.
    """
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise SettingsError(
            "--save-parquet needs pyarrow, which is not installed: pip install 'openood-line[parquet]'"
        ) from error


def save_parquet(folder: Path, run: Evaluation, cache: Path, *, train: bool, about: Mapping[str, Any]) -> Path:
    """Writes ``features.parquet`` as a whole, or not at all.

    The columns are ``path`` (absolute), ``label`` (int32, -1 is OOD), ``predicted`` (int32, the network's own class),
    ``split`` (``train`` or ``test``), ``dataset``, ``group`` (``id``, ``csid``, ``near``, ``far``), ``score_METHOD``
    (float32, high = ID; null in ``train``) and ``embedding`` (a list of D float32, the input of the head).

    Args:
        cache: folder of the feature cache.
        train: whether the training set is written too; it is not scored.
        about: stored as JSON in the metadata of the schema, under ``openood-line``.

    Raises:
        DataError: features are not in the cache any more, or the file cannot be written.
    """
    require_pyarrow()
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = [*run.groups, *(["train"] if train else [])]
    features = {name: _features(cache, run.keys[name]) for name in names}
    (width,) = {array.shape[1] for array in features.values()}
    schema = pa.schema(
        [
            ("path", pa.string()),
            ("label", pa.int32()),
            ("predicted", pa.int32()),
            ("split", pa.string()),
            ("dataset", pa.string()),
            ("group", pa.string()),
            *((f"score_{r.name}", pa.float32()) for r in run.results),
            ("embedding", pa.list_(pa.float32(), width)),
        ],
        metadata={"openood-line": json.dumps({**about, "keys": {n: run.keys[n] for n in names}})},
    )
    rows = max(1, _GROUP_BYTES // (4 * width))
    target = folder / FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (
            open_whole(target) as file,
            # A dictionary and statistics of features would be as large as the features, and useless.
            pq.ParquetWriter(
                file,
                schema,
                compression="zstd",
                use_dictionary=["split", "dataset", "group"],
                write_statistics=["label", "predicted", "split", "dataset", "group"],
            ) as writer,
        ):
            for name in names:
                for low in range(0, len(features[name]), rows):
                    columns = _columns(run, name, features[name], slice(low, low + rows))
                    arrays = [
                        pa.array(values, field.type) for values, field in zip(columns, list(schema)[:-1], strict=True)
                    ]
                    flat = pa.array(np.ascontiguousarray(features[name][low : low + rows]).reshape(-1))
                    arrays.append(pa.FixedSizeListArray.from_arrays(flat, width))
                    writer.write_table(pa.Table.from_arrays(arrays, schema=schema), row_group_size=rows)
    except OSError as error:
        raise DataError(f"cannot write {target}: {error.strerror or error}") from error
    return target


def _columns(run: Evaluation, name: str, features: np.ndarray[Any, Any], rows: slice) -> Iterator[Any]:
    """The columns before the features."""
    count = len(features[rows])
    yield [_text(file) for file in run.files[name][rows]]
    yield run.labels[name][rows].astype(np.int32)
    yield run.predicted[name][rows].astype(np.int32)
    yield ["train" if name == "train" else "test"] * count
    yield [run.benchmark.name if name in ("train", "id") else name] * count
    yield [run.groups.get(name, "id")] * count
    for result in run.results:
        scores = result.scores.get(name)
        yield [None] * count if scores is None else scores[rows]


def _text(file: Path) -> str:
    """An absolute path. Bytes that are not UTF-8 are escaped, since Parquet holds text."""
    return os.fsencode(file.absolute()).decode("utf-8", "backslashreplace")


def _features(cache: Path, key: str) -> np.ndarray[Any, Any]:
    path = cache / "features" / key / "features.npy"
    try:
        return np.load(path, mmap_mode="r")  # type: ignore[no-any-return]
    except (OSError, ValueError) as error:
        raise DataError(f"the features {path} are not in the cache any more ({error}): run again") from error
