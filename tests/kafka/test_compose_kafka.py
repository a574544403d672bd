"""The broker of docker/compose.yml: genuine Kafka starts with its settings, and its script makes the two topics."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from monitor.testing import launcher
from tests.deploy import compose_file
from tests.kafka.apache import start_apache_kafka, why_not

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not() or "it can run")

SERVICES = compose_file.read(compose_file.example())["services"]
OF_THE_IMAGE = {"KAFKA_HEAP_OPTS", "KAFKA_LOG_DIRS"}


def properties(ports: dict[int, int]) -> dict[str, str]:
    """What Kafka's image writes into server.properties, on other ports of this machine."""
    given = {k: str(v) for k, v in SERVICES["kafka"]["environment"].items() if k not in OF_THE_IMAGE}
    named = {k.removeprefix("KAFKA_").lower().replace("_", "."): v for k, v in given.items()}
    here = {k: re.sub(r"(//|@)(?:kafka)?:", r"\g<1>127.0.0.1:", v) for k, v in named.items()}
    for old, new in ports.items():
        here = {k: v.replace(f":{old}", f":{new}") for k, v in here.items()}
    return here


@pytest.fixture(scope="module")
def broker() -> Iterator[launcher.Server]:
    inside = launcher.free_port()
    ports = {9092: inside, 9093: launcher.free_port(), 9094: launcher.free_port()}
    with start_apache_kafka(port=inside, overrides=properties(ports)) as server:
        yield server


CREATE = """
import argparse, sys
from kafka import KafkaAdminClient
p = argparse.ArgumentParser(allow_abbrev=False)
p.add_argument("--bootstrap-server", required=True)
p.add_argument("--create", action="store_true", required=True)
p.add_argument("--if-not-exists", action="store_true", required=True)
p.add_argument("--topic", required=True)
p.add_argument("--partitions", type=int)
p.add_argument("--replication-factor", type=int)
p.add_argument("--config", action="append")
o = p.parse_args()
admin = KafkaAdminClient(bootstrap_servers=o.bootstrap_server)
if o.topic not in admin.list_topics():
    wanted = {"num_partitions": o.partitions, "replication_factor": o.replication_factor}
    admin.create_topics({o.topic: {**wanted, "configs": dict(c.split("=", 1) for c in o.config)}})
"""


def make_topics(broker: launcher.Server, folder: Path) -> None:
    """The service `topics`: its own script, with a client of ours in the place of Kafka's."""
    tool = folder / "kafka-topics.sh"
    (folder / "create.py").write_text(CREATE)
    tool.write_text(f'#!/bin/sh\nexec {sys.executable} {folder}/create.py "$@"\n')
    tool.chmod(0o755)
    service = SERVICES["topics"]
    script = service["command"][0].replace("/opt/kafka/bin/kafka-topics.sh", str(tool))
    script = script.replace("kafka:9092", broker.address)
    subprocess.run([*service["entrypoint"], script], check=True, timeout=120, env=os.environ)


def test_genuine_kafka_takes_the_settings_and_the_topics_are_made_once(broker, tmp_path):
    from kafka import KafkaAdminClient
    from kafka.admin import ConfigResource, ConfigResourceType

    make_topics(broker, tmp_path)
    make_topics(broker, tmp_path)  # at every `up`
    admin = KafkaAdminClient(bootstrap_servers=broker.address)
    try:
        described = {
            t["name"]: len(t["partitions"]) for t in admin.describe_topics(["embeddings", "embeddings.dead-letter"])
        }
        assert described == {"embeddings": 6, "embeddings.dead-letter": 1}
        found = str(admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, "embeddings")]))
        assert "LogAppendTime" in found
    finally:
        admin.close()
    log = broker.log()
    assert "ERROR" not in log, json.dumps(log)


def test_kafka_knows_every_setting_by_its_name_and_took_its_value(broker):
    from kafka import KafkaAdminClient
    from kafka.admin import ConfigResource, ConfigResourceType

    admin = KafkaAdminClient(bootstrap_servers=broker.address)
    try:
        broker_1 = ConfigResource(ConfigResourceType.BROKER, "1")
        (known,) = admin.describe_configs([broker_1], config_filter="all")["broker"].values()
    finally:
        admin.close()
    ours = properties({})
    assert set(ours) <= set(known)
    assert known["auto.create.topics.enable"]["value"] == ours["auto.create.topics.enable"] == "false"
