"""The metrics of the process that judges: evidence, alerts and the budget."""

from __future__ import annotations

from monitor.math.budget import LEVELS
from monitor.service.catalogue.metric import Metric

TOP_STREAMS = 20
"""How many streams have series of their own: those with alerts, then those with most evidence."""

_TOP = f"the {TOP_STREAMS} streams with alerts or most evidence, cut at 200 characters"

JUDGING: tuple[Metric, ...] = (
    Metric(
        "ood_monitor_leaseholder", "gauge", "1 on the process that judges, 0 on all others",
        "The sum over a group is 1. If it is 0 for a minute, nothing is judged: look at Redis and at the logs", "judge",
    ),
    Metric(
        "ood_monitor_alerts_firing", "gauge", "Alerts on inputs that fire now: surges and silent streams",
        "ood-monitor alerts shows them", "judge", "alerts",
    ),
    Metric(
        "ood_monitor_alert_transitions_total", "counter", "Changes of alerts on inputs that this process has written",
        "ood-monitor alerts --history 20 shows them", "process", "transitions",
        {"change": ("raised", "updated", "resolved")},
    ),
    Metric(
        "ood_monitor_budget_requests", "gauge", "N of the budget: at most one false alert per N requests is accepted",
        "alerts.requests_per_false_alert, or days_per_false_alert with requests_per_second", "judge", "requests",
    ),
    Metric(
        "ood_monitor_budget_samples", "gauge", "Samples judged so far while a level could raise, by level",
        "This is what the budget is spent on", "judge", "samples", {"level": LEVELS},
    ),
    Metric(
        "ood_monitor_budget_spent_alerts", "gauge",
        "False alerts to be expected so far, at most, by the budget: it grows with the traffic, by 1 every N requests",
        "If far more alerts than this are raised and found false, the calibration does not fit: calibrate again",
        "judge", "alerts",
    ),
    Metric(
        "ood_monitor_evidence_max_ratio", "gauge",
        "Largest evidence of any key of a level, as a share of what raises an alert: an alert is raised at 1",
        "Above 0.1 something may be beginning. ID traffic gets there about ten times as often as it raises",
        "judge", "ratio", {"level": LEVELS},
    ),
    Metric(
        "ood_monitor_stream_evidence_ratio", "gauge",
        "Evidence of a stream (the most of itself and its classes) as a share of what raises an alert; it starts again "
        "at 0 when an alert is raised",
        "Look at the stream on the status page or with ood-monitor alerts", "judge", "ratio", {"stream": _TOP},
    ),
    Metric(
        "ood_monitor_stream_flag_ratio", "gauge",
        "Share of flagged samples of a stream: since the onset of its alert, or since its evidence began to grow",
        "Compare with what calibration promised; over few samples it swings", "judge", "ratio", {"stream": _TOP},
    ),
    Metric(
        "ood_monitor_last_bucket_end_timestamp_seconds", "gauge",
        "End of the last bucket judged (Unix time); 0 for none",
        "It is event time: time() less this is the age of the newest input that was judged", "judge", "seconds",
    ),
)  # fmt: skip
