"""The state of judging as it is stored, and as the leaseholder keeps it from one bucket to the next."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass

from monitor.alerts import alert as alerts
from monitor.math import packing
from monitor.math.state import MonitorState, Rules
from monitor.store.counts import Example
from monitor.store.keys import STREAM_FIELD
from monitor.store.protocol import Store

log = logging.getLogger(__name__)

HEADER, CANARY = "#header", "#canary"
"""Fields of the stored state. Those of streams begin with ``STREAM_FIELD``."""

_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)


@dataclass(frozen=True)
class Kept:
    """The state as this process last read or wrote it while it held the lease."""

    token: int
    since_ms: int
    folded: int
    state: MonitorState
    header: str
    examples: Mapping[str, tuple[Example, ...]]
    canary: MonitorState


def pack_header(state: MonitorState) -> str:
    """The state without its streams, as it is stored."""
    return _ENCODER.encode(packing.header(state))


def pack_changes(before: MonitorState, after: MonitorState) -> dict[str, str]:
    """The streams that differ, as they are stored, by field."""
    streams = packing.streams(after, packing.changed(before, after))
    return {STREAM_FIELD + name: _ENCODER.encode(rows) for name, rows in streams.items()}


def pack_canary(state: MonitorState) -> str:
    """The whole state of the canary, as it is stored."""
    return _ENCODER.encode({"header": packing.header(state), "streams": packing.streams(state)})


def load(store: Store, rules: Rules, token: int, since: int, folded: int) -> Kept:
    """Read the state that the last leaseholder wrote.

    Args:
        store: the state and the alerts are read from it.
        rules: the rules with which a new state begins.
        token: the fencing token of the lease.
        since: since when, in ms by the store's clock, this process holds the lease.
        folded: the last bucket in the state.

    Raises:
        StoreUnavailableError: the store does not answer.
    """
    stored = store.state()
    header = stored.get(HEADER)
    new, columns = MonitorState.new(rules), rules.columns
    own = json.loads(stored.get(CANARY) or "{}")
    canary = packing.unpacked(own["header"], own["streams"], columns) if own else new
    if not header:
        return Kept(token, since, folded, new, "", {}, canary)
    rows = {k[len(STREAM_FIELD) :]: json.loads(v) for k, v in stored.items() if k.startswith(STREAM_FIELD)}
    state = packing.unpacked(json.loads(header), rows, columns)
    examples = {a["episode"]: alerts.read_examples(a) for a in store.alerts() if a["status"] == "firing"}
    log.info("took over at bucket %d with %d streams", folded, len(rows))
    return Kept(token, since, folded, state, header, examples, canary)
