"""``openood eval --root RUNS --device A,B``: real processes share the runs, and the figures are those of one device."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from line_plugin.cli import main, several_devices
from line_plugin.errors import SettingsError
from tests.integration.small_world import make_world

pytestmark = pytest.mark.slow

NETWORK = """
import os, pathlib, torch, time
from torch import nn

HERE = pathlib.Path(__file__).parent

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 16, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.classify = nn.Linear(16, 3)

    def forward(self, x):
        (HERE / "seen" / str(os.getpid())).touch()
        {trouble}
        return self.classify(self.body(x))

def build():
    torch.manual_seed(0)
    return Net()
"""
IMAGES = 60 + 24 + 30 + 18 + 16 + 14


def prepare(folder: Path, trouble: str = "pass", runs: int = 3) -> list[str]:
    """The flags of an evaluation of several runs whose network says which processes it ran in."""
    (folder / "seen").mkdir()
    (folder / "net.py").write_text(NETWORK.replace("{trouble}", trouble))
    found = importlib.util.spec_from_file_location("the_net", folder / "net.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    for i in range(runs):
        (folder / f"runs/s{i}").mkdir(parents=True)
        torch.manual_seed(i)
        torch.save(module.Net().state_dict(), folder / f"runs/s{i}/best.ckpt")
    world = make_world(folder / "data")
    flags = ["eval", "--id-data", str(world), "--data-root", str(world.parent), "--model", f"{folder / 'net.py'}:build"]
    flags += ["--root", str(folder / "runs"), "--cache-dir", str(folder / "cache"), "--num-workers", "0"]
    return [*flags, "--postprocessor", "line,ebo", "--no-sweep"]


def seen(folder: Path) -> set[int]:
    return {int(p.name) for p in (folder / "seen").iterdir()}


def test_two_devices_give_the_figures_of_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # Each waits for the other: else one might be through with all runs before the other has imported torch.
    flags = prepare(tmp_path, "while len(list((HERE / 'seen').iterdir())) < 2: time.sleep(0.05)")
    assert main([*flags, "--device", "cpu,cpu", "--json"]) == 0
    shared = capsys.readouterr()
    assert sorted(line.split(":")[0] for line in shared.err.splitlines() if "forwarded on cpu" in line) == [
        "s0",
        "s1",
        "s2",
    ]
    assert len(seen(tmp_path) - {os.getpid()}) == 2
    one = [*flags, "--cache-dir", str(tmp_path / "other"), "--device", "cpu", "--json"]
    assert main(one) == 0
    alone = capsys.readouterr()
    first, second = json.loads(shared.out), json.loads(alone.out)
    assert first["methods"] == second["methods"]
    assert main([*flags, "--cache-dir", str(tmp_path / "third"), "--device", "cpu,cpu", "--brief"]) == 0
    assert f"Images forwarded: {3 * IMAGES};" in capsys.readouterr().out


def test_what_goes_wrong_on_a_device_is_one_line_and_ends_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = prepare(tmp_path, 'if len(x) > 1: raise RuntimeError("out of something")')
    assert main([*flags, "--device", "cpu,cpu"]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1, said
    assert "on cpu: RuntimeError: out of something" in said
    assert not list((tmp_path / "cache/features").glob("*")), "nothing half-written is left"


def test_a_process_that_is_killed_is_noticed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = prepare(tmp_path, "os.kill(os.getpid(), 9) if len(x) > 1 else None")
    assert main([*flags, "--device", "cpu,cpu"]) == 1
    assert "died with exit code -9, most often for want of memory" in capsys.readouterr().err


def test_ctrl_c_ends_every_process_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    flags = prepare(tmp_path, "time.sleep(30 if len(x) > 1 else 0)")
    command = [sys.executable, "-m", "line_plugin.cli", *flags, "--device", "cpu,cpu"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 240
    while len(seen(tmp_path)) < 2 or len(list((tmp_path / "cache/features").glob(".partial-*"))) < 2:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "interrupted" in said
    assert "Traceback" not in said
    assert not list((tmp_path / "cache/features").glob(".partial-*"))
    for pid in seen(tmp_path):
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


@pytest.mark.parametrize(
    ("device", "runs", "message"),
    [
        ("cpu,cpu", 1, "share the runs of --root: name one for a single network"),
        ("cpu,cuda:0", 2, "of several kinds"),
        (" , ", 2, "--device is empty"),
    ],
)
def test_devices_that_cannot_share_are_refused(device: str, runs: int, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        several_devices.devices_of(device, runs)


def test_auto_takes_every_cuda_device_for_several_runs_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert several_devices.devices_of("auto", 2) == ["cuda:0", "cuda:1", "cuda:2"]
    assert several_devices.devices_of("auto", 1) == ["auto"]
    assert several_devices.devices_of("cuda:1", 2) == ["cuda:1"]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert several_devices.devices_of("auto", 2) == ["auto"]
