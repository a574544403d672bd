"""The metrics of one process: what it reads, counts and delivers."""

from __future__ import annotations

from monitor.counting.observing import STAGES
from monitor.messages.reasons import REASONS
from monitor.service.catalogue.metric import TOPICS, Metric

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

WORKER: tuple[Metric, ...] = (
    Metric(
        "ood_monitor_build_info", "gauge",
        "Always 1. Its labels say which release, artifact, group and Kafka client this process runs with",
        "If processes of one group differ for longer than a deployment takes, restart the ones with the old release",
        labels={
            "version": "release of openood-line", "artifact": "first 12 digits of the artifact's content hash",
            "group": "kafka.group", "kafka_client": "kafka.client",
        },
    ),
    Metric(
        "ood_monitor_samples_total", "counter", "Embeddings that this process has counted in Redis",
        "If it stands still while the topic grows, look at ood_monitor_store_away, ood_monitor_broker_away and the log",
        unit="embeddings",
    ),
    Metric(
        "ood_monitor_scored_samples_total", "counter",
        "Embeddings that this process has scored, those that are read again after a rebalance included",
        "Divide ood_monitor_flagged_samples_total by it for the flag rate", unit="embeddings",
    ),
    Metric(
        "ood_monitor_flagged_samples_total", "counter",
        "Scored embeddings that lie beyond the threshold: about 5 of 100 ID inputs with a tpr of .95",
        "If it stays above the rate of the calibration and no alert is raised, replay that traffic and calibrate again",
        unit="embeddings", labels={"expert": "each expert of the artifact; line for LINe alone"},
    ),
    Metric(
        "ood_monitor_rejected_total", "counter",
        "Records that cannot be scored and went to the dead letters, by reason",
        "docs/runbook.md says what to do about each reason", unit="records", labels={"reason": tuple(REASONS)},
    ),
    Metric(
        "ood_monitor_dead_letters_total", "counter",
        "Dead letters by what was sent: the whole record, a stub with its place and reason, or nothing",
        "If the label is nothing, the log names topic, partition and offset: read the record there",
        unit="records", labels={"sent": ("whole", "stub", "nothing")},
    ),
    Metric(
        "ood_monitor_dead_letter_failures_total", "counter",
        "Attempts to send dead letters that Kafka did not take; the records are read and tried again",
        "Look at the dead-letter topic: whether it exists, and whether this user may write to it", unit="attempts",
    ),
    Metric(
        "ood_monitor_batch_seconds", "histogram", "From the moment a batch was polled until it was counted in Redis",
        "ood_monitor_stage_seconds says which part of it is slow", unit="seconds", buckets=_SECONDS,
    ),
    Metric(
        "ood_monitor_stage_seconds", "histogram",
        "Time of a batch by stage: poll (waiting for Kafka included), decode, score, commit (one script in Redis)",
        "poll: nothing to do, or Kafka is slow. decode: large records. score: more workers or a GPU. commit: Redis",
        unit="seconds", labels={"stage": STAGES}, buckets=_SECONDS,
    ),
    Metric(
        "ood_monitor_last_poll_age_seconds", "gauge", "Time since the poll loop last began a turn, by the host's clock",
        "Above 60 the process hangs: take a stack trace (py-spy dump --pid PID) and restart it", unit="seconds",
    ),
    Metric(
        "ood_monitor_partitions_owned", "gauge", "Partitions that this process reads now",
        "0 on every process: look at whether they joined the group. 0 on some: there are more workers than partitions",
        unit="partitions",
    ),
    Metric(
        "ood_monitor_store_away", "gauge", "1 while Redis does not take writes and partitions are paused",
        "Bring Redis back; the log says what it answered. Nothing is lost while the topic retains its records",
    ),
    Metric(
        "ood_monitor_broker_away", "gauge", "1 while nothing can be read from Kafka",
        "The log says why: Kafka cannot be reached, the topic is gone, or a login is refused",
    ),
    Metric(
        "ood_monitor_topic_away", "gauge", "1 while this topic cannot be read although others can, by topic",
        "The log says why: the topic is gone, partitions of it have no leader, a right is missing",
        labels={"topic": TOPICS},
    ),
    Metric(
        "ood_monitor_clock_offset_seconds", "gauge", "Clock of this host less the clock of Redis",
        "Beyond 5 seconds: look at time synchronisation of both hosts. The clock of Redis decides", unit="seconds",
    ),
    Metric(
        "ood_monitor_deliveries_total", "counter",
        "Attempts to notify a receiver, by outcome: delivered, failed (tried again), dropped (refused for good)",
        "ood-monitor check and the log say what the receiver answers",
        unit="attempts",
        labels={"sink": "each receiver that is switched on", "outcome": ("delivered", "failed", "dropped")},
    ),
    Metric(
        "ood_monitor_delivery_oldest_seconds", "gauge",
        "Age of the oldest change of an alert that a receiver has not taken; 0 if it has them all",
        "People are not notified: look at the receiver, then at ood-monitor alerts", unit="seconds",
        labels={"sink": "each receiver that is switched on"},
    ),
)  # fmt: skip

LIBRARY: tuple[Metric, ...] = (
    Metric(
        "process_cpu_seconds_total", "counter", "CPU time of this process", "Near one core: add workers", unit="seconds"
    ),
    Metric(
        "process_resident_memory_bytes", "gauge", "Resident memory", "docs/deploy.md has what is normal", unit="bytes"
    ),
    Metric(
        "process_virtual_memory_bytes", "gauge", "Virtual memory", "Only its growth is of interest", unit="bytes"
    ),
    Metric(
        "process_open_fds", "gauge", "Open file descriptors", "Compare with process_max_fds", unit="descriptors"
    ),
    Metric(
        "process_max_fds", "gauge", "The limit of file descriptors", "Raise it with ulimit -n", unit="descriptors"
    ),
    Metric(
        "process_start_time_seconds", "gauge", "When the process started (Unix time)",
        "If it changes, the process was restarted: look at its exit code and the end of its log", unit="seconds",
    ),
)  # fmt: skip
