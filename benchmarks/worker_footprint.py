"""What one worker and one ingest take: memory at rest and under load, seconds to be ready, seconds to end.

    python -m benchmarks.worker_footprint            # each process twice
    python -m benchmarks.worker_footprint --turns 1 --records 100000 --mappings

The broker is Tansu and the store is redis-server, on loopback. The torch of this environment counts: a CUDA build maps
more than the CPU build of the image.
"""

from __future__ import annotations

import argparse
import itertools
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import torch
import yaml

from benchmarks.mappings import Memory
from line_plugin import LINe
from monitor.testing import launcher

ROOT = Path(__file__).parents[1]
TOPIC = "embeddings"


def artifact(folder: Path, classes: int, width: int) -> Path:
    """LINe on random features, calibrated."""
    torch.manual_seed(0)
    features, labels = torch.rand(4 * classes, width), torch.arange(4 * classes) % classes
    line = LINe(p_w=10, p_a=10, clip=0.8).fit_features(features, labels, torch.randn(classes, width) / width**0.5, None)
    line.calibrate(torch.rand(2000, width))
    path = folder / f"line-{classes}.safetensors"
    line.save(path)
    return path


def ready(port: int) -> bool:
    """Whether it says that it does its work."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/-/ready", timeout=2) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False


def wait(what: Callable[[], bool], process: subprocess.Popen[bytes], log: Path, seconds: float = 400) -> float:
    """Seconds until it is so."""
    began = time.monotonic()
    while not what():
        if process.poll() is not None or time.monotonic() - began > seconds:
            raise SystemExit(f"it is not so after {seconds:g} s, or the process ended:\n{log.read_text()[-2000:]}")
        time.sleep(0.05)
    return time.monotonic() - began


def counted(port: int) -> float:
    """Embeddings that the worker has counted."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("ood_monitor_samples_total"))


def measure(
    name: str, settings: dict[str, object], folder: Path, load: Callable[[int], None], *, mappings: bool = False
) -> None:
    """Start the process, look at it at rest, let it work, look again, end it."""
    port = launcher.free_port()
    config, log = folder / f"{name}.yml", folder / f"{name}.log"
    config.write_text(yaml.safe_dump({**settings, "http": {"port": port}}))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with log.open("wb") as output:
        command = [sys.executable, "-m", "monitor.cli", name.split("-", maxsplit=1)[0], "--config", str(config)]
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment, cwd=folder)
    try:
        started = wait(lambda: ready(port), process, log)
        time.sleep(5)
        rest = Memory.of(process.pid)
        spent, since = _cpu(process), time.monotonic()
        time.sleep(10)
        idle = (_cpu(process) - spent) / (time.monotonic() - since)
        load(port)
        worked = Memory.of(process.pid)
        began = time.monotonic()
        process.terminate()
        process.wait(60)
        ended = time.monotonic() - began
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    memory = f"{rest.resident:.0f} | {rest.own:.0f} | {worked.resident:.0f} | {worked.own:.0f}"
    seen = f"{100 * idle:.1f} | {started:.1f} | {ended:.1f} | {process.returncode}"
    print(f"| {name} | {memory} | {seen} |", flush=True)
    if mappings:
        print(f"  at rest: {rest.largest(8)}\n  after:   {worked.largest(8)}", flush=True)


def _cpu(process: subprocess.Popen[bytes]) -> float:
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[-1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def send(broker: str, topic: str, width: int, records: int) -> Callable[[int], None]:
    """What makes a worker work: it sends, and waits until all is counted."""
    rows = torch.rand(500, width).numpy().astype("<f4")

    def work(port: int) -> None:
        from kafka import KafkaProducer

        producer = KafkaProducer(bootstrap_servers=broker)
        for n in range(records):
            producer.send(topic, value=rows[n % 500].tobytes(), key=b"k", partition=n % 6)
        producer.flush()
        producer.close()
        until = time.monotonic() + 900
        while counted(port) < records:
            if time.monotonic() > until:
                raise SystemExit("the records were not counted in 900 s")
            time.sleep(0.1)

    return work


def post(port: int) -> None:
    """What makes ingest work: one post after the other."""
    for n in range(2000):
        request = urllib.request.Request(f"http://127.0.0.1:{port}/", data=bytes(4 * 2048), method="POST")
        request.add_header("content-type", "application/octet-stream")
        request.add_header("x-request-id", str(n))
        urllib.request.urlopen(request, timeout=10).close()


def main() -> None:
    """Measure each process twice."""
    parser = argparse.ArgumentParser(description="What one worker and one ingest take.")
    parser.add_argument("--records", type=int, default=20_000)
    parser.add_argument("--heads", nargs="+", default=["10x512", "1000x2048"], help="classes x width of each artifact")
    parser.add_argument("--turns", type=int, default=2, help="how often each process is measured")
    parser.add_argument("--mappings", action="store_true", help="say what the memory is made of")
    arguments = parser.parse_args()
    records, turns = arguments.records, arguments.turns
    heads = [tuple(map(int, head.split("x"))) for head in arguments.heads]
    print(f"torch {torch.__version__}, Python {sys.version.split()[0]}, {os.cpu_count()} cores, {records} records")
    print("| process | MB at rest | USS | MB after | USS | % of a core at rest | s to be ready | s to end | exit |")
    print("|-|-|-|-|-|-|-|-|-|")
    with launcher.local() as (broker, store), tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for (classes, width), turn in itertools.product(heads, range(1, turns + 1)):
            topic = f"{TOPIC}-{classes}-{turn}"
            launcher.create_topic(broker.address, topic, 6)
            launcher.create_topic(broker.address, f"{topic}.dead-letter", 1)
            settings: dict[str, object] = {
                "model": {"artifact": str(artifact(folder, classes, width))},
                "kafka": {"bootstrap_servers": broker.address, "topic": topic, "group": topic, "start": "earliest"},
                "redis": {"url": f"redis://{store.address}/0"},
            }
            work = send(broker.address, topic, width, records)
            measure(f"run-{classes}x{width}-{turn}", settings, folder, work, mappings=arguments.mappings)
        launcher.create_topic(broker.address, TOPIC, 6)
        for turn in range(1, turns + 1):
            measure(f"ingest-{turn}", {"kafka": {"bootstrap_servers": broker.address, "topic": TOPIC}}, folder, post)


if __name__ == "__main__":
    main()
