"""One YAML file, overridden by the environment, validated once."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from monitor.config import MonitorConfig, load, validate
from monitor.errors import ConfigError

REFERENCE = Path(__file__).parents[3] / "configs" / "monitor.yml"
LEAST = {"model": {"artifact": "a"}, "kafka": {"bootstrap_servers": "b:1", "topic": "t"}}


def written(tmp_path, data):
    path = tmp_path / "monitor.yml"
    path.write_text(yaml.safe_dump(data))
    return path


def test_the_commented_reference_is_valid_and_names_every_key():
    load(REFERENCE, {})
    text = REFERENCE.read_text()
    for section, field in MonitorConfig.model_fields.items():
        assert f"\n{section}:" in text
        for key in field.annotation.model_fields:
            assert f"{key}:" in text, f"{section}.{key} is not in the reference"


def test_the_reference_shows_the_defaults():
    given = yaml.safe_load(REFERENCE.read_text())
    bare = validate(LEAST).model_dump(mode="json")
    for section in ("messages", "dead_letters", "buckets", "alerts", "telemetry", "delivery"):
        assert {k: bare[section][k] for k in given[section]} == given[section]


def test_the_environment_overrides_the_file(tmp_path):
    path = written(tmp_path, LEAST)
    config = load(path, {"OOD_MONITOR__KAFKA__TOPIC": "other", "OOD_MONITOR__BUCKETS__SECONDS": "0.5", "HOME": "x"})
    assert (config.kafka.topic, config.buckets.seconds) == ("other", 0.5)


def test_an_unknown_key_is_refused_with_the_nearest_known_one(tmp_path):
    path = written(tmp_path, LEAST | {"alerts": {"silence_second": 3}})
    with pytest.raises(ConfigError, match=r"unknown key 'alerts.silence_second': did you mean 'silence_seconds'\?"):
        load(path, {})


def test_an_unknown_section_and_a_missing_key_are_named():
    with pytest.raises(ConfigError, match=r"kafka.topic is missing.*unknown key 'bucket': did you mean 'buckets'\?"):
        validate({"model": {"artifact": "a"}, "kafka": {"bootstrap_servers": "b"}, "bucket": {}})


def test_a_secret_comes_from_a_file_and_is_never_shown(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("hunter2\n")
    config = validate(LEAST | {"redis": {"password_file": str(secret)}})
    assert config.redis.password.get_secret_value() == "hunter2"
    assert "hunter2" not in repr(config)


def test_a_secret_given_twice_or_not_readable_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="both given"):
        validate(LEAST | {"redis": {"password": "x", "password_file": "y"}})
    with pytest.raises(ConfigError, match="cannot be read") as caught:
        validate(LEAST | {"redis": {"password_file": str(tmp_path / "none")}})
    assert "\n" not in str(caught.value)


def test_a_wrong_value_is_named_with_what_was_got():
    with pytest.raises(ConfigError, match=r"dead_letters.max_share.*got 3"):
        validate(LEAST | {"dead_letters": {"max_share": 3}})


def test_the_budget_is_stated_in_requests_or_in_days_at_a_rate():
    assert validate(LEAST).alerts.requests == 100_000
    days = {"days_per_false_alert": 2, "requests_per_second": 10}
    assert validate(LEAST | {"alerts": days}).alerts.requests == 2 * 86_400 * 10
    with pytest.raises(ConfigError, match="go together"):
        validate(LEAST | {"alerts": {"days_per_false_alert": 2}})


@pytest.mark.parametrize(("text", "said"), [("[1", "no YAML"), ("3", "expected sections")])
def test_a_file_that_is_no_settings_is_one_line(tmp_path, text, said):
    path = tmp_path / "x.yml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=said) as caught:
        load(path, {})
    assert "\n" not in str(caught.value)


def test_the_settings_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        validate(LEAST).kafka.topic = "x"
