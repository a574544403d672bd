"""Starts a group's evidence afresh under other settings or another artifact, without losing a record."""

from __future__ import annotations

import json
from dataclasses import dataclass

from monitor.alerts import alert as alerts
from monitor.config import MonitorConfig
from monitor.counting.models import Models
from monitor.errors import StoreError
from monitor.judging.binding import Binding, differences
from monitor.judging.kept import HEADER
from monitor.service.assembly import binding
from monitor.store.protocol import Store
from monitor.store.verdicts import AlertWrite, Promotion

TRIES = 20


@dataclass(frozen=True)
class Promoted:
    """The result of a promotion: the new epoch, how many buckets were dropped before they were judged, what changed."""

    epoch: int
    dropped: int
    changed: str


def promote(store: Store, wanted: Binding, group: str) -> Promoted | None:
    """Bind the group to these settings. Returns None if it is bound to them already.

    The evidence starts at nothing and firing alerts on inputs are resolved, because both belong to the old settings.
    Counts and offsets stay. Processes with the old settings are refused at their next write, and stop.

    Raises:
        StoreError: the evidence kept changing while this tried.
    """
    name, held = store.bind(wanted.name, wanted.text, wanted.bucket_ms, wanted.artifact)
    if name == wanted.name:
        return None
    for _ in range(TRIES):
        header = store.state().get(HEADER, "")
        now_ms = store.now_ms()
        over = [_resolved(a, now_ms, group) for a in store.alerts() if a["status"] == "firing" and "subject" not in a]
        done = store.promote(Promotion(wanted.name, wanted.text, wanted.bucket_ms, _factor(held, wanted), header, over))
        if done is not None:
            return Promoted(*done, differences(held, wanted))
    raise StoreError(f"the evidence of group {group!r} changed {TRIES} times while it was read: try again")


def promote_group(config: MonitorConfig, models: Models, store: Store) -> Promoted | None:
    """Bind the group of ``config`` to its settings, with these artifacts."""
    store.ping()
    return promote(store, binding(config, models), config.kafka.group)


def _factor(held: str, binding: Binding) -> float:
    """The old width of a bucket divided by the new one."""
    try:
        old = float(json.loads(held)["buckets.seconds"]) * 1000
    except ValueError:  # an earlier release kept the artifact alone
        old = binding.bucket_ms
    return old / binding.bucket_ms


def _resolved(alert: dict[str, str], now_ms: int, group: str) -> AlertWrite:
    now = alerts.moment(now_ms / 1000)
    fields = {k: v for k, v in alert.items() if k != "fingerprint"}
    fields |= {"status": "resolved", "change": "resolved", "updated_at": now, "ended_at": now}
    fields |= {"event": f"{alert['episode']}:promoted:{now_ms}", "why": f"group {group} was given other settings"}
    return AlertWrite(alert["fingerprint"], fields, 604_800_000, now_ms)
