"""``ood-monitor replay``: judge a range of a topic as the monitor would have done."""

from __future__ import annotations

import argparse
import sys

from monitor.cli.exit_codes import ExitCode
from monitor.cli.options import Commands, read_config, takes_config


def add(commands: Commands) -> None:
    """Describe the command."""
    help_text = "judge a range of the topic as the monitor would have"
    codes = (
        "Times are the timestamps that Kafka keeps of records. Exit code 0: the whole range was judged. "
        "Exit code 1: it could not be read to its end or holds nothing to judge, or --arm is given and the traffic "
        "breaks the calibration. Exit code 2: the command line is wrong."
    )
    command = takes_config(commands.add_parser("replay", help=help_text, description=codes), run)
    command.add_argument(
        "--from", dest="begin", default="earliest", help="RFC 3339 time of the first record to judge, or earliest"
    )
    command.add_argument(
        "--to",
        dest="end",
        default="latest",
        help="RFC 3339 time of the first record to leave out, or latest: where the topic ends now",
    )
    command.add_argument("--arm", action="store_true", help="exit 1 if this ID traffic breaks the calibration")
    command.add_argument("--save-classes", metavar="FILE", help="write counts per class for alerts.class_calibration")
    command.add_argument("--json", action="store_true", help="one JSON object instead of text")
    command.add_argument(
        "--ray",
        nargs="?",
        const="",
        metavar="ADDRESS",
        help="read it over actors of the Ray cluster at ADDRESS, or of one on this machine: the same result",
    )
    command.add_argument(
        "--ray-actors",
        type=_at_least_one,
        metavar="N",
        help="how many actors read at once, with --ray (one for each CPU)",
    )


def run(options: argparse.Namespace) -> int:
    """Run the command, and return the exit code."""
    if options.ray_actors is not None and options.ray is None:
        print("ood-monitor replay: --ray-actors was given without --ray: add --ray", file=sys.stderr)
        return ExitCode.USAGE
    from monitor.service.replay import replay
    from monitor.service.replaying.fleet import Fleet

    return replay(
        read_config(options),
        options.begin,
        options.end,
        arm=options.arm,
        save_classes=options.save_classes,
        as_json=options.json,
        ray=None if options.ray is None else Fleet(options.ray, options.ray_actors or 0),
    )


def _at_least_one(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} was got, expected a number of actors, at least 1")
    return int(text)
