"""The manifests of docs/recipes are what Kubernetes reads, and agree with the settings that stand beside them."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import pytest
import yaml

from monitor.config import load_as
from monitor.config.ingest import IngestConfig, QueueConfig
from tests.cluster import REPOSITORY
from tests.recipes import RECIPES, settings

NAMES = sorted(path.name for path in RECIPES.iterdir())


def manifests(name):
    return list(yaml.safe_load_all((RECIPES / name).read_text(encoding="utf-8")))


@pytest.mark.parametrize("recipe", NAMES)
def test_the_settings_of_every_recipe_are_valid_as_they_stand(recipe):
    assert settings(recipe)["model"]["artifact"] == "line.safetensors"


@pytest.mark.parametrize("recipe", NAMES)
def test_the_page_of_every_recipe_shows_the_settings_that_its_file_has(recipe):
    page = (REPOSITORY / "docs" / "recipes" / f"{recipe}.md").read_text(encoding="utf-8")
    shown = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", page, flags=re.DOTALL)]
    assert {"messages": settings(recipe)["messages"]} in shown


def test_kserves_logger_posts_responses_to_where_ingest_listens():
    ingest = settings("kserve", "ingest.yml")
    load_as(IngestConfig, RECIPES / "kserve" / "ingest.yml", {"OOD_INGEST__HTTP__TOKEN": "t" * 32})
    (service,) = manifests("kserve/inferenceservice.yaml")
    config, deployment, address = manifests("kserve/ingest-deployment.yaml")
    logger = service["spec"]["predictor"]["logger"]
    url = urlsplit(logger["url"])
    assert logger["mode"] == "response"
    assert url.hostname == "{name}.{namespace}.svc.cluster.local".format(**address["metadata"])
    assert url.port == address["spec"]["ports"][0]["port"] == ingest["http"]["port"]
    assert yaml.safe_load(config["data"]["ingest.yml"]) == ingest
    pod = deployment["spec"]["template"]
    assert address["spec"]["selector"] == pod["metadata"]["labels"] == deployment["spec"]["selector"]["matchLabels"]
    assert pod["spec"]["terminationGracePeriodSeconds"] > QueueConfig().drain_seconds


def test_knative_takes_responses_to_the_topic_that_the_monitor_reads():
    monitor, ingest = settings("kserve"), settings("kserve", "ingest.yml")
    broker, trigger, sink = manifests("kserve/knative.yaml")
    assert trigger["spec"]["broker"] == broker["metadata"]["name"]
    assert trigger["spec"]["filter"]["attributes"]["type"] == monitor["messages"]["accept"][0]["ce_type"]
    assert trigger["spec"]["subscriber"]["ref"] == {
        "apiVersion": sink["apiVersion"], "kind": sink["kind"], "name": sink["metadata"]["name"],
    }  # fmt: skip
    assert sink["spec"]["topic"] == monitor["kafka"]["topic"] == ingest["kafka"]["topic"]
    assert sink["spec"]["bootstrapServers"] == [monitor["kafka"]["bootstrap_servers"]]


def test_seldons_topic_is_the_one_of_the_model_in_its_pipeline():
    model, pipeline = manifests("seldon/pipeline.yaml")
    topic = "seldon.{namespace}.model.{name}.outputs".format(**model["metadata"])
    assert settings("seldon")["kafka"]["topic"] == topic
    assert pipeline["spec"]["steps"] == [{"name": model["metadata"]["name"]}]


@pytest.mark.parametrize("version", ["1.25", "1.31"])
def test_kubernetes_own_schemas_find_nothing_wrong_with_what_runs_ingest(version):
    validate = pytest.importorskip(
        "kubernetes_validate", reason="the schemas of Kubernetes are not installed: pip install kubernetes-validate"
    )
    for manifest in manifests("kserve/ingest-deployment.yaml"):
        validate.validate(manifest, version, strict=True)
