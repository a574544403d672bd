"""The package where upstream OpenOOD is not installed."""

from __future__ import annotations

import sys

import pytest

import line_plugin
from line_plugin.errors import OpenOODError
from line_plugin.openood import evaluate_with_openood, register
from line_plugin.shipped import config_dir


@pytest.fixture
def no_openood(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in sys.modules if n.partition(".")[0] == "openood"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "line_plugin.integrations.openood.postprocessor", raising=False)
    monkeypatch.setitem(sys.modules, "openood", None)


@pytest.mark.usefixtures("no_openood")
def test_asking_for_it_says_where_it_comes_from_and_that_it_is_on_no_index() -> None:
    with pytest.raises(OpenOODError) as caught:
        register()
    message = str(caught.value)
    assert "git+https://github.com/Jingkang50/OpenOOD@3c35632ee91b54b09d1f085d04f94744cece7d0b" in message
    assert "--no-deps" in message
    assert "not `pip install openood`" in message
    assert "\n" not in message


@pytest.mark.usefixtures("no_openood")
def test_each_entry_says_so() -> None:
    import torch

    with pytest.raises(OpenOODError, match="not installed"):
        evaluate_with_openood(torch.nn.Linear(2, 2), "cifar10", "data")
    with pytest.raises(OpenOODError, match="not installed"):
        _ = line_plugin.LINePostprocessor


@pytest.mark.usefixtures("no_openood")
def test_importing_everything_else_needs_no_openood() -> None:
    names: dict[str, object] = {}
    exec("from line_plugin import *", names)
    assert callable(names["register"])
    assert callable(names["LINe"])


def test_the_shipped_postprocessor_settings_are_found() -> None:
    found = {path.stem for path in (config_dir() / "postprocessors").glob("*.yml")}
    assert {"line", "msp", "ebo", "react", "dice", "ash", "knn"} <= found
