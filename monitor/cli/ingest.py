"""``ood-monitor ingest``: accept posts over HTTP and write them to Kafka."""

from __future__ import annotations

import argparse
import logging

from monitor.cli.exit_codes import ExitCode
from monitor.cli.options import Commands


def add(commands: Commands) -> None:
    """Describe the command."""
    help_text = "take CloudEvents and plain posts over HTTP and write them to Kafka; "
    "SIGTERM finishes the posts in progress"
    command = commands.add_parser("ingest", help=help_text)
    command.add_argument("--config", required=True, metavar="FILE", help="settings, see configs/ingest.yml")
    command.add_argument(
        "--log-format", choices=("text", "json"), help="replaces logging.format; json writes one object on each line"
    )
    command.set_defaults(command=run)


def run(options: argparse.Namespace) -> int:
    """Run the command, and return the exit code."""
    from monitor.config import Redactor, load_as, secrets_of
    from monitor.config.ingest import IngestConfig
    from monitor.ingest.process import Ingest
    from monitor.service.logs import log_to_stderr
    from monitor.service.secrecy import hide_secrets

    if options.log_format == "json":  # so that an error in the settings is JSON, too
        log_to_stderr(options.debug, "json")
    config = load_as(IngestConfig, options.config)
    hide_secrets(Redactor(secrets_of(config)))
    log_to_stderr(options.debug, options.log_format or config.logging.format)
    if (
        not options.debug
    ):  # it repeats itself ten times a second while Kafka cannot be reached, and our own lines say the same
        logging.getLogger("kafka").setLevel(logging.CRITICAL)
    Ingest(config).run()
    return ExitCode.DONE
