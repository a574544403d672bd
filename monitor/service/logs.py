"""The log on stderr, as text for people or as one JSON object per line.

Every part of the monitor logs with the standard library and names what a line is about with ``extra``: topic,
partition, offset, stream, alert. structlog's formatter turns the records into lines. Whatever a sender chose (the name
of a stream, an id) can never start a new line: control characters are shown as escapes, and the
lines of a traceback are indented.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import traceback
from collections.abc import Mapping, MutableMapping
from datetime import datetime, timezone
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, TextIO

from line_plugin.optional import say_missing
from monitor.config.redaction import HIDDEN, Redactor
from monitor.errors import MissingLibraryError
from monitor.messages.text import printable, valid
from monitor.service.patience import PatientWriter
from monitor.service.secrecy import RedactedStream

if TYPE_CHECKING:
    _StreamHandler = logging.StreamHandler[TextIO]
else:  # Python 3.10 cannot subscript it
    _StreamHandler = logging.StreamHandler

Form = Literal["text", "json"]

FIELDS = (
    "topic", "partition", "offset", "stream", "alert", "group", "reason", "role", "version", "artifact", "scores_with",
    "kafka", "redis", "metrics", "receivers", "requests_per_false_alert", "exit_code",
)  # fmt: skip
"""The fields that a JSON line may have besides ``timestamp``, ``level``, ``logger`` and ``event``."""

LONGEST, LONGEST_TRACEBACK = 16_000, 64_000
"""How many characters a line may have, and a traceback."""

_COLOURS = {"warning": "\x1b[33m", "error": "\x1b[31m", "critical": "\x1b[31;1m", "debug": "\x1b[2m"}
_END = "\x1b[0m"


def log_to_stderr(debug: bool = False, form: Form = "text", stream: TextIO | None = None) -> None:
    """Log to stderr in this form from now on. The Kafka client's own lines are only shown with ``debug``.

    Call it again to change the form, or after :func:`monitor.service.secrecy.hide_secrets`. ``stream`` is written to
    instead, if it is given.

    Raises:
        MissingLibraryError: structlog is not installed.
    """
    handler = _Handler(form, sys.stderr if stream is None else stream)
    root = logging.getLogger()
    for old in [h for h in root.handlers if isinstance(h, _Handler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.DEBUG if debug else logging.INFO)
    logging.getLogger("kafka").setLevel(logging.NOTSET if debug else logging.ERROR)
    # A topic that is missing would be a line of it twice a second; the lookout says it once a minute.
    logging.getLogger("kafka.cluster").setLevel(logging.NOTSET if debug else logging.CRITICAL)
    sys.excepthook = _log_exception
    threading.excepthook = _log_thread_exception


def logs_json() -> bool:
    """Whether this process logs JSON. Then everything else that it writes to stderr is JSON, too."""
    return any(isinstance(h, _Handler) and h.form == "json" for h in logging.getLogger().handlers)


def traceback_lines(error: BaseException) -> str:
    """Format a traceback for people. Every line is indented and free of control characters."""
    return _indented("".join(traceback.format_exception(error)))


class _Handler(_StreamHandler):
    """Writes each log record as one line without secrets, in the given form."""

    def __init__(self, form: Form, stream: TextIO) -> None:
        redactor = stream.redactor if isinstance(stream, RedactedStream) else Redactor()
        super().__init__(stream.plain if isinstance(stream, RedactedStream) else stream)
        self.form = form
        self._writer = PatientWriter(self.stream)
        self.setFormatter(_formatter(form, redactor, _wants_colours(self.stream)))

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line, unless nobody takes it."""
        try:
            line = self.format(record) + self.terminator
            if self._writer.left_out and self._writer.takes(0.0):
                left_out, self._writer.left_out = self._writer.left_out, 0
                more = f"{left_out} log lines were left out, since the program that reads the log did not take them"
                self._writer.write(self.format(_record_of(logging.WARNING, more)) + self.terminator)
            self._writer.write(line)
        except Exception:
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  the standard library's name
        """Report a line that could not be written (for instance a wrong format), without its values."""
        why = type(sys.exc_info()[1]).__name__
        if record.name != __name__:
            logging.getLogger(__name__).error("a log line of %s, line %d, cannot be written (%s)",
                                              record.name, record.lineno, why)  # fmt: skip


def _record_of(level: int, text: str) -> logging.LogRecord:
    return logging.LogRecord(__name__, level, __file__, 0, "%s", (text,), None)


def _wants_colours(stream: TextIO) -> bool:
    """As https://no-color.org has it."""
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb" and stream.isatty()


def _formatter(form: Form, redactor: Redactor, colours: bool) -> logging.Formatter:
    try:
        from structlog import processors, stdlib
    except ImportError:
        raise MissingLibraryError(say_missing("structlog", "the log")) from None

    def redact(_logger: Any, _method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """Remove secrets from every value before the line is made, so that it stays one JSON object."""
        ours = {k: line[k] for k in ("timestamp", "level", "logger") if k in line}
        held = {k: _without_secrets(v, redactor) for k, v in line.items() if k not in ours}
        return {**ours, **held}

    return stdlib.ProcessorFormatter(
        foreign_pre_chain=[stdlib.ExtraAdder(allow=FIELDS)],
        processors=[
            _name_line,
            stdlib.ProcessorFormatter.remove_processors_meta,
            processors.format_exc_info,
            redact,
            processors.JSONRenderer(ensure_ascii=True) if form == "json" else _render_text(colours),
        ],
    )


def _name_line(_logger: Any, _method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Add time (UTC), level and logger."""
    record: logging.LogRecord = line["_record"]
    at = datetime.fromtimestamp(record.created, tz=timezone.utc).isoformat(timespec="milliseconds")
    return {
        "timestamp": at.replace("+00:00", "Z"),
        "level": record.levelname.lower(),
        "logger": record.name,
        **line,
    }


def _without_secrets(value: Any, redactor: Redactor) -> Any:
    if isinstance(value, Mapping):
        return {str(_without_secrets(str(k), redactor)): _without_secrets(v, redactor) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_secrets(v, redactor) for v in value]
    if value is None or isinstance(value, (bool, int, float)):
        return value if redactor(str(value)) == str(value) else HIDDEN
    text = redactor(valid(str(value)))
    return text if len(text) <= LONGEST_TRACEBACK else f"{text[:LONGEST_TRACEBACK]}..."


def _render_text(colours: bool) -> Any:
    def render(_logger: Any, _method: str, line: MutableMapping[str, Any]) -> str:
        level = line["level"]
        begin, end = (_COLOURS.get(level, ""), _END) if colours and level in _COLOURS else ("", "")
        event = printable(str(line["event"]), LONGEST)
        text = f"{line['timestamp']} {begin}{level.upper()}{end} {line['logger']}: {event}"
        return f"{text}\n{_indented(line['exception'])}" if "exception" in line else text

    return render


def _indented(text: str) -> str:
    return "\n".join(f"    {printable(part, LONGEST)}" for part in text[:LONGEST_TRACEBACK].splitlines())


def _log_exception(kind: type[BaseException], error: BaseException, where: TracebackType | None) -> None:
    logging.getLogger("monitor").critical("unexpected %s", kind.__name__, exc_info=(kind, error, where))


def _log_thread_exception(raised: threading.ExceptHookArgs) -> None:
    error = raised.exc_value or raised.exc_type()
    name = raised.thread.name if raised.thread else "?"
    logging.getLogger("monitor").critical(
        "thread %s ended: unexpected %s", name, raised.exc_type.__name__,
        exc_info=(raised.exc_type, error, raised.exc_traceback),
    )  # fmt: skip
