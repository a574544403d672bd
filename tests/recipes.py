"""What the tests of docs/recipes share: a recipe's own settings, and a monitor that runs under them."""

from __future__ import annotations

import contextlib
import json
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from line_plugin import LINe
from monitor.config import load
from monitor.publishing.publisher import AT_EXIT_SECONDS
from monitor.testing import launcher
from tests.cluster import REPOSITORY, Cluster

RECIPES = REPOSITORY / "configs" / "recipes"


def settings(recipe: str, file: str = "monitor.yml") -> dict:
    """The settings that a recipe tells people to use, which are valid as they stand."""
    path = RECIPES / recipe / file
    if file == "monitor.yml":
        load(path)
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def recording(server: str) -> Any:
    """What a server was recorded to send: tests/fixtures/recordings/README.md says how."""
    return json.loads((REPOSITORY / "tests" / "fixtures" / "recordings" / f"{server}.json").read_text("utf-8"))


def wide_artifact(folder: Path, width: int) -> Path:
    """A calibrated artifact for embeddings of another width than those of the small model."""
    rng = np.random.default_rng(0)
    features = torch.from_numpy(np.abs(rng.standard_normal((900, width))).astype("f4"))
    weight = torch.from_numpy(rng.standard_normal((3, width)).astype("f4"))
    line = LINe(p_w=10, p_a=10, clip=2.0).fit_features(features[:300], torch.arange(300) % 3, weight, None)
    line.calibrate(features[300:])
    path = folder / f"wide-{width}.safetensors"
    line.save(path)
    return path


def counted(cluster: Cluster) -> Counter[str]:
    """Samples by stream."""
    streams: Counter[str] = Counter()
    for (stream, *_), n in cluster.store.totals().items():
        streams[stream] += n
    return streams


@contextlib.contextmanager
def stopped_while_kafka_stands_still(
    broker: launcher.Server, seconds: float = 2 * AT_EXIT_SECONDS + 0.5
) -> Iterator[None]:
    """What is published inside is not acknowledged before whoever published it has been told to stop.

    Kafka goes on after a time in which a process that merely ends has given up what is on its way.
    """
    broker.process.send_signal(signal.SIGSTOP)
    timer = threading.Timer(seconds, broker.process.send_signal, (signal.SIGCONT,))
    try:
        yield
        timer.start()
    except BaseException:
        broker.process.send_signal(signal.SIGCONT)
        raise
