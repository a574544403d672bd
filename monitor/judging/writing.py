"""Turns an alert of the mathematics into the form that is stored, with names, examples and offsets for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from monitor.alerts import alert as alerts
from monitor.judging.settings import EvaluatorSettings
from monitor.math.lifecycle import Alert
from monitor.math.state import Rules
from monitor.messages.record import Partition
from monitor.store.counts import Example
from monitor.store.protocol import Store
from monitor.store.verdicts import AlertWrite


class AlertWriter:
    """Builds the stored form of an alert.

    Args:
        store: the examples are read from it.
        rules: say how much evidence was needed.
        settings: names, and how many examples are kept.
    """

    def __init__(self, store: Store, rules: Rules, settings: EvaluatorSettings) -> None:
        self._store, self._rules, self._settings = store, rules, settings

    def entry(
        self,
        alert: Alert,
        change: str,
        at: float,
        event: str,
        offsets: Mapping[Partition, int],
        examples: Mapping[str, Iterable[Example]],
        *,
        kept: bool = True,
    ) -> AlertWrite:
        """Build what is written for an alert. With ``kept`` False it is left out of the history."""
        s = self._settings
        served = s.of_stream(alert.stream)
        key = (alert.stream, alert.scope[0] if alert.scope else None)
        fields = alerts.fields(
            alert,
            change,
            at,
            event,
            artifact=served.artifact,
            examples=examples.get(alert.identity, ()),
            offsets=offsets,
            class_name=served.class_name,
            log_threshold=self._rules.log_threshold(key),
            experts=self._rules.experts,
        )
        return AlertWrite(alerts.fingerprint(s.group, alert), fields, s.alert_ttl_ms, round(at * 1000), event=kept)

    def examples(self, alert: Alert, at: float, kept: tuple[Example, ...] | None) -> tuple[Example, ...]:
        """The most OOD samples since the onset: those ``kept`` so far and those of the bucket just judged."""
        if alert.kind != "ood" or not self._settings.examples:
            return ()
        width = self._settings.bucket_ms / 1000
        last = round(at / width) - 1
        first = max(int(alert.onset_at // width), last - 20) if kept is None else last
        names = [alert.stream] if alert.stream is not None else list(alert.streams)[:20]
        found = {e for b in range(first, last + 1) for n in names for e in self._store.examples(b, n)}
        # Of equal ones the earlier: in the order of a set they would differ from process to process.
        worst = sorted({*found, *(kept or ())}, key=lambda e: (e.confidence, e.partition, e.offset, e.id))
        return tuple(worst[: self._settings.examples])
