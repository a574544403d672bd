"""``python -m tests.kafka.two_releases COMMIT``: an earlier state of the code and this one, side by side in a group.

Two workers of the earlier state on Apache Kafka are replaced one by one, then put back one by one, while records
come. Every step waits until the worker that joined has taken partitions over. At the end the totals are held against
a recount.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from monitor.testing import launcher
from tests.cluster import REPOSITORY, Cluster
from tests.kafka.apache import ASKED, start_apache_kafka, why_not

RECORDS = 1000
SECONDS = 240


def earlier(commit: str, folder: Path) -> Path:
    """The code of a commit."""
    packed = subprocess.run(["git", "-C", str(REPOSITORY), "archive", commit], capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(folder, filter="data")
    return folder


def run(cluster: Cluster, old: Path) -> bool:
    """Whether nothing was lost or counted twice."""

    def join(code: Path, name: str) -> subprocess.Popen[bytes]:
        before = set(cluster.folder.glob("worker-*.log"))
        worker = cluster.start_worker({"PYTHONPATH": str(code)})
        (log,) = set(cluster.folder.glob("worker-*.log")) - before
        cluster.wait(lambda: "claimed with epoch" in log.read_text(errors="replace"), SECONDS)
        feed(f"{name} joined")
        return worker

    def leave(worker: subprocess.Popen[bytes], name: str) -> None:
        cluster.leave(worker)
        feed(f"{name} left")

    def feed(what: str) -> None:
        cluster.publish(RECORDS)
        cluster.wait_until_counted(SECONDS)
        print(f"{what}: {cluster.counted()} of {cluster.sent} counted by {len(cluster.workers)} workers", flush=True)

    def replace(
        workers: list[subprocess.Popen[bytes]], code: Path, gone: str, come: str
    ) -> list[subprocess.Popen[bytes]]:
        found = []
        for worker in workers:
            found.append(join(code, come))
            leave(worker, gone)
        return found

    first = [join(old, "the earlier code"), join(old, "the earlier code")]
    there = replace(first, REPOSITORY, "the earlier code", "this code")
    replace(there, old, "this code", "the earlier code")
    return cluster.store.totals() == cluster.recounted() and "Traceback" not in cluster.logs()


def main() -> int:
    """Run it once; 0 if nothing was lost or counted twice."""
    os.environ[ASKED] = "1"
    if why_not():
        sys.exit(why_not())
    with tempfile.TemporaryDirectory() as scratch, start_apache_kafka() as broker, launcher.start_store() as store:
        old = earlier(sys.argv[1], Path(scratch) / "earlier")
        folder = Path(scratch) / "cluster"
        folder.mkdir()
        cluster = Cluster(broker.address, f"redis://{store.address}/0", folder, "two-releases")
        try:
            well = run(cluster, old)
        finally:
            cluster.stop()
    print("the totals are those of a recount" if well else "the totals differ from a recount")
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
