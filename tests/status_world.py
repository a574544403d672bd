"""A monitored service some time into its life, for tests of what people see: drawn counts and a real evaluator."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from monitor.config import AlertConfig
from monitor.judging.evaluator import Evaluator
from monitor.judging.rules import rules
from monitor.judging.settings import EvaluatorSettings
from monitor.math.state import Rules
from monitor.messages.record import Partition
from monitor.store.counts import Batch, Example
from monitor.store.partitions import Progress, Seen
from monitor.store.protocol import Store
from monitor.testing import FakeClock, MemoryStore
from monitor.testing.overviews import MemoryOverviews
from monitor.web.overview.document import document
from monitor.web.overview.facts import Facts, Present
from monitor.web.overview.gathering import Gatherer
from monitor.web.overview.streams import Query
from tests.oracle import literal_overview as literal

BEGIN = 1_700_000_000
EDGES = (0, 0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 1.0)
NULL = np.diff(EDGES)
OUT = np.diff([0, 0.2, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
"""Cell masses of in-distribution input, and of input of which four in five lie beyond the threshold."""

CLASSES = ("aeroplane", "bird", "cat")
GROUP, TOPIC = "vision-prod", "embeddings"
RUNBOOK = "https://wiki.example.org/ood/runbook"


@dataclass
class World:
    """Writes what workers would, bucket by bucket, and has it judged.

    Attributes:
        store: empty.
        bucket: the next one to write, ``bucket_ms`` wide.
        seed: of the draws.
        ids: the id of the worst request of a bucket and a stream.
    """

    store: Store
    bucket: int
    seed: int = 0
    bucket_ms: int = 1000
    partitions: int = 2
    requests: float = 100_000
    holder: str = "worker-1"
    silence: float = 0
    group: str = GROUP
    ids: Mapping[str, str] = field(default_factory=dict)
    rules: Rules = field(init=False)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)
        self.rules = rules(AlertConfig(silence_seconds=self.silence, requests_per_false_alert=self.requests), 50_000)
        self.parts = [Partition(TOPIC, n) for n in range(self.partitions)]
        self.claims = self.store.claim(dict.fromkeys(self.parts, 0), "topic-id", self.partitions)
        self.next = dict.fromkeys(self.parts, 0)
        settings = EvaluatorSettings(
            self.group,
            "3f9a1c77d02b",
            bucket_ms=self.bucket_ms,
            idle_ms=0,
            turn_ms=math.inf,
            topics=frozenset({TOPIC}),
            class_name=self.class_name,
        )
        self.evaluator = Evaluator(self.store, self.rules, settings, self.holder)

    @staticmethod
    def class_name(label: int) -> str:
        return CLASSES[label] if label < len(CLASSES) else str(label)

    def facts(self, **more) -> Facts:
        known = {
            "version": "1.4.0",
            "artifact": "3f9a1c77d02b",
            "group": self.group,
            "topics": (TOPIC,),
            "class_name": self.class_name,
            "runbook": RUNBOOK,
        }
        return Facts(self.rules, self.bucket_ms, **{**known, **more})

    def write(
        self,
        buckets: int,
        streams: Mapping[str, float],
        samples: int = 20,
        into: int | None = None,
        step: int = 1,
    ) -> None:
        """So many buckets with ``samples`` a stream.

        Args:
            streams: stream to the share of OOD input.
            into: the class that OOD input is predicted as; any if None.
            step: buckets from one with input to the next.
        """
        for _ in range(buckets):
            counts, examples = {}, {}
            for stream, share in streams.items():
                counts |= self._drawn(stream, share, samples, into)
                name = self.ids.get(stream, "request") + f"-{self.bucket}"
                worst = Example(-3 - float(self.rng.random()), name, into or 0, self.parts[0], self.next[self.parts[0]])
                examples[self.bucket, stream] = [worst]
            progress = []
            for part in self.parts:
                following = self.next[part] + samples * len(streams) // len(self.parts)
                progress.append(Progress(part, self.claims[part].epoch, self.next[part], following, self.bucket))
                self.next[part] = following
            reply = self.store.commit(Batch(progress, {self.bucket: counts}, examples=examples))
            assert reply.status == "ok", reply
            self.bucket += step

    def _drawn(self, stream: str, share: float, samples: int, into: int | None) -> dict[tuple[str, int, int], int]:
        found: dict[tuple[str, int, int], int] = {}
        out = self.rng.binomial(samples, share)
        for masses, n, label in ((NULL, samples - out, None), (OUT, out, into)):
            for cell in self.rng.choice(len(masses), n, p=masses / masses.sum()).tolist():
                key = (stream, int(self.rng.integers(len(CLASSES))) if label is None else label, cell)
                found[key] = found.get(key, 0) + 1
        return found

    def judge(self) -> list[str]:
        """Judge all that is written; what changed."""
        self.report()
        return [t.change for t in self.evaluator.step()]

    def report(self, worker: str = "worker-1", lag: Sequence[int] = (), trouble: str = "") -> None:
        """A worker says how it is doing."""
        lags = [*lag, *[0] * len(self.parts)]
        seen = {p: Seen(self.claims[p].epoch, n, n > 500) for p, n in zip(self.parts, lags, strict=False)}
        entry = json.dumps({"partitions": len(seen), "trouble": trouble})
        self.store.report(worker, entry, seen)


class Bench:
    """A world on the double, and the page's view of it."""

    def __init__(self, **more) -> None:
        self.clock = FakeClock(BEGIN * 1000)
        self.store = MemoryStore(self.clock)
        self.world = World(self.store, BEGIN, **{"requests": 100_000} | more)
        self.now = 0.0
        self.facts = self.world.facts()
        self.gatherer = Gatherer(MemoryOverviews(self.store), self.facts, lambda: self.now)

    def run(self, buckets: int, shares: dict[str, float], **more) -> None:
        for _ in range(buckets // 10):
            self.world.write(10, shares, **more)
            self.clock.advance(10)
            self.world.judge()

    def look(self) -> None:
        self.gatherer.look()()

    def document(self, present: Present | None = None, **query) -> dict:
        self.look()
        found = document(self.gatherer, self.facts, present or Present(), Query(**query))
        json.dumps(found, allow_nan=False)  # plain values, whatever is in them
        return found

    def buckets(self) -> dict:
        last = self.world.evaluator.state.last_bucket
        return {b: self.store.counts(b) for b in range(BEGIN, last + 1)}

    def between(self, stream: str, first_ms: int, end_ms: int) -> tuple[int, int]:
        flags = self.world.rules.flag_cells
        return literal.between(self.buckets(), stream, first_ms, end_ms, self.world.bucket_ms, flags)


def surging_bench() -> Bench:
    """Two minutes in distribution, then a minute of a surge of one stream into one class."""
    bench = Bench()
    bench.run(120, {"front": 0.0, "back": 0.0, "side": 0.0})
    bench.run(60, {"front": 0.4, "back": 0.0, "side": 0.01}, into=2)
    return bench
