"""`ood-monitor init` on a real broker and a real Redis, and how a worker with its settings begins and ends."""

from __future__ import annotations

import json
import os
import pty
import select
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from line_plugin.shipped import config_dir
from line_plugin.version import __version__
from monitor.config import load
from monitor.errors import ConfigError
from monitor.service.settings_file import read_comments, render, write_secret, write_settings
from monitor.testing import launcher
from tests.cluster import REPOSITORY
from tests.monitor_support import artifact, embeddings

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}


def init(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run it without a terminal."""
    command = [sys.executable, "-m", "monitor.cli", "init", *arguments]
    return subprocess.run(
        command, cwd=folder, env=ENVIRONMENT | environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=90,
        check=False,
    )  # fmt: skip


def partitions(bootstrap: str, topic: str) -> int:
    from kafka import KafkaAdminClient

    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        (answer,) = admin.describe_topics([topic])
        return len(answer["partitions"]) if answer["error_code"] == 0 else 0
    finally:
        admin.close()


@pytest.fixture
def flags(broker, redis, tmp_path) -> list[str]:
    name = f"init-{time.monotonic_ns()}"
    return [
        "--artifact", str(artifact(tmp_path)), "--bootstrap-servers", broker.address, "--topic", name,
        "--group", name, "--redis-url", f"redis://{redis.address}/0", "--start", "earliest",
    ]  # fmt: skip


@pytest.mark.slow
def test_without_a_terminal_it_writes_makes_topics_and_a_worker_counts_with_what_it_wrote(flags, tmp_path, broker):
    done = init(tmp_path, *flags, "--create-topics", "--partitions", "3", "--metrics-port", str(launcher.free_port()))
    assert done.returncode == 0, done.stdout + done.stderr
    topic = flags[5]
    assert (partitions(broker.address, topic), partitions(broker.address, f"{topic}.dead-letter")) == (3, 1)
    assert sum(line.startswith("ok ") for line in done.stdout.splitlines()) == 6
    assert "ood-monitor run --config monitor.yml" in done.stdout
    text = (tmp_path / "monitor.yml").read_text()
    assert "# consumer group, and the name of everything" in text
    assert load(tmp_path / "monitor.yml", {}).kafka.topic == topic

    again = init(tmp_path, *flags)
    assert (again.returncode, again.stderr.count("\n")) == (1, 1)
    assert "monitor.yml exists and is left as it is" in again.stderr
    assert "--force" in again.stderr
    assert (tmp_path / "monitor.yml").read_text() == text
    forced = init(tmp_path, *flags, "--force", "--create-topics", "--partitions", "9")
    assert forced.returncode == 0, forced.stderr
    assert f"topic {topic} exists and is left as it is, with 3 partitions" in forced.stdout

    send(broker.address, topic)
    said = run_until_rejected(tmp_path)
    (start,) = [line for line in said if "starts:" in line["event"]]
    assert (start["version"], start["topic"], start["group"], start["kafka"]) == (
        __version__, topic, topic, broker.address,
    )  # fmt: skip
    assert (len(start["artifact"]), start["requests_per_false_alert"]) == (12, 100_000)
    roles = [line["role"] for line in said if line["logger"] == "monitor.service.starting" and line is not start]
    assert "counts and judges" in roles
    claimed = [line for line in said if "claimed with epoch" in line["event"]]
    assert sorted((line["topic"], line["partition"]) for line in claimed) == [(topic, n) for n in range(3)]
    (rejected,) = [line for line in said if line.get("reason") == "wrong-size"]
    assert (rejected["topic"], rejected["partition"], rejected["offset"], rejected["level"]) == (
        topic,
        2,
        40,
        "warning",
    )
    assert said[-1]["event"] == "stopped; the current batch is counted"


def send(bootstrap: str, topic: str) -> None:
    """40 embeddings into each partition, and a record that cannot be scored behind them."""
    from kafka import KafkaProducer

    producer = KafkaProducer(bootstrap_servers=bootstrap)
    for n, row in enumerate(embeddings(120, 5)):
        producer.send(topic, value=row.tobytes(), key=b"m\n2026 forged", partition=n % 3)
    producer.send(topic, value=b"abc", key=b"m", headers=[("ce_dim", b"8")], partition=2)
    producer.flush()
    producer.close()


def run_until_rejected(folder: Path) -> list[dict]:
    """Run a worker until it has met the record that cannot be scored, then stop it as a deployment does."""
    command = [sys.executable, "-m", "monitor.cli", "run", "--config", "monitor.yml", "--log-format", "json"]
    log, until = folder / "worker.log", time.monotonic() + 60
    with log.open("wb") as out:
        process = subprocess.Popen(command, cwd=folder, env=ENVIRONMENT, stdout=out, stderr=out)
    try:
        while '"reason"' not in log.read_text() or "counts and judges" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.05)
        process.terminate()
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
    return [json.loads(line) for line in log.read_text().splitlines()]


def test_what_does_not_answer_is_named_and_the_file_stays_for_another_try(tmp_path):
    flags = ["--artifact", str(artifact(tmp_path)), "--bootstrap-servers", "127.0.0.1:1", "--create-topics"]
    done = init(tmp_path, *flags, "--redis-url", "redis://127.0.0.1:1/0")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "topics and kafka and redis cannot be used yet" in done.stderr
    assert "nothing accepts connections at 127.0.0.1:1" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    load(tmp_path / "monitor.yml", {})


def test_secrets_go_into_files_of_their_own_and_never_into_the_settings_or_the_output(tmp_path):
    flags = ["--offline", "--artifact", str(artifact(tmp_path)), "--bootstrap-servers", "b:1"]
    done = init(tmp_path, *flags, "--redis-url", "redis://ann:S3cret%20%231@r:6379/2")
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "monitor.yml").read_text()
    assert "S3cret" not in text + done.stdout + done.stderr
    secret = tmp_path / "monitor.redis-password"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    config = load(tmp_path / "monitor.yml", {}).redis
    assert (config.url, config.username, config.password.get_secret_value()) == ("redis://r:6379/2", "ann", "S3cret #1")

    refused = init(tmp_path, *flags, "--force", "--alertmanager-url", "http://u:T0k3n@am:9093")
    assert (refused.returncode, refused.stderr.count("\n"), "T0k3n" in refused.stderr) == (1, 1, False)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], "--artifact and --bootstrap-servers must be given"),
        (["--artifact", "none", "--bootstrap-servers", "b:1"], "there is no file none"),
        (["--artifact", "HERE", "--bootstrap-servers", "b"], "'b' is not HOST:PORT"),
        (["--artifact", "HERE", "--bootstrap-servers", "b:1", "--topic", "a b"], "'a b' is not a name for a topic"),
        (["--artifact", "HERE", "--bootstrap-servers", "b:1", "--redis-url", "http://x:S3cret@h"], "url is not one of"),
        (["--artifact", "HERE", "--bootstrap-servers", "b:1", "--partitions", "0"], "--partitions is 0"),
        (["--artifact", "HERE", "--bootstrap-servers", "b:1", "--output", "no/m.yml"], "make its folder"),
        (["--artifact", "HERE", "--bootstrap-servers", "b:1", "--ssl-cafile", "x", "--redis-ca-file", "y"], "rediss"),
        (["--artifact", "HERE", "--bootstrap-servers", "b:1", "--requests-per-false-alert", "nan"], "100 or more"),
    ],
)
def test_every_failure_is_one_line_with_how_to_go_on_and_writes_nothing(tmp_path, capsys, monkeypatch, flags, words):
    from monitor import cli

    here = str(artifact(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", open(os.devnull))  # noqa: SIM115, PTH123
    before = sorted(tmp_path.iterdir())
    code = cli.main(["init", "--offline", *[here if word == "HERE" else word for word in flags]])
    said = capsys.readouterr().err
    assert (code, said.count("\n"), words in said, "S3cret" in said) == (1, 1, True, False), said
    assert sorted(tmp_path.iterdir()) == before


def converse(folder: Path, answers: list[tuple[str, str]], *arguments: str) -> tuple[int, str]:
    """Run it on a terminal: wait for each question, type its answer."""
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "monitor.cli", "init", *arguments]
    process = subprocess.Popen(command, cwd=folder, env=ENVIRONMENT, stdin=slave, stdout=slave, stderr=slave,
                               start_new_session=True)  # fmt: skip
    os.close(slave)
    text, seen, until, left = "", 0, time.monotonic() + 60, list(answers)
    try:
        while time.monotonic() < until:
            if select.select([master], [], [], 0.1)[0]:
                try:
                    text += os.read(master, 65536).decode()
                except OSError:  # the other end is closed
                    break
            if left and left[0][0] in text[seen:]:
                seen = len(text)
                os.write(master, left.pop(0)[1].encode() + b"\n")
        return process.wait(20), text
    finally:
        process.kill()
        process.wait()
        os.close(master)


@pytest.mark.slow
def test_on_a_terminal_it_asks_asks_again_and_hides_a_password(tmp_path):
    file = artifact(tmp_path)
    code, text = converse(
        tmp_path,
        [
            ("artifact that scores", "nothing-there"), ("artifact that scores", str(file)), ("Kafka", "k:9092"),
            ("Topic", ""), ("group", "mine"), ("Redis [", "redis://r:6379/0"), ("Requests", "5"),
            ("Requests", "20000"), ("Password of Redis", "hunter2hunter2"),
        ],
        "--offline",
    )  # fmt: skip
    assert code == 0, text
    assert "there is no file nothing-there" in text
    assert "hunter2" not in text
    config = load(tmp_path / "monitor.yml", {})
    assert (config.kafka.topic, config.kafka.group, config.alerts.requests) == ("embeddings", "mine", 20_000)
    assert config.redis.password.get_secret_value() == "hunter2hunter2"


@given(st.text(max_size=60))
def test_whatever_a_value_is_the_file_reads_back_as_it(text):
    try:
        text.encode()
    except UnicodeEncodeError:
        return
    written = render({"kafka": {"group": text, "topic": "t"}}, config_dir() / "monitor.yml", "m.yml")
    assert yaml.safe_load(written)["kafka"] == {"group": text, "topic": "t"}


def test_several_topics_are_written_as_a_list_with_the_one_for_dead_letters_named(tmp_path):
    from monitor import cli

    def written(*options):
        arguments = ["init", "--offline", "--yes", "--force", "--output", str(tmp_path / "m.yml")]
        arguments += ["--artifact", str(artifact(tmp_path)), "--bootstrap-servers", "k:9092", *options]
        assert cli.main(arguments) == 0
        return load(tmp_path / "m.yml", {})

    config = written("--topic", "cars, birds")
    assert config.kafka.topic_names == ("cars", "birds")
    assert config.dead_letter_topic == "cars.dead-letter"
    assert written("--topic", "cars,birds", "--dead-letter-topic", "bad").dead_letter_topic == "bad"
    one = written("--topic", "cars")
    assert (one.kafka.topic, one.kafka.topics, one.dead_letters.topic) == ("cars", (), "")
    assert (
        cli.main(["init", "--offline", "--yes", "--force", "--output", str(tmp_path / "n.yml"), "--topic", "a,a"]) == 1
    )


def test_a_file_that_is_not_valid_is_never_there_and_one_that_exists_is_never_cut(tmp_path):
    path = tmp_path / "m.yml"
    with pytest.raises(ConfigError, match=r"nothing is written: .*m.yml.*kafka.topic is missing"):
        write_settings(path, "model: {artifact: a}\nkafka: {bootstrap_servers: b}\n")
    assert list(tmp_path.iterdir()) == []
    write_secret(path, "one")
    with pytest.raises(ConfigError, match="exists"):
        write_secret(path, "two")
    assert path.read_text() == "one\n"
    assert list(tmp_path.iterdir()) == [path]


def test_the_comments_are_those_of_the_reference():
    comments = read_comments(config_dir() / "monitor.yml")
    assert comments["kafka", "start"] == "the offset at which a new group begins: latest or earliest"
    assert len(comments) > 60


def test_a_worker_says_when_it_becomes_the_judge_and_when_it_gives_it_up(cluster):
    c = cluster(logging={"format": "json"}, buckets={"seconds": 0.5, "idle_seconds": 1.0})
    first = c.start_worker()
    c.wait(lambda: roles(c, 0)[-1:] == ["counts and judges"])
    c.start_worker()
    c.wait(lambda: "starts:" in log_of(c, 1))
    c.leave(first)
    c.wait(lambda: "judges" in "".join(roles(c, 1)[-1:]), 30)  # Tansu takes its time to deal out partitions again
    assert "it took over judging for group" in log_of(c, 1)


def log_of(c, n: int) -> str:
    return sorted(c.folder.glob("worker-*.log"), key=lambda p: int(p.stem.split("-")[-1]))[n].read_text()


def roles(c, n: int) -> list[str]:
    found = [json.loads(line) for line in log_of(c, n).splitlines() if line.endswith("}")]
    return [
        line["role"]
        for line in found
        if line.get("logger") == "monitor.service.starting" and "starts:" not in line["event"]
    ]
