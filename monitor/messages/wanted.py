"""The fields that a decoder reads from a value, and the limits that it checks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from monitor.messages.limits import Limits


def take_any_model(_model: str) -> None:
    """Accept any model that a document names."""


@dataclass(frozen=True)
class Wanted:
    """The settings that all decoders follow.

    Attributes:
        limits: how much one record may ask for.
        output: name of the tensor with the embeddings in a response of the Open Inference Protocol.
        stream_field: the field that names the stream; empty if none does.
        check_model: called with the model that a document names, before its vector is read. It raises if records
            of this model are not scored, so that they need not hold an embedding at all.
    """

    limits: Limits = field(default_factory=Limits)
    output: str = "embedding"
    stream_field: str = ""
    check_model: Callable[[str], None] = take_any_model
