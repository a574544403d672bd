"""docs/recipes/fastapi.md: the example as a process of uvicorn, under the recipe's own settings."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
import torch

from monitor.testing import launcher
from tests.cluster import REPOSITORY
from tests.recipes import counted, settings, stopped_while_kafka_stands_still, wide_artifact

pytest.importorskip("fastapi", reason="fastapi is not installed")
IMAGE = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(0)).tolist()


def serve(cluster, folder, port):
    command = [sys.executable, "-m", "uvicorn", "examples.fastapi_app:app", "--port", str(port)]
    env = {**os.environ, "KAFKA": cluster.bootstrap, "TOPIC": cluster.topic, "OMP_NUM_THREADS": "1"}
    env["PYTHONPATH"] = str(REPOSITORY)
    with (folder / "uvicorn.log").open("wb") as log:
        return subprocess.Popen(command, cwd=REPOSITORY, env=env, stdout=log, stderr=log)


def wait_until_it_answers(process, url, log, seconds=90):
    until = time.monotonic() + seconds
    while True:
        try:
            return httpx.get(f"{url}/docs", timeout=5)
        except httpx.TransportError:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.1)


def test_each_request_of_each_tenant_is_counted_once_though_the_server_is_stopped_while_kafka_stands_still(
    cluster, broker, tmp_path
):
    found = settings("fastapi")
    c = cluster(model={"artifact": str(wide_artifact(tmp_path, 512))}, messages=found["messages"])
    c.start_worker()
    url = f"http://127.0.0.1:{(port := launcher.free_port())}"
    server = serve(c, tmp_path, port)
    try:
        wait_until_it_answers(server, url, tmp_path / "uvicorn.log")

        def ask(n):
            tenant = {"x-tenant": f"tenant-{n % 2}"} if n % 3 else {}
            return httpx.post(f"{url}/predict", json=IMAGE, headers={"x-request-id": f"r{n}", **tenant}, timeout=60)

        with ThreadPoolExecutor(4) as threads:
            answers = list(threads.map(ask, range(50)))
            with stopped_while_kafka_stands_still(broker):
                answers += threads.map(ask, range(50, 60))
                server.terminate()
        server.wait(30)
    finally:
        server.kill()
        server.wait()
    assert [(a.status_code, a.json()["id"]) for a in answers] == [(200, f"r{n}") for n in range(60)]
    c.sent = 60
    c.wait_until_counted()
    assert counted(c) == {"resnet18": 20, "tenant-0": 20, "tenant-1": 20}
    assert c.store.rejected() == {}
    assert sorted(dict(r.headers)["ce_id"].decode() for r in c.records()) == sorted(f"r{n}" for n in range(60))
