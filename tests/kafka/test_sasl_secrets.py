"""A password of Kafka against a broker that asks for it: both clients, everything logged, right and wrong."""

from __future__ import annotations

import time

import pytest
import yaml

from monitor.testing import launcher
from tests.integration.test_secrets_stay_hidden import REDIS, SASL, Place, assert_hidden
from tests.kafka.apache import start_apache_kafka, why_not
from tests.monitor_support import embeddings
from tests.redis_servers import start_redis

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not())

LOGIN = "org.apache.kafka.common.security.plain.PlainLoginModule required"
ACCOUNT = {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "PLAIN"}


@pytest.fixture(scope="module")
def kafka():
    """A broker with one account; its topic has 200 records."""
    port = launcher.free_port()
    overrides = {
        "sasl.enabled.mechanisms": "PLAIN",
        "listener.name.login.plain.sasl.jaas.config": f'{LOGIN} user_monitor="{SASL}";',
    }
    with start_apache_kafka(doors={"LOGIN": ("SASL_PLAINTEXT", port)}, overrides=overrides):
        address = f"{launcher.HOST}:{port}"
        from kafka import KafkaAdminClient, KafkaProducer

        account = {"sasl_plain_username": "monitor", "sasl_plain_password": SASL, **ACCOUNT}
        admin = KafkaAdminClient(bootstrap_servers=address, **account)
        for topic in ("secrets", "secrets.dead-letter"):
            admin.create_topics({topic: {"num_partitions": 1, "replication_factor": 1}})
        admin.close()
        producer = KafkaProducer(bootstrap_servers=address, **account)
        for row in embeddings(200, 1):
            producer.send("secrets", value=row.tobytes(), partition=0, timestamp_ms=time.time_ns() // 1_000_000)
        producer.flush()
        producer.close()
        yield address


@pytest.mark.parametrize("client", ["kafka-python", "confluent-kafka"])
def test_neither_the_right_nor_a_wrong_password_of_kafka_is_shown(tmp_path, kafka, client):
    with start_redis("--requirepass", REDIS) as redis:
        place = Place(tmp_path, f"redis://{redis.address}/0", kafka, client=client, **ACCOUNT)
        code, text = place.run("--debug", "run", "--until-idle", "8")
        assert_hidden("the log", text)
        assert code == 0, text[-2000:]
        if client == "kafka-python":
            assert "***" in text  # it logs what it sends, password and all: so the search looked in the right place
        code, text = place.run("check")
        assert_hidden("check", text)
        assert "ok      kafka" in text
        place.settings["kafka"]["sasl_username"] = "nobody"
        place.path.write_text(yaml.safe_dump(place.settings))
        for command in (("check",), ("--debug", "check")):
            code, text = place.run(*command)
            assert_hidden(" ".join(command), text)
            assert (code, "FAILED  kafka" in text) == (1, True), text[-2000:]
