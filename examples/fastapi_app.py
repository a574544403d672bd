"""Serve a classifier with FastAPI and publish what enters its head.

    pip install fastapi uvicorn
    KAFKA=127.0.0.1:9092 uvicorn examples.fastapi_app:app

The model is torchvision's ResNet-18 with random weights; put your own in its place. The application starts and answers
whether or not Kafka is up.
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

from monitor.client import EmbeddingPublisher, Tap, request

model = torchvision.models.resnet18(weights=None).eval()


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    """Hang the tap on the head, and connect behind the scenes; at the end wait a little for what is on its way."""
    publisher = EmbeddingPublisher(
        os.environ["KAFKA"], os.environ.get("TOPIC", "embeddings"), source="resnet18/fastapi"
    )
    tap = Tap(model, publisher, stream="resnet18", head="fc")
    yield
    tap.remove()
    publisher.close(timeout=5)


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
