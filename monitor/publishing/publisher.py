"""The other side: send embeddings from the process that serves the model.

:class:`EmbeddingPublisher` sends arrays; :class:`Tap` hangs on a network's head and sends what enters it. Serving
comes first: nothing here waits for Kafka, and what does not fit into the producer's buffer is dropped and counted.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from monitor.alerts.alert import moment

if TYPE_CHECKING:
    pass

log = logging.getLogger(__name__)


class EmbeddingPublisher:
    """Sends one record an embedding: little-endian float32 (or float16), CloudEvents headers.

    Records of a stream are spread over the partitions: the key names the stream, it does not choose the partition.
    Safe to use from several threads.

    Args:
        bootstrap_servers: host:port, comma separated; unused where ``producer`` is given.
        topic: where to.
        source: CloudEvents source, who sends (``"resnet50/replica-3"``).
        model: model name, checked by the monitor where it is told to.
        producer: a ``KafkaProducer`` of your own.
        settings: more settings of ``KafkaProducer``.
    """

    def __init__(
        self,
        bootstrap_servers: str,
        topic: str,
        *,
        source: str = "ood-monitor",
        model: str = "",
        producer: Any = None,
        **settings: Any,
    ) -> None:
        if producer is None:
            from kafka import KafkaProducer

            defaults = {"linger_ms": 20, "max_block_ms": 0, "acks": "all"}
            servers = [s.strip() for s in bootstrap_servers.split(",")]
            producer = KafkaProducer(bootstrap_servers=servers, **{**defaults, **settings})
        self._producer, self._topic = producer, topic
        self._source, self._model = source, model
        self._turn = itertools.count()
        self._lock = threading.Lock()
        self.sent = 0
        self.dropped = 0

    def publish(
        self,
        embeddings: Any,
        *,
        stream: str,
        ids: Sequence[str] | None = None,
        times_ms: Sequence[int] | None = None,
    ) -> int:
        """Send (N, D) features, the input of the head; returns how many were taken.

        Args:
            embeddings: array or tensor, float32 or float16; other floating types are sent as float32.
            stream: model or tenant, what is alerted on.
            ids: N request ids; made up where not given.
            times_ms: N event times, milliseconds since the epoch; now where not given.
        """
        rows = _as_rows(embeddings)
        taken = sum(
            self._send(
                row,
                stream,
                ids[n] if ids is not None else uuid.uuid4().hex,
                int(times_ms[n]) if times_ms is not None else time.time_ns() // 1_000_000,
            )
            for n, row in enumerate(rows)
        )
        with self._lock:
            self.sent += taken
            self.dropped += len(rows) - taken
        return taken

    def _send(self, row: Any, stream: str, name: str, at_ms: int) -> bool:
        from kafka.errors import KafkaError

        headers = {
            "content-type": "application/octet-stream",
            "ce_specversion": "1.0",
            "ce_type": "embedding",
            "ce_id": name,
            "ce_source": self._source,
            "ce_time": moment(at_ms / 1000),
            "ce_dtype": "float16" if row.dtype == np.float16 else "float32",
            "ce_dim": str(len(row)),
            **({"ce_model": self._model} if self._model else {}),
        }
        try:
            partitions = sorted(self._producer.partitions_for(self._topic) or ())
            self._producer.send(
                self._topic,
                value=row.tobytes(),
                key=stream.encode(),
                headers=[(k, v.encode()) for k, v in headers.items()],
                partition=partitions[next(self._turn) % len(partitions)] if partitions else None,
                timestamp_ms=at_ms,
            )
        except KafkaError as error:
            log.debug("dropped an embedding: %s", error)
            return False
        return True

    def flush(self, timeout: float = 10.0) -> None:
        """Wait until what was taken has been acknowledged."""
        self._producer.flush(timeout=timeout)

    def close(self) -> None:
        """Flush and close the producer; what could not be sent by then is dropped."""
        from kafka.errors import KafkaError

        try:
            self._producer.close(timeout=10)
        except KafkaError as error:
            log.warning("embeddings were dropped on closing: %s", error)


def _as_rows(embeddings: Any) -> Any:
    array = embeddings.detach().cpu() if hasattr(embeddings, "detach") else embeddings
    if hasattr(array, "is_floating_point"):
        import torch

        array = array.numpy() if array.dtype == torch.float16 else array.to(torch.float32).numpy()
    array = np.asarray(array)
    if array.ndim != 2:
        raise ValueError(f"embeddings of shape {array.shape} given, expected (N, D)")
    return array.astype("<f2" if array.dtype == np.float16 else "<f4", copy=False)
