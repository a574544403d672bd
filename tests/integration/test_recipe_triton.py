"""docs/recipes/triton.md: the recipe's own model repository in a Triton server, under the recipe's own settings.

Triton is found in the wheel nvidia-pytriton: installed beside the tests, or in the virtual environment that
``OOD_MONITOR_TRITON`` names. That wheel has no ONNX backend, so the network is a stand-in in Python.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import numpy as np
import pytest

from monitor.testing import launcher
from tests.cluster import REPOSITORY
from tests.recipes import RECIPES, counted, settings, stopped_while_kafka_stands_still, wide_artifact


def triton_folder():
    named = os.environ.get("OOD_MONITOR_TRITON")
    if named:
        return next(iter(sorted(Path(named).glob("lib/python*/site-packages/pytriton/tritonserver"))), None)
    spec = importlib.util.find_spec("pytriton")
    return Path(spec.origin).parent / "tritonserver" if spec and spec.origin else None


TRITON = triton_folder()
VERSION = f"{sys.version_info[0]}.{sys.version_info[1]}"


def stub():
    """The program in which Triton runs a model of the Python backend."""
    return TRITON / "python_backend_stubs" / VERSION / "triton_python_backend_stub"


def environment():
    """With which that program finds its libraries."""
    folders = [*TRITON.parents[1].glob("*pytriton.libs"), *Path(sys.base_prefix).glob("lib*")]
    return {**os.environ, "LD_LIBRARY_PATH": os.pathsep.join(map(str, folders))}


def why_not():
    """Why Triton cannot run here, empty if it can."""
    if TRITON is None:
        return "Triton is not installed: pip install nvidia-pytriton, or name its environment in OOD_MONITOR_TRITON"
    if not stub().exists():
        return f"this Triton has no Python backend for Python {VERSION}"
    needs = subprocess.run(["ldd", str(stub())], env=environment(), capture_output=True, text=True, check=False).stdout
    missing = [line.split()[0] for line in needs.splitlines() if "not found" in line]
    return f"Triton's Python backend does not find {', '.join(missing)}" if missing else ""


pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not())
STAND_IN = """
import json

import numpy as np
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    def execute(self, requests):
        answers = []
        for request in requests:
            images = pb_utils.get_input_tensor_by_name(request, "images").as_numpy()
            rows = np.abs(images.reshape(len(images), -1)[:, :512])
            tensors = [pb_utils.Tensor("logits", rows[:, :10]), pb_utils.Tensor("embedding", rows)]
            answers.append(pb_utils.InferenceResponse(tensors))
        return answers
"""


@pytest.fixture
def served(cluster, tmp_path):
    """A worker, and Triton with the recipe's repository; its address."""
    c = cluster(model={"artifact": str(wide_artifact(tmp_path, 512))}, messages=settings("triton")["messages"])
    c.start_worker()
    # Its own numpy goes before ours: this release returns empty tensors under numpy 2.
    paths = [str(TRITON.parents[1]), str(REPOSITORY), *(path for path in sys.path if path.endswith("site-packages"))]
    repository = tmp_path / "models"
    shutil.copytree(RECIPES / "triton" / "model_repository", repository)
    config = repository / "resnet" / "config.pbtxt"
    config.write_text(config.read_text().replace('"onnxruntime"', '"python"'))
    (repository / "resnet" / "1").mkdir()
    (repository / "resnet" / "1" / "model.py").write_text(STAND_IN)
    for model in repository.glob("*/1/model.py"):  # the stub ignores PYTHONPATH: tell it where our packages are
        model.write_text(model.read_text().replace("import json\n", f"import json, sys\nsys.path[:0] = {paths}\n", 1))
    backends = tmp_path / "backends"  # a copy: the stub of this Python has to lie in the backend's own folder
    shutil.copytree(TRITON / "backends", backends)
    shutil.copy(stub(), backends / "python")
    port, log = launcher.free_port(), tmp_path / "triton.log"
    command = [
        str(TRITON / "bin" / "tritonserver"), f"--model-repository={repository}", f"--backend-directory={backends}",
        "--http-address=127.0.0.1", f"--http-port={port}", "--allow-grpc=false", "--allow-metrics=false",
        f"--backend-config=python,shm-region-prefix-name=ood{os.getpid()}",
    ]  # fmt: skip
    env = {**environment(), "OOD_TAP_KAFKA": c.bootstrap, "OOD_TAP_TOPIC": c.topic}
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=env, stdout=out, stderr=out)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until_ready(process, url, log)
        yield c, process, url, log
    finally:
        process.kill()
        process.wait()


def wait_until_ready(process, url, log, seconds=60):
    until = time.monotonic() + seconds
    while True:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < until, log.read_text()
        try:
            if httpx.get(f"{url}/v2/health/ready").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)


def ask(url, name, images, **parameters):
    data = images.reshape(-1).tolist()
    tensor = {"name": "images", "datatype": "FP32", "shape": list(images.shape), "data": data}
    body = {"id": name, "inputs": [tensor], "parameters": parameters}
    return httpx.post(f"{url}/v2/models/classify/infer", json=body, timeout=60)


def test_each_row_of_each_request_is_counted_once_though_triton_is_stopped_while_kafka_stands_still(served, broker):
    c, process, url, log = served
    rng = np.random.default_rng(0)

    def ask_some(numbers):
        asked = 0
        for n in numbers:
            images = rng.random((n % 3 + 1, 3, 32, 32), dtype="f4")
            answer = ask(url, f"r{n}", images, **({"tenant": f"tenant-{n % 2}"} if n >= 6 else {}))
            assert answer.status_code == 200, answer.text
            (logits,) = answer.json()["outputs"]  # the client gets the network's, unchanged
            assert logits["data"] == pytest.approx(images.reshape(len(images), -1)[:, :10].ravel().tolist())
            asked += len(images)
        return asked

    rows = ask_some(range(9))
    with stopped_while_kafka_stands_still(broker, 4.5):  # Triton takes two seconds to unload a model
        rows += ask_some(range(9, 12))
        process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0, log.read_text()
    c.sent = rows
    c.wait_until_counted()
    assert counted(c) == {"resnet": 12, "tenant-0": 6, "tenant-1": 6}
    assert c.store.rejected() == {}
    names = {dict(r.headers)["ce_id"].decode() for r in c.records()}
    assert len(names) == rows
    assert {"r0", "r1#0", "r1#1", "r2#2"} <= names
