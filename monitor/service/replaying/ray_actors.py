"""Replays with Ray actors: each reads and scores pieces of the logs, and this process joins their counts.

A task is only the offsets of a piece, so if an actor dies, another one reads its piece again. Actors send counts, never
records.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from monitor import errors
from monitor.config import MonitorConfig
from monitor.errors import MonitorError, ReplayError
from monitor.messages.record import Partition
from monitor.service.replaying.fleet import Fleet
from monitor.service.replaying.pieces import EmptyOffsets, OffsetSum, Piece, check_offsets, cut
from monitor.service.replaying.ray_session import open_ray
from monitor.service.replaying.tally import TalliedPart, Tally

ATTEMPTS = 3
"""How many actors may die while reading one piece before the replay fails."""

AHEAD = 4
"""The most pieces of each actor that are being read or wait to be joined, which limits the memory of this process."""

READY_SECONDS = 120.0
"""How long the first actor may take to load the artifact."""


@dataclass(frozen=True)
class ReadPiece:
    """An actor's result for a piece.

    Attributes:
        part: the counts and flags that it adds.
        offsets: the offsets of the records that were counted, rejected, skipped, or left out by their time.
        empty: the offsets without a record.
    """

    part: TalliedPart
    offsets: OffsetSum
    empty: OffsetSum


class PieceReader:
    """The code of an actor: it reads pieces with the worker's own code.

    Args:
        config: settings of the monitor that would be armed.
        begin_ms, end_ms: the times of the range.
    """

    def __init__(self, config: MonitorConfig, begin_ms: int | None, end_ms: int | None) -> None:
        from monitor.service.assembly import open_models, rules_of

        self._config, self._begin_ms, self._end_ms = config, begin_ms, end_ms
        logging.disable(logging.WARNING)  # the report says what happened to records
        try:
            self._models, self._fault = open_models(config), ("", "")
            self._rules = rules_of(config, self._models)
        except MonitorError as error:
            self._fault = (type(error).__name__, str(error))

    def fault(self) -> tuple[str, str]:
        """Why it cannot read: the name of an error of this package and its text; two empty strings if it can."""
        return self._fault

    def process(self) -> int:
        """The id of its process."""
        return os.getpid()

    def read(self, piece: Piece) -> ReadPiece | tuple[str, str]:
        """Read a piece; the name of an error of this package and its text if that failed."""
        try:
            return self._read(piece)
        except MonitorError as error:
            return type(error).__name__, str(error)

    def _read(self, piece: Piece) -> ReadPiece:
        from monitor.service.reading_topic import keep_within, read_ranges

        tally = Tally(self._config, self._models, self._rules.all_cells, self._rules.flag_cells)
        empty, offsets, p = EmptyOffsets(piece), OffsetSum(), piece.partition
        for polled in read_ranges(self._config.kafka, {p: (piece.begin, piece.end)}):
            records = polled.records.get(p, [])
            empty.pass_by(records, polled.at[p])
            inside = keep_within(records, self._begin_ms, self._end_ms)
            kept = {r.offset for r in inside}
            offsets += OffsetSum.of(r for r in records if r.offset not in kept)
            # For records within the range, the counted ones are compared, not those that were read.
            for read in tally.add({p: inside} if inside else {}):
                offsets += OffsetSum.of(read.records[p])
        return ReadPiece(tally.part(p), offsets, empty.sum)


def read_over_actors(
    config: MonitorConfig, tally: Tally, begin_ms: int | None, end_ms: int | None, fleet: Fleet
) -> str:
    """Reads a range of the topics with Ray actors; returns one sentence about the result.

    Args:
        config: settings of the monitor that would be armed.
        tally: everything is added to it.
        begin_ms, end_ms: the times of the range.
        fleet: the machines and the number of the actors.

    Raises:
        MissingLibraryError: Ray is not installed.
        ReplayError: Ray cannot be reached, a piece cannot be read, or an offset was read twice or not at all.
        MonitorError: the errors of a replay without Ray.
    """
    from monitor.service.reading_topic import pin

    pinned = pin(config.kafka, begin_ms)
    with open_ray(fleet) as ray:
        actors = fleet.actors or max(1, int(ray.cluster_resources().get("CPU", 1)))
        pieces = cut(pinned, actors)
        crew = _Crew(ray, (config, begin_ms, end_ms), min(actors, max(1, len(pieces))))
        found: dict[Partition, OffsetSum] = {}
        empty = 0
        for piece, read in crew.read(pieces):
            tally.join(piece.partition, read.part)
            found[piece.partition] = found.get(piece.partition, OffsetSum()) + read.offsets + read.empty
            empty += read.empty.number
    check_offsets(pinned, found)
    died = "1 actor died and what it" if crew.died == 1 else f"{crew.died} actors died and what they"
    died = f"; {died} had in hand was read again" if crew.died else ""
    return (
        f"ood-monitor: {crew.size} actors of Ray read {len(pieces)} pieces: each of "
        f"{sum(end - begin for begin, end in pinned.values()):,} offsets once, {empty:,} of them without a record{died}"
    )


class _Crew:
    """Actors that read pieces, and the pieces in the order in which they are joined."""

    def __init__(self, ray: Any, given: tuple[Any, ...], size: int) -> None:
        self._ray, self.size, self.died = ray, size, 0
        self._kind = ray.remote(num_cpus=1, max_restarts=0)(PieceReader)
        self._given = [ray.put(value) for value in given]
        self._idle: deque[Any] = deque()
        self._starting: dict[Any, Any] = {}
        for _ in range(size):
            self._start()
        self._reading: dict[Any, tuple[Any, int]] = {}
        self._deaths: dict[int, int] = {}

    def _start(self) -> None:
        actor = self._kind.remote(*self._given)
        self._starting[actor.fault.remote()] = actor

    def read(self, pieces: list[Piece]) -> Iterator[tuple[Piece, ReadPiece]]:
        """Yields every piece with its result, in order, no matter in which order the actors finish."""
        waiting, done, joined = deque(range(len(pieces))), dict[int, ReadPiece](), 0
        while joined < len(pieces):
            while self._idle and waiting and waiting[0] < joined + AHEAD * self.size:
                self._give(self._idle.popleft(), waiting.popleft(), pieces)
            for n, read in self._finished(pieces):
                if read is None:
                    waiting.appendleft(n)
                else:
                    done[n] = read
            waiting = deque(sorted(waiting))
            while joined in done:
                yield pieces[joined], done.pop(joined)
                joined += 1

    def _give(self, actor: Any, n: int, pieces: list[Piece]) -> None:
        self._reading[actor.read.remote(pieces[n])] = actor, n

    def _finished(self, pieces: list[Piece]) -> list[tuple[int, ReadPiece | None]]:
        """The results of the finished pieces, None for those whose actor died."""
        pending = [*self._reading, *self._starting]
        ready, _ = self._ray.wait(pending, num_returns=1, timeout=READY_SECONDS if not self._reading else None)
        if not ready:
            raise ReplayError(
                f"none of {self.size} actors was ready after {READY_SECONDS:.0f} seconds: look whether the Ray cluster "
                "has a free CPU for each, or give --ray-actors a smaller number"
            )
        found: list[tuple[int, ReadPiece | None]] = []
        for reference in ready:
            if reference in self._starting:
                self._take_in(reference)
            else:
                actor, n = self._reading.pop(reference)
                found.append((n, self._result(reference, actor, n, pieces[n])))
        return found

    def _take_in(self, reference: Any) -> None:
        actor = self._starting.pop(reference)
        fault = self._get(reference)
        if fault is None:
            self._replace(-1, "an actor")
            return
        if fault != ("", ""):
            raise _error_of(fault)
        self._idle.append(actor)

    def _result(self, reference: Any, actor: Any, n: int, piece: Piece) -> ReadPiece | None:
        read = self._get(reference)
        if read is None:
            self._replace(n, str(piece))
            return None
        if isinstance(read, tuple):
            raise _error_of(read)
        self._idle.append(actor)
        found: ReadPiece = read
        return found

    def _get(self, reference: Any) -> Any:
        """The actor's result; None if it died."""
        try:
            return self._ray.get(reference)
        except (self._ray.exceptions.RayActorError, self._ray.exceptions.WorkerCrashedError):
            return None

    def _replace(self, n: int, what: str) -> None:
        self.died += 1
        self._deaths[n] = self._deaths.get(n, 0) + 1
        if self._deaths[n] >= ATTEMPTS:
            raise ReplayError(
                f"{what} ended {ATTEMPTS} actors of Ray one after the other, and nothing was judged: look at the "
                "memory of the machine, or replay without --ray"
            )
        self._start()


def _error_of(fault: tuple[str, str]) -> MonitorError:
    kind = getattr(errors, fault[0], ReplayError)
    return kind(fault[1]) if kind is not errors.RecordError else ReplayError(fault[1])
