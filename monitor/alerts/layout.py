"""How alerts look to receivers: a name, labels that never change (its identity), and annotations that may."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from monitor.alerts.sink import Fields

ALERT_NAMES = {
    "ood": "OODSurge",
    "silence": "StreamSilent",
    "stalled": "MonitorStalled",
    "gap": "RecordsLost",
    "bad-records": "BadRecords",
    "streams": "TooManyStreams",
    "epoch": "EvidenceRestarted",
    "drift": "InputsDrift",
}
HEARTBEAT = "MonitorHeartbeat"

LABEL_LENGTH = 200
ANNOTATION_LENGTH = 2000

_NOTES = ("severity", "level", "rate", "rate_low", "rate_high", "samples", "evidence", "expert", "onset_at", "artifact")
_LISTS = ("classes", "streams", "examples")


def alert_name(kind: str) -> str:
    """Return the alert name of a kind. A kind without a name of its own is spelled out: ``MonitorDiskFull``."""
    return ALERT_NAMES.get(kind) or "Monitor" + "".join(w.capitalize() for w in re.findall("[A-Za-z0-9]+", kind))


def identity(alert: Fields, group: str, extra: Mapping[str, str]) -> dict[str, str]:
    """Return the labels that identify an alert. They stay the same from its raise to its resolve.

    The name of a stream may hold characters that a label may not. If the name had to be changed for that, the
    fingerprint becomes a label too, so that two streams never share an identity.
    """
    kind, stream, subject = alert.get("kind", ""), alert.get("stream", ""), alert.get("subject", "")
    found = {**extra, "alertname": alert_name(kind), "group": group, "kind": clean(kind, LABEL_LENGTH)}
    exact = True
    for name, value in (("stream", stream), ("subject", subject)):
        if value:
            found[name] = clean(value, LABEL_LENGTH)
            exact = exact and found[name] == value
    nameless = not stream and not subject and alert.get("level") not in ("everything", None)
    if not exact or nameless:
        found["fingerprint"] = clean(alert.get("fingerprint", ""), LABEL_LENGTH)
    return found


def runbook_link(alert: Fields, runbook: str) -> str:
    """Return the link to the runbook's entry on an alert; empty if ``runbook``, the address of the runbook, is empty.

    The kind ``stalled`` has one entry for each subject, since the monitor can be blind for several reasons. Every
    other kind has one entry.
    """
    kind, subject = alert.get("kind", ""), alert.get("subject", "")
    anchor = f"{kind}-{subject}" if kind == "stalled" else kind
    return f"{runbook}#{anchor}" if runbook and re.fullmatch("[a-z-]{1,40}", anchor) else ""


def notes(alert: Fields, runbook: str = "") -> dict[str, str]:
    """Return the annotations: everything about an alert that may change while it fires, and the runbook's link."""
    found = {"summary": summary(alert), "description": description(alert), "runbook_url": runbook_link(alert, runbook)}
    found |= {name: alert.get(name, "") for name in _NOTES}
    found |= {name: shorten(alert.get(name, "[]")) for name in _LISTS}
    for name, value in _details(alert).items():
        found.setdefault(re.sub("[^A-Za-z0-9_]", "_", name)[:100] or "detail", value)
    return {name: clean(value, ANNOTATION_LENGTH) for name, value in found.items() if value and value != "[]"}


def summary(alert: Fields) -> str:
    """Summarize an alert in one sentence for people."""
    if alert.get("summary"):
        return alert["summary"]
    about = _about(alert)
    if alert.get("kind") == "silence":
        return f"{about} has sent nothing since {alert.get('onset_at', '?')}: look at what sends it."
    low, high = _percent(alert.get("rate_low", "")), _percent(alert.get("rate_high", ""))
    return (
        f"{about} has a surge of out-of-distribution inputs: {_percent(alert.get('rate', ''))} of "
        f"{alert.get('samples', '?')} inputs since {alert.get('onset_at', '?')} are flagged (95 % interval {low} to "
        f"{high}). Look at the most unusual requests, which the alert names."
    )


def description(alert: Fields) -> str:
    """Give more details than the summary; empty if there are none."""
    over = alert.get("ended_at", "") if alert.get("status") == "firing" else ""
    found = [f"It is over since {over}, and is shown as firing so that people are notified of it."] if over else []
    if alert.get("muted"):
        found.append(f"It still fires, and is shown as over because it is muted: {alert['muted']}.")
    if alert.get("acknowledged_by"):
        at, why = alert.get("acknowledged_at", "?"), alert.get("acknowledged_reason", "")
        found.append(f"Acknowledged by {alert['acknowledged_by']} at {at}: {why}.")
    if alert.get("kind") != "ood":
        return " ".join(found)
    held = f", held by the expert {alert['expert']}" if alert.get("expert") else ""
    found += [f"Evidence {alert.get('evidence', '?')}, of {alert.get('evidence_needed', '?')} needed{held}."]
    for name, words in (("classes", "Predicted classes that surged"), ("streams", "Streams that surged")):
        values = read_list(alert.get(name, "[]"))
        if values:
            more = f" and {len(values) - 10} more" if len(values) > 10 else ""
            found.append(f"{words}: {', '.join(str(v) for v in values[:10])}{more}.")
    ids = [
        str(e.get("id", "")) + (f" (by {e['expert']})" if e.get("expert") else "")
        for e in read_list(alert.get("examples", "[]"))
        if isinstance(e, dict)
    ]
    if ids:
        found.append(f"Most unusual requests: {', '.join(ids[:5])}.")
    return " ".join(found)


def title(alert: Fields) -> str:
    """Name an alert in a few words, for the log."""
    about = alert.get("subject") or _about(alert)
    return f"{alert_name(alert.get('kind', ''))} ({clean(about, LABEL_LENGTH)}, {alert.get('change', '?')})"


def clean(value: str, length: int) -> str:
    """Make a text valid UTF-8, free of control characters that a terminal or a receiver would act on, and short."""
    text = "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in value)
    text = text if length > LABEL_LENGTH else text.replace("\n", "\N{REPLACEMENT CHARACTER}")
    return text if len(text) <= length else text[: length - 1] + "\N{HORIZONTAL ELLIPSIS}"


def shorten(text: str) -> str:
    """Shorten a JSON list to as many of its first items as fit into an annotation. It stays valid JSON."""
    if len(text) <= ANNOTATION_LENGTH:
        return text
    items, kept = read_list(text), 2
    for count, item in enumerate(items):
        kept += len(json.dumps(item)) + 2
        if kept > ANNOTATION_LENGTH:
            return json.dumps(items[:count])
    return json.dumps(items)


def _about(alert: Fields) -> str:
    if alert.get("level") == "everything" or not alert.get("stream"):
        return "Everything together" if alert.get("level") == "everything" else "The stream without a name"
    return f"Stream {alert['stream']!r}"


def _percent(text: str) -> str:
    try:
        return f"{float(text):.1%}".replace("%", " %")
    except ValueError:
        return "?"


def _details(alert: Fields) -> dict[str, str]:
    try:
        found = json.loads(alert.get("details") or "{}")
    except ValueError:
        return {}
    return (
        {str(k): v if isinstance(v, str) else json.dumps(v) for k, v in found.items()}
        if isinstance(found, dict)
        else {}
    )


def read_list(text: str) -> list[Any]:
    """Read a list that is kept as JSON. If the text is not a JSON list, return an empty one."""
    try:
        found = json.loads(text or "[]")
    except ValueError:
        return []
    return found if isinstance(found, list) else []
