"""Serve a classifier with FastAPI and publish what enters its head.

    pip install "openood-line[monitor]" fastapi
    KAFKA=127.0.0.1:9092 uvicorn --app-dir examples fastapi_app:app

Without more, the model is torchvision's ResNet-18 with random weights. Variables name another one:

    MODEL       a file of `openood export` (.onnx, .pt, .pt2), or a name that `openood fit --arch` takes
    CHECKPOINT  its weights, if MODEL is a name
    BENCHMARK   the benchmark, by name or as a YAML file: how images are prepared, and how many classes there are
    STREAM      the stream of requests without the header x-tenant (the model's name)
    TOPIC       where embeddings go (embeddings)

The application starts and answers whether or not Kafka is up.
"""

from __future__ import annotations

import io
import os
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

import torch
from fastapi import Body, FastAPI, Header, HTTPException
from PIL import Image
from torch import Tensor

from line_plugin.benchmark.protocol import images, spec
from line_plugin.networks import build, load_checkpoint
from line_plugin.networks.export import format_of, formats, read_about
from line_plugin.networks.head import find_head
from monitor.client import EmbeddingPublisher, Tap, request

NAME = os.environ.get("MODEL", "torchvision:resnet18")
STREAM = os.environ.get("STREAM", Path(NAME).stem.rpartition(":")[2])
EXPORTED = Path(NAME).suffix in {suffix for suffixes in formats.FORMATS.values() for suffix in suffixes}
benchmark = spec.load(os.environ.get("BENCHMARK", "imagenet"))
prepare = images.transform(benchmark.preprocessing)
BLANK = prepare(Image.new("RGB", (256, 256)))

if EXPORTED:
    read_about(NAME)  # refuses what `openood export` did not write
    exported = formats.load_format(format_of(Path(NAME), None)).opened(Path(NAME).read_bytes())
else:
    model = build(NAME, benchmark.num_classes)
    if "CHECKPOINT" in os.environ:
        load_checkpoint(model, os.environ["CHECKPOINT"])
    head = find_head(model, BLANK[None]).path


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    """Connect behind the scenes, and hang the tap on the head; at the end wait a little for what is on its way."""
    publisher = EmbeddingPublisher(
        os.environ["KAFKA"], os.environ.get("TOPIC", "embeddings"), source=f"{STREAM}/fastapi"
    )
    _app.state.publisher = publisher
    tap = None if EXPORTED else Tap(model, publisher, stream=STREAM, head=head)
    yield
    if tap:
        tap.remove()
    publisher.close(timeout=5)


app = FastAPI(lifespan=lifespan)


def classify(image: Tensor, name: str, tenant: str) -> dict[str, object]:
    """The class of one image (3, H, W); its embedding goes to Kafka under the request's id and the tenant's stream."""
    if EXPORTED:  # the embedding is among the outputs
        logits, embedding = exported(image[None])
        app.state.publisher.publish(embedding, stream=tenant or STREAM, ids=[name])
    else:  # the tap publishes it
        with torch.no_grad(), request([name], stream=tenant):
            logits = model(image[None])
    return {"id": name, "class": int(logits.argmax())}


@app.post("/predict")
def predict(
    image: Annotated[list[list[list[float]]], Body(description="3 x H x W, normalised")],
    x_request_id: Annotated[str | None, Header()] = None,
    x_tenant: Annotated[str, Header()] = "",
) -> dict[str, object]:
    """One prepared image in, one class out."""
    return classify(torch.tensor(image), x_request_id or uuid.uuid4().hex, x_tenant)


@app.post("/predict/image")
def predict_image(
    image: Annotated[bytes, Body(media_type="application/octet-stream", max_length=5_000_000)],
    x_request_id: Annotated[str | None, Header()] = None,
    x_tenant: Annotated[str, Header()] = "",
) -> dict[str, object]:
    """One image file in, prepared as in the benchmark, one class out."""
    try:
        prepared = prepare(Image.open(io.BytesIO(image)).convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise HTTPException(422, f"this is no image that can be decoded ({error}): send a PNG or JPEG file") from None
    return classify(prepared, x_request_id or uuid.uuid4().hex, x_tenant)
