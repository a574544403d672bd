"""``ood-monitor local``: run a broker and a Redis on loopback until Ctrl-C, to try the monitor out."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from monitor.cli.exit_codes import ExitCode
from monitor.cli.options import Commands

if TYPE_CHECKING:
    from monitor.testing.launcher import Server

KAFKA_PORT, REDIS_PORT = 9092, 6379
"""The usual ports, which `ood-monitor init` has as defaults."""


def add(commands: Commands) -> None:
    """Describe the command."""
    words = (
        "Start a broker that speaks Kafka's protocol and a Redis on loopback ports, and keep them until Ctrl-C. Both "
        "hold everything in memory and forget it when they end: this is for trying things out, not for production."
    )
    command = commands.add_parser("local", help="a broker and a Redis to try things out with", description=words)
    command.set_defaults(command=run)
    command.add_argument("--kafka-port", type=_port, default=KAFKA_PORT, metavar="PORT", help=f"({KAFKA_PORT})")
    command.add_argument("--redis-port", type=_port, default=REDIS_PORT, metavar="PORT", help=f"({REDIS_PORT})")


def run(options: argparse.Namespace) -> int:
    """Run the command, and return the exit code."""
    import signal
    import threading

    from monitor.errors import LaunchError
    from monitor.testing import launcher

    over = threading.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda _number, _frame: over.set())
    _refuse_taken(options)
    with launcher.start_broker(options.kafka_port) as broker, launcher.start_store(options.redis_port) as store:
        _say_where(broker, store)
        while not over.wait(0.2):
            for server in (broker, store):
                if server.process.poll() is not None:
                    output = " ".join(server.log().split())[-400:]
                    raise LaunchError(
                        f"{server.name} ended with {server.process.returncode}, and its data is gone: "
                        f"{output or 'no output'}; start `ood-monitor local` again, and make the topics again"
                    )
    print("stopped; all data of the broker and Redis is gone")
    return ExitCode.DONE


def _refuse_taken(options: argparse.Namespace) -> None:
    """Refuse a port that is taken before anything starts: a server's own message about it is hard to read.

    Raises:
        LaunchError: the port is taken.
    """
    from monitor.errors import LaunchError
    from monitor.testing import launcher

    if options.kafka_port == options.redis_port:
        raise LaunchError(f"--kafka-port and --redis-port are both {options.kafka_port}: give them different ports")
    for what, port, flag in (
        ("Kafka", options.kafka_port, "--kafka-port"),
        ("Redis", options.redis_port, "--redis-port"),
    ):
        if launcher.listens(port):
            raise LaunchError(
                f"something listens on {launcher.HOST}:{port} already: if it is a {what} of yours, use that one, "
                f"otherwise choose another port with {flag}"
            )


def _say_where(broker: Server, store: Server) -> None:
    print(
        f"Kafka's protocol ({broker.name}) at {broker.address}, Redis ({store.name}) at redis://{store.address}/0; "
        "both in memory, for trying out only.\n"
        "Leave this running, go on in another terminal, and end it with Ctrl-C. Next, with your artifact:\n"
        f"  ood-monitor init --artifact line.safetensors --bootstrap-servers {broker.address} --redis-url "
        f"redis://{store.address}/0 --create-topics --http-port 9464",
        flush=True,
    )


def _port(text: str) -> int:
    """Read a port, for argparse."""
    try:
        value = int(text)
    except ValueError:
        value = 0
    if not 1 <= value <= 65535:
        raise argparse.ArgumentTypeError(f"{text} given, expected a port from 1 to 65535")
    return value
