"""``openood export``: writes the network to a file for a model server, with the embeddings among its outputs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from line_plugin.cli import options
from line_plugin.errors import ExportError

if TYPE_CHECKING:
    from torch import Tensor

    from line_plugin.benchmark.protocol.spec import Benchmark

_FORMATS = ("onnx", "torchscript", "torch_export")


def add(commands: argparse._SubParsersAction[Any]) -> argparse.ArgumentParser:
    """Declare the command."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "export",
        help="write the network for a model server, with the embedding among its outputs",
        description="Write a classifier as ONNX, TorchScript or torch.export with two outputs: logits, and embedding, "
        "which is the input of its head. A model server that returns both can be monitored without code beside it. "
        "The file is run on images and compared with the network before it is written.",
    )
    parser.add_argument("--output", type=Path, required=True, help="the file: .onnx, .pt (TorchScript) or .pt2")
    parser.add_argument("--format", choices=_FORMATS, help="by the suffix of the output if not given")
    parser.add_argument(
        "--artifact", type=Path, help="refuse to export unless this artifact was fitted on the same network"
    )
    parser.add_argument(
        "--images", type=Path, nargs="+", metavar="FILE", help="images to check on (the benchmark's ID val split)"
    )
    parser.add_argument("--check", type=options.positive, default=64, metavar="N", help="images to check on (64)")
    options.add_classifier(parser, runs=False)
    return parser


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from line_plugin.cli.match import refuse_other_network
    from line_plugin.networks.export import export_network, format_of

    format_of(args.output, args.format)  # before the network is built
    benchmark = options.benchmark_of(args)
    model = options.network_of(args, benchmark, args.checkpoint)
    if args.artifact:
        from line_plugin.networks.fingerprint import fingerprint

        refuse_other_network(args.artifact, "the network that is given", model_sha256=fingerprint(model))
    images = _images(args, benchmark)
    done = export_network(model, images, args.output, head=args.head, format=args.format)
    about, ties = done.about, f", {done.ties} of them by a tie" if done.ties else ""
    channels = " x ".join(map(str, about.input_shape))
    out = options.console()
    out.print(
        f"Saved {done.path} ({done.format}, {done.size / 1e6:.1f} MB): images (batch, {channels}) to logits (batch, "
        f"{about.num_classes}) and embedding (batch, {about.width}), the input of {about.head!r}.\n"
        f"On {done.images} images: the same classes{ties}; largest difference {done.logits_error:.1e} of the largest "
        f"logit and {done.embedding_error:.1e} of the largest activation (at most 1e-4 is accepted).\n"
        f"Network {about.model_sha256[:12]}, head {about.head_sha256[:12]}. `openood match {done.path} ARTIFACT` says "
        "whether an artifact belongs to it.",
        soft_wrap=True,
        markup=False,
    )


def _images(args: argparse.Namespace, benchmark: Benchmark) -> Tensor:
    """The images to check with, (N, 3, H, W): the given ones, or some of the ID val split, evenly spaced."""
    import torch

    from line_plugin.benchmark.protocol import image_list, images

    files = args.images
    if files is None:
        split = f"{benchmark.name} val"
        listed = image_list.read(split, benchmark.id.val, args.data_root, benchmark.num_classes).files
        files = listed[:: max(1, len(listed) // args.check)][: args.check]
    if len(files) < 4:
        raise ExportError(f"{len(files)} images given to check on, expected at least 4: give more with --images")
    job = images.Job(tuple(files), benchmark.preprocessing_of(benchmark.id.val))
    return torch.cat([batch for _, batch in images.batches([job], 64, 0)])
