"""An ``ood-monitor ingest`` as its users run it, and senders that post to it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import yaml

from monitor.testing import launcher

REPOSITORY = Path(__file__).parents[1]


class IngestServer:
    """A process that takes posts while the context lasts."""

    def __init__(self, folder: Path, bootstrap: str, topic: str, **settings) -> None:
        self.port = launcher.free_port()
        config = {"kafka": {"bootstrap_servers": bootstrap, "topic": topic}, "http": {"port": self.port}}
        for section, values in settings.items():
            config.setdefault(section, {}).update(values)
        self.path, self.output = folder / "ingest.yml", folder / "ingest.log"
        self.path.write_text(yaml.safe_dump(config))
        self.scheme = "https" if config["http"].get("tls_certfile") else "http"
        self.url = f"{self.scheme}://127.0.0.1:{self.port}/"

    def start(self) -> IngestServer:
        command = [sys.executable, "-m", "monitor.cli", "ingest", "--config", str(self.path)]
        with self.output.open("wb") as log:
            env = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=env)
        return self

    def wait_until_ready(self, seconds: float = 60, verify: object = True) -> None:
        self.wait(lambda: httpx.get(f"{self.url}-/ready", verify=verify).status_code == 200, seconds)

    def wait(self, what, seconds: float = 60) -> None:
        until = time.monotonic() + seconds
        while True:
            try:
                if what():
                    return
            except httpx.TransportError:
                pass
            assert self.process.poll() is None, self.log()
            assert time.monotonic() < until, self.log()
            time.sleep(0.05)

    def metric(self, line: str) -> float:
        """The value of the line of the metrics that begins so."""
        (found,) = [x for x in httpx.get(f"{self.url}metrics").text.splitlines() if x.startswith(f"{line} ")]
        return float(found.split()[-1])

    def memory(self) -> int:
        """Resident bytes."""
        status = Path(f"/proc/{self.process.pid}/statm").read_text().split()
        return int(status[1]) * os.sysconf("SC_PAGE_SIZE")

    def stop(self) -> int:
        """In order; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise

    def log(self) -> str:
        return self.output.read_text(errors="replace")[-8000:]

    def __enter__(self) -> IngestServer:
        return self.start()

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def attributes(name: str, stream: str = "resnet") -> dict[str, str]:
    """Headers of a CloudEvent in binary mode."""
    return {
        "ce-specversion": "1.0", "ce-id": name, "ce-source": "http://localhost:9081/", "ce-partitionkey": stream,
        "ce-type": "org.kubeflow.serving.inference.response", "content-type": "application/octet-stream",
    }  # fmt: skip


class Senders:
    """Threads that post one event after the other while the context lasts, each with an id of its own.

    Attributes:
        accepted: ids that were answered 202.
        answers: statuses and kinds of errors, with how often.
        slowest: seconds that the slowest answer took.
    """

    def __init__(self, url: str, threads: int = 6, body: bytes = b"\0" * 32, timeout: float = 30) -> None:
        self._url, self._body, self._timeout = url, body, timeout
        self._stop, self._lock = threading.Event(), threading.Lock()
        self._threads = [threading.Thread(target=self._run, args=(k,), daemon=True) for k in range(threads)]
        self.accepted: set[str] = set()
        self.answers: dict[object, int] = {}
        self.slowest = 0.0

    def _run(self, k: int) -> None:
        with httpx.Client(timeout=self._timeout) as client:
            n = 0
            while not self._stop.is_set():
                name, n = f"{k}-{n}", n + 1
                began = time.monotonic()
                try:
                    answer: object = client.post(self._url, content=self._body, headers=attributes(name)).status_code
                except httpx.TransportError as error:
                    answer = type(error).__name__
                with self._lock:
                    self.slowest = max(self.slowest, time.monotonic() - began)
                    self.answers[answer] = self.answers.get(answer, 0) + 1
                    if answer == 202:
                        self.accepted.add(name)
                if answer != 202:
                    self._stop.wait(0.02)

    def __enter__(self) -> Senders:
        for t in self._threads:
            t.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for t in self._threads:
            t.join(60)
            assert not t.is_alive(), "a sender was left without an answer"
