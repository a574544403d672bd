"""What the ``openood`` command shows of warnings."""

from __future__ import annotations

import warnings
from argparse import Namespace

import pytest

from line_plugin.cli import listing, main
from line_plugin.errors import ClusterWarning


def test_a_loss_that_happens_again_is_noted_again_in_the_same_words(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def lose_twice(_: Namespace) -> None:
        for _again in range(2):
            warnings.warn("an actor was lost", ClusterWarning, stacklevel=1)

    monkeypatch.setattr(listing, "run", lose_twice)
    with warnings.catch_warnings():
        warnings.resetwarnings()
        warnings.simplefilter("default")  # as in a command of its own
        assert main(["list"]) == 0
    assert capsys.readouterr().err.splitlines() == ["openood: note: an actor was lost"] * 2


def test_warnings_of_libraries_are_not_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(listing, "run", lambda _: warnings.warn("soon gone", DeprecationWarning, stacklevel=1))
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert main(["list"]) == 0
    assert capsys.readouterr().err == ""
