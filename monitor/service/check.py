"""Checks everything that a process needs: settings, artifacts, Kafka, Redis and receivers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from line_plugin.errors import LinePluginError
from monitor.config import MonitorConfig
from monitor.errors import MonitorError, StoreError

if TYPE_CHECKING:
    from monitor.math.nulls import Nulls

Finding = tuple[str, bool, str]
"""``(what, failed, detail)``."""


def check(config: MonitorConfig) -> Iterator[Finding]:
    """Check every endpoint, and return one finding for each. The settings were validated before."""
    yield ("settings", False, f"valid; {_budget(config)}")
    yield from _artifact_findings(config)
    for name, reach in (("kafka", _kafka), ("redis", _redis), ("delivery", _delivery)):
        yield _finding(name, reach, config)


def _finding(name: str, reach: Callable[[MonitorConfig], str], config: MonitorConfig) -> Finding:
    try:
        return (name, False, reach(config))
    except (MonitorError, LinePluginError) as error:
        return (name, True, str(error))


def _budget(config: MonitorConfig) -> str:
    return f"budget of 1 false alert per {config.alerts.requests:,.0f} requests"


def _artifact_findings(config: MonitorConfig) -> Iterator[Finding]:
    """Check whether the artifacts can be used and, if so, what their calibration sets support."""
    from monitor.service.assembly import open_models, rules_of

    try:
        models = open_models(config)
        rules = rules_of(config, models)
    except (MonitorError, LinePluginError) as error:
        yield ("model", True, str(error))
        return
    each, limits = [], []
    for m in models:
        name, scorer = f"{m.name}: " if m.name else "", m.scorer
        size = f"{scorer.calibration.n} calibration samples"
        each.append(f"{name}{scorer.line!r}, artifact {scorer.artifact[:12]}, {size}")
        limits += [f"{name}{limit}" for limit in scorer.calibration.limits()]
    yield ("model", False, f"{'; '.join(each)}; {rules.budget.words()}")
    yield ("calibration", False, " ".join([*limits, _describe_masses(rules.nulls)]))


def _describe_masses(nulls: Nulls) -> str:
    """Describe what the rule for the cell masses gives with this calibration set."""
    from monitor.judging.rules import RISK

    holds = f"the false-alert budget holds for {1 - RISK:.0%} of calibration sets of this size"
    words = {
        "nominal": "the false-alert budget is exceeded for about half of the calibration sets of this size: "
        "set alerts.masses to expectation",
        "simultaneous": f"every cell is bounded from above, so {holds}",
        "expectation": f"evidence of OOD inputs is divided by {nulls.margin:.3f}, so {holds}",
    }
    return f"With alerts.masses {nulls.rule}, {words[nulls.rule]}."


def _kafka(config: MonitorConfig) -> str:
    from monitor.service.check_kafka import check_kafka

    return check_kafka(config)


def _redis(config: MonitorConfig) -> str:
    from monitor.config import show_url
    from monitor.service.assembly import open_store
    from monitor.store.counts import samples_in
    from monitor.store.server import describe_server, find_risks

    store = open_store(config)
    store.ping()
    about = describe_server(store.client)
    risks = find_risks(store.client)
    if risks:
        raise StoreError(f"{'. '.join(risks)} ({about})")
    counted, claimed = samples_in(store.totals()), len(store.partitions())
    shown = show_url(config.redis.url)
    return f"{shown} answers; {claimed} partitions claimed, {counted} samples counted; {about}"


def _delivery(config: MonitorConfig) -> str:
    """Check every sink that is switched on: whether it answers, and its status so far."""
    from monitor.alerts.sink import Context
    from monitor.alerts.sinks import open_sinks

    sinks = open_sinks(Context(config.kafka.group, config.delivery, clock=time.time))
    if not sinks:
        return "none besides Redis: nobody is notified of an alert unless they look"
    found, failed = [], False
    for sink in sinks:
        try:
            words = sink.check()
        except MonitorError as error:
            failed, words = True, str(error)
        trouble, history = _fared(config, sink.name)
        failed = failed or trouble
        found.append("; ".join(part for part in (f"{sink.name} {sink.shown}: {words}", history) if part))
    if failed:
        raise MonitorError(". ".join(found))
    return ". ".join(found)


def _fared(config: MonitorConfig, sink: str) -> tuple[bool, str]:
    """Describe whether deliveries to a sink fail now, and what is kept about it."""
    from monitor.service.assembly import open_deliveries

    try:
        store = open_deliveries(config)
        record, backlog = store.record(sink), store.backlog(sink)
    except MonitorError:
        return False, ""  # Redis has a finding of its own
    parts = []
    if record.get("failing_since"):
        parts.append(f"it has failed since {record['failing_since']}: {record.get('failing_why', '')}")
    if backlog.events and "cursor" in record:
        parts.append(f"alerts wait for it, the oldest for {backlog.oldest_ms / 1000:.0f} seconds")
    if record.get("dropped", "0") != "0":
        last = f", the last at {record['dropped_at']} ({record['dropped_why']})" if "dropped_at" in record else ""
        parts.append(f"{record['dropped']} alerts were refused and dropped{last}")
    if record.get("trimmed_at"):
        parts.append(f"some alerts were trimmed from the history before it took them, until {record['trimmed_at']}")
    return bool(record.get("failing_since")), "; ".join(parts)
