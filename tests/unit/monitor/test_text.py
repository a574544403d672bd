"""Names that senders choose, as they are stored and as they are shown."""

from __future__ import annotations

import io
import json
import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor import cli
from monitor.alerts.alert import fingerprint, line
from monitor.math.lifecycle import Alert
from monitor.messages.text import bounded, list_topics, name_topics, printable, stream_name, valid
from monitor.store.verdicts import Notice

HARMFUL = st.sampled_from("\ud800\udfff\x1b\u202e\u2028\0\n~_")
ANY = st.text(st.one_of(HARMFUL, st.characters(exclude_categories=())), max_size=300)


@given(ANY)
def test_whatever_is_shown_is_one_printable_line(text):
    shown = printable(text)
    assert shown.isprintable()
    shown.encode("utf-8")
    assert printable(shown) == shown
    if text.isprintable():
        assert shown == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb", "a\\nb"),
        ("\x1b[2J", "\\x1b[2J"),
        ("\u202ex", "\\u202ex"),
        ("\ud800", "\\ud800"),
        ("größe 😀", "größe 😀"),
    ],
)
def test_what_would_do_harm_in_a_terminal_is_shown_as_an_escape(text, shown):
    assert printable(text) == shown


def test_a_long_text_is_shown_cut():
    assert printable("x" * 10**6, 20) == "x" * 17 + "..."


@given(ANY)
def test_what_is_stored_is_valid_unicode_and_text_that_is_valid_stays(text):
    valid(text).encode("utf-8")
    if not any("\ud800" <= c <= "\udfff" for c in text):
        assert valid(text) == text


@given(ANY, ANY)
def test_no_two_streams_are_counted_as_one_and_none_under_a_name_of_the_monitor(one, two):
    names = [stream_name(valid(text), 100) for text in (one, two)]
    assert (names[0] == names[1]) == (valid(one) == valid(two))
    assert all(len(name) <= 100 for name in names)
    assert not any(name.startswith("__") for name in names if not name.startswith("__canary__"))


def test_a_name_of_just_the_length_is_not_cut():
    assert bounded("x" * 100, 100) == "x" * 100
    assert bounded("x" * 101, 100).startswith("x" * 87 + "~")


ALERT = Alert("tenant", "ood", 1, 1.0, 1.0, 1.0, (), (), (), 1.0, 1.0, 0, 0.0, "warning")


def test_everything_together_and_a_stream_named_none_are_two_alerts():
    names = [None, "None", "\0None", "\0\0None", "\0", ""]
    assert len({fingerprint("g", replace(ALERT, stream=name)) for name in names}) == len(names)
    # Those that stood before a stream named None was told apart.
    assert fingerprint("g", replace(ALERT, stream="tenant")) == "856bdbefed1c47ed"
    assert fingerprint("g", replace(ALERT, stream=None)) == "7905e11846fdfca3"
    assert fingerprint("g", ALERT) != Notice("ood", "tenant", True).fingerprint("g")


EVIL = "\ud800\x1b[2J\n\u202e"
STORED = {
    "updated_at": "t", "change": "raised", "severity": "warning", "kind": "ood", "stream": EVIL, "rate": "0",
    "classes": json.dumps([EVIL]), "rate_low": "0", "rate_high": "1", "samples": "1", "onset_at": "t",
    "evidence": "1", "evidence_needed": "1", "examples": json.dumps([{"id": EVIL}, {"id": "x" * 10**6}]),
}  # fmt: skip


@pytest.mark.parametrize("more", [{}, {"kind": "silence"}, {"subject": EVIL, "summary": EVIL}])
def test_a_stored_name_never_breaks_the_line_that_shows_it(more):
    shown = line(STORED | more)
    assert shown.isprintable()
    assert len(shown) < 5000
    shown.encode("utf-8")


@pytest.mark.parametrize("encoding", ["ascii", "utf-8", "latin-1"])
def test_a_terminal_that_lacks_a_character_does_not_end_a_command(encoding, monkeypatch):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding))
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(io.BytesIO(), encoding))

    def show(_options):
        print("größe 😀 \ud800")
        return 0

    monkeypatch.setattr(
        cli, "parser", lambda: type("P", (), {"parse_args": lambda *_: type("O", (), {"command": show})})
    )
    assert cli.main([]) == 0
    sys.stdout.flush()
    assert b"gr" in written.getvalue()


def test_topics_are_listed_in_full_up_to_five():
    assert name_topics(["a"]) == "topic a"
    assert name_topics(["a", "b"]) == "topics a, b"
    assert name_topics(list("abcdefg")) == "topics a, b, c, d, e and 2 more"
    assert list_topics(["a"]) == "a"
