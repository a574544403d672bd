"""The command line ``ood-monitor``. Heavy imports are made inside the commands."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. An error is one line on stderr: exit code 1, or 70 where it is none of this project's own."""
    options = parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except KeyboardInterrupt:
        print("ood-monitor: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        return 141
    except Exception as error:
        from line_plugin.errors import LinePluginError
        from monitor.errors import MonitorError

        if options.debug:
            raise
        if isinstance(error, (MonitorError, LinePluginError)):
            print(f"ood-monitor: {error}", file=sys.stderr)
            return 1
        said = " ".join(str(error).split())[:300]
        print(f"ood-monitor: unexpected {type(error).__name__}: {said} (--debug shows where)", file=sys.stderr)
        return 70


def parser() -> argparse.ArgumentParser:
    """All commands and options."""
    top = argparse.ArgumentParser(prog="ood-monitor", description="OOD alerts from embeddings in Kafka, with a budget.")
    top.add_argument("--debug", action="store_true", help="show tracebacks and debug messages")
    commands = top.add_subparsers(required=True, metavar="command")

    run = commands.add_parser("run", help="count and judge until stopped; SIGTERM finishes the batch in hand")
    _config(run, _run)
    run.add_argument("--until-idle", type=float, metavar="SECONDS", help="stop after so long without a record")

    _config(commands.add_parser("check", help="validate the settings and reach every endpoint"), _check)

    alerts = commands.add_parser("alerts", help="current alerts from Redis")
    _config(alerts, _alerts)
    alerts.add_argument("--watch", action="store_true", help="go on, one line a transition")
    alerts.add_argument("--history", type=int, default=0, metavar="N", help="the last N transitions instead")
    alerts.add_argument("--json", action="store_true", help="one JSON object a line")

    demo = commands.add_parser("demo", help="a broker, a Redis, a surge: one alert raised, one resolved")
    demo.set_defaults(command=_demo)
    demo.add_argument("--folder", default="quickstart", help="where the quickstart model lies or is made")
    demo.add_argument("--contamination", type=float, default=0.2, help="share of OOD inputs during the surge")
    demo.add_argument("--seed", type=int, default=0)
    demo.add_argument("--json", action="store_true", help="end with one line of JSON")

    replay = commands.add_parser("replay", help="judge a range of the topic as the monitor would have")
    _config(replay, _replay)
    replay.add_argument("--from", dest="begin", default="earliest", help="RFC 3339 time, or earliest")
    replay.add_argument("--to", dest="end", default="latest", help="RFC 3339 time, or latest")
    replay.add_argument("--arm", action="store_true", help="exit 1 where this ID traffic breaks the calibration")
    replay.add_argument("--save-classes", metavar="FILE", help="write counts per class for alerts.class_calibration")
    replay.add_argument("--json", action="store_true", help="one JSON object instead of text")
    return top


def _config(command: argparse.ArgumentParser, run: Callable[[argparse.Namespace], int]) -> None:
    command.add_argument("--config", required=True, metavar="FILE", help="settings, see configs/monitor.yml")
    command.set_defaults(command=run)


def _run(options: argparse.Namespace) -> int:
    import signal
    import time

    from monitor.config import load

    stop: list[int] = []
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda number, _frame: stop.append(number))
    _log(options.debug)
    config = load(options.config)
    from monitor.service.process import Process

    process = Process(config)
    last = time.monotonic()

    def stopping() -> bool:
        return bool(stop) or (options.until_idle is not None and time.monotonic() - last > options.until_idle)

    try:
        while not stopping():
            if process.step():
                last = time.monotonic()
    finally:
        process.close()
    print("ood-monitor: stopped; the batch in hand is counted", file=sys.stderr)
    return 0


def _check(options: argparse.Namespace) -> int:
    from monitor.config import load
    from monitor.service.check import check

    failed = False
    for name, problem, detail in check(load(options.config)):
        failed = failed or problem
        print(f"{'FAILED' if problem else 'ok':<7} {name}: {detail}")
    return int(failed)


def _alerts(options: argparse.Namespace) -> int:
    from monitor.alerts.alert import line
    from monitor.config import load
    from monitor.judging.evaluator import spending
    from monitor.judging.rules import budget
    from monitor.service.process import open_store

    config = load(options.config)
    store = open_store(config)

    def show(alert: dict[str, str]) -> None:
        print(json.dumps(alert, sort_keys=True) if options.json else line(alert), flush=True)

    found = list(reversed(store.history(options.history))) if options.history else store.alerts()
    for alert in found:
        show(alert)
    if not options.json:
        nothing = "" if found else "no alert; "
        print(nothing + spending(store, budget(config.alerts), config.alerts.requests_per_second), file=sys.stderr)
    if options.watch:
        newest = store.history(1)
        at = newest[0]["id"] if newest else "0-0"
        while True:
            for event in store.wait(at, 1000):
                at = event["id"]
                show(event)
    return 0


def _demo(options: argparse.Namespace) -> int:
    from monitor.demo.run import run

    return run(options.folder, contamination=options.contamination, seed=options.seed, as_json=options.json)


def _replay(options: argparse.Namespace) -> int:
    from monitor.config import load
    from monitor.service.replay import replay

    return replay(
        load(options.config),
        options.begin,
        options.end,
        arm=options.arm,
        save_classes=options.save_classes,
        as_json=options.json,
    )


def _log(debug: bool) -> None:
    import logging

    style = "%(asctime)s %(levelname)s %(name)s: %(message)s"
    logging.basicConfig(level=logging.DEBUG if debug else logging.INFO, format=style, stream=sys.stderr)
    if not debug:
        logging.getLogger("kafka").setLevel(logging.ERROR)
