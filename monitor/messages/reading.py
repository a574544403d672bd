"""Reads the records of a whole poll at once.

:meth:`Contract.read` defines how a record is read. :class:`Reader` gives the same result in columns, about three times
as fast if values are raw float32. All other records, and all that may be refused, are read by
:meth:`Contract.read`.

Whatever a record holds, it is counted, skipped, or refused with a named reason. No exception from reading one record
leaves this module.
"""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from pathlib import Path

from monitor.errors import RecordError, RecordSkippedError
from monitor.messages.contract import Contract
from monitor.messages.limits import Limits
from monitor.messages.plain import PlainReader
from monitor.messages.record import Record
from monitor.messages.rows import Rejected, Rows
from monitor.messages.text import printable
from monitor.messages.times import LATEST_MS

UNFORESEEN = "unforeseen "
"""The begin of the detail for an exception that no decoder expects."""

DETAIL = 500
"""How many characters a detail may have."""


class Reader:
    """Reads records by a contract.

    Args:
        contract: the contract that each record is checked against.
    """

    def __init__(self, contract: Contract) -> None:
        self._contract = contract
        self._limits: Limits = contract.limits
        self._size = 4 * contract.width if 4 * contract.width <= contract.max_bytes else -1
        self._plain = PlainReader(contract)
        self._leads: list[int] = []  # by how much records are stamped after now

    @property
    def room(self) -> int:
        """How many vectors are read at once at most."""
        return max(1, min(self._limits.batch_rows, self._limits.batch_bytes // (4 * self._contract.width)))

    def read(
        self, records: Sequence[Record], rows: Rows, now_ms: int | None = None, room: int | None = None
    ) -> Rejected:
        """Append the vectors of ``records`` to ``rows``, and return the records that are refused.

        Args:
            records: the records, in the order of their log.
            rows: the vectors are appended here. ``rows.taken`` grows by the number of records that were read.
            now_ms: the time now; None when old records are read again.
            room: stop once this many vectors were added. The last record is read as a whole.
        """
        rejected: Rejected = []
        at = len(rows.records)
        now = LATEST_MS if now_ms is None else now_ms
        stop = len(rows) + (len(records) * self._limits.rows if room is None else room)
        size, vectors = self._size, rows.vectors
        taken = len(records)
        plain = self._plain.read
        for n, record in enumerate(records):
            if len(vectors) >= stop:
                taken = n
                break
            value = record.value
            found = plain(record, now) if value and len(value) == size else None
            if found is not None:
                name, stream, time_ms = found
                if record.timestamp_ms > now:
                    self._leads.append(record.timestamp_ms - now)
                rows.ids.append(name)
                rows.streams.append(stream)
                rows.times_ms.append(time_ms)
                vectors.append(value)  # type: ignore[arg-type]  # not None: it has a length
                rows.record_of.append(at)
            elif not self._literal(record, now_ms, rows, rejected):
                continue
            rows.records.append(record)
            at += 1
        rows.taken += taken
        rows.ahead += len(self._leads)
        rows.ahead_ms = max([rows.ahead_ms, *self._leads])
        self._leads.clear()
        return rejected

    def _literal(self, record: Record, now_ms: int | None, rows: Rows, rejected: Rejected) -> bool:
        """Append what the contract reads from a record. Returns False if the record is skipped or refused."""
        try:
            embeddings = self._contract.read(record, now_ms)
        except RecordSkippedError:
            rows.skipped.append(record)
            return False
        except RecordError as error:
            if error.reason == "wrong-model" and self._contract.other_models == "skip":
                rows.skipped.append(record)
            else:
                rejected.append((record, error.reason, printable(error.detail, DETAIL)))
            return False
        except Exception as error:  # an unexpected error: one bad record must not harm the others
            rejected.append((record, "undecodable", printable(_unforeseen(error), DETAIL)))
            return False
        if isinstance(record.timestamp_ms, int) and now_ms is not None and record.timestamp_ms > now_ms:
            self._leads.append(record.timestamp_ms - now_ms)
        rows.record_of += [len(rows.records)] * len(embeddings)
        rows.ids += [e.id for e in embeddings]
        rows.streams += [e.stream for e in embeddings]
        rows.times_ms += [e.time_ms for e in embeddings]
        rows.vectors += [e.vector for e in embeddings]
        return True


def _unforeseen(error: Exception) -> str:
    """Describes an exception by its type, text and origin, for the person who repairs the decoder."""
    frames = traceback.extract_tb(error.__traceback__)
    came = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"{UNFORESEEN}{type(error).__name__}: {str(error)[:DETAIL] or 'no words'}{came}"
