"""The chart: by Helm's linter, by the schemas of Kubernetes, and by the program that its settings are for."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from monitor.config import MonitorConfig, load, load_as, validate
from monitor.config.explaining import is_secret, known_keys
from monitor.config.ingest import IngestConfig
from monitor.web.access import OPEN_PATHS
from tests.deploy.chart import CHART, HEADER, HELM, PLAIN, ROOT, Manifest, helm, of_kind, pods, render, template

kubernetes_validate = pytest.importorskip(
    "kubernetes_validate", reason="the schemas of Kubernetes are not installed: pip install kubernetes-validate"
)

needs_helm = pytest.mark.skipif(
    not HELM, reason="Helm is not installed (OOD_MONITOR_BUILD_TOOLS=1 .ci/run builds it); the manifests are"
)
VALUES = [pytest.param(name, marks=needs_helm) for name in ("least", "all", "hpa", "several")] + [pytest.param("plain")]
each = pytest.mark.parametrize("values", VALUES)
OPERATORS = {"ScaledObject", "ServiceMonitor", "PrometheusRule"}


@needs_helm
@pytest.mark.parametrize("values", ["least", "all", "hpa", "several"])
def test_the_linter_finds_nothing(values):
    done = helm("lint", "--strict", str(CHART), "--values", str(CHART / "ci" / f"{values}-values.yaml"))
    assert done.returncode == 0, done.stdout


@needs_helm
def test_the_plain_manifests_are_those_of_the_chart():
    assert PLAIN.read_text() == HEADER + template("least").stdout, "python -m tests.deploy.chart writes them anew"


@each
@pytest.mark.parametrize("version", ["1.25", "1.31", kubernetes_validate.latest_version()])
def test_kubernetes_knows_every_key(values, version):
    checked = [m for m in render(values) if m["kind"] not in OPERATORS]
    assert len(checked) >= 5
    for manifest in checked:
        kubernetes_validate.validate(manifest, version, strict=True)


def test_a_key_that_kubernetes_does_not_know_would_be_found():
    (deployment,) = of_kind(render("plain"), "Deployment")
    deployment["spec"]["template"]["spec"]["containers"][0]["readOnly"] = True
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, "1.31", strict=True)


@needs_helm
@pytest.mark.parametrize("kind", sorted(OPERATORS))
def test_the_operators_know_every_key(kind):
    """Their models drop what they do not know, so nothing may be missing afterwards."""
    keda = pytest.importorskip("cloudcoil.models.keda.v1alpha1", reason="pip install cloudcoil.models.keda")
    prometheus = pytest.importorskip(
        "cloudcoil.models.prometheus_operator.v1", reason="pip install cloudcoil.models.prometheus-operator"
    )
    model = getattr(keda if kind == "ScaledObject" else prometheus, kind)
    (manifest,) = of_kind(render("all"), kind)
    assert kept(model, manifest) == manifest
    manifest["spec"]["nonsense"] = 1
    assert kept(model, manifest) != manifest


def kept(model: Any, manifest: Manifest) -> Manifest:
    read = model.model_validate(manifest)
    return json.loads(read.model_dump_json(by_alias=True, exclude_unset=True))


def container(manifests: list[Manifest], component: str) -> tuple[Manifest, Manifest]:
    """``(pod's spec, its container)``."""
    (deployment,) = of_kind(manifests, "Deployment", component)
    spec = deployment["spec"]["template"]["spec"]
    (found,) = spec["containers"]
    return spec, found


def secrets_of(spec: Manifest, folder: Path) -> dict[str, str]:
    """The files that the pod's volume of secrets holds, and the variable that names their folder."""
    (volume,) = (v for v in spec["volumes"] if v["name"] == "secrets")
    for source in volume["projected"]["sources"]:
        for item in source["secret"]["items"]:
            (folder / item["path"]).write_text("a-secret-of-the-tests")
    (found,) = spec["containers"]
    (variable,) = found["env"]
    (mount,) = (m for m in found["volumeMounts"] if m["name"] == "secrets")
    assert variable["value"] == mount["mountPath"]
    return {variable["name"]: str(folder)}


@each
def test_the_settings_of_a_worker_load_and_its_port_and_probes_are_those_of_the_program(values, tmp_path):
    manifests = render(values)
    spec, found = container(manifests, "worker")
    (tmp_path / "secrets").mkdir()
    environment = secrets_of(spec, tmp_path / "secrets")
    (settings,) = of_kind(manifests, "ConfigMap", "worker")
    (tmp_path / "monitor.yml").write_text(settings["data"]["monitor.yml"])
    config = load(tmp_path / "monitor.yml", environment)
    assert found["args"] == ["run", "--config", "/etc/ood-monitor/monitor.yml", "--log-format", "json"]
    assert config.http.guarded
    check_serving(config.http, found)
    mounted = {m["mountPath"] for m in found["volumeMounts"]}
    for artifact in [m.artifact for m in config.models] or [config.model.artifact]:
        assert str(artifact) in mounted or str(artifact.parent) in mounted
    for file in (config.kafka.ssl_cafile, config.redis.ca_file, config.http.tls_certfile):
        assert not file or str(Path(file).parent) in mounted
    assert spec["terminationGracePeriodSeconds"] >= 60
    if values == "all":
        assert config.kafka.sasl_password.get_secret_value() == "a-secret-of-the-tests"


def check_serving(http: Any, found: Manifest) -> None:
    (port,) = found["ports"]
    assert (port["name"], port["containerPort"]) == ("http", http.port)
    assert http.host == "0.0.0.0"
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        asked = found[probe]["httpGet"]
        assert asked["path"] in OPEN_PATHS
        assert asked["port"] == "http"
        assert asked["scheme"] == ("HTTPS" if http.tls_certfile else "HTTP")
    assert found["livenessProbe"]["httpGet"]["path"] == "/-/healthy"
    assert found["readinessProbe"]["httpGet"]["path"] == "/-/ready"


@needs_helm
@pytest.mark.parametrize("values", ["all", "hpa"])
def test_the_settings_of_ingest_load_and_write_to_the_topic_that_is_read(values, tmp_path):
    manifests = render(values)
    spec, found = container(manifests, "ingest")
    (tmp_path / "secrets").mkdir()
    environment = secrets_of(spec, tmp_path / "secrets")
    (settings,) = of_kind(manifests, "ConfigMap", "ingest")
    (tmp_path / "ingest.yml").write_text(settings["data"]["ingest.yml"])
    config = load_as(IngestConfig, tmp_path / "ingest.yml", environment)
    (worker,) = of_kind(manifests, "ConfigMap", "worker")
    reads = yaml.safe_load(worker["data"]["monitor.yml"])["kafka"]
    assert (config.kafka.topic, config.kafka.bootstrap_servers) == (reads["topic"], reads["bootstrap_servers"])
    assert config.http.guarded
    check_serving(config.http, found)
    (service,) = of_kind(manifests, "Service", "ingest")
    assert service["spec"]["ports"][0]["port"] == config.http.port
    pause = int(found["lifecycle"]["preStop"]["exec"]["command"][1])
    assert spec["terminationGracePeriodSeconds"] >= pause + config.queue.drain_seconds + 20


@each
def test_a_pod_may_do_no_more_than_it_must(values):
    manifests = render(values)
    assert len(pods(manifests)) == {"least": 1, "plain": 1, "several": 1, "hpa": 2, "all": 3}[values]
    for pod in pods(manifests):
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for one in spec["containers"] + spec.get("initContainers", []):
            security = one["securityContext"]
            assert security == {
                "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}
            }  # fmt: skip
            assert {"cpu", "memory"} <= set(one["resources"]["requests"])
            assert "memory" in one["resources"]["limits"]
        writable = [v["name"] for v in spec["volumes"] if "emptyDir" in v]
        assert set(writable) <= {"tmp", "artifact"}
        assert not [v for v in spec["volumes"] if "hostPath" in v]


def test_the_user_is_the_one_of_the_image():
    dockerfile = (ROOT / "docker/Dockerfile").read_text()
    (user,) = re.findall(r"^USER (\d+):", dockerfile, re.MULTILINE)
    for pod in pods(render("plain")):
        assert pod["spec"]["securityContext"]["runAsUser"] == int(user)


@each
def test_every_selector_finds_its_pods_and_no_others(values):
    manifests = render(values)
    labels = {p["metadata"]["labels"]["app.kubernetes.io/component"]: p["metadata"]["labels"] for p in pods(manifests)}

    def chosen(selector: Manifest) -> list[str]:
        wanted, more = selector.get("matchLabels", {}), selector.get("matchExpressions", [])
        assert all(e["operator"] == "In" for e in more)
        return [
            name
            for name, has in labels.items()
            if wanted.items() <= has.items() and all(has.get(e["key"]) in e["values"] for e in more)
        ]

    checked = 0
    for manifest in manifests:
        component = "ingest" if manifest["metadata"]["name"].endswith("-ingest") else "worker"
        spec = manifest.get("spec", {})
        selector = spec.get("podSelector", spec.get("selector"))
        if manifest["kind"] in ("Deployment", "PodDisruptionBudget", "NetworkPolicy"):
            allowed = (
                ["worker", "promote"] if (manifest["kind"], component) == ("NetworkPolicy", "worker") else [component]
            )
            assert set(chosen(selector)) == set(allowed) & set(labels), manifest["kind"]
        elif manifest["kind"] == "Service":
            assert chosen({"matchLabels": selector}) == [component]
        else:
            continue
        checked += 1
    assert checked >= 3
    services = [s["metadata"]["labels"] for s in of_kind(manifests, "Service")]
    for monitor in of_kind(manifests, "ServiceMonitor"):
        found = [s for s in services if monitor["spec"]["selector"]["matchLabels"].items() <= s.items()]
        assert [s["app.kubernetes.io/component"] for s in found] == ["worker"]


@needs_helm
@pytest.mark.parametrize(
    ("values", "kind"), [("all", "ScaledObject"), ("several", "ScaledObject"), ("hpa", "HorizontalPodAutoscaler")]
)
def test_what_scales_names_the_workers_and_is_alone_in_saying_how_many_there_are(values, kind):
    manifests = render(values)
    (scaler,) = of_kind(manifests, kind)
    (deployment,) = of_kind(manifests, "Deployment", "worker")
    assert scaler["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    assert "replicas" not in deployment["spec"]
    assert scaler["spec"].get("minReplicaCount", scaler["spec"].get("minReplicas")) >= 1
    if kind == "ScaledObject":
        (settings,) = of_kind(manifests, "ConfigMap", "worker")
        kafka = yaml.safe_load(settings["data"]["monitor.yml"])["kafka"]
        asked = [t["metadata"] for t in scaler["spec"]["triggers"]]
        assert [a.get("topic", "") for a in asked] == [kafka["topic"]]  # empty: KEDA adds up all topics of the group
        assert {a["consumerGroup"] for a in asked} == {kafka["group"]}
        assert {a["bootstrapServers"] for a in asked} == {kafka["bootstrap_servers"]}


@needs_helm
def test_a_job_promotes_the_settings_of_the_workers_and_another_one_other_settings():
    manifests = render("all")
    (job,) = of_kind(manifests, "Job")
    spec = job["spec"]["template"]["spec"]
    (found,) = spec["containers"]
    assert found["args"] == ["promote", "--config", "/etc/ood-monitor/monitor.yml"]
    worker, beside = container(manifests, "worker")
    assert (spec["volumes"], spec["initContainers"]) == (worker["volumes"], worker["initContainers"])
    assert (found["volumeMounts"], found["image"]) == (beside["volumeMounts"], beside["image"])
    for change in ("config.buckets.seconds=2", "artifact.image=registry.example.com/artifact:2026-11-30"):
        (other,) = of_kind(render("all", "--set", change), "Job")
        assert other["metadata"]["name"] != job["metadata"]["name"], change
    assert not of_kind(render("least"), "Job")


@each
def test_a_worker_goes_only_after_another_one_is_ready(values):
    for deployment in of_kind(render(values), "Deployment"):
        assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    (settings,) = of_kind(render(values), "ConfigMap", "worker")
    assert "instance_id" not in settings["data"]["monitor.yml"]


@needs_helm
def test_the_rules_are_those_of_the_repository_and_go_by_the_job_that_is_scraped(tmp_path):
    rules = (ROOT / "deploy/prometheus/rules.yml").read_text()
    assert (CHART / "files/rules.yml").read_text() == rules, "copy deploy/prometheus/rules.yml into the chart"
    manifests = render("all", release="b")
    (rule,), (monitor,) = of_kind(manifests, "PrometheusRule"), of_kind(manifests, "ServiceMonitor")
    groups = yaml.safe_load(
        rules.replace("{{ $externalLabels.runbook }}", "https://wiki.example.com/ood-monitor/runbook")
    )
    assert rule["spec"] == groups
    (relabeling,) = monitor["spec"]["endpoints"][0]["relabelings"]
    jobs = set(re.findall(r'job=~"([^"]+)"', rules))
    assert jobs
    assert all(re.fullmatch(job, relabeling["replacement"]) for job in jobs)
    if shutil.which("promtool"):
        (tmp_path / "rules.yml").write_text(yaml.safe_dump(rule["spec"]))
        subprocess.run(["promtool", "check", "rules", str(tmp_path / "rules.yml")], check=True, capture_output=True)


SECRETS = [
    (prefix, section, key)
    for prefix, model in (("", MonitorConfig), ("ingest.", IngestConfig))
    for section in known_keys([], model)
    for key in known_keys([section], model)
    if is_secret([section, key], model=model) and not (prefix == "" and (section, key) == ("redis", "url"))
]


@each
def test_no_secret_is_in_it(values):
    manifests = render(values)
    assert not of_kind(manifests, "Secret")
    for pod in pods(manifests):
        for one in pod["spec"]["containers"]:
            assert [e["name"].endswith("_SECRETS_DIR") for e in one["env"]] == [True]


@needs_helm
@pytest.mark.parametrize(
    ("prefix", "section", "key"), [s for s in SECRETS if not s[2].endswith("_url") or s[1] == "delivery"]
)
def test_a_secret_among_the_values_is_refused_and_not_repeated(prefix, section, key):
    given = f"{prefix}config.{section}.{key}=hunter2-hunter2-hunter2"
    if key == "alertmanager_url":
        given = f"{prefix}config.{section}.{key}=http://u:hunter2@alertmanager"
    done = template("all", "--set", given)
    assert done.returncode != 0
    assert f"config.{section}.{key}" in done.stderr
    assert "hunter2" not in done.stderr


@needs_helm
def test_a_password_in_a_url_is_refused_and_not_repeated():
    done = template("least", "--set", "config.redis.url=redis://monitor:hunter2@redis/0")
    assert done.returncode != 0
    assert "config.redis.url holds a user or a password" in done.stderr
    assert "hunter2" not in done.stderr


@needs_helm
@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("httpToken.secret=", "httpToken.secret is empty"),
        ("artifact.claim=", "either artifact.claim or artifact.image"),
        ("artifact.image=x", "either artifact.claim or artifact.image"),
        ("artifact.image=x,artifact.claim=,config.models[0].name=a", "config.models names several artifacts"),
        ("config.kafka.bootstrap_servers=", "config.kafka.bootstrap_servers is empty"),
        ("config.redis.url=", "config.redis.url is empty"),
        ("autoscaling.minReplicas=0", "autoscaling.minReplicas is below 1"),
        ("ingest.enabled=true", "ingest.httpToken.secret is empty"),
        (
            "ingest.enabled=true,ingest.httpToken.secret=t,config.kafka.topics={a,b}",
            "name the one that ingest writes to in ingest.config.kafka.topic",
        ),
        ("replica=3", "replica"),
        ("autoscaling.kind=vpa", "autoscaling"),
        ("terminationGracePeriodSeconds=5", "terminationGracePeriodSeconds"),
        ("secrets[0].setting=redis.password", "setting"),
    ],
)
def test_a_value_that_is_missing_or_wrong_is_named(given, said):
    done = template("least", "--set", given)
    assert done.returncode != 0
    assert said in done.stderr


