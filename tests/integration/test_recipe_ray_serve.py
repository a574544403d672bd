"""docs/recipes/ray-serve.md: the example on a Ray of its own, under the recipe's own settings."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
import torch

from monitor.testing import launcher
from tests.cluster import REPOSITORY
from tests.recipes import counted, settings, stopped_while_kafka_stands_still, wide_artifact

pytest.importorskip("ray.serve", reason='Ray Serve is not installed: pip install "ray[serve]"')
IMAGE = torch.rand(3, 32, 32, generator=torch.Generator().manual_seed(0)).tolist()

SERVE = textwrap.dedent("""
    import signal, sys
    import ray
    from ray import serve
    ray.init(address="local", num_cpus=3, include_dashboard=False, configure_logging=False,
             object_store_memory=100_000_000, _temp_dir=sys.argv[2], _node_ip_address="127.0.0.1")
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
    from examples.ray_serve_app import app
    serve.run(app)
    print("serving", flush=True)
    signal.sigwait([signal.SIGTERM])
    serve.shutdown()
    ray.shutdown()
""")


@pytest.fixture
def served(cluster, tmp_path):
    """A worker, and Ray Serve in a session of processes of its own; the address of the application."""
    c = cluster(model={"artifact": str(wide_artifact(tmp_path, 512))}, messages=settings("ray-serve")["messages"])
    c.start_worker()
    port, log = launcher.free_port(), tmp_path / "serve.log"
    env = {
        **os.environ, "KAFKA": c.bootstrap, "TOPIC": c.topic, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY),
        "RAY_USAGE_STATS_ENABLED": "0", "RAY_SERVE_ENABLE_HA_PROXY": "0",
    }  # fmt: skip
    # Ray's sockets lie in its folder, and their names have to be short.
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        with log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-c", SERVE, str(port), folder], cwd=REPOSITORY, env=env, stdout=out, stderr=out,
                start_new_session=True,
            )  # fmt: skip
        try:
            until = time.monotonic() + 180
            while "\nserving\n" not in f"\n{log.read_text()}":
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < until, log.read_text()
                time.sleep(0.2)
            yield c, process, f"http://127.0.0.1:{port}/"
        finally:
            stop(process)


def stop(process):
    """In order; if that takes too long, with everything that it started."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_each_request_of_each_tenant_is_counted_once_though_the_replicas_are_stopped_while_kafka_stands_still(
    served, broker
):
    c, process, url = served

    def ask(n):
        tenant = {"x-tenant": f"tenant-{n % 2}"} if n % 3 else {}
        return httpx.post(url, json=IMAGE, headers={"x-request-id": f"r{n}", **tenant}, timeout=120)

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(ask, range(50)))
        with stopped_while_kafka_stands_still(broker):
            answers += threads.map(ask, range(50, 60))
            process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    assert [(a.status_code, a.json()["id"]) for a in answers] == [(200, f"r{n}") for n in range(60)]
    c.sent = 60
    c.wait_until_counted()
    assert counted(c) == {"resnet18": 20, "tenant-0": 20, "tenant-1": 20}
    assert c.store.rejected() == {}
    assert sorted(dict(r.headers)["ce_id"].decode() for r in c.records()) == sorted(f"r{n}" for n in range(60))
