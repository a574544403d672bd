"""The pages for contributors are true: their examples work as they stand, and what they name is there."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

ROOT = Path(__file__).parents[2]
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
ARCHITECTURE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", CONTRIBUTING, flags=re.DOTALL)


def added(monkeypatch: pytest.MonkeyPatch, folder: Path, package: ModuleType, name: str, example: int) -> None:
    """The example as one new file of the package."""
    (folder / f"{name}.py").write_text(EXAMPLES[example], encoding="utf-8")
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])
    monkeypatch.delitem(sys.modules, f"{package.__name__}.{name}", raising=False)


def test_the_new_method_is_known_and_scores(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from line_plugin.benchmark import methods
    from line_plugin.benchmark.methods.base import FeatureSet, FitData

    added(monkeypatch, tmp_path, methods, "margin", 0)
    assert methods.described()["margin"].needs == "logits"
    method = methods.create("margin", {"power": 2.0})
    features = torch.tensor([[3.0, 1.0], [0.0, 4.0]])
    none = np.zeros(2, np.int64)
    some = FeatureSet("train", features, none, none, "key")
    method.fit(FitData(some, some, torch.eye(2), torch.zeros(2)))
    assert method.score(features).tolist() == [4.0, 16.0]


def test_the_new_decoder_is_known_and_keeps_to_the_limits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from monitor.errors import RecordError
    from monitor.messages import decoders
    from monitor.messages.limits import Limits
    from monitor.messages.wanted import Wanted

    caches: tuple[Any, ...] = (decoders._modules, decoders.known, decoders.formats)
    try:
        added(monkeypatch, tmp_path, decoders, "csv", 1)
        for cached in caches:
            cached.cache_clear()
        assert decoders.format_of({"content-type": b"text/csv; charset=utf-8"}) == "csv"
        decode = decoders.formats()["csv"]
        first, second = decode(b"1,2\n3,4.5\n", {}, Wanted())
        assert np.frombuffer(first.vector, "<f4").tolist() == [1.0, 2.0]
        assert np.frombuffer(second.vector, "<f4").tolist() == [3.0, 4.5]
        small = Wanted(Limits(rows=2, decoded_bytes=20))
        for value, reason in ((b"1\n2\n3\n", "too-many-rows"), (b"1" * 21, "too-large"), (b"1,x", "undecodable")):
            with pytest.raises(RecordError) as caught:
                decode(value, {}, small)
            assert caught.value.reason == reason
    finally:
        monkeypatch.undo()
        for cached in caches:
            cached.cache_clear()


def test_the_new_sink_is_opened_by_its_settings_and_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from monitor.alerts import sinks
    from monitor.alerts.delivery import Delivery
    from monitor.config import DeliveryConfig
    from monitor.store.verdicts import Notice
    from monitor.testing import FakeClock, MemoryDeliveries, MemoryStore

    target = tmp_path / "alerts.jsonl"
    try:
        folder = tmp_path / "code"
        folder.mkdir()
        added(monkeypatch, folder, sinks, "lines", 2)
        sinks.modules.cache_clear()
        config = DeliveryConfig.model_validate({"lines": {"path": str(target)}})
        store = MemoryStore(FakeClock())
        delivery = Delivery(config, "g", MemoryDeliveries(store), "me")
        assert delivery.receivers == [f"lines {target}"]
        (runner,) = delivery._runners
        runner.turn()
        store.notice(Notice("stalled", "judging", True, "warning", "Nothing has been judged for two minutes."))
        runner.turn()
        assert '"change": "raised"' in target.read_text()
    finally:
        monkeypatch.undo()
        sinks.modules.cache_clear()


NAMED = sorted(
    {
        name
        for name in re.findall(r"`((?:line_plugin|monitor)(?:\.\w+)+)`", ARCHITECTURE + CONTRIBUTING)
        if not name.endswith(".py")
    }
)


def test_there_is_something_to_check() -> None:
    assert len(NAMED) > 50
    assert len(EXAMPLES) == 3


@pytest.mark.parametrize("name", NAMED)
def test_what_the_pages_name_is_there(name: str) -> None:
    parts = name.split(".")
    for depth in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:depth]))
        except ModuleNotFoundError:
            continue
        for attribute in parts[depth:]:
            found = getattr(found, attribute)
        return
    pytest.fail(f"{name} is not there")


@pytest.mark.parametrize(
    "path", sorted(set(re.findall(r"`((?:line_plugin|monitor|tests|docs)/[\w./-]+)`", ARCHITECTURE + CONTRIBUTING)))
)
def test_the_files_that_the_pages_name_are_there(path: str) -> None:
    assert (ROOT / path).exists()


@pytest.mark.parametrize("walk", ["From images to a table", "From a request to a pager"])
def test_a_walk_has_twelve_stops_at_most_and_each_names_code(walk: str) -> None:
    part = ARCHITECTURE.split(f"## {walk}\n")[1].split("\n## ")[0]
    stops = re.split(r"^\d+\. ", part, flags=re.MULTILINE)[1:]
    assert 8 <= len(stops) <= 12
    for stop in stops:
        assert any(f"`{name}`" in stop for name in NAMED), f"this stop names no code: {stop}"
