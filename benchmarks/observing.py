"""What telemetry costs the loop that counts: microseconds a batch. ``python benchmarks/observing.py``."""

from __future__ import annotations

import timeit

import numpy as np

from monitor.counting.observing import STAGES
from monitor.counting.scoring import Scored
from monitor.service.telemetry import Telemetry

ROUNDS = 5000


def main() -> None:
    telemetry = Telemetry("0" * 64, version="1", group="g", kafka_client="kafka-python")
    for rows in (1, 500, 5000):
        ones = np.ones(rows, np.bool_)
        zeros = np.zeros(rows, np.int64)
        batch = Scored(zeros.astype(np.float32), zeros, zeros, ones, ones)

        def observe(batch: Scored = batch, rows: int = rows) -> None:
            telemetry.polled(True, 6)
            for stage in STAGES:
                telemetry.took(stage, 0.01)
            telemetry.scored(batch)
            telemetry.counted(rows, {"wrong-width": 1}, 0.02)

        best = min(timeit.repeat(observe, number=ROUNDS, repeat=3)) / ROUNDS
        print(f"{rows:>5} embeddings a batch: {best * 1e6:6.1f} us a batch, {best / rows * 1e9:8.1f} ns an embedding")


if __name__ == "__main__":
    main()
