"""The metrics of the whole group, as every process sees them in Redis."""

from __future__ import annotations

from monitor.judging.watch import SUBJECTS
from monitor.service.catalogue.metric import TOPICS, Metric
from monitor.store.verdicts import SUMS

GROUP: tuple[Metric, ...] = (
    Metric(
        "ood_monitor_group_seen_age_seconds", "gauge",
        "Time since this process last looked at the group in Redis; all numbers of the group are as old as that",
        "Above 10: Redis is unreachable or slow", "group", "seconds",
    ),
    Metric(
        "ood_monitor_workers", "gauge", "Processes that reported within the last 15 seconds",
        "Fewer than you started: look at those that are missing", "group", "processes",
    ),
    Metric(
        "ood_monitor_lag_records", "gauge", "Records in the topics that are not counted yet, over all partitions",
        "If it grows for minutes, start more workers (up to one a partition) or find what slows them down",
        "group", "records",
    ),
    Metric(
        "ood_monitor_lag_seconds", "gauge",
        "How long the oldest record that is not counted has been in the topic, by the clock of Redis, over all "
        "partitions: the delay that counting adds to an alert",
        "As for ood_monitor_lag_records. After a start it begins at 0 and is a lower bound", "group", "seconds",
    ),
    Metric(
        "ood_monitor_topic_lag_records", "gauge", "The records of ood_monitor_lag_records, by topic",
        "As for ood_monitor_lag_records: it says which topic the workers are behind on", "group", "records",
        {"topic": TOPICS},
    ),
    Metric(
        "ood_monitor_topic_lag_seconds", "gauge", "The time of ood_monitor_lag_seconds, by topic",
        "As for ood_monitor_lag_seconds: it says which topic the workers are behind on", "group", "seconds",
        {"topic": TOPICS},
    ),
    Metric(
        "ood_monitor_pending_buckets", "gauge", "Buckets that hold counts and are not judged yet: open, or waiting",
        "A few are normal. If it grows, see ood_monitor_judging_wait_seconds", "group", "buckets",
    ),
    Metric(
        "ood_monitor_judging_wait_seconds", "gauge",
        "For how long counts have been waiting without any bucket being judged; 0 if nothing waits",
        "Above watch.stalled_seconds a surge would not be noticed: see stalled judging in docs/runbook.md",
        "group", "seconds",
    ),
    Metric(
        "ood_monitor_last_judged_age_seconds", "gauge",
        "Time since a bucket was last judged, by the clock of Redis; -1 if none ever was",
        "It grows when the topic is quiet, too. ood_monitor_judging_wait_seconds tells the two apart",
        "group", "seconds",
    ),
    Metric(
        "ood_monitor_streams", "gauge", "Streams counted by their own name",
        "Near streams.limit: see TooManyStreams in docs/runbook.md", "group", "streams",
    ),
    Metric(
        "ood_monitor_mutes", "gauge", "Mutes in force: each keeps some alerts from receivers",
        "`ood-monitor mute` lists them, with who set them, why and until when; `ood-monitor unmute` ends one",
        "group", "mutes",
    ),
    Metric(
        "ood_monitor_moved_samples", "gauge",
        "Since the beginning of the group: samples counted elsewhere than where they belong (late, ahead of the clock, "
        "overflow of streams), and records that were skipped",
        "late, ahead: clocks of senders. overflow: streams.limit. skipped: messages.accept, other_models",
        "group", "samples", {"why": SUMS},
    ),
    Metric(
        "ood_monitor_canary_age_seconds", "gauge", "Time since the last canary was detected; -1 if none ever was",
        "It should stay below canary.seconds + canary.timeout_seconds", "group", "seconds",
    ),
    Metric(
        "ood_monitor_stalled", "gauge", "1 while the monitor cannot tell whether inputs surge, by what stalls it",
        "docs/runbook.md has an entry for each subject", "group", labels={"subject": SUBJECTS},
    ),
)  # fmt: skip
