"""The stored form of an alert, and the line that shows it to people. ``docs/redis-keys.md`` lists the fields."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timezone

from monitor.math.intervals import interval
from monitor.math.lifecycle import Alert
from monitor.messages.record import Partition
from monitor.messages.text import printable
from monitor.store.counts import Example


def fingerprint(group: str, alert: Alert) -> str:
    """Return the identity of an alert within its group: each time the same alert fires again, it has the same one."""
    # Everything together is "None" here, so a stream of that name is escaped. Every other name stays as it is.
    name = str(alert.stream)
    if alert.stream is not None and (name == "None" or name.startswith("\0")):
        name = f"\0{name}"
    return hashlib.sha256(f"{group}\0{alert.kind}\0{name}".encode("utf-8", "backslashreplace")).hexdigest()[:16]


def fields(
    alert: Alert,
    change: str,
    at: float,
    event: str,
    *,
    artifact: str,
    examples: Iterable[Example],
    offsets: Mapping[Partition, int],
    class_name: Callable[[int], str],
    log_threshold: float,
    experts: Sequence[str] = (),
) -> dict[str, str]:
    """Build the fields that are stored for an alert, all as text, with the evidence and the threshold it had to reach.

    If there are several ``experts``, the alert names the one whose evidence it is, and each example names the expert
    that finds it most OOD.
    """
    low, high = interval(alert.samples, alert.flagged) if alert.kind == "ood" else (0.0, 1.0)
    ended = change == "resolved"
    worst = [
        {"id": e.id, "confidence": e.confidence, "class": class_name(e.predicted), "index": e.predicted}
        | {"partition": str(e.partition), "offset": e.offset}
        | ({"expert": e.expert} if e.expert else {})
        for e in examples
    ]
    holder = {"expert": experts[alert.expert]} if len(experts) > 1 and alert.kind == "ood" else {}
    return {
        "episode": alert.identity,
        "event": event,
        "status": "resolved" if ended else "firing",
        "change": change,
        "kind": alert.kind,
        "level": "everything" if alert.stream is None else "class" if alert.scope else "stream",
        "stream": alert.stream or "",
        "severity": alert.severity,
        "started_at": moment(alert.raised_at),
        "onset_at": moment(alert.onset_at),
        "updated_at": moment(at),
        "ended_at": moment(at) if ended else "",
        "evidence": _factor(alert.log_evidence),
        "evidence_needed": _factor(log_threshold),
        "samples": f"{alert.samples:.0f}",
        "flagged": f"{alert.flagged:.0f}",
        "rate": f"{alert.rate:.4f}",
        "rate_low": f"{low:.4f}",
        "rate_high": f"{high:.4f}",
        "classes": json.dumps([class_name(c) for c in alert.classes]),
        "streams": json.dumps(list(alert.streams)),
        "examples": json.dumps(worst),
        "artifact": artifact,
        "bucket": str(alert.bucket),
        "offsets": json.dumps({str(p): n for p, n in sorted(offsets.items())}),
        **holder,
    }


def read_examples(alert: Mapping[str, str]) -> tuple[Example, ...]:
    """Read the examples back from what :func:`fields` wrote."""
    return tuple(
        Example(e["confidence"], e["id"], e["index"], Partition.parse(e["partition"]), e["offset"], e.get("expert", ""))
        for e in json.loads(alert["examples"])
    )


def _factor(log_evidence: float) -> str:
    """Write evidence as a factor; if it is too large for a double, as a power of ten."""
    if log_evidence < 300:
        return f"{math.exp(log_evidence):.6g}"
    return f"1e{log_evidence / math.log(10):.0f}" if math.isfinite(log_evidence) else "inf"


def moment(seconds: float) -> str:
    """Write a time as RFC 3339 in UTC, to the millisecond."""
    stamp = datetime.fromtimestamp(round(seconds, 3), tz=timezone.utc)
    return stamp.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def line(alert: Mapping[str, str]) -> str:
    """Write an alert on one line for people. Odd characters in the names of streams and requests do no harm."""
    return printable(_line(alert), 4000)


def _line(alert: Mapping[str, str]) -> str:
    if "subject" in alert:
        about = f"{alert['updated_at']}  {alert['change']:<8} {alert['severity']:<8} {alert['kind']:<7}"
        return f"{about} {alert['subject']}: {alert['summary']}"
    what = f"stream {alert['stream']!r}" if alert.get("stream") else "all streams together"
    head = f"{alert['updated_at']}  {alert['change']:<8} {alert['severity']:<8} {alert['kind']:<7} {what}"
    if alert["kind"] == "silence":
        return f"{head}: no input since {alert['onset_at']}"
    classes = json.loads(alert["classes"])
    named = f"; classes {', '.join(classes)}" if classes else ""
    ids = ", ".join(
        printable(e["id"], 200) + (f" (by {e['expert']})" if e.get("expert") else "")
        for e in json.loads(alert["examples"])[:3]
    )
    held = f", held by expert {alert['expert']}" if alert.get("expert") else ""
    return (
        f"{head}: flagged {float(alert['rate']):.1%} [{float(alert['rate_low']):.1%}, {float(alert['rate_high']):.1%}] "
        f"of {alert['samples']} since {alert['onset_at']}; evidence {alert['evidence']} of {alert['evidence_needed']} "
        f"needed{held}{named}{f'; most OOD: {ids}' if ids else ''}"
    )
