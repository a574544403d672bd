"""The chart in deploy/helm as Helm renders it; and the plain manifests, which were rendered from it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy/helm/ood-monitor"
PLAIN = ROOT / "deploy/kubernetes/ood-monitor.yml"
HELM = os.environ.get("HELM") or shutil.which("helm") or ""
KUBERNETES = "1.31.0"
HEADER = """\
# Made from deploy/helm/ood-monitor, for those who use no Helm:
#   helm template ood-monitor deploy/helm/ood-monitor --values deploy/helm/ood-monitor/ci/least-values.yaml
# Change what is yours: the image, the claim with the artifact, the addresses of Kafka and Redis in the ConfigMap.
"""

Manifest = dict[str, Any]


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([HELM, *arguments], capture_output=True, text=True, timeout=60, check=False)


def template(values: str, *more: str, release: str = "ood-monitor") -> subprocess.CompletedProcess[str]:
    """``helm template`` with a file of the chart's ci folder."""
    file = CHART / "ci" / f"{values}-values.yaml"
    return helm("template", release, str(CHART), "--kube-version", KUBERNETES, "--values", str(file), *more)


def render(values: str, *more: str, release: str = "ood-monitor") -> list[Manifest]:
    """The manifests; ``plain`` are those that are kept."""
    if values == "plain":
        return [m for m in yaml.safe_load_all(PLAIN.read_text()) if m]
    done = template(values, *more, release=release)
    assert done.returncode == 0, done.stderr
    return [m for m in yaml.safe_load_all(done.stdout) if m]


def of_kind(manifests: list[Manifest], kind: str, component: str = "") -> list[Manifest]:
    """Those of a kind, and of one of ``worker`` and ``ingest`` by their names."""
    found = [m for m in manifests if m["kind"] == kind]
    if component:
        found = [m for m in found if m["metadata"]["name"].endswith("-ingest") == (component == "ingest")]
    return found


def pods(manifests: list[Manifest]) -> list[Manifest]:
    """The pods' templates of all Deployments and Jobs."""
    return [m["spec"]["template"] for m in manifests if m["kind"] in ("Deployment", "Job")]


if __name__ == "__main__":
    PLAIN.write_text(HEADER + template("least").stdout)
