"""``ood-monitor mute``: do not send alerts to receivers for a while, or list the mutes."""

from __future__ import annotations

import argparse
import re
import sys

from monitor.cli.options import Commands, read_config, takes_config, takes_words

_UNITS = {"m": 1, "h": 60, "d": 1440}


def add(commands: Commands) -> None:
    """Describe the command."""
    command = takes_config(commands.add_parser("mute", help="keep alerts from receivers for a while"), run)
    command.epilog = "Without a stream, an alert or a kind, it lists the mutes in force."
    command.add_argument("--stream", help="alerts on the inputs of this stream")
    command.add_argument("--alert", metavar="FINGERPRINT", help="this alert; `ood-monitor alerts --json` shows it")
    command.add_argument("--kind", help="alerts of this kind, such as ood, silence or stalled")
    command.add_argument(
        "--for", dest="minutes", type=minutes, metavar="TIME", help="such as 30m, 2h or 1d; 7d at most"
    )
    takes_words(command)


def run(options: argparse.Namespace) -> int:
    """Run the command, and return the exit code."""
    import secrets

    from monitor.errors import HandlingError
    from monitor.service.assembly import open_store
    from monitor.store.handling import Mute

    store = open_store(read_config(options))
    if options.stream is None and not options.alert and not options.kind:
        found = store.handling().in_force()
        for mute in found:
            print(mute.words())
        if not found:
            print("nothing is muted", file=sys.stderr)
        return 0
    if options.minutes is None:
        raise HandlingError("--for is missing: say how long, such as --for 2h")
    now = store.now_ms()
    ends = now + round(60_000 * options.minutes)
    wish = Mute(
        secrets.token_hex(4), options.reason or "", options.by, now, ends,
        stream=options.stream, alert=options.alert or "", kind=options.kind or "",
    )  # fmt: skip
    done = store.mute(wish)
    print(f"muted: {done.words()}")
    print(f"`ood-monitor unmute {done.id}` ends it sooner; alerts that still fire then are sent", file=sys.stderr)
    return 0


def minutes(text: str) -> float:
    """Read a duration such as ``30m``, ``2h`` or ``1d``, and return minutes."""
    found = re.fullmatch(r"([0-9]{1,6}(?:\.[0-9]{1,3})?)([mhd])", text)
    if found is None:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a time: expected a number with a unit, such as 30m, 2h or 1d"
        )
    return float(found[1]) * _UNITS[found[2]]