def test_every_value_is_used_and_in_the_schema():
    texts = "\n".join(p.read_text() for p in (CHART / "templates").iterdir())
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert set(values) | {"global"} == set(schema["properties"])
    for name, value in values.items():
        assert f".Values.{name}" in texts, name
        inner = schema["properties"][name].get("properties")
        if inner and isinstance(value, dict):
            assert set(value) <= set(inner), name
            for key in value if name not in ("resources",) else ():
                assert re.search(rf"\.{key}\b", texts), f"{name}.{key}"


@needs_helm
def test_several_topics_reach_the_worker_and_are_followed_together():
    several = ["--set-json", 'config.kafka.topics=["cars","birds"]', "--set", "ingest.config.kafka.topic=cars"]
    several += ["--set", "config.dead_letters.topic=dead", "--set", "autoscaling.kind=keda"]
    manifests = render("all", *several)
    (scaled,) = of_kind(manifests, "ScaledObject")
    assert "topic" not in scaled["spec"]["triggers"][0]["metadata"]  # KEDA then adds up all topics of the group
    (scaled,) = of_kind(render("all", "--set", "autoscaling.kind=keda"), "ScaledObject")
    assert scaled["spec"]["triggers"][0]["metadata"]["topic"]
    texts = [m["data"]["monitor.yml"] for m in of_kind(manifests, "ConfigMap") if "monitor.yml" in m.get("data", {})]
    (given,) = [yaml.safe_load(text) for text in texts]
    assert validate({**given, "http": {}}).kafka.topic_names == ("cars", "birds")
