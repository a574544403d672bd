"""docs/tutorial.md, typed: every command of the page in its order, on real processes, up to the alert in a browser.

``OPENOOD_LINE_TUTORIAL_ENV=FOLDER`` types them in a virtual environment that is made there with a wheel, and the page's
own extras, if it is not there yet. ``OPENOOD_LINE_TUTORIAL_PICTURE=FILE`` keeps the picture of the page.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest

from monitor.testing import launcher
from tests.cluster import REPOSITORY

pytestmark = pytest.mark.slow

pytest.importorskip("fastapi", reason="fastapi is not installed")
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

PAGE = (REPOSITORY / "docs" / "tutorial.md").read_text(encoding="utf-8")
ENVIRONMENT = os.environ.get("OPENOOD_LINE_TUTORIAL_ENV")
PICTURE = os.environ.get("OPENOOD_LINE_TUTORIAL_PICTURE")
STAYS = "# leave it running"
PORTS = ("9092", "6379", "9464", "8000")
DEFAULTS = {
    "ood-monitor local": "--kafka-port 9092 --redis-port 6379",
    "examples/send_images.py": "--url http://127.0.0.1:8000/predict/image",
}
"""Ports that the page leaves to the commands' defaults."""


def commands() -> list[str]:
    blocks = re.findall(r"```sh\n(.*?)```", PAGE, flags=re.DOTALL)
    return [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]


class Newcomer:
    """Types commands in a folder, on ports that are free."""

    def __init__(self, folder: Path, bin_folder: Path) -> None:
        self.folder, self.running = folder, list[subprocess.Popen[bytes]]()
        self.ports = {usual: str(launcher.free_port()) for usual in PORTS}
        self.environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "XDG_CACHE_HOME": str(folder / "cache"),
            "HOME": str(folder),
        }
        self.environment["PATH"] = os.pathsep.join([str(bin_folder), os.environ["PATH"]])
        self.environment["PYTHONPATH"] = "" if ENVIRONMENT else str(REPOSITORY)
        self.seconds: dict[str, float] = {}

    def types(self, command: str) -> None:
        began, typed = time.monotonic(), self.on_free_ports(command)
        if STAYS in command:
            with (self.folder / "log").open("ab") as log:
                process = subprocess.Popen(
                    f"exec env {typed}" if "=" in typed.split()[0] else f"exec {typed}",
                    shell=True, cwd=self.folder, env=self.environment, stdout=log, stderr=log,
                )  # fmt: skip
            self.running.append(process)
            self.waits_for(command)
        else:
            done = subprocess.run(
                typed, shell=True, check=False, cwd=self.folder, env=self.environment,
                capture_output=True, text=True, timeout=400,
            )  # fmt: skip
            assert done.returncode == 0, (command, done.stdout[-2000:], done.stderr[-2000:], self.log())
        self.seconds[command] = time.monotonic() - began

    def on_free_ports(self, command: str) -> str:
        for word, defaults in DEFAULTS.items():
            command = command.replace(word, f"{word} {defaults}", 1)
        return re.sub("|".join(PORTS), lambda found: self.ports[found[0]], command)

    def waits_for(self, command: str) -> None:
        """Until what was started answers: a newcomer reads that in its terminal."""
        wanted = {"local": ("9092", "6379"), "run": (), "uvicorn": ("8000",)}
        (mine,) = (ports for word, ports in wanted.items() if re.search(rf"\b{word}\b", command.partition("#")[0]))
        until = time.monotonic() + 240
        while not (all(launcher.listens(int(self.ports[port])) for port in mine) if mine else self.is_counting()):
            assert self.running[-1].poll() is None, (command, self.log())
            assert time.monotonic() < until, (command, self.log())
            time.sleep(0.05)

    def is_counting(self) -> bool:
        """Whether the log of `ood-monitor run` says what the page tells to wait for."""
        (sentence,) = re.findall(r"`(it counts .*?)`", PAGE)
        return sentence in (self.folder / "log").read_text(encoding="utf-8", errors="replace")

    @property
    def page(self) -> str:
        return f"http://127.0.0.1:{self.ports['9464']}"

    def overview(self) -> dict:
        with urlopen(f"{self.page}/api/v1/overview") as answer:
            return json.load(answer)

    def log(self) -> str:
        path = self.folder / "log"
        return path.read_text(encoding="utf-8", errors="replace")[-3000:] if path.exists() else ""

    def leaves(self) -> None:
        for process in reversed(self.running):
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.fixture(scope="module")
def bin_folder(tmp_path_factory) -> Path:
    """Where the commands lie: an environment as the page installs it, or this one's modules by their names."""
    if ENVIRONMENT:
        folder = Path(ENVIRONMENT).resolve()
        if not folder.exists():
            install(folder)
        return folder / "bin"
    folder = tmp_path_factory.mktemp("bin")
    modules = {"openood": "-m line_plugin.cli", "ood-monitor": "-m monitor.cli", "uvicorn": "-m uvicorn", "python": ""}
    for name, words in modules.items():
        (folder / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {words} "$@"\n')
        (folder / name).chmod(0o755)
    return folder


def install(folder: Path) -> None:
    """The page's first command, with a wheel in place of the clone."""
    (line,) = (line for line in commands() if line.startswith("pip install"))
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    pip, wheels = [folder / "bin" / "python", "-m", "pip", "--quiet"], folder / "wheel"
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", wheels, REPOSITORY], check=True)
    (wheel,) = wheels.glob("*.whl")
    extras, *others = line.replace('"', "").split()[2:]
    began = time.monotonic()
    subprocess.run([*pip, "install", f"{wheel}{extras.removeprefix('.')}", *others], check=True)
    print(f"pip install: {time.monotonic() - began:.0f} s")


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory, bin_folder) -> Iterator[Newcomer]:
    """Somebody who has typed the whole page."""
    folder = tmp_path_factory.mktemp("clone")
    shutil.copytree(REPOSITORY / "examples", folder / "examples")
    one = Newcomer(folder, bin_folder)
    try:
        for command in commands():
            if not command.startswith("pip install"):
                one.types(command)
        until = time.monotonic() + 90
        while one.overview()["verdict"]["level"] != "alarm":
            assert time.monotonic() < until, (one.overview()["verdict"], one.log())
            time.sleep(0.2)
        for command, seconds in one.seconds.items():
            print(f"{seconds:6.1f} s  {command[:80]}")
        yield one
    finally:
        one.leaves()


def test_the_alert_names_the_stream_and_requests_that_were_sent(newcomer):
    told = newcomer.overview()
    assert "shapes" in told["verdict"]["headline"]
    (alert,) = (a for a in told["alerts"]["firing"] if a["kind"] == "ood" and "shapes" in a["title"])
    worst = [example["id"] for example in alert["examples"]]
    assert worst
    for name in worst:
        path, _, number = name.rpartition(":")
        assert path.startswith("shapes/images/stripes/")
        assert (newcomer.folder / path).is_file()
        assert 0 <= int(number) < 200


def test_the_page_opens_with_the_surge_and_lists_files_that_were_sent(newcomer, chromium):
    page = chromium.new_page(viewport={"width": 1100, "height": 760})
    page.goto(f"{newcomer.page}/")
    sync_api.expect(page.locator("#verdict")).to_contain_text("shapes", timeout=30_000)
    sync_api.expect(page.locator("#verdict")).to_contain_text("Alarm")
    sync_api.expect(page.locator("body")).to_contain_text("shapes/images/stripes/stripes-")
    picture = page.screenshot()
    assert len(picture) < 150_000
    if PICTURE:
        Path(PICTURE).write_bytes(picture)
