"""Replays a range of the topics through the worker's code: which alerts would have fired, does the calibration hold."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from monitor.config import MonitorConfig
from monitor.errors import RecordError, ReplayError
from monitor.math.arming import judge
from monitor.messages.text import name_topics
from monitor.messages.times import parse_time
from monitor.service.assembly import open_models, rules_of
from monitor.service.reading_topic import read_topic
from monitor.service.replaying import report
from monitor.service.replaying.fleet import Fleet
from monitor.service.replaying.tally import Tally


def replay(
    config: MonitorConfig,
    begin: str,
    end: str,
    *,
    arm: bool = False,
    save_classes: str | None = None,
    as_json: bool = False,
    ray: Fleet | None = None,
) -> int:
    """Judge a range of the topics and print the report. Nothing is written to Redis, and no group is joined.

    Returns 0, or 1 if ``arm`` is given and this traffic breaks the calibration.

    Args:
        config: settings of the monitor that would be armed.
        begin: RFC 3339, of the first timestamp of a record that is judged, or ``earliest``.
        end: RFC 3339, of the first timestamp that is not judged any more, or ``latest``: where the topic ends now.
        arm: return 1 if this traffic breaks the calibration.
        save_classes: write counts per class and cell here, for ``alerts.class_calibration``.
        as_json: one JSON object instead of text.
        ray: read it over so many actors of Ray; None reads it in this process. The result is the same.

    Raises:
        ReplayError: an empty range, or one that cannot be read.
        MissingLibraryError: ``ray`` is given, and Ray is not installed.
    """
    models = open_models(config)
    if save_classes and len(models) > 1:
        raise ReplayError("--save-classes is of one artifact, and models names several: replay with that one alone")
    the_rules = rules_of(config, models)
    tally = Tally(config, models, the_rules.all_cells, the_rules.flag_cells)
    begin_ms, end_ms = _moment(begin, "earliest"), _moment(end, "latest")
    if ray is None:
        for records in read_topic(config.kafka, begin_ms, end_ms):
            for _ in tally.add(records):
                pass
    else:
        from monitor.service.replaying.ray_actors import read_over_actors

        print(read_over_actors(config, tally, begin_ms, end_ms, ray), file=sys.stderr)
    if not tally.recount.counts:
        raise ReplayError(
            f"no embedding in {_named(config.kafka.topic_names)} from {begin} to {end} can be judged "
            f"({tally.words()}): widen the range, or look at why they are refused"
        )
    judged = judge(tally.closed(), the_rules, tally.order)
    if save_classes:
        Path(save_classes).write_text(json.dumps({"artifact": models.artifact, "classes": tally.classes()}), "utf-8")
    print(report.document(judged, tally) if as_json else report.text(judged, tally))
    if arm and not judged.arm:
        print("ood-monitor: not armed: this traffic breaks the calibration", file=sys.stderr)
        return 1
    return 0


def _named(topics: Sequence[str]) -> str:
    return f"topic {topics[0]!r}" if len(topics) == 1 else name_topics(topics)


def _moment(given: str, word: str) -> int | None:
    if given == word:
        return None
    try:
        return parse_time(given)
    except RecordError:
        raise ReplayError(f"{given!r}: expected {word} or RFC 3339 such as 2026-01-31T12:00:00Z") from None
