"""Several test processes want Kafka's jars at once: Maven is asked by one of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.cluster import REPOSITORY

MAVEN = """#!/bin/sh
echo asked >>"$MAVEN_LOG"
for word; do case "$word" in -DoutputDirectory=*) folder="${word#-DoutputDirectory=}"; esac; done
sleep 1
mkdir "$folder" && touch "$folder/kafka.jar"
"""


def test_processes_that_need_the_jars_at_once_get_one_folder_that_one_of_them_filled(tmp_path: Path) -> None:
    maven, log = tmp_path / "mvn", tmp_path / "log"
    maven.write_text(MAVEN)
    maven.chmod(0o755)
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "MAVEN_LOG": str(log)}
    code = (
        f"from pathlib import Path; from tests.kafka.apache import jars; print(jars(Path({str(tmp_path)!r}) / 'build'))"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code], cwd=REPOSITORY, env=env, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    answers = [process.communicate(timeout=120)[0].strip() for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    (folder,) = set(answers)
    assert [path.name for path in Path(folder).iterdir()] == ["kafka.jar"]
    assert log.read_text().splitlines() == ["asked"]
