"""What a real worker answers over HTTP while it counts, while Redis is away, and while clients behave badly."""

from __future__ import annotations

import signal
import socket
import ssl
import subprocess
import sys
import time

import httpx

from monitor.testing.launcher import HOST, free_port
from tests.live import Live
from tests.redis_servers import certificates

TOKEN = "a-token-of-32-letters-or-so-4711"


def served(cluster, **http):
    c = cluster(http={"port": free_port(), **http})
    c.url = f"http://{HOST}:{c.config['http']['port']}"
    c.start_worker()
    return c


def says(c, path: str, status: int, text: str = "", **given) -> bool:
    try:
        answer = httpx.get(c.url + path, **given)
    except httpx.TransportError:
        return False
    return answer.status_code == status and text in answer.text


def test_a_worker_is_ready_while_it_counts_and_says_why_it_is_not_while_redis_is_away(cluster, redis):
    c = served(cluster)
    c.wait(lambda: says(c, "/-/ready", 200, "ready"))
    with Live(c):
        c.wait(lambda: c.counted() > 100)
        redis.process.send_signal(signal.SIGSTOP)
        try:
            until = time.monotonic() + 60
            while not says(c, "/-/ready", 503, "Redis"):
                assert time.monotonic() < until
            assert says(c, "/-/healthy", 200)  # a restart would not help
            assert says(c, "/metrics", 200, "ood_monitor_store_away 1.0")
        finally:
            redis.process.send_signal(signal.SIGCONT)
        c.wait(lambda: says(c, "/-/ready", 200))
    assert says(c, "/metrics", 200, "# EOF", headers={"accept": "application/openmetrics-text; version=1.0.0"})
    assert says(c, "/nothing", 404, "error")
    assert says(c, "/metrics", 421, "allowed_hosts", headers={"host": "rebound.example.com"})


def test_connections_that_are_only_held_keep_nobody_out_and_do_not_delay_the_end(cluster):
    c = served(cluster)
    c.wait(lambda: says(c, "/-/ready", 200))
    port = c.config["http"]["port"]
    held = [socket.create_connection((HOST, port)) for _ in range(300)]
    for one in held[::2]:
        one.sendall(b"GET /metrics HTTP/1.1\r\nhost: 127.0.0.1\r\nx: ")
    with Live(c):
        for _ in range(20):
            assert says(c, "/-/healthy", 200)
            assert says(c, "/metrics", 200)
        c.wait(lambda: c.counted() > 100)
    c.wait_until_counted()
    worker = c.workers[0]
    began = time.monotonic()
    worker.terminate()
    assert worker.wait(20) == 0
    assert time.monotonic() - began < 15
    c.workers.remove(worker)
    for one in held:
        one.close()


def test_with_a_token_and_certificates_only_probes_are_answered_without_both(cluster, tmp_path):
    folder = tmp_path / "tls"
    folder.mkdir()
    found = certificates(folder)
    secret = tmp_path / "token"
    secret.write_text(TOKEN + "\n")
    http = {
        "host": "0.0.0.0",
        "token_file": str(secret),
        "tls_certfile": str(found["server.crt"]),
        "tls_keyfile": str(found["server.key"]),
        "tls_client_cafile": str(found["ca.crt"]),
    }
    c = served(cluster, **http)
    c.url = c.url.replace("http:", "https:")
    stranger, known = (ssl.create_default_context(cafile=str(found["ca.crt"])) for _ in range(2))
    known.load_cert_chain(str(found["client.crt"]), str(found["client.key"]))
    shown = {"authorization": f"Bearer {TOKEN}"}
    c.wait(lambda: says(c, "/-/ready", 200, verify=stranger))
    assert says(c, "/metrics", 401, "certificate", verify=stranger, headers=shown)
    assert says(c, "/metrics", 401, "http.token", verify=known)
    assert says(c, "/metrics", 200, "ood_monitor_build_info", verify=known, headers=shown)
    assert TOKEN not in c.logs()


def test_what_cannot_be_served_ends_the_start_in_one_line(cluster):
    c = cluster()
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        for setting, expected in (
            ({"OOD_MONITOR__HTTP__PORT": str(port)}, "take another port"),
            ({"OOD_MONITOR__HTTP__PORT": "1234", "OOD_MONITOR__HTTP__HOST": "0.0.0.0"}, "http.token_file"),
            ({"OOD_MONITOR__TELEMETRY__PORT": "1234"}, "it is called"),
        ):
            command = [sys.executable, "-m", "monitor.cli", "run", "--config", str(c.path)]
            ended = subprocess.run(
                command, check=False, capture_output=True, text=True, timeout=60, env=c.environment(setting)
            )
            assert ended.returncode == 1
            last = ended.stderr.splitlines()[-1]
            assert last.startswith("ood-monitor: ")
            assert expected in last
            assert "Traceback" not in ended.stderr
