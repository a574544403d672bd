"""``python -m tests.chaos [--long] [--only FAULT ...]``: break things one at a time and see who is told.

Workers of ``ood-monitor run`` against Apache Kafka, Redis and Alertmanager, all on loopback ports. The table has a row
for each fault; ``broken`` says which promise did not hold, and the exit code is 1 if there was any.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import sys
import tempfile
from pathlib import Path

from tests.chaos import report
from tests.chaos.faults import all_faults
from tests.chaos.judge import Outcome
from tests.chaos.scenario import Plan, run
from tests.chaos.stage import Servers

SHORT = ("none", "kills", "zombie", "broker-killed", "redis-stopped", "redis-read-only")
"""What continuous integration runs, within four minutes."""


def main() -> int:
    faults = all_faults()
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--long", action="store_true", help="every fault: 200 kills, 10^6 bad records, 10^5 streams")
    parser.add_argument("--all", action="store_true", help="every fault in its short form")
    parser.add_argument("--only", nargs="+", choices=sorted(faults), metavar="FAULT", help=f"of: {', '.join(faults)}")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kills", type=int, default=0, help="how many kills; 3, or 200 with --long")
    parser.add_argument("--delays", type=int, metavar="N", help="N surges a fault: how soon people are told of one")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="an empty folder in which settings, logs and data are kept")
    parser.add_argument("--json", type=Path, help="write everything there as JSON")
    options = parser.parse_args()
    # SIGTERM ends it as Ctrl-C does: every server and worker that was started is stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    names = options.only or (list(faults) if options.long or options.all else list(SHORT))
    plan = Plan(surges=options.delays or 1, afterwards=options.long, workers=options.workers)
    measured_on, outcomes = report.machine(), []
    print(json.dumps(measured_on), report.head(), sep="\n", flush=True)
    with contextlib.ExitStack() as stack:
        folder = options.folder or stack.enter_context(tempfile.TemporaryDirectory(prefix="chaos-"))
        servers = stack.enter_context(Servers.started(Path(folder)))
        for n, name in enumerate(names):
            fault = faults[name](long=options.long, kills=options.kills)
            outcomes.append(run_one(servers, fault, plan, options.seed, f"chaos-{n}"))
            print(report.row(outcomes[-1]), flush=True)
    if options.json:
        given = {k: v for k, v in vars(options).items() if k not in ("json", "folder")}
        options.json.write_text(json.dumps(report.as_json(outcomes, measured_on, given), indent=1) + "\n")
    return int(any(o.broken for o in outcomes))


def run_one(servers, fault, plan: Plan, seed: int, name: str) -> Outcome:
    """One scenario, on servers that the one before left running."""
    for server, restart in (
        ("kafka", servers.restart_kafka),
        ("redis", servers.restart_redis),
        ("alertmanager", servers.restart_alertmanager),
    ):
        if getattr(servers, server).process.poll() is not None:
            restart()
    return run(servers, fault, plan, seed, name)


if __name__ == "__main__":
    sys.exit(main())
