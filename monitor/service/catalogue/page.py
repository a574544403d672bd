"""Writes the catalogue as a page for people: ``docs/metrics.md``."""

from __future__ import annotations

from collections.abc import Iterable

from monitor.service.catalogue import INGEST, LIBRARY, OWN
from monitor.service.catalogue.metric import Metric

SCOPES = {
    "process": (
        "One process",
        "Each process shows its own work: add it up over the processes (`sum by (job)`).",
    ),
    "group": (
        "The whole group",
        "Every process shows what it last saw of the group in Redis: take the maximum (`max by (job)`), not the sum.",
    ),
    "judge": (
        "The process that judges",
        "One process at a time judges and knows these. The others show 0: take the maximum (`max by (job)`).",
    ),
    "ingest": (
        "The ingest server",
        "`ood-monitor ingest` is another process, with a page of its own: give it a job of its own (`ood-ingest`).",
    ),
}

INTRODUCTION = """\
<!-- Written by `make docs` from monitor/service/catalogue. Do not edit it here. -->
# Metrics

`http.port` opens `/metrics` for Prometheus. Series whose labels are known exist from the start, at 0, so a rule
need not treat an absent one as a special case. Every label has a bounded set of values: no request id and no unbounded
name is ever a label. `deploy/prometheus/rules.yml` has alert rules for these metrics, `deploy/grafana/dashboard.json` a
dashboard, and [runbook.md](runbook.md) says what to do about each alert. Give each group a job of its own in Prometheus
(`ood-monitor`, or `ood-monitor-NAME`): rules and dashboard go by the label `job`.

The artifact is a label of `ood_monitor_build_info` alone. If you want it beside another metric, join them:

```
ood_monitor_samples_total * on (job, instance) group_left (artifact) ood_monitor_build_info
```

Observing costs the loop that counts some microseconds a batch, whatever its size (`python benchmarks/observing.py`).
Evidence, lag and everything that is shown of streams are computed when somebody asks for the page.
"""

UPGRADE = """\
## Coming from an earlier release

| before | now |
|---|---|
| label `artifact` on every metric | only on `ood_monitor_build_info`: leave it out of selectors, or join as above |
| `ood_monitor_last_bucket_end_seconds` | `ood_monitor_last_bucket_end_timestamp_seconds` |
| `ood_monitor_rejected_total` begins with the first rejected record | all reasons are there from the start, at 0 |
| `*_created` | not shown |
"""


def page() -> str:
    """Return the whole page in Markdown."""
    parts = [INTRODUCTION]
    for scope, (heading, about) in SCOPES.items():
        parts.append(f"## {heading}\n\n{about}\n\n{table(m for m in (*OWN, *INGEST) if m.scope == scope)}")
    about = "From prometheus-client, of the process itself."
    parts.append(f"## CPU, memory and files\n\n{about}\n\n{table(LIBRARY)}")
    return "\n".join([*parts, UPGRADE])


def table(metrics: Iterable[Metric]) -> str:
    """Write metrics as a table."""
    head = "| metric | type, unit | what it is | if it looks wrong |\n|---|---|---|---|\n"
    return head + "".join(f"{_row(m)}\n" for m in metrics)


def _row(m: Metric) -> str:
    kind = f"{m.kind}, {m.unit}" if m.unit else m.kind
    labels = "; ".join(_label(name, values) for name, values in m.labels.items())
    cells = [f"`{m.name}`", kind, f"{m.help}.{f' Labels: {labels}.' if labels else ''}", f"{m.do}."]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _label(name: str, values: tuple[str, ...] | str) -> str:
    if isinstance(values, str):
        return f"`{name}` ({values})"
    some = ", ".join(f"`{v}`" for v in values) if len(values) <= 8 else f"{len(values)} values"
    return f"`{name}` ({some})"
