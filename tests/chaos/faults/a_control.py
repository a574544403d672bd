"""Nothing goes wrong: what everything else is compared with."""

from __future__ import annotations

from tests.chaos.faults import Fault


class Nothing(Fault):
    name, about = "none", "no fault: the control"
    lasts, allowance = 1.0, 0.0
