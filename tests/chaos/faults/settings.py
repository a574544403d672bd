"""Settings and artifacts that change while a group runs."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

import yaml

from tests.chaos.faults import Fault
from tests.chaos.stage import Stage
from tests.cluster import REPOSITORY
from tests.monitor_support import small_line


def _write(stage: Stage, name: str, **sections: dict[str, object]) -> str:
    """The group's settings with some changed, as another file."""
    config = {k: dict(v) for k, v in stage.cluster.config.items()}
    for section, values in sections.items():
        config.setdefault(section, {}).update(values)
    path = stage.folder / name
    path.write_text(yaml.safe_dump(config))
    return str(path)


def _command(stage: Stage, *arguments: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)}
    with (stage.folder / f"command-{time.monotonic_ns()}.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "monitor.cli", *arguments], stdout=log, stderr=log, cwd=stage.folder, env=environment
        )


def _other_artifact(stage: Stage) -> str:
    line = small_line(p_w=20)
    path = stage.folder / "other.safetensors"
    line.save(path)
    return str(path)


class Stray(Fault):
    """A worker of the same group with other settings joins: it must do no harm to the others."""

    lasts, allowance = 12.0, 15.0

    def other(self, stage: Stage) -> str:
        raise NotImplementedError

    def inject(self, stage: Stage) -> None:
        self.process = _command(stage, "run", "--config", self.other(stage))

    def heal(self, stage: Stage) -> None:
        self.clean(stage)

    def clean(self, stage: Stage) -> None:
        process = getattr(self, "process", None)
        if process is None:
            return
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(15)
        if process.poll() is None:
            process.kill()
            process.wait()


class StrayWidth(Stray):
    name, about = "other-bucket-width", "a worker with another buckets.seconds joins the running group"

    def other(self, stage: Stage) -> str:
        return _write(stage, "other.yml", buckets={"seconds": 2.0})


class StrayArtifact(Stray):
    name, about = "other-artifact", "a worker with another artifact joins the running group"

    def other(self, stage: Stage) -> str:
        return _write(stage, "other.yml", model={"artifact": _other_artifact(stage)})


class Promoted(Fault):
    """The new settings are promoted and rolled out, one worker after the other, as the documentation says."""

    lasts, allowance, may_end, by_cell = 2.0, 40.0, True, False

    def changed(self, stage: Stage) -> dict[str, dict[str, object]]:
        raise NotImplementedError

    def inject(self, stage: Stage) -> None:
        changed = self.changed(stage)
        path = _write(stage, "promoted.yml", **changed)
        promoting = _command(stage, "promote", "--config", path)
        if promoting.wait(60):
            raise RuntimeError(f"promote ended with {promoting.returncode}")
        stage.cluster.path.write_text(Path(path).read_text())
        stage.replace_workers()


class PromotedWidth(Promoted):
    name, about = "promoted-bucket-width", "another buckets.seconds is promoted and rolled out"

    def changed(self, stage: Stage) -> dict[str, dict[str, object]]:
        return {"buckets": {"seconds": 2.0}}


class PromotedArtifact(Promoted):
    name, about = "promoted-artifact", "another artifact is promoted and rolled out"

    def changed(self, stage: Stage) -> dict[str, dict[str, object]]:
        return {"model": {"artifact": _other_artifact(stage)}}
