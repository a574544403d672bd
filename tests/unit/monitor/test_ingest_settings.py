"""The reference of the ingest server's settings, and its variables."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from monitor.config import load_as
from monitor.config.explaining import known_keys
from monitor.config.ingest import IngestConfig
from monitor.errors import ConfigError

REFERENCE = Path(__file__).parents[3] / "configs" / "ingest.yml"


def test_the_commented_reference_is_valid_and_names_every_key_with_its_default():
    held = yaml.safe_load(REFERENCE.read_text())
    config = load_as(IngestConfig, REFERENCE, {})
    assert {s: sorted(held[s]) for s in held} == {
        s: known_keys([s], IngestConfig) for s in known_keys([], IngestConfig)
    }
    chosen = {"kafka": {"bootstrap_servers", "topic"}, "http": {"port"}}
    for section, keys in held.items():
        for key in set(keys) - chosen.get(section, set()):
            field = type(getattr(config, section)).model_fields[key]
            default = field.get_default(call_default_factory=True)
            assert getattr(getattr(config, section), key) == default, f"{section}.{key}"


def test_the_environment_overrides_and_its_names_are_checked():
    config = load_as(IngestConfig, REFERENCE, {"OOD_INGEST__KAFKA__TOPIC": "x", "OOD_MONITOR__KAFKA__TOPIC": "y"})
    assert config.kafka.topic == "x"
    with pytest.raises(ConfigError, match="did you mean OOD_INGEST__KAFKA__TOPIC"):
        load_as(IngestConfig, REFERENCE, {"OOD_INGEST__KAFKA__TOPICS": "x"})
