"""The FastAPI example serves, and its embeddings arrive."""

from __future__ import annotations

import importlib.util

import pytest
import torch

from monitor.messages import Contract, Record
from tests.cluster import REPOSITORY

pytest.importorskip("fastapi", reason="fastapi is not installed")
testclient = pytest.importorskip("fastapi.testclient", reason="httpx is not installed")


def test_a_request_is_answered_and_its_embedding_is_in_the_topic(cluster, monkeypatch):
    c = cluster()
    monkeypatch.setenv("KAFKA", c.bootstrap)
    monkeypatch.setenv("TOPIC", c.topic)
    spec = importlib.util.spec_from_file_location("fastapi_app", REPOSITORY / "examples" / "fastapi_app.py")
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    image = torch.rand(3, 32, 32)
    with testclient.TestClient(example.app) as client:
        answer = client.post("/predict", json=image.tolist(), headers={"x-request-id": "r1", "x-tenant": "acme"})
    assert answer.json()["id"] == "r1"
    (found,) = c.records()
    record = Record(
        found.topic, found.partition, found.offset, found.timestamp, found.key, found.value, tuple(found.headers)
    )
    (embedding,) = Contract(512).read(record)
    assert (embedding.id, embedding.stream) == ("r1", "acme")
