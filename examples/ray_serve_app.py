"""Serve a classifier with Ray Serve, in batches, and publish what enters its head.

    pip install "ray[serve]"
    KAFKA=127.0.0.1:9092 serve run examples.ray_serve_app:app

Each replica has a publisher of its own. The model is torchvision's ResNet-18 with random weights; put your own in its
place. The deployment starts and answers whether or not Kafka is up.
"""

from __future__ import annotations

import os
import uuid

import torch
import torchvision
from ray import serve
from starlette.requests import Request

from monitor.client import EmbeddingPublisher


class Classifier:
    """A network whose last layer is called by hand, since a batch holds requests of several tenants."""

    def __init__(self, kafka: str, topic: str) -> None:
        torch.set_num_threads(1)
        network = torchvision.models.resnet18(weights=None).eval()
        self.head, network.fc = network.fc, torch.nn.Identity()
        self.body = network
        self.publisher = EmbeddingPublisher(kafka, topic, source="resnet18/ray-serve")

    async def __call__(self, request: Request) -> dict[str, object]:
        """One image in, one class out."""
        name = request.headers.get("x-request-id") or uuid.uuid4().hex
        image = torch.tensor(await request.json())
        chosen = await self.classify((image, name, request.headers.get("x-tenant") or "resnet18"))
        return {"id": name, "class": chosen}

    @serve.batch(max_batch_size=16, batch_wait_timeout_s=0.01)
    async def classify(self, asked: list[tuple[torch.Tensor, str, str]]) -> list[int]:
        """The classes of a batch; its embeddings go to Kafka, each under its request's id and its tenant's stream."""
        with torch.no_grad():
            rows = self.body(torch.stack([image for image, _, _ in asked]))
            logits = self.head(rows)
        for tenant in {tenant for _, _, tenant in asked}:
            mine = [n for n, (_, _, theirs) in enumerate(asked) if theirs == tenant]
            self.publisher.publish(rows[mine], stream=tenant, ids=[asked[n][1] for n in mine])
        return [int(n) for n in logits.argmax(dim=1)]

    def __del__(self) -> None:
        """Ray Serve calls this when it stops a replica: wait a little for what is on its way."""
        self.publisher.close(timeout=5)


app = serve.deployment(Classifier).bind(
    os.environ.get("KAFKA", "127.0.0.1:9092"), os.environ.get("TOPIC", "embeddings")
)
