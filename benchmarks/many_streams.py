"""How long judging one bucket takes with many streams: ``python -m benchmarks.many_streams [STREAMS ...]``.

Every stream has samples in every bucket, in four predicted classes: the worst case. A Redis is started for it.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from benchmarks import measure
from monitor.config import AlertConfig
from monitor.judging.evaluator import Evaluator
from monitor.judging.rules import rules
from monitor.judging.settings import EvaluatorSettings
from monitor.messages.record import Partition
from monitor.store.connection import connect
from monitor.store.counts import Batch, CountKey
from monitor.store.partitions import Progress
from monitor.store.redis import RedisStore
from monitor.testing import launcher

BUCKETS, CHUNK, SAMPLES = 5, 500, 3
MASSES = np.array([0.001, 0.004, 0.005, 0.01, 0.03, 0.05, 0.9])


def judge(streams: int) -> dict[str, float]:
    """The median of what one bucket's fold takes, what one batch's commit takes, and what Redis holds."""
    rng = np.random.default_rng(0)
    folds, commits = [], []
    with launcher.start_store() as server:
        client = connect(f"redis://{server.address}/0")
        store = RedisStore(client, "many")
        p = Partition("t", 0)
        claim = store.claim({p: 0})[p]
        settings = EvaluatorSettings("many", "artifact", idle_ms=1)
        evaluator = Evaluator(store, rules(AlertConfig(silence_seconds=0), 50_000), settings, "me")
        evaluator.step()
        following, before = 0, store.now_ms() // 1000 - BUCKETS
        for bucket in range(before, before + BUCKETS):
            for first in range(0, streams, CHUNK):
                counts: dict[CountKey, int] = {}
                for k in range(first, min(first + CHUNK, streams)):
                    for cell, n in enumerate(rng.multinomial(SAMPLES, MASSES)):
                        if n:
                            counts[f"tenant-{k}", int(rng.integers(0, 4)), cell] = int(n)
                begin, following = following, following + SAMPLES * CHUNK
                batch = Batch([Progress(p, claim.epoch, begin, following, bucket)], {bucket: counts})
                start = time.perf_counter()
                store.commit(batch)
                commits.append(time.perf_counter() - start)
            start = time.perf_counter()
            evaluator.step()
            folds.append(time.perf_counter() - start)
        memory = client.info("memory")["used_memory"]
    fold, commit = float(np.median(folds)), float(np.median(commits)) * 1e3
    return {
        "streams": streams,
        "judging a bucket, s": fold,
        "us a sample": fold / (streams * SAMPLES) * 1e6,
        "commit of a batch, ms": commit,
        "Redis, MB": memory / 1e6,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("streams", type=int, nargs="*", default=[10_000])
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    header = measure.about(f"median of {BUCKETS} buckets, {SAMPLES} samples a stream and bucket")
    measure.show(header, {"judging": [judge(count) for count in args.streams]}, args.json)


if __name__ == "__main__":
    main()
