"""Lines of the log: for people or as JSON, in UTC, without secrets, and none that a sender could forge."""

from __future__ import annotations

import fcntl
import io
import json
import logging
import os
import re
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.cli import _report
from monitor.cli.exit_codes import ExitCode
from monitor.config import Redactor
from monitor.errors import ConfigError
from monitor.service import logs
from monitor.service.logs import FIELDS, logs_json, traceback_lines
from monitor.service.secrecy import RedactedStream

SECRET = 'S3cret "pass" #1\n"level": "x'
HOSTILE = "m\n2026-01-01T00:00:00.000Z ERROR monitor: forged\r\x1b[31m\u2028\u202e\x85\ud800"
LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z [A-Z]+ [\w.]+: .*")


@pytest.fixture
def stderr():
    """What a process writes to stderr; its log handlers and hooks are put back afterwards."""
    root, before = logging.getLogger(), list(logging.getLogger().handlers)
    level, hooks = root.level, (sys.excepthook, threading.excepthook)
    written = io.StringIO()
    yield written
    for handler in [h for h in root.handlers if h not in before]:
        root.removeHandler(handler)
    root.setLevel(level)
    sys.excepthook, threading.excepthook = hooks
    logging.getLogger("kafka").setLevel(logging.NOTSET)


def log_to_stderr(**how) -> None:
    """As a process does it. pytest's own handlers, which are set anew for each test, are set aside: they would keep a
    lone surrogate in the report, and a worker of pytest-xdist that cannot send it ends the whole run."""
    for handler in list(logging.getLogger().handlers):
        logging.getLogger().removeHandler(handler)
    logs.log_to_stderr(**how)


def objects(stderr: io.StringIO) -> list[dict]:
    return [json.loads(line) for line in stderr.getvalue().split("\n") if line]


def test_json_has_time_level_logger_event_and_what_the_line_is_about(stderr):
    log_to_stderr(stream=stderr, form="json")
    about = {"topic": "t", "partition": 3, "offset": 17, "stream": "a", "alert": "f:1"}
    logging.getLogger("monitor.x").warning("%s was lost", "it", extra=about)
    (line,) = objects(stderr)
    assert line.items() >= {"level": "warning", "logger": "monitor.x", "event": "it was lost", **about}.items()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["timestamp"])


def test_times_are_utc_wherever_the_process_runs(stderr):
    log_to_stderr(stream=stderr, form="json")
    record = logging.LogRecord("monitor", logging.INFO, "", 0, "x", (), None)
    record.created = 1_700_000_000.25
    logging.getLogger().handle(record)
    assert objects(stderr)[0]["timestamp"] == "2023-11-14T22:13:20.250Z"


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize(
    "name", [HOSTILE, "\n", "{}%s%d", '"}\n{"level": "critical"}'], ids=["everything", "newline", "formats", "json"]
)
def test_a_hostile_name_forges_no_line(stderr, form, name):
    log_to_stderr(stream=stderr, form=form)
    try:
        raise ValueError(name)
    except ValueError:
        logging.getLogger("monitor").exception("stream %s", name, extra={"stream": name})
    text = stderr.getvalue()
    assert text.endswith("\n")
    begun = [line for line in text.split("\n") if line and not line.startswith("    ")]
    assert len(begun) == 1
    assert all(c.isprintable() or c == "\n" for c in text)
    if form == "json":
        assert "ValueError" in json.loads(text)["exception"]
    else:
        assert LINE.fullmatch(begun[0])


@given(st.text(max_size=80), st.sampled_from(["text", "json"]))
def test_no_text_whatever_makes_two_lines_or_breaks_the_json(text, form):
    written = io.StringIO()
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    hooks = (sys.excepthook, threading.excepthook)
    try:
        log_to_stderr(stream=written, form=form)
        logging.getLogger("monitor").warning("%s", text, extra={"stream": text})
    finally:
        root.handlers[:], root.level = before, level
        sys.excepthook, threading.excepthook = hooks
    said = written.getvalue()
    assert said.count("\n") == 1
    assert said[:-1].isprintable()
    if form == "json":
        assert json.loads(said)["level"] == "warning"


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("secret", [SECRET, "1234567", "warning", "12", "événement-secret", "pässword\x1b"])
def test_a_secret_shows_in_no_message_exception_key_or_number_and_json_stays_json(stderr, form, secret):
    log_to_stderr(stream=RedactedStream(stderr, Redactor([secret])), form=form)
    number = int(secret) if secret.isdigit() else 5
    try:
        raise RuntimeError(f"refused {secret}")
    except RuntimeError:
        logging.getLogger("monitor").exception(
            "with %s",
            {secret: secret},
            extra={"stream": {secret: [secret]}, "offset": number, "topic": f"a {secret} b"},
        )
    text = stderr.getvalue()
    if form == "text":
        found = text.split("Z ", 1)[1].replace("Z WARNING", "")
        assert re.search(rf"(?<![\w]){re.escape(secret)}(?![\w])", found) is None
        return
    (line,) = objects(stderr)
    assert (line["level"], line["logger"]) == ("error", "monitor")
    shown = json.dumps([line["event"], line["exception"], line["stream"], line["topic"], line["offset"]])
    body = json.loads(shown)
    assert not any(
        re.search(rf"(?<!\w){re.escape(secret)}(?!\w)", str(part)) for part in body if part != line["exception"]
    )
    assert f"refused {secret}" not in line["exception"]
    assert "***" in line["event"]


