"""A group's evidence is bound to the settings it was collected under; other settings are refused with what differs."""

from __future__ import annotations

import hashlib
import json

import pytest

from monitor.config import validate
from monitor.errors import ConfigError, StoreError
from monitor.judging.binding import Binding, bind, binding_of, differences
from monitor.testing import FakeClock, MemoryStore

KAFKA = {"bootstrap_servers": "localhost:9092", "topic": "t", "group": "g"}
OURS, OTHER = hashlib.sha256(b"ours").hexdigest(), hashlib.sha256(b"other").hexdigest()


def bound(alerts=None, models=None, **given) -> Binding:
    config = validate({"model": {"artifact": "x"}, "kafka": KAFKA, "alerts": alerts or {}, **given})
    return binding_of(config, OURS, models)


def test_a_group_is_bound_to_all_that_its_evidence_depends_on_and_to_nothing_else(tmp_path):
    path = tmp_path / "classes.json"
    path.write_text("{}", "utf-8")
    alerts = {"requests_per_false_alert": 5000, "masses": "nominal", "class_calibration": str(path)}
    binding = bound(alerts, buckets={"seconds": 2.5})
    assert binding.settings == {
        "model.artifact": OURS,
        "buckets.seconds": 2.5,
        "alerts.requests_per_false_alert": 5000,
        "alerts.masses": "nominal",
        "alerts.class_calibration": hashlib.sha256(b"{}").hexdigest(),
    }
    assert (binding.bucket_ms, binding.artifact) == (2500, OURS)
    assert bound().settings["alerts.class_calibration"] == ""
    assert bound(models={"b": OTHER, "a": OURS}).settings["models"] == f"a {OURS[:12]}, b {OTHER[:12]}"


def test_a_class_calibration_that_cannot_be_read_is_named_with_the_reason(tmp_path):
    with pytest.raises(ConfigError) as refused:
        bound({"class_calibration": str(tmp_path / "none.json")})
    assert str(refused.value) == (
        f"alerts.class_calibration {tmp_path / 'none.json'} cannot be read: No such file or directory"
    )


def test_settings_in_another_order_are_the_same_settings():
    one, two = Binding({"a": 1, "b": "2"}, 1000), Binding({"b": "2", "a": 1}, 1000)
    assert one.text == two.text == '{"a": 1, "b": "2"}'
    assert one.name == two.name == hashlib.sha256(one.text.encode()).hexdigest()[:16]
    assert one.name != Binding({"a": 1, "b": "3"}, 1000).name


class Told(MemoryStore):
    told: tuple = ()

    def bind(self, *given):
        self.told = given
        return super().bind(*given)


def test_a_group_that_is_not_bound_is_bound_to_these_settings_and_stays_so():
    store = Told(FakeClock())
    binding = bound()
    for _ in range(2):
        bind(store, binding, "g")
        assert store.told == (binding.name, binding.text, 1000, OURS)


def test_other_settings_are_refused_with_what_differs_and_how_to_go_on():
    store = MemoryStore(FakeClock())
    bind(store, bound({"masses": "nominal"}), "g")
    with pytest.raises(StoreError) as refused:
        bind(store, bound(buckets={"seconds": 2}), "g")
    assert str(refused.value) == (
        "the evidence of group 'g' was collected under other settings: buckets.seconds is 1.0 there and 2.0 here; "
        "alerts.masses is nominal there and expectation here. It means nothing under these. Set them back, use another "
        "group, or start the evidence afresh under these with `ood-monitor promote --config FILE`: every worker with "
        "other settings then stops"
    )


def test_hashes_are_shown_short_other_long_values_whole_and_what_is_not_set_as_that():
    binding = Binding({"model.artifact": OURS, "a": "", "b": "c" * 63, "d": "e" * 65}, 1000)
    assert differences(json.dumps({"model.artifact": OTHER, "a": 1, "d": ""}), binding) == (
        f"model.artifact is {OTHER[:12]} there and {OURS[:12]} here; a is 1 there and not set here; "
        f"b is not set there and {'c' * 63} here; d is not set there and {'e' * 65} here"
    )


def test_of_an_earlier_release_the_artifact_alone_is_known():
    binding = bound()
    assert differences(OTHER, binding) == f"model.artifact is {OTHER[:12]} there and {OURS[:12]} here"


def test_a_setting_that_is_not_here_at_all_differs_too():
    """A group of several models, or of a later release, is bound to what this process does not know."""
    binding = bound()
    held = json.dumps({**binding.settings, "models": "a 1, b 2"})
    assert differences(held, binding) == "models is a 1, b 2 there and not set here"
