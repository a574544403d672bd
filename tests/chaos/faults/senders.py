"""Senders that send what they should not: unreadable records, wrong times, a stream a request."""

from __future__ import annotations

import itertools
import json
import random
import time
from collections.abc import Iterator
from typing import Any

from tests.chaos.faults import Fault
from tests.chaos.stage import POISON_HEADER, Stage
from tests.monitor_support import WIDTH, embeddings

Raw = tuple[bytes | None, bytes | None, list[tuple[str, bytes]]]
"""Key, value and headers of a record."""


def poison(seed: int) -> Iterator[Raw]:
    """Bad records of many kinds, for ever. None of them holds a vector that a recount would take for a good one."""
    rng = random.Random(seed)
    good = embeddings(1, seed=1)[0].tobytes()
    json_type, arrow = ("content-type", b"application/json"), ("content-type", b"application/vnd.apache.arrow.stream")
    msgpack, proto = ("content-type", b"application/msgpack"), ("content-type", b"application/protobuf")
    vector = [0.5] * WIDTH
    kinds: list[Any] = [
        lambda: (b"s", None, []),
        lambda: (b"s", b"", []),
        lambda: (b"s", rng.randbytes(rng.choice([1, 3, 4 * WIDTH - 4, 4 * WIDTH + 4, 200])), []),
        lambda: (rng.randbytes(6) + b"\xff", good, []),
        lambda: (b"s", good, [("ce_time", "²".encode())]),
        lambda: (b"s", good, [("ce_time", b"9" * 400)]),
        lambda: (b"s", good, [("ce_time", b"yesterday")]),
        lambda: (b"s", good, [("ce_dim", b"eight")]),
        lambda: (b"s", good, [("ce_dtype", b"\xff")]),
        lambda: (b"s", good, [("content-type", rng.randbytes(8))]),
        lambda: (b"s", b"[" * 50_000, [json_type]),
        lambda: (b"s", b'{"embedding": [' + b"9" * 401 + b"]}", [json_type]),
        lambda: (b"s", json.dumps({"embedding": ["1"] * WIDTH}).encode(), [json_type]),
        lambda: (b"s", json.dumps({"embedding": [True] * WIDTH}).encode(), [json_type]),
        lambda: (b"s", json.dumps({"embedding": vector[:-1]}).encode(), [json_type]),
        lambda: (b"s", json.dumps({"embedding": {"a": vector}}).encode(), [json_type]),
        lambda: (b"s", b'{"embedding": [NaN' + b", 1" * (WIDTH - 1) + b"]}", [json_type]),
        lambda: (b"s", rng.randbytes(100), [arrow]),
        lambda: (b"s", rng.randbytes(100), [msgpack]),
        lambda: (b"s", b"\xc1" * 30, [msgpack]),
        lambda: (b"s", b"\x93" * 5000, [msgpack]),
        lambda: (b"s", rng.randbytes(100), [proto]),
        lambda: (b"s", good + b"x", [("x-" + "h" * 20, rng.randbytes(30_000))]),
    ]
    while True:
        yield rng.choice(kinds)()


class Poison(Fault):
    name, about = "poison", "a sender of unreadable records of many kinds"
    lasts, allowance = 2.0, 20.0

    def settings(self, stage: Any) -> dict[str, dict[str, Any]]:
        return {"dead_letters": {"max_share": 1.0}}

    def inject(self, stage: Stage) -> None:
        from kafka import KafkaProducer

        wanted = 1_000_000 if self.long else 1_000
        producer = KafkaProducer(bootstrap_servers=stage.servers.kafka.address, linger_ms=5)
        for n, (key, value, headers) in enumerate(itertools.islice(poison(stage.seed), wanted)):
            marked = [*headers, (POISON_HEADER, b"1")]
            producer.send(stage.topic, key=key or b"s", value=value, headers=marked, partition=n % 6)
            if n % 200 == 0:
                producer.flush(30)
        producer.close(timeout=30)


class PoisonStops(Poison):
    name, about = "poison-default-limit", "the same under the default limit of bad records"

    def settings(self, stage: Any) -> dict[str, dict[str, Any]]:
        return {}


class WrongTimes(Fault):
    """A sender of good records whose timestamps are off, all on one partition, for as long as the fault lasts."""

    lasts, allowance, off = 8.0, 15.0, 0.0
    stamp_ms: int | None = None

    def inject(self, stage: Stage) -> None:
        from kafka import KafkaProducer

        producer = KafkaProducer(bootstrap_servers=stage.servers.kafka.address, linger_ms=5)
        rows = embeddings(100, seed=5)
        for n in range(200):
            at = self.stamp_ms if self.stamp_ms is not None else int((time.time() + self.off) * 1000)
            producer.send(stage.topic, key=b"wrong-clock", value=rows[n % 100].tobytes(), partition=0, timestamp_ms=at)
            time.sleep(0.02)
        producer.close(timeout=30)


class StampedAhead(WrongTimes):
    name, about, off = "stamped-ahead", "a sender whose records are stamped 55 minutes ahead", 3300.0


class StampedBehind(WrongTimes):
    name, about, off = "stamped-behind", "a sender whose records are stamped an hour behind", -3600.0


class StampedIn1970(WrongTimes):
    name, about, stamp_ms = "stamped-1970", "a sender whose records are stamped in 1970", 1


class ManyStreams(Fault):
    name, about = "many-streams", "a sender that gives every record a stream of its own"
    lasts, allowance, by_cell = 2.0, 30.0, False

    def inject(self, stage: Stage) -> None:
        from kafka import KafkaProducer

        wanted = 100_000 if self.long else 5_000
        producer = KafkaProducer(bootstrap_servers=stage.servers.kafka.address, linger_ms=5)
        rows = embeddings(1000, seed=6)
        for n in range(wanted):
            producer.send(stage.topic, key=b"request-%d" % n, value=rows[n % 1000].tobytes(), partition=n % 6)
            if n % 500 == 0:
                producer.flush(30)
                time.sleep(0.2)
        producer.close(timeout=30)
