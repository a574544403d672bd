"""Mute, unmute and acknowledge, from the command line and over HTTP, as a real webhook and Alertmanager feel them."""

from __future__ import annotations

import json
import subprocess
import sys

import httpx
import pytest

from monitor.testing.alertmanager import find_alertmanager, start_alertmanager
from monitor.testing.launcher import HOST, free_port
from monitor.testing.receivers import Receiver
from tests.live import Live, holds, wait_for_surge


def command(c, *arguments: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "monitor.cli", arguments[0], "--config", str(c.path), *arguments[1:]]
    return subprocess.run(line, check=False, capture_output=True, text=True, timeout=60, env=c.environment())


def changes(receiver: Receiver) -> list[tuple[str, str]]:
    """Kind and status of what the webhook was told, in order."""
    return [(r.json["alerts"][0]["labels"]["kind"], r.json["status"]) for r in receiver.requests if r.path == "/hook"]


@pytest.fixture
def receiver():
    made = Receiver()
    yield made
    made.close()


def test_a_surge_under_a_mute_reaches_nobody_until_the_mute_is_ended(cluster, receiver):
    port = free_port()
    c = cluster(http={"port": port}, delivery={"webhook_url": f"{receiver.url}/hook"})
    c.start_worker()
    url = f"http://{HOST}:{port}/api/v1"
    with Live(c) as live:
        c.wait(lambda: c.counted() > 300)
        done = command(c, "mute", "--kind", "ood", "--for", "1h", "--reason", "deploying", "--by", "anna")
        assert done.returncode == 0, done.stderr
        assert "kind ood until" in done.stdout
        wait_for_surge(c, live)
        assert holds(c, lambda: ("ood", "firing") not in changes(receiver), 4)
        shown = httpx.get(f"{url}/alerts").json()["alerts"]
        assert any(a["kind"] == "ood" and a["muted"]["author"] == "anna" for a in shown)
        assert "ood_monitor_mutes 1.0" in httpx.get(f"http://{HOST}:{port}/metrics").text
        listed = command(c, "alerts")
        assert "muted: " in listed.stdout
        assert "by anna: deploying" in listed.stderr
        (mute,) = httpx.get(f"{url}/mutes").json()["mutes"]
        assert command(c, "unmute", mute["id"]).returncode == 0
        c.wait(lambda: ("ood", "firing") in changes(receiver), 30)
        name = next(a["fingerprint"] for a in shown if a["kind"] == "ood")
        assert command(c, "acknowledge", name, "--reason", "looking", "--by", "bert").returncode == 0
        assert "acknowledged by bert" in command(c, "alerts").stdout
        assert command(c, "acknowledge", name, "--undo").returncode == 0
    for arguments, said in (
        (("unmute", mute["id"]), "is in force"),
        (("acknowledge", "unknown", "--reason", "x"), "is not known"),
        (("mute", "--stream", "a", "--for", "8d", "--reason", "x"), "7 days at most"),
        (("mute", "--stream", "a", "--reason", "x"), "--for is missing"),
        (("mute", "--stream", "a", "--for", "1h"), "reason"),
    ):
        ended = command(c, *arguments)
        assert (ended.returncode, len(ended.stderr.splitlines())) == (1, 1), ended.stderr
        assert said in ended.stderr
    assert "nothing is muted" in command(c, "mute").stderr


@pytest.mark.skipif(not find_alertmanager(), reason="Alertmanager is not installed (Debian: prometheus-alertmanager)")
def test_alertmanager_is_told_of_the_end_of_what_is_muted_and_of_its_return(cluster, receiver):
    port = free_port()
    with start_alertmanager(f"{receiver.url}/am") as alertmanager:
        c = cluster(
            http={"port": port}, delivery={"alertmanager_url": f"http://{alertmanager.address}", "resend_seconds": 2.0}
        )
        c.start_worker()

        def firing() -> bool:
            found = httpx.get(f"http://{alertmanager.address}/api/v2/alerts").json()
            return any(a["labels"].get("kind") == "ood" for a in found)

        with Live(c) as live:
            c.wait(lambda: c.counted() > 300)
            wait_for_surge(c, live)
            c.wait(firing, 30)
            body = {"kind": "ood", "minutes": 60, "author": "anna", "reason": "a new camera"}
            mute = httpx.post(f"http://{HOST}:{port}/api/v1/mutes", json=body).json()
            c.wait(lambda: not firing(), 30)
            receiver.wait(lambda all_: any(b"a new camera" in r.body and b'"resolved"' in r.body for r in all_), 90)
            with httpx.Client() as client:
                gone = client.request(
                    "DELETE", f"http://{HOST}:{port}/api/v1/mutes/{mute['id']}", content="{}",
                    headers={"content-type": "application/json"},
                )  # fmt: skip
            assert gone.status_code == 200
            c.wait(firing, 30)


def test_a_client_that_listens_over_http_hears_of_a_surge(cluster):
    port = free_port()
    c = cluster(http={"port": port})
    c.start_worker()
    with Live(c) as live:
        c.wait(lambda: c.counted() > 300)
        with httpx.stream("GET", f"http://{HOST}:{port}/api/v1/events", timeout=60) as answer:
            lines = answer.iter_lines()
            assert next(lines).startswith("retry")
            live.ood = 0.5
            heard = (json.loads(line[6:]) for line in lines if line.startswith("data: "))
            assert next(a for a in heard if a["kind"] == "ood")["change"] == "raised"
            (worker,) = c.workers
            c.leave(worker)  # a client that listens does not keep the process
            assert worker.returncode == 0
