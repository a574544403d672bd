"""How long judging one bucket takes with many streams: ``python benchmarks/many_streams.py [STREAMS]``.

Every stream has samples in every bucket, in four predicted classes: the worst case. A Redis is started for it.
"""

from __future__ import annotations

import sys
import time

import numpy as np

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


def main(streams: int) -> None:
    """Print the median seconds of one bucket's fold and of one batch's commit."""
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
        memory = client.info("memory")["used_memory_human"]
    fold, commit = np.median(folds), np.median(commits) * 1e3
    print(f"{streams} streams: fold of a bucket {fold:.2f} s, commit of a batch {commit:.1f} ms, Redis holds {memory}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
