"""Partitions, workers, Redis, evaluator, network and disk for a rate of requests: arithmetic on measured inputs."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Costs:
    """What one unit costs, measured by ``python -m benchmarks.scale --measure`` (CPU times in microseconds).

    Attributes:
        worker_us: CPU of a worker for one record, K = 1000 and D = 2048: Kafka client, reading, scoring, counting.
        redis_record_us: CPU of Redis for one record, in batches of 1,000 at most.
        calls_per_record: scripts that all workers send for one record, theirs of once a second included.
        inner_per_record: commands that scripts run inside Redis for one record.
        judge_us: CPU of the evaluator for one stream in one bucket, all its classes.
        judge_redis_us: CPU of Redis for the same.
        stream_bytes: memory of Redis for the evidence of a stream with four classes, and its totals.
        bucket_stream_bytes: memory of Redis for one stream in one bucket.
    """

    worker_us: float
    redis_record_us: float
    calls_per_record: float
    inner_per_record: float
    judge_us: float
    judge_redis_us: float
    stream_bytes: float
    bucket_stream_bytes: float


@dataclass(frozen=True)
class Load:
    """What is asked for.

    Attributes:
        rate: requests a second.
        width: D, float32.
        header_bytes: of a record beside its value: key, headers, framing.
        streams: that send in every bucket.
        bucket_seconds: width of a bucket.
        kept_seconds: how long Redis holds the counts of a judged bucket (``redis.bucket_retention_seconds``).
        replicas: of each partition.
        retention_hours: of the topic.
        use: of a core that is planned for, the rest is for peaks and rebalances.
        catch_up: how many times the rate the workers count together, so that a backlog shrinks.
    """

    rate: float = 100_000
    width: int = 2048
    header_bytes: int = 300
    streams: int = 2_000
    bucket_seconds: float = 10.0
    kept_seconds: float = 86_400
    replicas: int = 3
    retention_hours: float = 24
    use: float = 0.7
    catch_up: float = 1.5


@dataclass(frozen=True)
class Need:
    """What the load takes.

    Attributes:
        worker_rate: records a second that one worker counts, at most.
        workers: processes, one core each; partitions are at least as many.
        partitions: the next multiple of 12 above the workers, so that they divide evenly.
        redis_core: cores of Redis, counting and judging together; one Redis, or one slot of a cluster, has one.
        groups: groups, each with a slot and topics of its own, so that none takes more than ``use`` of a core.
        redis_calls: commands a second that workers send.
        redis_inner: commands a second that scripts run.
        redis_bytes: memory.
        judge_core: share of the evaluator's one core.
        network_in: bytes a second from publishers into Kafka.
        network_out: bytes a second from Kafka to workers.
        network_copies: bytes a second between brokers.
        disk_bytes: of all replicas.
        breaks_at: requests a second at which the one core of Redis is full, if all is one group: what breaks first.
    """

    worker_rate: float
    workers: int
    partitions: int
    redis_core: float
    groups: int
    redis_calls: float
    redis_inner: float
    redis_bytes: float
    judge_core: float
    network_in: float
    network_out: float
    network_copies: float
    disk_bytes: float
    breaks_at: float


def size(load: Load, costs: Costs) -> Need:
    """What a load needs, each number from ``costs`` by one multiplication or two."""
    record = 4 * load.width + load.header_bytes
    worker_rate = load.use * 1e6 / costs.worker_us
    workers = max(1, math.ceil(load.catch_up * load.rate / worker_rate))
    judged = load.streams / load.bucket_seconds
    judging = judged * costs.judge_redis_us / 1e6
    redis_core = load.rate * costs.redis_record_us / 1e6 + judging
    buckets = load.kept_seconds / load.bucket_seconds
    redis_limit = max(0.0, (load.use - judging) * 1e6 / costs.redis_record_us)
    return Need(
        worker_rate=worker_rate,
        workers=workers,
        partitions=12 * math.ceil(workers / 12),
        redis_core=redis_core,
        groups=max(1, math.ceil(redis_core / load.use)),
        redis_calls=load.rate * costs.calls_per_record,
        redis_inner=load.rate * costs.inner_per_record,
        redis_bytes=load.streams * (costs.stream_bytes + buckets * costs.bucket_stream_bytes),
        judge_core=judged * costs.judge_us / 1e6,
        network_in=load.rate * record,
        network_out=load.rate * record,
        network_copies=load.rate * record * (load.replicas - 1),
        disk_bytes=load.rate * record * load.replicas * 3600 * load.retention_hours,
        breaks_at=redis_limit,
    )


def most_streams(load: Load, costs: Costs) -> float:
    """Streams at which the evaluator's one core is full: each is judged once a bucket."""
    return load.use * load.bucket_seconds * 1e6 / costs.judge_us
