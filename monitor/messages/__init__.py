"""Reads embeddings from Kafka records: the contract that each record is checked against, and a decoder per format."""

from __future__ import annotations

from monitor.messages.contract import REASONS, Contract
from monitor.messages.record import Embedding, Record

__all__ = ["REASONS", "Contract", "Embedding", "Record"]
