"""From one Kafka record to embeddings: the contract every record is held to, and one decoder a content type."""

from __future__ import annotations

from monitor.messages.contract import REASONS, Contract
from monitor.messages.record import Embedding, Record

__all__ = ["REASONS", "Contract", "Embedding", "Record"]
