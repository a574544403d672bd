"""docs/deploy.md: its commands are read by the programs that they are for, and the files it names exist."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.deploy.chart import CHART, HELM, KUBERNETES, helm

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/deploy.md").read_text()
BLOCKS = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = [line for block in BLOCKS for line in block.replace("\\\n", " ").splitlines() if line.strip()]


def beginning(*words: str) -> list[str]:
    found = [c for c in COMMANDS if c.startswith(words)]
    assert found
    return found


@pytest.mark.skipif(not HELM, reason="Helm is not installed (OOD_MONITOR_BUILD_TOOLS=1 .ci/run builds it)")
@pytest.mark.parametrize("command", beginning("helm "))
def test_helm_renders_what_the_page_installs(command, tmp_path):
    words = shlex.split(command)
    assert words[:2] == ["helm", "upgrade"]
    shutil.copy(CHART / "ci/least-values.yaml", tmp_path / "values.yaml")
    rest = [str(tmp_path / w) if w == "values.yaml" else w for w in words[2:] if w != "--install"]
    rest = [str(ROOT / w) if w.startswith("deploy/") else w for w in rest]
    done = helm("template", *rest, "--kube-version", KUBERNETES)
    assert done.returncode == 0, done.stderr
    assert ("kind: Job" in done.stdout) == ("promote=true" in command)


@pytest.mark.skipif(
    not shutil.which("docker-compose"),
    reason="docker-compose is not installed (OOD_MONITOR_BUILD_TOOLS=1 .ci/run builds it)",
)
@pytest.mark.parametrize("command", beginning("docker compose "))
def test_docker_compose_knows_the_options_and_the_services(command):
    words = shlex.split(command)[2:]
    assert words[:2] == ["-f", "docker/compose.yml"]
    verb = next(w for w in words[2:] if not w.startswith("-") and w != "ingest")
    done = subprocess.run(["docker-compose", verb, "--help"], capture_output=True, text=True, timeout=60, check=True)
    for option in words[words.index(verb) + 1 :]:
        if option.startswith("--"):
            assert re.search(rf"{option}\b", done.stdout), option
        else:
            assert f"\n  {option}:" in (ROOT / "docker/compose.yml").read_text(), option


def test_the_files_that_the_page_names_exist():
    named = set(re.findall(r"(?<![\w/.])((?:docker|deploy|configs|tests|benchmarks)/[\w./-]+\w)", PAGE))
    made = {"docker/.env", "docker/secrets", "docker/secrets/grafana_password", "docker/secrets/ingest_token",
            "docker/secrets/redis_admin_password"}  # fmt: skip
    assert len(named) > 10
    assert {n for n in named if not (ROOT / n).exists()} <= made
    for module in re.findall(r"python -m (benchmarks\.\w+)", PAGE):
        assert (ROOT / f"{module.replace('.', '/')}.py").exists()
    for link in re.findall(r"\]\(([\w-]+\.md)\)", PAGE):
        assert (ROOT / "docs" / link).exists()


def test_values_rules_and_settings_that_the_page_names_are_there():
    values = (CHART / "values.yaml").read_text()
    for path in re.findall(r"`((?:artifact|autoscaling|networkPolicy|serviceMonitor|prometheusRule)\.\w+)", PAGE):
        section, key = path.split(".")
        assert re.search(rf"^{section}:\n(?:  .*\n)*?  {key}:", values, re.MULTILINE), path
    rules = (ROOT / "deploy/prometheus/rules.yml").read_text()
    for rule in re.findall(r"`(OODMonitor\w+)`", PAGE):
        assert f"alert: {rule}\n" in rules
