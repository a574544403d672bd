"""Describes the false-alert budget and how much of it has been spent."""

from __future__ import annotations

import json

from monitor.judging.kept import HEADER
from monitor.math.budget import Budget
from monitor.store.protocol import Store


def spending(store: Store, budget: Budget, requests_per_second: float | None = None) -> str:
    """Describe the budget and how much of it has been spent, in one line, from what is stored."""
    header = store.state().get(HEADER)
    return budget.words(json.loads(header)["samples"] if header else None, requests_per_second)
