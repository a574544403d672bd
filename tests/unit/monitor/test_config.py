"""One YAML file, overridden by the environment, validated once."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from monitor.config import MonitorConfig, ServedModel, load, show_url, validate
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
        for key in (ServedModel if section == "models" else field.annotation).model_fields:
            assert f"{key}:" in text, f"{section}.{key} is not in the reference"


def test_the_reference_shows_the_defaults():
    given = yaml.safe_load(REFERENCE.read_text())
    bare = validate(LEAST).model_dump(mode="json")
    for section in ("messages", "dead_letters", "buckets", "alerts", "http", "delivery"):
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


@pytest.mark.parametrize(("text", "said"), [("[1", "not valid YAML"), ("3", "expected sections")])
def test_a_file_that_is_no_settings_is_one_line(tmp_path, text, said):
    path = tmp_path / "x.yml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=said) as caught:
        load(path, {})
    assert "\n" not in str(caught.value)


def test_dead_letters_may_not_go_to_the_topic_that_is_read():
    with pytest.raises(ConfigError, match="'t', the topic that is read"):
        validate(LEAST | {"dead_letters": {"topic": "t"}})


def test_the_settings_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        validate(LEAST).kafka.topic = "x"


AWKWARD = [
    "S3cret #1",
    "12345",
    "@x",
    "true",
    "null",
    "1e5",
    "[a]",
    '{"a": 1}',
    "  spaces  ",
    "",
    "a: b",
    "pâss",
    "0x10",
]


@pytest.mark.parametrize("text", AWKWARD)
def test_a_password_in_the_environment_stays_as_it_is_letter_by_letter(tmp_path, text):
    names = [
        "OOD_MONITOR__REDIS__PASSWORD",
        "OOD_MONITOR__KAFKA__SASL_PASSWORD",
        "OOD_MONITOR__KAFKA__SSL_KEY_PASSWORD",
    ]
    config = load(written(tmp_path, LEAST), dict.fromkeys(names, text))
    for secret in (config.redis.password, config.kafka.sasl_password, config.kafka.ssl_key_password):
        assert secret.get_secret_value() == text


@pytest.mark.parametrize("text", [t for t in AWKWARD if t])
def test_a_secret_file_loses_its_final_newline_and_nothing_else(tmp_path, text):
    secret = tmp_path / "secret"
    for ending, kept in (("\n", ""), ("\r\n", ""), ("", ""), ("\n\n", "\n"), (" \n", " ")):
        secret.write_bytes((text + ending).encode())
        config = validate(LEAST | {"redis": {"password_file": str(secret)}})
        assert config.redis.password.get_secret_value() == text + kept


def test_a_folder_of_secrets_gives_what_its_files_are_named_for_and_the_environment_goes_before_it(tmp_path):
    folder = tmp_path / "secrets"
    folder.mkdir()
    (folder / "ood_monitor__redis__password").write_text("from the folder #1\n")
    (folder / "OOD_MONITOR__KAFKA__TOPIC").write_text("from-the-folder\n")
    (folder / "another_service").write_text("not ours")
    given = {"OOD_MONITOR_SECRETS_DIR": str(folder), "OOD_MONITOR__KAFKA__TOPIC": "from-the-environment"}
    config = load(written(tmp_path, LEAST), given)
    assert config.redis.password.get_secret_value() == "from the folder #1"
    assert config.kafka.topic == "from-the-environment"
    (folder / "OOD_MONITOR__REDIS__PASSWROD").write_text("x")
    with pytest.raises(ConfigError, match="did you mean OOD_MONITOR__REDIS__PASSWORD"):
        load(written(tmp_path, LEAST), given)
    with pytest.raises(ConfigError, match="cannot be read"):
        load(written(tmp_path, LEAST), {"OOD_MONITOR_SECRETS_DIR": str(tmp_path / "none")})


@pytest.mark.parametrize("value", ["12345", "0x2A", "1.5e+5", "yes", "null", "[hunter2]", "{hunter2: 1}", "2026-01-01"])
@pytest.mark.parametrize("key", ["redis.password", "kafka.sasl_password", "delivery.webhook_url"])
def test_a_secret_in_yaml_that_is_not_text_is_refused_with_how_to_quote_it_and_never_shown(tmp_path, key, value):
    section, name = key.split(".")
    path = tmp_path / "monitor.yml"
    others = "".join(f"{s}: {yaml.safe_dump(v, default_flow_style=True)}" for s, v in LEAST.items() if s != section)
    inner = "  bootstrap_servers: b:1\n  topic: t\n" if section == "kafka" else ""
    path.write_text(f"{others}{section}:\n{inner}  {name}: {value}\n")
    with pytest.raises(ConfigError, match=rf"{key} must be text, .* put it in quotes \({name}: '...'\)") as caught:
        load(path, {})
    assert value.strip("[]{}") not in str(caught.value)


def test_an_unquoted_secret_with_a_hash_behind_it_is_refused_as_yaml_would_cut_it(tmp_path):
    path = tmp_path / "monitor.yml"
    for value, right in (
        ("S3cret #1", None),
        ("'S3cret #1'", "S3cret #1"),
        ("'S3cret' # ours", "S3cret"),
        ("a#1", "a#1"),
    ):
        path.write_text(
            f"model: {{artifact: a}}\nkafka: {{bootstrap_servers: b, topic: t}}\nredis:\n  password: {value}\n"
        )
        if right is not None:
            assert load(path, {}).redis.password.get_secret_value() == right
            continue
        with pytest.raises(ConfigError, match=r"redis.password has a # behind it in line 4") as caught:
            load(path, {})
        assert "S3cret" not in str(caught.value)


BROKEN = [
    "password: *hunter2",
    "password: !hunter2 x",
    "password: @hunter2",
    "password: 'hunter2",
    "password: [hunter2",
    "\thunter2: x",
]


@pytest.mark.parametrize("line", [*BROKEN, "password: `hunter2", "password: hunter2: x", "password: &hunter2 *hunter2"])
def test_a_file_that_yaml_cannot_read_is_one_line_with_its_place_that_quotes_nothing(tmp_path, line):
    path = tmp_path / "monitor.yml"
    path.write_text(f"kafka: {{}}\nredis:\n  {line}\n")
    with pytest.raises(ConfigError, match=r"not valid YAML at line \d+, column \d+") as caught:
        load(path, {})
    assert "hunter2" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_value_of_the_environment_has_the_type_of_its_key(tmp_path):
    given = {"KAFKA__TOPIC": "12345", "KAFKA__MAX_POLL_RECORDS": "12", "ALERTS__REQUESTS_PER_SECOND": "2.5"}
    given |= {"ALERTS__DAYS_PER_FALSE_ALERT": "7", "kafka__group": "g"}
    config = load(written(tmp_path, LEAST), {f"OOD_MONITOR__{k}": v for k, v in given.items()})
    assert (config.kafka.topic, config.kafka.max_poll_records, config.alerts.requests_per_second) == ("12345", 12, 2.5)
    with pytest.raises(ConfigError, match=r"kafka.max_poll_records: .*got 'many'"):
        load(written(tmp_path, LEAST), {"OOD_MONITOR__KAFKA__MAX_POLL_RECORDS": "many"})


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("OOD_MONITOR__REDIS__PASSWROD", "OOD_MONITOR__REDIS__PASSWORD"),
        ("OOD_MONITOR__REDS__PASSWORD", "OOD_MONITOR__REDIS__PASSWORD"),
        ("OOD_MONITOR_REDIS__PASSWORD", "OOD_MONITOR__REDIS__PASSWORD"),
        ("OOD_MONITOR__KAFKA_SASL_PASSWORD", "OOD_MONITOR__KAFKA__SASL_PASSWORD"),
        ("ood_monitor__kafka__topc", "OOD_MONITOR__KAFKA__TOPIC"),
    ],
)
def test_an_environment_variable_that_no_key_has_is_refused_with_the_nearest_one(tmp_path, name, meant):
    with pytest.raises(ConfigError, match=f"{name}.*did you mean {meant}") as caught:
        load(written(tmp_path, LEAST), {name: "hunter2"})
    assert "hunter2" not in str(caught.value)


def test_what_a_kubernetes_service_adds_to_the_environment_is_not_ours(tmp_path):
    given = {"OOD_MONITOR_REDIS_PORT": "tcp://10.0.0.1:6379", "OOD_MONITOR_REDIS_SERVICE_HOST": "10.0.0.1"}
    assert load(written(tmp_path, LEAST), given).redis.url == "redis://127.0.0.1:6379/0"


@pytest.mark.parametrize(
    "redis",
    [
        "redis://:hunter2@h:1/0",
        {"url": "redis://:hunter2@h:notaport/0"},
        {"url": "redis://:hunter2/x@h:1/0"},
        {"url": "redis://:hunter2#x@h:1/0"},
        {"url": "http://:hunter2@h:1/0"},
        {"url": "hunter2"},
        {"url": "redis://u:hunter2@h:99999/0"},
        {"url": "redis://:hunter2@a:1,b:2/0"},
        {"url": "redis+cluster://:hunter2@a:1/3"},
        {"url": "redis+sentinel://:hunter2@a:1"},
        {"url": "redis://h/0", "password": ["hunter2"]},
        {"url": "redis://:hunter2@h/0", "password": "hunter2"},
        {"url": "redis://h/0", "password": "hunter2", "ca_file": "x"},
        {"url": "redis://h/0", "password_file": "hunter2"},
        {"url": "redis://h/0", "password_file": "hunter2/x"},
        {"url": "redis://h/0", "password_file": "/hunter2"},
        {"url": "redis://h/0", "password_file": "hunter2\0/x"},
        {"url": "redis://h/0", "password": "hunter2", "pasword": "hunter2"},
    ],
)
def test_no_error_on_the_settings_shows_a_secret_in_them(redis):
    with pytest.raises(ConfigError) as caught:
        validate(LEAST | {"redis": redis})
    assert "hunter2" not in str(caught.value)
    assert "redis" in str(caught.value)


SHOWN = {
    "redis://u:hunter2@host:6379/3": "redis://host:6379/3",
    "redis://host:6379/0?password=hunter2": "redis://host:6379/0?...",
    "redis://:hunter2/4@host:6379/0": "redis://...",
    "redis://:hunter2#4@host:6379/0": "redis://...",
    "redis+sentinel://:hunter2@a:1,b:2/main/0": "redis+sentinel://a:1,b:2/main/0",
    "unix:///run/redis.sock?password=hunter2": "unix:///run/redis.sock?...",
    "https://hooks.example:8443/services/T0/hunter2": "https://hooks.example:8443/...",
    "https://hunter2@hooks.example/": "https://hooks.example/",
    "https://hooks.example?token=hunter2": "https://hooks.example/...",
    "https://hooks.example/x?to=a@hunter2": "https://...",
    "https://[::1]:9093": "https://[::1]:9093",
    "http://am:9093/": "http://am:9093/",
    "hunter2": "...",
    "": "",
}


@pytest.mark.parametrize("url", SHOWN)
def test_of_a_url_people_see_where_it_leads_and_nothing_that_opens_it(url):
    assert show_url(url) == SHOWN[url]


def test_secrets_show_neither_in_the_settings_printed_nor_in_them_dumped_as_json():
    redis = {"url": "redis://u:hunter2@host/0", "key_password": "hunter2"}
    delivery = {"webhook_url": "https://hooks.example/hunter2", "alertmanager_url": "http://u:hunter2@am"}
    config = validate(LEAST | {"redis": redis, "delivery": delivery})
    for text in (repr(config), str(config), f"{config}", repr(config.redis), config.model_dump_json()):
        assert "hunter2" not in text
    assert config.delivery.webhook_url == "https://hooks.example/hunter2"


def test_a_word_that_yaml_would_read_as_something_else_stays_a_word_in_the_environment(tmp_path):
    labels = {"OOD_MONITOR__DELIVERY__LABELS": '{"team": "ml"}', "OOD_MONITOR__MESSAGES__DEFAULT_STREAM": "yes"}
    config = load(written(tmp_path, LEAST), labels)
    assert (config.delivery.labels, config.messages.default_stream) == ({"team": "ml"}, "yes")
    with pytest.raises(ConfigError, match="must be JSON"):
        load(written(tmp_path, LEAST), {"OOD_MONITOR__DELIVERY__LABELS": "team=hunter2"})


SEVERAL = {
    **LEAST,
    "kafka": {**LEAST["kafka"], "topic": "", "topics": ["cars", "birds"]},
    "dead_letters": {"topic": "d"},
}


def test_topics_take_the_place_of_topic_and_keep_their_order():
    config = validate(SEVERAL)
    assert config.kafka.topic_names == ("cars", "birds")
    assert config.dead_letter_topic == "d"
    alone = validate({**LEAST, "kafka": {"bootstrap_servers": "b", "topics": ["cars"]}})
    assert (alone.kafka.topic_names, alone.dead_letter_topic) == (("cars",), "cars.dead-letter")
    assert validate(LEAST).kafka.topic_names == (LEAST["kafka"]["topic"],)


@pytest.mark.parametrize(
    ("kafka", "letters", "expected"),
    [
        ({"topic": "a", "topics": ["b"]}, {}, "kafka.topic: topic and topics are both given, expected one of them"),
        ({"topics": []}, {}, "kafka.topic is missing"),
        ({"topic": ""}, {}, "kafka.topic is missing"),
        ({"topics": "a,b"}, {}, r"kafka.topics: expected a list, such as \[birds, cars\]"),
        ({"topics": ["a", "a"]}, {}, "kafka.topics: 'a' stands there twice"),
        ({"topics": ["a", "b c"]}, {}, "kafka.topics: 'b c' is not a name for a topic"),
        ({"topics": ["a", ""]}, {}, "kafka.topics: '' is not a name for a topic"),
        ({"topics": [f"t{n}" for n in range(101)]}, {}, "kafka.topics: .*at most 100"),
        ({"topics": ["a", "b"]}, {}, "dead_letters.topic is missing: .*such as a.dead-letter"),
        ({"topics": ["a", "b"]}, {"topic": "b"}, "dead_letters.topic is 'b', one of the topics that are read"),
    ],
)
def test_topics_that_cannot_be_meant_are_refused_with_what_to_do(kafka, letters, expected):
    with pytest.raises(ConfigError, match=expected) as caught:
        validate({**LEAST, "kafka": {"bootstrap_servers": "b", **kafka}, "dead_letters": letters})
    assert str(caught.value).count("kafka.") <= 2  # one problem is one error


def test_topics_come_from_the_environment_as_json_and_empty_what_the_file_says(tmp_path):
    path = written(tmp_path, LEAST)
    given = {"OOD_MONITOR__KAFKA__TOPICS": '["cars", "birds"]', "OOD_MONITOR__DEAD_LETTERS__TOPIC": "d"}
    with pytest.raises(ConfigError, match="topic and topics are both given"):
        load(path, given)
    assert load(path, {**given, "OOD_MONITOR__KAFKA__TOPIC": ""}).kafka.topic_names == ("cars", "birds")
    with pytest.raises(ConfigError, match=r'must be JSON, such as \["a", "b"\]'):
        load(path, {"OOD_MONITOR__KAFKA__TOPICS": "cars,birds"})


def test_the_settings_of_several_topics_in_the_documentation_are_valid():
    text = (REFERENCE.parents[1] / "docs" / "monitor.md").read_text(encoding="utf-8")
    blocks = [b.split("```")[0] for b in text.split("```yaml\n")[1:]]
    (given,) = [yaml.safe_load(b) for b in blocks if "topics: [birds, cars]" in b]
    config = validate(given)
    assert config.kafka.topic_names == ("birds", "cars")
    assert [m.topics for m in config.models] == [("birds",), ("cars",)]
