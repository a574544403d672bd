"""The protocol of a sink, a place that alerts are delivered to. ``monitor/alerts/sinks`` has one file for each."""

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
    """The outcome of one attempt to send.

    Attributes:
        status: ``taken``: accepted. ``again``: failed, try again later. ``refused``: never try this again.
        why: a clause for people, such as "it answered 500".
        retry_after: how many seconds the receiver asks us to wait.
    """

    status: Literal["taken", "again", "refused"]
    why: str = ""
    retry_after: float | None = None


TAKEN = Outcome("taken")


@dataclass(frozen=True)
class Context:
    """Things that a sink may need when it is opened.

    Attributes:
        group: the consumer group of this monitor, a label of every alert.
        delivery: the settings that all sinks share.
        healthy: whether this process makes progress.
        clock: gives seconds since the epoch.
    """

    group: str
    delivery: DeliveryConfig
    healthy: Callable[[], bool] = field(default=lambda: True)
    clock: Callable[[], float] = field(default=lambda: 0.0)


class Sink(Protocol):
    """A place that alerts are delivered to.

    Each sink has a thread of its own, so :meth:`send` may take its time. It should still end by itself.

    Attributes:
        name: its name in Redis, in metrics and in the log.
        shown: its receiver, as people may see it; never a token.
        mode: ``transitions``: it gets each change of an alert, in order, at least once. ``state``: it gets all current
            alerts on each change and every :attr:`every` seconds. ``pulse``: it is called without alerts every
            :attr:`every` seconds.
        every: seconds, see ``mode``.
    """

    name: str
    shown: str
    mode: Mode
    every: float

    def send(self, alerts: Sequence[Fields]) -> Outcome:
        """Send one transition, all alerts, or nothing, as ``mode`` says. If it raises, it is called again later."""

    def check(self) -> str:
        """Check that the receiver can be reached, and describe the result for ``ood-monitor check``.

        Raises:
            MonitorError: it cannot be reached.
        """
