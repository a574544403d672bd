"""Serve a classifier with FastAPI and publish what enters its head.

    pip install fastapi uvicorn
    KAFKA=127.0.0.1:9092 uvicorn examples.fastapi_app:app

The model is torchvision's ResNet-18 with random weights; put your own in its place.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import torch
import torchvision
from fastapi import Body, FastAPI, Header

from monitor.publishing.publisher import EmbeddingPublisher
from monitor.publishing.tap import Tap, request

model = torchvision.models.resnet18(weights=None).eval()


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    """Connect and hang the tap on the head; take it off and flush at the end."""
    publisher = EmbeddingPublisher(
        os.environ["KAFKA"], os.environ.get("TOPIC", "embeddings"), source="resnet18/fastapi"
    )
    tap = Tap(model, publisher, stream="resnet18", head="fc")
    yield
    tap.remove()
    publisher.close()


app = FastAPI(lifespan=lifespan)


@app.post("/predict")
def predict(
    image: Annotated[list[list[list[float]]], Body(description="3 x H x W, normalised")],
    x_request_id: Annotated[str | None, Header()] = None,
    x_tenant: Annotated[str, Header()] = "",
) -> dict[str, object]:
    """One image in, one class out; its embedding goes to Kafka under the request's id and the tenant's stream."""
    name = x_request_id or uuid.uuid4().hex
    with torch.no_grad(), request([name], stream=x_tenant):
        logits = model(torch.tensor(image)[None])
    return {"id": name, "class": int(logits.argmax())}
