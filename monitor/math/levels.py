"""Sums one closed bucket for each level (stream, class, everything), and folds it into the evidence of each key."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from monitor.math import evidence as ev
from monitor.math.budget import LEVELS, Level
from monitor.math.evidence import Evidence
from monitor.math.experts import Floats, Ints, agree, samples_of
from monitor.math.state import EVERYTHING, Bucket, Key, MonitorState, Rules


@dataclass(frozen=True)
class Levels:
    """A bucket by level.

    Attributes:
        rows: the row of ``evidence`` for each key, new keys included.
        evidence: the evidence after the bucket.
        samples: for each level, how many samples were folded so far while it could raise.
        streams: the streams with input in this bucket, in order of name.
        eventful: those streams whose alert fires or whose evidence has reached a threshold.
        counts: for each eventful stream, the counts (cells,) of all experts.
        by_class: for each eventful stream, ``(class, (cells,) counts)``.
        passed: for each stream the classes whose evidence has reached their threshold, None for the stream as a whole.
        rest: (cells,) counts of everything together: all streams that had no alert of their own.
        everything_passed: whether the evidence of everything together has reached its threshold.
    """

    rows: Mapping[Key, int]
    evidence: Evidence
    samples: dict[Level, int]
    streams: tuple[str, ...]
    eventful: tuple[str, ...]
    counts: dict[str, Ints]
    by_class: dict[str, list[tuple[int, Ints]]]
    passed: dict[str, list[int | None]]
    rest: Ints
    everything_passed: bool


def laid_out(state: MonitorState, bucket: Bucket, rules: Rules) -> Levels:
    """Sums the counts of a bucket for each level and folds them into the evidence.

    Raises:
        ValueError: counts have another number of cells, are below 0, or differ in samples between experts.
    """
    keys, counts = _filled(bucket, rules)
    names = list(dict.fromkeys(stream for stream, _ in keys))
    place = {s: i for i, s in enumerate(names)}
    whole = np.zeros((len(names), rules.all_cells), dtype=np.int64)
    np.add.at(whole, np.array([place[s] for s, _ in keys], dtype=np.int64), counts)
    firing = {stream for stream, kind in state.alerts if kind == "ood"}
    rest = whole[np.array([s not in firing for s in names], dtype=bool)].sum(axis=0)

    every: list[Key] = [*keys, *((s, None) for s in names)]
    table = np.concatenate([counts, whole])
    if rest.sum():
        every.append(EVERYTHING)
        table = np.concatenate([table, rest[None]])
    rows, evidence = _grown(state, every, bucket.start)
    index = np.array([rows[k] for k in every], dtype=np.int64)
    evidence = ev.update(
        evidence,
        index,
        table,
        _tables(every, rules),
        start=bucket.start,
        end=bucket.end,
        flag_cells=rules.flag_cells,
        experts=len(rules.experts),
    )
    passed, everything_passed = _passed(every, ev.taken(evidence, index).log_mean(), rules)
    fires = [s for s in names if s in firing or s in passed]
    by_class: dict[str, list[tuple[int, Ints]]] = {s: [] for s in fires}
    if fires:
        for (stream, label), row in zip(keys, counts, strict=True):
            if stream in by_class:
                by_class[stream].append((label, row))
    calm = int(samples_of(rest, rules.cells))
    spent: dict[Level, int] = {
        "stream": calm,
        "class": calm if rules.class_nulls else 0,  # an upper bound: classes without nulls cannot raise
        "everything": 0 if None in firing else calm,
    }
    return Levels(
        rows=rows,
        evidence=evidence,
        samples={level: state.samples[level] + spent[level] for level in LEVELS},
        streams=tuple(names),
        eventful=tuple(fires),
        counts={s: whole[place[s]] for s in fires},
        by_class=by_class,
        passed=passed,
        rest=rest,
        everything_passed=everything_passed,
    )


def _filled(bucket: Bucket, rules: Rules) -> tuple[list[tuple[str, int]], Ints]:
    """The keys with samples in order of name, and their (keys, cells) counts."""
    keys, cells = sorted(bucket.counts), rules.all_cells
    wrong = next((k for k in keys if len(bucket.counts[k]) != cells), None)
    if wrong is not None:
        raise ValueError(
            f"bucket {bucket.id}, stream {wrong[0]!r}: {len(bucket.counts[wrong])} cells given, expected {cells}"
        )
    counts = np.array([bucket.counts[k] for k in keys], dtype=np.int64).reshape(len(keys), cells)
    if (counts < 0).any():
        raise ValueError(f"bucket {bucket.id}: counts below 0 given")
    if not agree(counts, rules.cells):
        raise ValueError(
            f"bucket {bucket.id}: the experts {', '.join(rules.experts)} have not counted the same number of samples, "
            "expected one count of each for every sample"
        )
    filled = counts.sum(axis=1) > 0
    return [k for k, f in zip(keys, filled.tolist(), strict=True) if f], counts[filled]


def _grown(state: MonitorState, keys: Sequence[Key], start: float) -> tuple[Mapping[Key, int], Evidence]:
    """Adds rows for new keys. Their time without input starts with the bucket."""
    new = [k for k in keys if k not in state.rows]
    if not new:
        return state.rows, state.evidence
    old = len(state.evidence)
    evidence = state.evidence.grown(old + len(new))
    evidence.seen_at[old:] = start
    return {**state.rows, **{k: old + i for i, k in enumerate(new)}}, evidence


def _tables(keys: Sequence[Key], rules: Rules) -> Floats:
    """The table of log bets: one for all keys, or one for each."""
    if not rules.table_of:
        return np.asarray(rules.tables[0])
    return np.asarray(rules.tables[[0 if label is None else rules.table_of.get(label, 0) for _, label in keys]])


def _passed(keys: Sequence[Key], strength: Floats, rules: Rules) -> tuple[dict[str, list[int | None]], bool]:
    """The keys whose evidence has reached their threshold."""
    least = math.log(min(rules.budget.threshold(level) for level in LEVELS))
    passed: dict[str, list[int | None]] = {}
    everything = False
    for i in np.flatnonzero(strength >= least).tolist():
        stream, label = keys[i]
        if strength[i] < rules.log_threshold(keys[i]):
            continue
        if stream is None:
            everything = True
        else:
            passed.setdefault(stream, []).append(label)
    return passed, everything
