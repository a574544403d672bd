"""`ood-monitor local`: a broker and a Redis until it is told to stop."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from monitor.cli import main
from monitor.store.connection import connect
from monitor.testing import launcher
from tests.cluster import REPOSITORY, read_topic

pytestmark = pytest.mark.slow


class Local:
    """The command in a process of its own, on two ports."""

    def __init__(self) -> None:
        self.kafka, self.redis = launcher.free_port(), launcher.free_port()
        command = [sys.executable, "-m", "monitor.cli", "local"]
        command += ["--kafka-port", str(self.kafka), "--redis-port", str(self.redis)]
        environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )
        self.said = "".join(self.process.stdout.readline() for _ in range(3))

    def children(self) -> dict[str, int]:
        """The two servers' names and process ids."""
        command = ["ps", "-o", "pid=,args=", "--ppid", str(self.process.pid)]
        lines = [line.split(None, 1) for line in subprocess.check_output(command, text=True).splitlines()]
        return {("broker" if "broker" in args else "store"): int(pid) for pid, args in lines}

    def end(self, number: int = signal.SIGINT) -> tuple[int, str]:
        """Send a signal; exit code and what was said since the start."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        out, err = self.process.communicate(timeout=30)
        return self.process.returncode, out + err


@pytest.fixture
def local() -> Iterator[Callable[[], Local]]:
    made: list[Local] = []

    def start() -> Local:
        made.append(Local())
        return made[-1]

    yield start
    for one in made:
        one.end(signal.SIGTERM)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_both_answer_on_loopback_until_a_signal_and_nothing_is_left_behind(local, number):
    one = local()
    assert "trying out only" in one.said
    assert f"--bootstrap-servers 127.0.0.1:{one.kafka} --redis-url redis://127.0.0.1:{one.redis}/0" in one.said
    launcher.create_topic(f"127.0.0.1:{one.kafka}", "t", 1)
    assert read_topic(f"127.0.0.1:{one.kafka}", "t") == []
    assert connect(f"redis://127.0.0.1:{one.redis}/0").ping()
    assert len(one.children()) == 2
    code, said = one.end(number)
    assert (code, said) == (0, "stopped; all data of the broker and Redis is gone\n")
    assert not launcher.listens(one.kafka)
    assert not launcher.listens(one.redis)


@pytest.mark.parametrize("name", ["broker", "store"])
def test_if_one_server_ends_the_command_says_which_and_ends_the_other(local, name):
    one = local()
    os.kill(one.children()[name], signal.SIGKILL)
    one.process.wait(30)
    code, said = one.end()
    assert code == 1
    assert re.fullmatch(
        r"ood-monitor: (\S+) ended with -9, and its data is gone: .*start `ood-monitor local` .*\n", said
    )
    assert ("tansu" in said) == (name == "broker")
    assert not launcher.listens(one.kafka)
    assert not launcher.listens(one.redis)


@pytest.mark.parametrize(("taken", "what"), [("--kafka-port", "Kafka"), ("--redis-port", "Redis")])
def test_a_port_that_is_taken_is_named_with_the_flag_that_chooses_another(taken, what, capsys):
    free = launcher.free_port()
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        flags = {"--kafka-port": str(free), "--redis-port": str(free), taken: str(port)}
        assert main(["local", *[word for pair in flags.items() for word in pair]]) == 1
    said = capsys.readouterr().err
    assert f"127.0.0.1:{port} already: if it is a {what} of yours" in said
    assert f"another port with {taken}\n" in said
    assert not launcher.listens(free)


def test_the_same_port_twice_and_a_port_that_is_none_are_refused(capsys):
    assert main(["local", "--kafka-port", "7", "--redis-port", "7"]) == 1
    assert "give them different ports" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        main(["local", "--kafka-port", "0"])
    assert "expected a port from 1 to 65535" in capsys.readouterr().err
