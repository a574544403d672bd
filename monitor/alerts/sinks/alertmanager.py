"""The sink of Alertmanager, which forgets alerts: every firing alert must be posted again and again.

All current alerts are posted on each transition and every ``delivery.resend_seconds``. ``endsAt`` lies a few intervals
ahead, so an alert ends by itself if every monitor dies. An Alertmanager that lost everything gets it back with the next
post. Resolved alerts are posted for a while longer.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any

from monitor.alerts.addresses import address, beneath, shown
from monitor.alerts.alert import moment
from monitor.alerts.exchange import Answer, Exchange
from monitor.alerts.layout import HEARTBEAT, identity, notes, title
from monitor.alerts.sink import TAKEN, Context, Fields, Mode, Outcome
from monitor.errors import MonitorError

log = logging.getLogger(__name__)

INTERVALS_AHEAD = 4
"""An alert that is not posted again ends after this many intervals."""

BATCH = 64
"""Alerts in one post."""

CLOCK_SECONDS = 5.0
"""Clocks that differ by fewer seconds are not corrected, since the header has whole seconds and posting takes time."""

CENTURY = 3.2e9
"""Seconds. Clocks that differ by more are broken, and such times cannot be written."""

Posted = dict[str, Any]


class Alertmanager:
    """Posts all current alerts."""

    name = "alertmanager"
    mode: Mode = "state"

    def __init__(self, url: str, context: Context) -> None:
        d = context.delivery
        self.shown, self.every = shown(url), d.resend_seconds
        self._alerts_url, self._ready_url = beneath(url, "/api/v2/alerts"), beneath(url, "/-/ready")
        self._group, self._extra = context.group, d.labels
        self._runbook = d.runbook_url
        self._link = {"runbook_url": f"{d.runbook_url}#heartbeat"} if d.runbook_url else {}
        self._ahead = INTERVALS_AHEAD * max(d.resend_seconds, d.timeout_seconds)
        self._heartbeat, self._healthy = d.heartbeat, context.healthy
        self._clock, self._skew = context.clock, 0.0
        self._started = context.clock()
        self._exchange = Exchange(d.timeout_seconds)

    def send(self, alerts: Sequence[Fields]) -> Outcome:
        """Post them all. If Alertmanager's clock turns out to differ, the ends were wrong, so post them once more."""
        before = self._skew
        outcome = self._post_all(alerts)
        return outcome if self._skew == before else self._post_all(alerts)

    def check(self) -> str:
        """Check whether Alertmanager is ready."""
        answer = self._exchange("GET", self._ready_url)
        if answer.outcome.status != "taken":
            raise MonitorError(f"delivery.alertmanager_url {self.shown}: {answer.outcome.why}")
        return f"ready (it answered {answer.status})"

    def documents(self, alerts: Sequence[Fields]) -> list[Posted]:
        """Build the alerts to post, firing ones first. Times are on Alertmanager's clock if its difference is known."""
        now = self._clock() + self._skew
        firing = [a for a in alerts if a.get("status") == "firing"]
        resolved = [a for a in alerts if a.get("status") != "firing"]
        # The monitor's own alerts are few and come first, since senders can multiply the others.
        firing.sort(key=lambda a: "subject" not in a)
        found = [posted for a in (*firing, *resolved) if (posted := self._written(a, now)) is not None]
        return [self._alive(now), *found] if self._heartbeat and self._healthy() else found

    def _written(self, alert: Fields, now: float) -> Posted | None:
        try:
            return self._document(alert, now)
        except Exception:  # one alert that cannot be written must not keep the others from being sent
            log.exception("the alert %s cannot be written for Alertmanager; the others are posted", title(alert))
            return None

    def _document(self, alert: Fields, now: float) -> Posted:
        # An alert has the times of its inputs. They may lie ahead, or end before they begin, which Alertmanager
        # refuses.
        starts = max(0.0, min(_seconds(alert.get("started_at", ""), now) + self._skew, now))
        ends = now + self._ahead
        if alert.get("status") != "firing":
            ends = max(starts, min(_seconds(alert.get("ended_at", ""), now) + self._skew, now))
        return {
            "labels": identity(alert, self._group, self._extra),
            "annotations": notes(alert, self._runbook),
            "startsAt": moment(starts),
            "endsAt": moment(ends),
        }

    def _alive(self, now: float) -> Posted:
        summary = f"The monitor of group {self._group} is alive. It always fires: route it to a "
        "service that raises the alarm if it stops."
        return {
            "labels": {**self._extra, "alertname": HEARTBEAT, "group": self._group},
            "annotations": {"summary": summary, "severity": "none"} | self._link,
            "startsAt": moment(min(self._started + self._skew, now)),
            "endsAt": moment(now + self._ahead),
        }

    def _post_all(self, alerts: Sequence[Fields]) -> Outcome:
        """Post in batches. A refused batch is posted one by one, so that one alert never holds back another."""
        found = self.documents(alerts)
        batches = [found[first : first + BATCH] for first in range(0, len(found), BATCH)]
        outcomes: list[Outcome] = []
        for batch in batches:
            answer = self._post(batch)
            alone = [batch] if len(batch) == 1 else [[one] for one in batch]
            outcomes += [answer.outcome] if answer.outcome.status == "taken" or len(batch) == 1 else []
            if answer.outcome.status != "taken" and len(batch) > 1:
                if not answer.status:
                    outcomes.append(answer.outcome)
                    break  # nobody answers, so the others would only wait as well
                outcomes += self._one_by_one(alone)
        return _worst(outcomes)

    def _one_by_one(self, alone: Sequence[list[Posted]]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        for one in alone:
            answer = self._post(one)
            outcomes.append(answer.outcome)
            if not answer.status:
                break
            down = answer.outcome.status == "again"
            if down and len(outcomes) == 3 and all(o.status == "again" for o in outcomes):
                break  # Alertmanager as a whole fails, not one bad alert
        return outcomes

    def _post(self, batch: list[Posted]) -> Answer:
        before = self._clock()
        answer = self._exchange("POST", self._alerts_url, json.dumps(batch).encode())
        theirs = answer.clock()
        if theirs is not None and answer.outcome.status == "taken":
            self._compare(theirs - (before + self._clock()) / 2)
        return answer

    def _compare(self, apart: float) -> None:
        """Take over the difference of the clocks. With a wrong one every alert would end at once, or too late."""
        if abs(apart - self._skew) < CLOCK_SECONDS or abs(apart) > CENTURY:
            return
        self._skew = apart if abs(apart) >= CLOCK_SECONDS else 0.0
        if self._skew:
            log.warning(
                "the clock of Alertmanager at %s differs from this host's by %+.0f seconds; times are corrected "
                "for it, but look at both clocks",
                self.shown,
                self._skew,
            )


def _worst(outcomes: Sequence[Outcome]) -> Outcome:
    for status in ("again", "refused"):
        found = [o for o in outcomes if o.status == status]
        if found:
            return found[0]
    return TAKEN


def _seconds(moment: str, otherwise: float) -> float:
    try:
        found = datetime.fromisoformat(moment.replace("Z", "+00:00"))
        return (found if found.tzinfo else found.replace(tzinfo=timezone.utc)).timestamp()
    except (ValueError, OverflowError):
        return otherwise


def open(settings: None, context: Context) -> Alertmanager | None:  # noqa: A001  every sink has it
    """The Alertmanager of ``delivery.alertmanager_url``."""
    url = address(context.delivery.alertmanager_url, "delivery.alertmanager_url")
    return Alertmanager(url, context) if url else None
