"""Genuine Apache Kafka 4 in KRaft mode: one node on loopback, jars through Maven from the pom beside this file."""

from __future__ import annotations

import base64
import fcntl
import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Mapping
from pathlib import Path

from monitor.testing import launcher

HERE = Path(__file__).parent
ASKED = "OOD_MONITOR_APACHE_KAFKA"


def why_not() -> str:
    """Why the suite cannot run here; empty where it can."""
    if os.environ.get(ASKED) != "1":
        return f"Apache Kafka suite not asked for: `make test-kafka` sets {ASKED}=1"
    missing = [name for name in ("java", "mvn") if shutil.which(name) is None]
    return f"Apache Kafka suite did not run: {' and '.join(missing)} not installed" if missing else ""


def jars(build: Path = HERE.parent.parent / "build") -> Path:
    """The folder with the jars; Maven fills it once a version of the pom, however many processes ask for it at once."""
    pom = HERE / "pom.xml"
    folder = build / f"kafka-jars-{uuid.uuid5(uuid.NAMESPACE_OID, pom.read_text()).hex[:8]}"
    build.mkdir(exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            scratch = folder.with_name(f"{folder.name}.{os.getpid()}")
            copy = ["mvn", "-q", "-B", "-f", str(pom), "dependency:copy-dependencies"]
            subprocess.run([*copy, f"-DoutputDirectory={scratch}"], check=True, timeout=600)
            scratch.replace(folder)
    return folder


def start_apache_kafka(
    folder: Path | None = None,
    port: int | None = None,
    doors: Mapping[str, tuple[str, int]] | None = None,
    overrides: Mapping[str, str] | None = None,
    scram: str = "",
) -> launcher.Server:
    """Start one node that is broker and controller.

    Args:
        folder: of its logs, which are kept if it stops; a fresh one that is removed if not given.
        port: to listen on.
        doors: further listeners, name to security protocol and port.
        overrides: further settings of the broker.
        scram: user and password of SCRAM, as Kafka's StorageTool takes them.
    """
    kept = folder is not None
    folder = folder or Path(tempfile.mkdtemp(prefix="ood-monitor-kafka-"))
    port, controller = port or launcher.free_port(), launcher.free_port()
    doors = {"PLAINTEXT": ("PLAINTEXT", port), **(doors or {})}
    listeners = ",".join(f"{name}://{launcher.HOST}:{number}" for name, (_, number) in doors.items())
    protocols = ",".join(f"{name}:{protocol}" for name, (protocol, _) in doors.items())
    written = {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@{launcher.HOST}:{controller}",
        "listeners": f"{listeners},CONTROLLER://{launcher.HOST}:{controller}",
        "advertised.listeners": listeners,
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "PLAINTEXT",
        "listener.security.protocol.map": f"{protocols},CONTROLLER:PLAINTEXT",
        "log.dirs": str(folder / "data"),
        "auto.create.topics.enable": "true",
        "offsets.topic.replication.factor": "1",
        "offsets.topic.num.partitions": "1",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "transaction.state.log.num.partitions": "1",
        "group.initial.rebalance.delay.ms": "0",
        "group.min.session.timeout.ms": "500",
        "log.retention.check.interval.ms": "500",
        **(overrides or {}),
    }
    file = folder / "server.properties"
    file.write_text("".join(f"{k}={v}\n" for k, v in written.items()))
    java = ["java", "-Xmx512m", "-cp", f"{jars()}/*"]
    if not (folder / "data").is_dir():
        # The first byte is 0: an id that began with a dash would be taken for an option.
        cluster_id = base64.urlsafe_b64encode(b"\0" + uuid.uuid4().bytes[1:]).decode().rstrip("=")
        format_it = [*java, "kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(file)]
        format_it += ["--add-scram", scram] if scram else []
        subprocess.run(format_it, check=True, timeout=120, capture_output=True)
    server = launcher.start(
        "apache-kafka",
        [*java, "kafka.Kafka", str(file)],
        port,
        lambda: launcher.listens(port),
        folder=folder,
        timeout=90,
    )
    server.remove = not kept
    return server
