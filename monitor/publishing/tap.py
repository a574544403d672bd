"""A hook on the head of a served network that publishes the head's inputs."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from monitor.publishing.complaints import Complaints
from monitor.publishing.publisher import EmbeddingPublisher

if TYPE_CHECKING:
    from torch import Tensor, nn

log = logging.getLogger(__name__)

_REQUEST: ContextVar[tuple[str, Sequence[str]] | None] = ContextVar("ood_monitor_request", default=None)


class Tap:
    """Publishes the input of a served network's head on every forward pass.

    A forward pass never fails because of it. If something cannot be published, that is logged once a minute.

    Args:
        model: a network that ends in a ``Linear``.
        publisher: sends the embeddings.
        stream: the stream that it is counted under.
        head: module path of that ``Linear``.
        example: an input batch, used to find the head if ``head`` is not given.

    Raises:
        HeadError: the network has no such head.
    """

    def __init__(
        self,
        model: nn.Module,
        publisher: EmbeddingPublisher,
        *,
        stream: str,
        head: str | None = None,
        example: Tensor | None = None,
    ) -> None:
        from line_plugin.networks.head import find_head

        if head is None and example is None:
            raise ValueError(
                "head and example are both absent: name the Linear, or pass an input batch to find it with"
            )
        self.head = find_head(model, example, head)
        self._publisher, self._stream = publisher, stream
        self._complaints = Complaints(log)
        import torch

        # A compiled network leaves its graph for the hook: locks and queues are nothing to compile.
        hook = torch.compiler.disable(self._send)  # type: ignore[no-untyped-call]
        self._handle = self.head.linear.register_forward_hook(hook)

    def _send(self, _module: nn.Module, inputs: tuple[Any, ...], _output: Any) -> None:
        try:
            request = _REQUEST.get()
            stream, ids = request if request is not None else (self._stream, ())
            rows = inputs[0].detach()
            self._publisher.publish(rows, stream=stream or self._stream, ids=ids if len(ids) == len(rows) else None)
        except Exception as error:  # the model's answer must not depend on its monitor
            log.debug("an embedding could not be published", exc_info=True)
            self._complaints.warn("tap", f"an embedding could not be published: {type(error).__name__}: {error}")

    def remove(self) -> None:
        """Remove the hook."""
        self._handle.remove()


@contextmanager
def request(ids: Sequence[str], stream: str = "") -> Iterator[None]:
    """Give the forward passes in this context request ids, and a stream if it is not the tap's own."""
    token = _REQUEST.set((stream, tuple(ids)))
    try:
        yield
    finally:
        _REQUEST.reset(token)
