"""What a sink is: somewhere alerts go. One file a sink in ``monitor/alerts/sinks``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from monitor.config import DeliveryConfig

Fields = Mapping[str, str]
"""An alert as Redis holds it; ``docs/redis-keys.md`` lists the fields."""

Mode = Literal["transitions", "state", "pulse"]


@dataclass(frozen=True)
class Outcome:
    """What became of one attempt.

    Attributes:
        status: ``taken``; ``again``: try again later; ``refused``: it will be refused again, so do not.
        why: for people, a clause such as "it answered 500".
        retry_after: seconds that the receiver asks to wait.
    """

    status: Literal["taken", "again", "refused"]
    why: str = ""
    retry_after: float | None = None


TAKEN = Outcome("taken")


@dataclass(frozen=True)
class Context:
    """What a sink may need to open.

    Attributes:
        group: of this monitor, a label of every alert.
        delivery: the settings that sinks share.
        healthy: whether this process makes progress.
        clock: seconds since the epoch.
    """

    group: str
    delivery: DeliveryConfig
    healthy: Callable[[], bool] = field(default=lambda: True)
    clock: Callable[[], float] = field(default=lambda: 0.0)


class Sink(Protocol):
    """Somewhere alerts go. Each has a thread of its own, so :meth:`send` may take its time; it should end by itself.

    Attributes:
        name: in Redis, in metrics and in the log.
        shown: where it goes, for people; never a token.
        mode: ``transitions``: each change of an alert, in order, at least once. ``state``: all alerts as they stand, on
            each change and every :attr:`every` seconds. ``pulse``: called with nothing every :attr:`every` seconds.
        every: see ``mode``.
    """

    name: str
    shown: str
    mode: Mode
    every: float

    def send(self, alerts: Sequence[Fields]) -> Outcome:
        """Tell: one transition, or all alerts, or nothing, by ``mode``. What it raises is repeated."""

    def check(self) -> str:
        """Whether it can be told, in words for ``ood-monitor check``.

        Raises:
            MonitorError: it cannot.
        """