def test_text_has_colours_only_on_a_terminal_that_wants_them(monkeypatch, stderr):
    def shown(tty: bool, **environment: str) -> str:
        stream = io.StringIO()
        stream.isatty = lambda: tty
        for name in ("NO_COLOR", "TERM"):
            monkeypatch.delenv(name, raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        log_to_stderr(stream=stream)
        logging.getLogger("monitor").error("x")
        return stream.getvalue()

    assert "\x1b[31m" in shown(True)
    assert "\x1b" not in shown(False)
    assert "\x1b" not in shown(True, NO_COLOR="1")
    assert "\x1b" not in shown(True, TERM="dumb")


def test_what_is_not_a_known_field_stays_out(stderr):
    log_to_stderr(stream=stderr, form="json")
    logging.getLogger("monitor").info("x", extra={"password": "p", "whatever": 1})
    assert set(objects(stderr)[0]) == {"timestamp", "level", "logger", "event"}
    assert "password" not in FIELDS


def test_a_line_with_a_wrong_format_is_named_and_its_values_are_not_shown(stderr):
    log_to_stderr(stream=stderr, form="json")
    wrong = logging.LogRecord("monitor.y", logging.INFO, "", 7, "%d samples", ("secret text",), None)
    logging.getLogger().handlers[-1].handle(wrong)
    (line,) = objects(stderr)
    assert "a log line of monitor.y" in line["event"]
    assert "secret text" not in stderr.getvalue()


def test_an_exception_that_nobody_caught_is_one_json_line_with_its_traceback(stderr):
    log_to_stderr(stream=stderr, form="json")

    def fail():
        raise KeyError(HOSTILE)

    thread = threading.Thread(target=fail, name="watch")
    thread.start()
    thread.join()
    (line,) = objects(stderr)
    assert (line["level"], line["event"]) == ("critical", "thread watch ended: unexpected KeyError")
    assert "KeyError" in line["exception"]


@pytest.fixture
def unread():
    """A pipe that holds 64 KiB, as a stream to write to, and the descriptor of its reader."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 65536)
    os.set_blocking(reader, False)
    with os.fdopen(writer, "w", encoding="utf-8") as stream:
        yield stream, reader
        os.set_blocking(writer, False)
    os.close(reader)


@pytest.mark.parametrize("size", [10, 3000, 20_000])
def test_a_log_that_nobody_reads_stops_nobody_and_says_how_many_lines_are_missing(stderr, unread, size):
    stream, reader = unread
    log_to_stderr(stream=stream)
    log, began = logging.getLogger("monitor.x"), time.monotonic()
    for n in range(2000):
        log.warning("%d%s", n, "x" * size)
    assert time.monotonic() - began < 10
    with suppress(BlockingIOError):
        while os.read(reader, 65536):
            pass
    log.warning("read again")
    last = os.read(reader, 65536).decode().splitlines()
    assert re.search(r"WARNING monitor.service.logs: \d{3,4} log lines were left out, since the program", last[-2])
    assert last[-1].endswith("monitor.x: read again")


def test_calling_it_again_changes_the_form_and_doubles_no_line(stderr):
    log_to_stderr(stream=stderr, form="json")
    assert logs_json()
    log_to_stderr(stream=stderr, form="text")
    assert not logs_json()
    logging.getLogger("monitor").info("once")
    assert stderr.getvalue().count("once") == 1


def test_how_a_command_ends_is_json_too_if_the_log_is(stderr):
    log_to_stderr(stream=stderr, form="json")
    assert _report(ConfigError("kafka.topic is missing"), debug=False) == ExitCode.FAILED
    assert _report(ZeroDivisionError("x\ny"), debug=True) == ExitCode.FAULT
    first, second = objects(stderr)
    assert first.items() >= {"level": "critical", "event": "kafka.topic is missing", "exit_code": 1}.items()
    assert (second["exit_code"], "ZeroDivisionError" in second["exception"]) == (70, True)


def test_a_traceback_for_people_begins_no_line_of_its_own():
    text = traceback_lines(ValueError(HOSTILE))
    assert all(line.startswith("    ") for line in text.split("\n"))
    assert all(c.isprintable() or c == "\n" for c in text)


def test_the_docs_have_every_exit_code_as_the_program_has_it():
    text = (Path(__file__).parents[3] / "docs" / "monitor.md").read_text()
    for code in ExitCode:
        assert f"| {code.value} | {code.meaning} |" in text
