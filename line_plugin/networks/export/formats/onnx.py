"""ONNX through torch's exporter (``dynamo=True``): outputs ``logits`` and ``embedding``, input ``images``."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from line_plugin.errors import ExportError
from line_plugin.networks.export.about import KEY
from line_plugin.networks.export.formats import Run, first_line

_INSTALL = "pip install 'openood-line[export]'"
_LARGEST = 2**31 - 1


def encode(network: nn.Module, images: Tensor, about: str) -> bytes:
    """See :class:`line_plugin.networks.export.formats.Format`."""
    for library in ("onnx", "onnxscript", "onnxruntime"):
        _imported(library)
    if "dynamo" not in inspect.signature(torch.onnx.export).parameters:
        raise ExportError(f"torch {torch.__version__} is too old to export ONNX this way: install torch 2.6 or newer")
    if _weight_bytes(network) >= _LARGEST:
        raise ExportError("the network holds 2 GB or more, which no single ONNX file can: export it as .pt2")
    try:
        program: Any = torch.onnx.export(
            network,
            (images,),
            dynamo=True,
            verbose=False,
            input_names=["images"],
            output_names=["logits", "embedding"],
            dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
        )
    except Exception as error:  # the exporter raises any error of the network's code
        raise ExportError(f"this network cannot be exported to ONNX ({first_line(error)})") from error
    model = program.model_proto
    for node in model.graph.node:
        del node.metadata_props[:]  # stack traces, which name the exporting user's folders and are useless to a server
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        del value.metadata_props[:]
    _name_batch(model)
    model.metadata_props.add(key=KEY, value=about)
    blob: bytes = model.SerializeToString()
    return blob


def _name_batch(model: Any) -> None:
    """Names the free size ``batch`` in every shape.

    Torch 2.6 names it itself (``s3``) and does not accept a name as text.
    """
    given = model.graph.input[0].type.tensor_type.shape.dim[0].dim_param
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        for size in value.type.tensor_type.shape.dim:
            if given and size.dim_param == given:
                size.dim_param = "batch"


def opened(blob: bytes) -> Run:
    """See :class:`line_plugin.networks.export.formats.Format`."""
    runtime = _imported("onnxruntime")
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    session = runtime.InferenceSession(blob, options, providers=["CPUExecutionProvider"])

    def run(images: Tensor) -> tuple[Tensor, Tensor]:
        logits, embedding = session.run(["logits", "embedding"], {"images": images.numpy()})
        return torch.from_numpy(logits), torch.from_numpy(embedding)

    return run


def read_entry(path: Path, key: str) -> str | None:
    """An entry of a file's metadata.

    Raises:
        ExportError: the file is not ONNX, or onnx is not installed.
    """
    onnx = _imported("onnx")
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:
        raise ExportError(
            f"cannot read {path} as an exported network ({first_line(error)}): expected .onnx, .pt or .pt2"
        ) from error
    return next((str(entry.value) for entry in model.metadata_props if entry.key == key), None)


def _imported(library: str) -> Any:
    try:
        return __import__(library)
    except ImportError as error:
        raise ExportError(f"ONNX needs {library}, which is not installed: {_INSTALL}") from error


def _weight_bytes(network: nn.Module) -> int:
    return sum(t.nbytes for t in network.state_dict().values() if isinstance(t, Tensor))
