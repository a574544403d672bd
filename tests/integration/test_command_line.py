"""The commands on a real broker and a real Redis."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from monitor import cli
from monitor.demo.run import Plan, demonstrate
from tests.cluster import REPOSITORY, Cluster
from tests.monitor_support import artifact, embeddings


@pytest.fixture
def counted(cluster) -> Cluster:
    """A topic with a surge in it, counted and judged."""
    c = cluster(buckets={"seconds": 0.5, "idle_seconds": 1.0})
    begin = (time.time_ns() // 1_000_000) - 60_000
    c.begin = begin
    rows = np.concatenate([embeddings(2000, 41), embeddings(1000, 42, ood=0.5), embeddings(2000, 43)])
    for n, row in enumerate(rows):
        c.producer().send(c.topic, value=row.tobytes(), key=b"m", partition=n % 6, timestamp_ms=begin + 10 * n)
    c.producer().flush()
    c.sent = len(rows)
    c.start_worker()
    c.wait(lambda: c.counted() >= c.sent and not c.store.pending(-1, 2**50))
    return c


def moment(c: Cluster, n: int) -> str:
    from monitor.alerts.alert import moment as text

    return text((c.begin + 10 * n) / 1000)


def test_alerts_and_replay_tell_the_same_story(counted, capsys):
    config = ["--config", str(counted.path)]
    assert cli.main(["alerts", *config]) == 0
    shown = capsys.readouterr()
    assert "resolved" in shown.out
    assert "at most 1 false alert per 100,000 requests" in shown.err
    assert "spent: 0.0" in shown.err
    assert cli.main(["alerts", *config, "--json", "--history", "50"]) == 0
    live = [json.loads(text) for text in capsys.readouterr().out.splitlines()]
    assert [e["change"] for e in live if e["change"] != "updated"] == ["raised", "resolved"]

    assert cli.main(["replay", *config, "--json", "--arm"]) == 1
    refused = json.loads(capsys.readouterr().out)
    assert not refused["arm"]
    assert refused["refusals"]
    assert refused["requests"] == counted.sent
    assert [t["change"] for t in refused["transitions"] if t["change"] != "updated"] == ["raised", "resolved"]

    before = ["--to", moment(counted, 2000)]
    classes = counted.folder / "classes.json"
    assert cli.main(["replay", *config, *before, "--arm", "--save-classes", str(classes)]) == 0
    said = capsys.readouterr().out
    assert "2,000 requests replayed" in said
    assert "may be armed" in said
    assert sum(map(sum, json.loads(classes.read_text())["classes"].values())) == 2000

    assert cli.main(["replay", *config, "--from", "2001-01-01T00:00:00Z", "--to", "2001-01-02T00:00:00Z"]) == 1
    assert "no embedding in topic" in capsys.readouterr().err


def test_check_reaches_every_endpoint_and_names_the_one_that_fails(cluster, capsys, monkeypatch):
    c = cluster()
    assert cli.main(["check", "--config", str(c.path)]) == 0
    said = capsys.readouterr().out
    assert said.count("ok ") == 7
    assert "6 partitions" in said
    monkeypatch.setenv("OOD_MONITOR__REDIS__URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("OOD_MONITOR__KAFKA__TOPIC", "missing")
    assert cli.main(["check", "--config", str(c.path)]) == 1
    said = capsys.readouterr().out
    assert "FAILED  redis: Redis cannot be reached" in said
    kafka = next(line for line in said.splitlines() if line.startswith("FAILED  kafka"))
    assert "'missing'" in kafka


def test_a_wrong_setting_is_one_line(tmp_path, capsys):
    (tmp_path / "x.yml").write_text("kafka: {topic_name: x}")
    assert cli.main(["run", "--config", str(tmp_path / "x.yml")]) == 1
    said = capsys.readouterr().err
    assert said.startswith("ood-monitor: ")
    assert "did you mean 'topic'?" in said
    assert said.count("\n") == 1


@pytest.mark.slow
def test_a_demonstration_raises_once_resolves_once_and_counts_each_record_once(tmp_path):
    plan = Plan(before=1500, surge=1000, after=2000)
    ind = torch.from_numpy(embeddings(2000, 51))
    ood = torch.from_numpy(embeddings(500, 52, ood=1.0))
    said: list[str] = []
    result = demonstrate(artifact(tmp_path), ind, ood, plan, say=said.append)
    assert {k: result[k] for k in ("raised", "resolved", "lost", "counted_twice")} == {
        "raised": 1, "resolved": 1, "lost": 0, "counted_twice": 0,
    }  # fmt: skip
    assert 0 < result["delay"] <= 200
    assert any("killed with SIGKILL" in text for text in said)


DEMO = """
import sys, torch
from pathlib import Path
sys.path.insert(0, {root!r})
from monitor import cli
from monitor.demo import run as demo
from tests.monitor_support import artifact, embeddings

