"""Creates the topics that a monitor needs."""

from __future__ import annotations

from monitor.config import KafkaConfig
from monitor.errors import BrokerError
from monitor.sources.kafka_errors import kafka_errors
from monitor.sources.settings import asking

WAIT_MS = 10_000
"""How long the broker may take to create a topic."""


def create_topic(config: KafkaConfig, topic: str, partitions: int, replication: int = -1) -> str:
    """Create a topic unless it exists. Returns a sentence on what was done.

    Args:
        config: the connection to Kafka.
        topic: its name.
        partitions: how many partitions. An existing topic keeps its own number.
        replication: copies of each partition; -1 for the broker's default.

    Raises:
        BrokerUnavailableError: Kafka cannot be reached now. BrokerError: Kafka refuses; the message says what to do.
    """
    from kafka import KafkaAdminClient
    from kafka.errors import TopicAlreadyExistsError

    with kafka_errors(f"making topic {topic!r} at {config.bootstrap_servers}"):
        admin = KafkaAdminClient(**asking(config))
        try:
            wanted = {"num_partitions": partitions, "replication_factor": replication}
            admin.create_topics({topic: wanted}, timeout_ms=WAIT_MS)
            return f"topic {topic} was made, with {partitions} partition{'s' if partitions > 1 else ''}"
        except TopicAlreadyExistsError:
            (answer,) = admin.describe_topics([topic])
            return f"topic {topic} exists and is left as it is, with {len(answer['partitions'])} partitions"
        finally:
            admin.close()


def advise(error: BrokerError, topic: str) -> str:
    """Say what to do after a refusal."""
    return (
        f"topic {topic!r} could not be made: {error}. Grant the user CREATE on the cluster or the topic, correct "
        "--partitions and --replication-factor, or let the operator of this Kafka make it, and run "
        "`ood-monitor check` then"
    )
