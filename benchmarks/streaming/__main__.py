"""The worker beside a bare consumer loop and beside its own head: ``python -m benchmarks.streaming [PART ...]``.

Parts: throughput, latency, memory, growth; all of them where none is named. Apache Kafka (Java 17 and Maven) and
redis-server are started on loopback ports. Each measured thing is a process of its own. ``throughput`` alternates: the
bare loop, the worker on each client, again; a ratio is taken within one round, and the median of the ratios is shown
with the least and the greatest. The worker's rate counts from its first batch to its last, start-up left out.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.streaming import parts
from benchmarks.streaming.stage import Stage


def machine() -> dict[str, Any]:
    libraries = ("torch", "numpy", "numba", "kafka-python", "confluent-kafka", "redis")
    redis = subprocess.run(["redis-server", "--version"], capture_output=True, text=True, check=True).stdout
    return {
        "date": time.strftime("%Y-%m-%d"),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in libraries},
        "redis-server": redis.split("v=")[1].split()[0],
        "kafka": "Apache Kafka 4.1.0, KRaft, one node, 6 partitions",
        "method": "own processes, alternating, median of ratios; messages as EmbeddingPublisher sends them, loopback",
    }


def table(rows: list[dict[str, Any]]) -> str:
    names = [n for n in rows[0] if n != "profile_percent"]
    lines = [f"| {' | '.join(names)} |", "|" + "-|" * len(names)]
    lines += ["| " + " | ".join(_shown(r[n]) for n in names) + " |" for r in rows]
    profiled = [r for r in rows if "profile_percent" in r]
    if profiled:
        heads = [f"K = {r['K']}, {r['client']}" for r in profiled]
        lines += ["", f"| % of the worker's CPU | {' | '.join(heads)} |", "|" + "-|" * (1 + len(heads))]
        lines += [
            f"| {part} | " + " | ".join(f"{r['profile_percent'][part]:.1f}" for r in profiled) + " |"
            for part in profiled[0]["profile_percent"]
        ]
    return "\n".join(lines)


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(f"{v:g}" for v in value)
    return "" if value is None else str(value)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", help="throughput, latency, memory, growth")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--memory-messages", type=int, default=1_000_000)
    parser.add_argument("--growth-messages", type=int, default=20_000)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    wanted = options.parts or ["throughput", "latency", "memory", "growth"]
    result = machine()
    print(json.dumps(result, indent=1))
    with Stage.opened() as stage:
        for part in wanted:
            if part == "throughput":
                found = parts.throughput(stage, options.pairs)
            elif part == "latency":
                found = parts.latency(stage)
            elif part == "memory":
                found = parts.memory(stage, options.memory_messages)
            elif part == "growth":
                found = parts.growth(stage, options.growth_messages)
            else:
                parser.error(f"part {part!r}: expected throughput, latency, memory or growth")
            print(f"\n{part}\n{table(found[part])}", flush=True)
            result |= found
    print(json.dumps(result))
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