def run(folder, **_):
    ind, ood = torch.from_numpy(embeddings(2000, 1)), torch.from_numpy(embeddings(500, 2, ood=1.0))
    demo.demonstrate(artifact(Path(folder)), ind, ood, demo.Plan())

demo.run = run
sys.exit(cli.main(["demo", "--folder", {folder!r}]))
"""


@pytest.mark.slow
def test_ctrl_c_ends_the_demonstration_without_a_traceback_and_leaves_nobody_behind(tmp_path):
    code = DEMO.format(root=str(REPOSITORY), folder=str(tmp_path))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", code], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment, text=True
    )
    seen = []
    for text in process.stdout:
        seen.append(text)
        if "embeddings in topic" in text:
            break
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=30)
    assert process.returncode == 130, "".join(seen) + rest
    assert "Traceback" not in "".join(seen) + rest
    ports = [word.split(":")[1].strip(",\n") for word in "".join(seen).split() if word.startswith("127.0.0.1:")]
    assert len(ports) == 2
    from monitor.testing.launcher import listens

    assert not any(listens(int(port)) for port in ports)


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_process_that_is_started_without_standard_streams_ends_as_any_other(tmp_path, form):
    (tmp_path / "monitor.yml").write_text("kafka: {topik: x}\n")
    command = f'exec "{sys.executable}" -m monitor.cli run --config monitor.yml --log-format {form} <&- >&- 2>&-'
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    ended = subprocess.run(["bash", "-c", command], check=False, cwd=tmp_path, env=environment, timeout=120)
    assert ended.returncode == 1


def test_a_worker_without_standard_streams_counts(cluster):
    c = cluster()
    c.publish(60)
    command = f'exec "{sys.executable}" -m monitor.cli run --config "{c.path}" <&- >&- 2>&-'
    c.workers.append(subprocess.Popen(["bash", "-c", command], cwd=c.folder, env=c.environment()))
    c.wait_until_counted()


def test_a_worker_whose_log_nobody_reads_counts_and_ends_when_it_is_asked_to(cluster):
    c = cluster()
    c.publish(600)
    unread, pipe = os.pipe()
    fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, 4096)
    command = [sys.executable, "-m", "monitor.cli", "--debug", "run", "--config", str(c.path)]
    worker = subprocess.Popen(command, cwd=c.folder, env=c.environment(), stdout=pipe, stderr=pipe)
    os.close(pipe)
    c.workers.append(worker)
    c.wait_until_counted()
    worker.terminate()
    assert worker.wait(60) == 0
    c.workers.clear()
    os.close(unread)


def test_help_answers_without_the_heavy_imports():
    code = (
        "import sys\nfrom monitor import cli\n"
        "try: cli.main(['--help'])\nexcept SystemExit: pass\n"
        "print([m for m in ('torch', 'kafka', 'redis', 'numpy', 'pydantic') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(REPOSITORY), timeout=60, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
