"""The memory of the double, its clock and its outages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from monitor.errors import StoreUnavailableError
from monitor.messages.record import Partition
from monitor.store.counts import CountKey, Example
from monitor.store.handling import Acknowledgement, Mute
from monitor.store.partitions import PartitionState


@dataclass
class FakeClock:
    """A clock that a test moves by hand; call it for milliseconds since the epoch."""

    now_ms: int = 1_700_000_000_000

    def __call__(self) -> int:
        """The time now."""
        return self.now_ms

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now_ms += round(seconds * 1000)


class MemoryBase:
    """A :class:`monitor.store.protocol.Store` in memory.

    Attributes:
        away: set it to have every call raise ``StoreUnavailableError``.
        lose_replies: that many next commits are applied, and their answers lost.
    """

    def __init__(
        self, clock: FakeClock | None = None, examples: int = 5, streams: int = 0, history_length: int = 10_000
    ) -> None:
        self.away = False
        self.lose_replies = 0
        self._history_length = history_length
        self._clock = clock or FakeClock()
        self._keep = examples
        self._streams_limit = streams
        self._bound = self._canary = ""
        self.wipe()

    def wipe(self) -> None:
        """Forget everything, as a Redis without persistence does."""
        self._partitions: dict[Partition, PartitionState] = {}
        self._topic_ids: dict[Partition, tuple[str, ...]] = {}
        self._gone: set[Partition] = set()
        self._skips: dict[Partition, tuple[int, int]] = {}
        self._at_start: dict[str, int] = {}
        self._shares: dict[Partition, tuple[float, float]] = {}
        self._buckets: dict[int, dict[CountKey, int]] = {}
        self._unfolded: set[int] = set()
        self._examples: dict[tuple[int, str], list[Example]] = {}
        self._totals: dict[CountKey, int] = {}
        self._windows: dict[str, str] = {}
        self._rejected: dict[str, int] = {}
        self._streams: dict[str, int] = {}
        self._meta = {"closed": -1, "folded": -1, "token": 0, "lead": -1, "epoch": 0}
        self._times: dict[str, int] = {}
        self._sums: dict[str, int] = {}
        self._binding: tuple[str, str] | None = None
        self._bucket_ms = 0
        self._leads: dict[int, int] = {}
        self._workers: dict[str, tuple[int, str]] = {}
        self._asked: set[str] = set()
        self._lease: tuple[str, int, int] | None = None
        self._state: dict[str, str] = {}
        self._alerts: dict[str, dict[str, str]] = {}
        self._history: list[dict[str, str]] = []
        self._entries = 0
        self._mutes: dict[str, Mute] = {}
        self._acknowledged: dict[str, Acknowledgement] = {}

    def _write_history(self, fields: Mapping[str, str]) -> None:
        self._entries += 1
        self._history.append({"id": f"{self._clock()}-{self._entries}", **fields})
        del self._history[: -self._history_length]

    def _reach(self) -> None:
        if self.away:
            raise StoreUnavailableError("the store cannot be reached")

    def ping(self) -> None:
        """Raises if it cannot be reached."""
        self._reach()

    def now_ms(self) -> int:
        """The clock it was given."""
        self._reach()
        return self._clock()

    def bind(self, binding: str, settings: str, bucket_ms: int, artifact: str) -> tuple[str, str]:
        """Tie the group to the settings that its evidence stands on; which ones it is tied to."""
        self._reach()
        self._bound = binding
        if self._binding is None:
            self._binding, self._bucket_ms = (binding, settings), bucket_ms
        return self._binding

    def _is_rebound(self) -> bool:
        return self._binding is not None and bool(self._bound) and self._binding[0] != self._bound

    def _last_allowed(self) -> int:
        if not self._bucket_ms:
            return 2**52
        return max(self._clock() // self._bucket_ms, self._meta["closed"] + 1)
