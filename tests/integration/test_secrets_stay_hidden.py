"""Secrets in every setting that can hold one, and a search for them in all that real processes let people see."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
import yaml

from monitor.config import load
from monitor.testing import launcher
from tests.cluster import REPOSITORY
from tests.monitor_support import artifact, embeddings
from tests.redis_servers import ask, start_redis

REDIS, SASL, SSL_KEY = "redis S3cret #1", "sasl p@ss/w:rd #1", "ssl key S3cret"
SECRETS = {
    "redis.password": REDIS,
    "kafka.sasl_password": SASL,
    "kafka.ssl_key_password": SSL_KEY,
    "redis.key_password": "redis key S3cret",
    "redis.sentinel_password": "sentinel S3cret",
    "delivery.webhook_url, its path": "T0K3NinPATHofHOOK",
    "delivery.webhook_url, its query": "T0K3NinQUERY",
    "delivery.alertmanager_url, its password": "p4ssOfAlertmanager",
}


def forms(secret: str) -> set[str]:
    """Ways to write a secret that somebody could read it from."""
    raw = secret.encode()
    basic = {base64.b64encode(b"\0" * n + raw).decode()[n + 1 : -5] for n in range(3)}
    written = {secret, quote(secret), quote(secret, safe=""), quote_plus(secret), json.dumps(secret)[1:-1], raw.hex()}
    return {form for form in written | {repr(secret)[1:-1]} | basic if len(form) > 6}


def assert_hidden(what: str, text: str) -> None:
    for name, secret in SECRETS.items():
        for form in forms(secret):
            at = text.find(form)
            assert at < 0, f"{what} shows {name}: ...{text[max(0, at - 120) : at + 80]}"


class Place:
    """Settings full of secrets, some in the file, some in files beside it, some in the environment."""

    def __init__(self, folder: Path, redis_url: str, bootstrap: str, **kafka: object) -> None:
        self.folder = folder
        secret = folder / "sasl-password"
        secret.write_text(SASL + "\n")
        webhook = f"http://127.0.0.1:{launcher.free_port()}/services/T0K3NinPATHofHOOK?key=T0K3NinQUERY"
        self.settings = {
            "model": {"artifact": str(artifact(folder))},
            "kafka": {
                "bootstrap_servers": bootstrap, "topic": "secrets", "group": f"g{time.monotonic_ns()}",
                "start": "earliest", "session_timeout_ms": 6000, "heartbeat_interval_ms": 500,
                "sasl_username": "monitor", "sasl_password_file": str(secret), "sasl_mechanism": "PLAIN", **kafka,
            },
            "redis": {"url": redis_url, "key_password": SECRETS["redis.key_password"]},
            "delivery": {
                "webhook_url": webhook,
                "alertmanager_url": f"http://user:p4ssOfAlertmanager@127.0.0.1:{launcher.free_port()}",
                "timeout_seconds": 1,
            },
            "buckets": {"seconds": 0.2, "idle_seconds": 1.0},
            "alerts": {"silence_seconds": 0},
        }  # fmt: skip
        self.environment = {
            **os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1",
            "OOD_MONITOR__REDIS__PASSWORD": REDIS, "OOD_MONITOR__KAFKA__SSL_KEY_PASSWORD": SSL_KEY,
            "OOD_MONITOR__REDIS__SENTINEL_PASSWORD": SECRETS["redis.sentinel_password"],
        }  # fmt: skip
        self.path = folder / "monitor.yml"
        self.path.write_text(yaml.safe_dump(self.settings))

    def run(self, *arguments: str, seconds: float = 90) -> tuple[int, str]:
        """Exit code and everything that was printed; the process list is searched while it runs."""
        command = [sys.executable, "-m", "monitor.cli", *arguments, "--config", str(self.path)]
        output = self.folder / f"output-{time.monotonic_ns()}"
        with output.open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder, env=self.environment)
            assert_hidden("the process list", Path(f"/proc/{process.pid}/cmdline").read_text())
            try:
                code = process.wait(seconds)
            finally:
                process.kill()
                process.wait()
        return code, output.read_text()


@pytest.fixture(scope="module")
def redis_with_users():
    with start_redis("--requirepass", REDIS) as server:
        ask(server, "ACL", "SETUSER", "reader", "on", f">{REDIS}", "~*", "&*", "+@read", "+ping", password=REDIS)
        yield server


@pytest.fixture(scope="module")
def topic(broker):
    from kafka import KafkaProducer

    launcher.create_topic(broker.address, "secrets", 1)
    launcher.create_topic(broker.address, "secrets.dead-letter", 1)
    producer = KafkaProducer(bootstrap_servers=broker.address)
    begin = time.time_ns() // 1_000_000 - 60_000
    for n, row in enumerate([*embeddings(300, 1), *embeddings(600, 2, ood=0.9)]):
        producer.send("secrets", value=row.tobytes(), key=b"m", partition=0, timestamp_ms=begin + 10 * n)
    producer.flush()
    producer.close()
    return broker.address


def test_a_process_that_works_shows_no_secret_even_if_it_logs_everything(tmp_path, topic, redis_with_users):
    place = Place(tmp_path, f"redis://{redis_with_users.address}/0", topic)
    code, text = place.run("--debug", "run", "--until-idle", "6")
    assert_hidden("the log", text)
    assert (code, "DEBUG kafka" in text) == (0, True), text[-2000:]
    for command in (("check",), ("alerts", "--history", "5", "--json"), ("--debug", "check")):
        code, text = place.run(*command)
        assert_hidden(" ".join(command), text)
        assert "Traceback" not in text
    assert f"redis://{redis_with_users.address}/0 answers" in text
    assert "maxmemory-policy noeviction" in text


BAD = {
    "a Redis that nobody answers for": ({"url": "redis://127.0.0.1:1/0"}, {}, "Redis cannot be reached"),
    "a user that Redis does not know": ({"username": "nobody"}, {}, "Redis refuses the password, or the user"),
    "a user with too few rights": ({"username": "reader"}, {}, "The user of Redis may not do this"),
    "a Redis that is no cluster": ({"scheme": "redis+cluster"}, {}, "not part of a cluster"),
    "a sentinel that is none": ({"scheme": "redis+sentinel", "path": "/main/0"}, {}, "No sentinel knows"),
    "a file that is not there": ({"scheme": "rediss", "ca_file": "/none/ca.crt"}, {}, "redis.ca_file /none/ca.crt"),
    "TLS to a server without": ({"scheme": "rediss"}, {}, "Redis cannot be reached"),
    "a Kafka that nobody answers for": ({}, {"bootstrap_servers": "127.0.0.1:1"}, "Kafka"),
    "a Kafka that knows no SASL": ({}, {"security_protocol": "SASL_PLAINTEXT"}, "Kafka"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_process_that_cannot_work_says_why_in_its_last_line_and_shows_no_secret(
    tmp_path, topic, redis_with_users, what
):
    redis, kafka, words = BAD[what]
    scheme = redis.get("scheme", "redis")
    url = f"{scheme}://{redis_with_users.address}{redis.get('path', '' if 'cluster' in scheme else '/0')}"
    place = Place(tmp_path, url, topic, **kafka)
    place.settings["redis"].update({k: v for k, v in redis.items() if k not in ("scheme", "path")})
    place.path.write_text(yaml.safe_dump(place.settings))
    code, text = place.run("check")
    assert_hidden("check", text)
    assert (code, words in text, "Traceback" in text) == (1, True, False), text[-1500:]
    if not kafka:
        code, text = place.run("--debug", "run", "--until-idle", "5")
        assert_hidden("run", text)
        last = text.strip().splitlines()[-1]
        assert (code, last.startswith("ood-monitor: "), words in last) == (1, True, True), text[-1500:]
        assert "Traceback" in text


def test_the_settings_of_this_suite_hold_every_secret_that_it_looks_for(tmp_path, monkeypatch):
    """Else the searches above would look for nothing."""
    from monitor.config import secrets_of

    place = Place(tmp_path, "redis://h/0", "b:1")
    config = load(place.path, place.environment)
    found = secrets_of(config)
    for name, secret in SECRETS.items():
        assert any(secret in text for text in found), name
        assert_hidden("the settings", f"{config!r} {config} {config.model_dump_json()}")
