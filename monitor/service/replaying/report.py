"""Writes the report of a replay, for people and as JSON: what was found, and what to do about it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from monitor.alerts.alert import moment
from monitor.math.arming import Arming, Rate
from monitor.math.lifecycle import plain
from monitor.service.replaying.tally import Tally


def lines(judged: Arming) -> list[str]:
    """Says in sentences what was judged, the verdict last."""
    found = [f"{judged.requests:,} requests replayed, {judged.budget.words()}"]
    found += [
        f"{name(r)}: {r.rate:.2%} flagged ({r.low:.2%} to {r.high:.2%}) of {r.samples:,}, {r.allowed:.2%} allowed"
        for r in judged.rates
    ]
    found += [
        f"stream {stream!r}: lag-1 autocorrelation of flags {order.autocorrelation:+.3f}"
        for stream, order in sorted(judged.order.items())
    ]
    found.append(f"alerts that would have been raised: {judged.raised}, affordable: {judged.affordable:.2g}")
    if math.isfinite(judged.suggested_requests):
        found.append(f"suggested budget: 1 false alert per {judged.suggested_requests:,.0f} requests")
    else:
        found.append("no budget would have kept this traffic quiet")
    found += [f"warning: {w}" for w in warnings(judged)]
    return found + ([f"refused: {r}" for r in refusals(judged)] or ["may be armed"])


def refusals(judged: Arming) -> Iterator[str]:
    """Says why the monitor must not be armed on this traffic as ID; empty if it may."""
    for r in judged.breaches:
        yield (
            f"{name(r)} breaks the calibration: each sample adds {r.bet:.1%} to the evidence on average (at least "
            f"{r.bet_low:.1%}), expected 0 at most; {r.rate:.2%} are flagged, {r.allowed:.2%} are allowed. "
            "Calibrate on this traffic, or raise the upper bounds on the cell masses"
        )
    if judged.too_many:
        yield f"alerts that would have been raised on it: {judged.raised}, affordable: {judged.affordable:.2g}"


def warnings(judged: Arming) -> Iterator[str]:
    """Says what else to know before the monitor is armed."""
    for stream, every in judged.bursts.items():
        yield (
            f"stream {stream!r} comes in bursts (autocorrelation {judged.order[stream].autocorrelation:+.2f}): the "
            f"budget counts on independent samples; thin to 1 in {every} per client, or expect several times as many "
            "false alerts"
        )
    for r in judged.unarmed:
        yield f"{name(r)} is flagged more often ({r.rate:.2%}) than all together may be; it cannot raise by itself"
    if judged.too_short:
        budget = judged.budget.requests
        yield f"{judged.requests:,} requests are less than one budget ({budget:,.0f}): replay a longer range"


def name(rate: Rate) -> str:
    """Name the stream, class and expert of a rate."""
    by = f", expert {rate.expert}" if rate.expert else ""
    return f"stream {rate.stream!r}" + ("" if rate.label is None else f", class {rate.label}") + by


def text(judged: Arming, tally: Tally) -> str:
    """The report for people: what was judged and read, and each alert that would have been raised."""
    found = [*lines(judged), tally.words()]
    for t in judged.transitions:
        about = "all streams together" if t.alert.stream is None else f"stream {t.alert.stream!r}"
        found.append(f"{moment(t.at)}  {t.change:<8} {t.alert.kind} {about}: flag rate {t.alert.rate:.1%}")
    return "\n".join(found)


def document(judged: Arming, tally: Tally) -> str:
    """The report as one JSON object."""
    return json.dumps(
        {
            "arm": judged.arm,
            "requests": judged.requests,
            "refusals": list(refusals(judged)),
            "warnings": list(warnings(judged)),
            "rates": [_rate(r) for r in judged.rates],
            "autocorrelation": {s: o.autocorrelation for s, o in judged.order.items()},
            "transitions": [{"change": t.change, "at": moment(t.at), **plain(t.alert)} for t in judged.transitions],
            "affordable": judged.affordable,
            "suggested_requests": judged.suggested_requests,
            "records": tally.recount.records,
            "rejected": dict(sorted(tally.recount.rejected.items())),
            "skipped": tally.recount.skipped,
        }
    )


def _rate(rate: Rate) -> dict[str, Any]:
    found = {**asdict(rate), "rate": rate.rate}
    if not rate.expert:
        del found["expert"]
    return found
