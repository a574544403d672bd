"""`ood-monitor check` on genuine Apache Kafka: what the settings of the topic mean for the monitor."""

from __future__ import annotations

import pytest

from monitor.config import validate
from monitor.errors import BrokerError
from monitor.service.check_kafka import check_kafka
from monitor.testing import launcher
from tests.kafka.apache import start_apache_kafka, why_not

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not())


@pytest.fixture(scope="module")
def kafka():
    with start_apache_kafka() as server:
        yield server.address


def checked(address, topic):
    kafka = {"bootstrap_servers": address, "topic": topic}
    return check_kafka(validate({"model": {"artifact": "none"}, "kafka": kafka}))


def create(address, topic, **settings):
    from kafka import KafkaAdminClient

    admin = KafkaAdminClient(bootstrap_servers=address)
    configs = {name.replace("_", "."): value for name, value in settings.items()}
    admin.create_topics({topic: {"num_partitions": 2, "replication_factor": 1, "configs": configs}})
    admin.close()


def test_clocks_of_senders_retention_and_missing_dead_letters_are_spoken_of(kafka):
    create(kafka, "plain", retention_ms="7200000")
    said = checked(kafka, "plain")
    assert "topic 'plain' has 2 partitions" in said
    assert "topic 'plain.dead-letter' for dead letters does not exist: create it" in said
    assert "dated by their senders (CreateTime), up to 1 hours (message.timestamp.after.max.ms) ahead" in said
    assert "records are kept for 2 hours (retention.ms)" in said
    launcher.create_topic(kafka, "plain.dead-letter", 1)
    assert "dead letters" not in checked(kafka, "plain")


def test_a_compacted_topic_and_the_clock_of_the_broker_are_spoken_of(kafka):
    create(kafka, "compacted", cleanup_policy="compact", message_timestamp_type="LogAppendTime")
    said = checked(kafka, "compacted")
    assert "WARNING: cleanup.policy is compact" in said
    assert "dated by the broker (LogAppendTime)" in said
    assert "retention" not in said


def test_checking_a_topic_that_does_not_exist_does_not_make_it(kafka):
    from kafka import KafkaAdminClient

    with pytest.raises(BrokerError, match="no topic 'mistyped'"):
        checked(kafka, "mistyped")
    admin = KafkaAdminClient(bootstrap_servers=kafka)
    assert not {"mistyped", "mistyped.dead-letter"} & set(admin.list_topics())
    admin.close()
