"""``openood match``: check whether an exported network and an artifact belong together."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from line_plugin.cli import options
from line_plugin.errors import ExportError


def add(commands: argparse._SubParsersAction[Any]) -> argparse.ArgumentParser:
    """Declare the command."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "match",
        help="check whether an exported network and an artifact belong together",
        description="Compare the networks that an exported file and an artifact come from. The scores "
        "of one network mean nothing under the artifact of another.",
    )
    parser.add_argument("exported", type=Path, help="written by `openood export`")
    parser.add_argument("artifact", type=Path, help="written by `openood fit`")
    return parser


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from line_plugin.networks.export import read_about

    about = read_about(args.exported)
    refuse_other_network(
        args.artifact, str(args.exported), model_sha256=about.model_sha256, head_sha256=about.head_sha256
    )
    options.console().print(
        f"{args.exported} and {args.artifact} belong together: network {about.model_sha256[:12]}, head {about.head!r} "
        f"({about.num_classes} x {about.width}).",
        soft_wrap=True,
        markup=False,
    )


def refuse_other_network(artifact: Path, other: str, *, model_sha256: str, head_sha256: str = "") -> None:
    """Compare an artifact with a network; an empty digest is not compared.

    Raises:
        ExportError: the artifact was fitted on another network. ArtifactError: it cannot be read.
    """
    from line_plugin.method.line import LINe
    from line_plugin.method.loading import load_artifact
    from line_plugin.networks.export import head_digest

    found = load_artifact(artifact)
    head = head_digest(*(found if isinstance(found, LINe) else found.line).head)
    known = found.provenance.model_sha256
    what, pair = "", ("", "")
    if head_sha256 and head != head_sha256:
        what, pair = "its head has other weights", (head, head_sha256)
    elif known and known != model_sha256:
        what, pair = "the layers before its head, or their code, are others", (known, model_sha256)
    if what:
        raise ExportError(
            f"{artifact} was not fitted on {other}: {what} ({pair[0][:12]} instead of {pair[1][:12]}); export the "
            "network of the fit, or fit and calibrate on this one"
        )
