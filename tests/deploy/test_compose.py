"""docker/compose.yml: by the schema, by the tool that reads it if it is here, and by what it is mounted on."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from monitor.config import load, load_as
from monitor.config.ingest import IngestConfig
from tests.deploy import compose_file
from tests.deploy.compose_file import FOLDER, ROOT

SCHEMA = json.loads((Path(__file__).parent / "schemas/compose-spec.json").read_text())
COMPOSE = compose_file.read(compose_file.example())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = sorted(name for name, s in SERVICES.items() if s["image"].startswith("ood-monitor"))

docker_compose = pytest.mark.skipif(
    not shutil.which("docker-compose"),
    reason="docker-compose is not installed (OOD_MONITOR_BUILD_TOOLS=1 .ci/run builds it); the schema's own test ran",
)
promtool = pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed (Debian: prometheus)")


@pytest.fixture(scope="module")
def secrets(tmp_path_factory) -> Path:
    """What docker/make-secrets.sh makes."""
    copy = tmp_path_factory.mktemp("docker") / "make-secrets.sh"
    shutil.copy(FOLDER / "make-secrets.sh", copy)
    subprocess.run(["sh", str(copy)], check=True, capture_output=True, timeout=30)
    return copy.parent / "secrets"


def test_it_is_what_the_compose_specification_says():
    jsonschema.Draft7Validator(SCHEMA).validate(COMPOSE)


def test_a_key_that_compose_does_not_know_would_be_found():
    wrong = {**COMPOSE, "services": {**SERVICES, "worker": {**SERVICES["worker"], "readonly": True}}}
    assert list(jsonschema.Draft7Validator(SCHEMA).iter_errors(wrong))


@docker_compose
def test_docker_compose_reads_it_as_these_tests_do(tmp_path):
    (tmp_path / "env").write_text(compose_file.EXAMPLE.read_text())
    command = [
        "docker-compose",
        "-f",
        str(FOLDER / "compose.yml"),
        "--profile",
        "*",
        "--env-file",
        str(tmp_path / "env"),
    ]
    done = subprocess.run(
        [*command, "config", "--format", "json"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    read = json.loads(done.stdout)["services"]
    assert set(read) == set(SERVICES)
    for name, service in SERVICES.items():
        assert read[name]["image"] == service["image"]
        given = {k: str(v) for k, v in service.get("environment", {}).items()}
        assert read[name].get("environment", {}) == given
        assert {v["target"] for v in read[name].get("volumes", ())} == {target for _, target, _ in mounts(service)}


def test_without_an_artifact_it_says_what_is_missing():
    with pytest.raises(KeyError, match="ARTIFACT: path of a fitted"):
        compose_file.read({**compose_file.example(), "ARTIFACT": ""})


def mounts(service: dict[str, Any]) -> list[tuple[str, str, str]]:
    """``(source, target, mode)`` of each."""
    return [tuple([*entry.split(":"), "rw"][:3]) for entry in service.get("volumes", ())]


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_what_is_mounted_exists_and_is_not_written_to(name):
    for source, _target, mode in mounts(SERVICES[name]):
        if source in COMPOSE["volumes"]:
            continue
        assert mode == "ro", source
        if source != compose_file.example()["ARTIFACT"]:
            assert (FOLDER / source).exists(), source


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_a_container_may_do_no_more_than_it_must(name):
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "cap_add", "network_mode", "pid", "ipc"} & set(service)
    user, group = service["user"].split(":")
    assert int(user) > 0
    assert group.isdecimal()
    assert {"memory", "cpus", "pids"} <= set(service["deploy"]["resources"]["limits"])
    assert service["logging"]["options"]["max-size"]
    for port in service.get("ports", ()):
        assert port.startswith("127.0.0.1:"), port
    assert "docker.sock" not in str(service)


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_an_image_is_pinned_to_a_release_or_is_our_own(name):
    image = SERVICES[name]["image"]
    assert re.search(r":v?\d+\.\d+\.\d+(-\w+)?$", image) or image == "ood-monitor:local"


@pytest.mark.parametrize("name", sorted(SERVICES))
def test_a_service_is_asked_whether_it_is_well_and_has_time_to_end(name):
    service = SERVICES[name]
    if name == "topics":  # runs once
        assert service["restart"] == "no"
        return
    assert "healthcheck" in service or name in OURS  # the image brings one
    if name in ("worker", "ingest", "kafka", "redis"):
        assert int(service["stop_grace_period"].removesuffix("s")) >= 30


def test_no_secret_stands_in_it_and_each_that_is_mounted_is_made_by_the_script(secrets):
    text = (FOLDER / "compose.yml").read_text()
    assert not re.search(r"(?i)(password|token|secret)\w*[\"']?\s*:\s*[\"']?[0-9a-f]{8,}", text)
    for name, service in SERVICES.items():
        for variable, value in service.get("environment", {}).items():
            if re.search("PASSWORD|TOKEN|SECRET", variable):
                assert str(value).startswith("/run/secrets"), (name, variable)
    made = {p.name for p in secrets.iterdir()}
    assert made == set(COMPOSE["secrets"])
    for name, secret in COMPOSE["secrets"].items():
        assert secret == {"file": f"./secrets/{name}"}
    assert {sources for s in SERVICES.values() for sources in (source_of(e) for e in s.get("secrets", ()))} == made


def source_of(entry: str | dict[str, str]) -> str:
    return entry if isinstance(entry, str) else entry["source"]


def test_the_script_of_secrets_keeps_what_is_there_and_lets_nobody_else_look(secrets):
    before = {p.name: p.read_text() for p in secrets.iterdir()}
    assert len(set(before.values())) == len(before)
    assert all(re.fullmatch("[0-9a-f]{64}", text) for text in before.values())
    subprocess.run(["sh", str(secrets.parent / "make-secrets.sh")], check=True, capture_output=True, timeout=30)
    assert {p.name: p.read_text() for p in secrets.iterdir()} == before
    assert secrets.stat().st_mode & 0o077 == 0
    ignored = subprocess.run(
        ["git", "check-ignore", "docker/secrets/redis_password", "docker/.env"],
        cwd=ROOT, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    if (ROOT / ".git").exists():
        assert len(ignored.stdout.split()) == 2


def mounted_secrets(service: dict[str, Any], secrets: Path, folder: Path) -> Path:
    """The folder /run/secrets of a container."""
    folder.mkdir()
    for entry in service["secrets"]:
        name = source_of(entry)
        target = entry["target"] if isinstance(entry, dict) else name
        (folder / target).write_bytes((secrets / name).read_bytes())
    return folder


def environment_of(service: dict[str, Any], run_secrets: Path) -> dict[str, str]:
    """Its variables, its secrets lying in another place."""
    given = {k: str(v) for k, v in service["environment"].items()}
    return {k: str(run_secrets) if v == "/run/secrets" else v for k, v in given.items()}


def settings_of(service: dict[str, Any]) -> Path:
    """The file of the repository that is mounted as its settings."""
    command = service.get("command") or ["run", "--config", "/etc/ood-monitor/monitor.yml"]
    target = command[command.index("--config") + 1]
    (source,) = (source for source, at, _ in mounts(service) if at == target)
    return FOLDER / source


def test_the_settings_of_a_worker_load_with_its_variables_and_its_secrets(secrets, tmp_path):
    worker = SERVICES["worker"]
    run_secrets = mounted_secrets(worker, secrets, tmp_path / "run")
    config = load(settings_of(worker), environment_of(worker, run_secrets))
    assert config.redis.password.get_secret_value() == (secrets / "redis_password").read_text()
    assert config.http.token.get_secret_value() == (secrets / "http_token").read_text()
    assert config.kafka.bootstrap_servers.split(":")[0] in SERVICES
    assert config.redis.username == "monitor"
    assert str(config.model.artifact) == mounts(worker)[1][1]
    (port,) = (s["port"] for s in scrapes("ood-monitor")["dns_sd_configs"])
    assert config.http.port == port
    topics = SERVICES["topics"]["command"][0]
    assert f'"{config.kafka.topic}:6" {config.dead_letter_topic}:1' in topics


def test_the_settings_of_ingest_load_with_its_variables_and_its_secrets(secrets, tmp_path):
    ingest = SERVICES["ingest"]
    run_secrets = mounted_secrets(ingest, secrets, tmp_path / "run")
    config = load_as(IngestConfig, settings_of(ingest), environment_of(ingest, run_secrets))
    assert config.http.token.get_secret_value() == (secrets / "ingest_token").read_text()
    assert config.kafka.topic == load(settings_of(SERVICES["worker"]), {}).kafka.topic
    (port,) = (s["port"] for s in scrapes("ood-ingest")["dns_sd_configs"])
    assert config.http.port == port
    assert ingest["ports"][0].endswith(f":{port}")
    assert ingest["healthcheck"]["test"][-1] == str(port)
    assert int(ingest["stop_grace_period"].removesuffix("s")) > config.queue.drain_seconds + 5


def scrapes(job: str) -> dict[str, Any]:
    jobs = yaml.safe_load((FOLDER / "prometheus.yml").read_text())["scrape_configs"]
    (found,) = (j for j in jobs if j["job_name"] == job)
    return found


@promtool
def test_prometheus_accepts_its_settings_with_the_rules_beside_them(secrets, tmp_path):
    run_secrets = mounted_secrets(SERVICES["prometheus"], secrets, tmp_path / "run")
    text = (FOLDER / "prometheus.yml").read_text()
    (tmp_path / "prometheus.yml").write_text(text.replace("/run/secrets", str(run_secrets)))
    shutil.copy(ROOT / "deploy/prometheus/rules.yml", tmp_path)
    done = subprocess.run(
        ["promtool", "check", "config", str(tmp_path / "prometheus.yml")],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "rules found" in done.stdout


def test_each_address_in_the_settings_is_a_service_that_shares_a_network():
    prometheus = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    (alertmanagers,) = prometheus["alerting"]["alertmanagers"]
    wanted = [("prometheus", t.split(":")[0]) for s in alertmanagers["static_configs"] for t in s["targets"]]
    for job in prometheus["scrape_configs"]:
        wanted += [("prometheus", name) for found in job["dns_sd_configs"] for name in found["names"]]
    source = yaml.safe_load((ROOT / "deploy/grafana/provisioning/datasources/prometheus.yml").read_text())
    wanted += [("grafana", re.findall(r"//(\w+):9090", s["url"])[0]) for s in source["datasources"]]
    for name in OURS:
        for value in SERVICES[name]["environment"].values():
            found = re.findall(r"^(?:\w+://)?(kafka|redis|alertmanager):\d+", str(value))
            wanted += [(name, other) for other in found]
    assert len(wanted) >= 6
    for asks, answers in wanted:
        assert set(SERVICES[asks]["networks"]) & set(SERVICES[answers]["networks"]), (asks, answers)


def test_what_holds_no_port_of_the_host_reaches_nothing_outside():
    for name, service in SERVICES.items():
        outside = [n for n in service["networks"] if not (COMPOSE["networks"][n] or {}).get("internal")]
        assert bool(outside) == (bool(service.get("ports"))), name


def test_grafana_finds_the_dashboard_where_its_provider_looks():
    provider = yaml.safe_load((ROOT / "deploy/grafana/provisioning/dashboards/ood-monitor.yml").read_text())
    (looks,) = (p["options"]["path"] for p in provider["providers"])
    dashboards = [
        Path(target) for source, target, _ in mounts(SERVICES["grafana"]) if source.endswith("dashboard.json")
    ]
    assert [str(d.parent) for d in dashboards] == [looks]


def test_kafka_may_load_its_compression_libraries_from_its_folder_of_temporary_files():
    """Docker mounts a tmpfs noexec; snappy and zstd are unpacked there and loaded."""
    assert "/tmp:exec" in SERVICES["kafka"]["tmpfs"]


@pytest.mark.skipif(os.name != "posix", reason="shell scripts")
@pytest.mark.parametrize("name", ["make-secrets.sh", "start-redis.sh", "start.sh"])
def test_a_script_is_what_a_plain_shell_reads(name):
    subprocess.run(["sh", "-n", str(FOLDER / name)], check=True, timeout=30)
