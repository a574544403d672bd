"""``ood-monitor promote``: give a running group another artifact or other settings."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from monitor.cli.options import Commands, read_config, takes_config
from monitor.errors import ConfigError


def add(commands: Commands) -> None:
    """Describe the command."""
    help_text = "start the evidence of a group afresh, with another artifact or other settings; no record is lost"
    command = takes_config(commands.add_parser("promote", help=help_text), run)
    command.add_argument("artifact", nargs="?", metavar="ARTIFACT", help="replaces model.artifact of the settings")


def run(options: argparse.Namespace) -> int:
    """Run the command, and return the exit code."""
    from monitor.service.assembly import open_models, open_store
    from monitor.service.promote import promote_group

    config = read_config(options)
    if options.artifact and config.models:
        raise ConfigError(
            f"{options.artifact} is given, but models names several artifacts: change the settings, and promote "
            "without naming one"
        )
    if options.artifact:
        config = config.model_copy(
            update={"model": config.model.model_copy(update={"artifact": Path(options.artifact)})}
        )
    models = open_models(config)
    done = promote_group(config, models, open_store(config))
    if done is None:
        print(f"group {config.kafka.group} has these settings and artifact {models.artifact[:12]} already")
        return 0
    print(f"epoch {done.epoch} of group {config.kafka.group} begins: {done.changed}")
    if done.dropped:
        print(f"{done.dropped} buckets were counted but not judged, and are not judged any more")
    print("every worker with the old settings stops at its next batch; start workers with the new ones")
    if options.artifact:
        print(f"set model.artifact to {options.artifact} in {options.config}: a worker with another is refused now")
    sys.stdout.flush()
    return 0
