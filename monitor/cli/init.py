"""``ood-monitor init``: write a settings file from a few answers or flags, create topics, and check everything."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monitor.cli.exit_codes import ExitCode
from monitor.cli.options import Commands

if TYPE_CHECKING:
    from monitor.service.setup import Choices


def add(commands: Commands) -> None:
    """Describe the command."""
    words = (
        "Write a settings file, and check whether Kafka and Redis answer. On a terminal it asks for everything "
        "that no option sets; elsewhere, and with --yes, it takes the defaults. "
        "Passwords are asked for, taken from files that "
        "options name, or left to the variables OOD_MONITOR__REDIS__PASSWORD and OOD_MONITOR__KAFKA__SASL_PASSWORD; "
        "they are never written into the settings."
    )
    command = commands.add_parser("init", help="write a settings file, make the topics", description=words)
    command.set_defaults(command=run)
    option = command.add_argument
    option("--output", default="monitor.yml", metavar="FILE", help="path of the settings file (monitor.yml)")
    option("--force", action="store_true", help="overwrite what is there")
    option("--yes", action="store_true", help="ask nothing")
    option("--offline", action="store_true", help="write the file without reaching Kafka or Redis")
    option("--artifact", metavar="FILE", help="written by `openood fit` and `openood calibrate`")
    option("--bootstrap-servers", metavar="HOST:PORT,...", help="of Kafka")
    option("--topic", metavar="NAME,...", help="topic with the embeddings (embeddings); separate several by commas")
    option(
        "--dead-letter-topic",
        default="",
        metavar="NAME",
        help="topic for records that cannot be scored (TOPIC.dead-letter)",
    )
    option("--group", help="consumer group, also part of the keys in Redis (ood-monitor)")
    option("--start", choices=("latest", "earliest"), default="latest", help="the offset at which a new group begins")
    option("--redis-url", metavar="URL", help="redis://HOST:6379/0 and others, see docs/monitor.md")
    option("--requests-per-false-alert", type=float, metavar="N", help="the budget (100000)")
    port_words = "port of the status page, metrics and health, on loopback; 0 for none"
    option("--http-port", "--metrics-port", type=int, default=0, metavar="PORT", help=port_words)
    option("--alertmanager-url", default="", metavar="URL", help="Alertmanager, which gets the alerts")
    option("--log-format", choices=("text", "json"), default="text")
    option("--create-topics", action="store_true", help="make the topics, and the one for dead letters")
    option("--partitions", type=int, default=6, metavar="N", help="of a topic that is made (6): at most N workers")
    option("--replication-factor", type=int, default=-1, metavar="N", help="of a topic that is made (the broker's)")
    option("--security-protocol", choices=("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"), default="PLAINTEXT")
    option(
        "--ssl-cafile", default="", metavar="FILE", help="certificates of the authorities that sign Kafka's certificate"
    )
    option("--sasl-mechanism", default="", metavar="NAME", help="PLAIN, SCRAM-SHA-256, SCRAM-SHA-512")
    option("--sasl-username", default="", metavar="NAME")
    option("--sasl-password-file", metavar="FILE")
    option("--redis-username", default="", metavar="NAME")
    option("--redis-password-file", metavar="FILE")
    option("--redis-ca-file", default="", metavar="FILE")


def run(options: argparse.Namespace) -> int:
    """Run the command, and return the exit code."""
    from monitor.config import Redactor, secrets_of
    from monitor.errors import ConfigError, MonitorError
    from monitor.service.check import check
    from monitor.service.secrecy import hide_secrets
    from monitor.service.settings_file import refuse_existing
    from monitor.service.setup import make_topics, write_files

    if options.partitions < 1:
        raise ConfigError(f"--partitions is {options.partitions}: expected 1 or more")
    refuse_existing(Path(options.output), options.force)  # before any question is asked
    choices = _choose(options)
    config = write_files(choices, print)
    hide_secrets(Redactor(secrets_of(config)))
    failed = []
    if not options.offline:
        if options.create_topics:
            try:
                for done in make_topics(config, options.partitions, options.replication_factor):
                    print(done)
            except MonitorError as error:
                print(f"FAILED  topics: {error}")
                failed.append("topics")
        for name, problem, detail in check(config):
            print(f"{'FAILED' if problem else 'ok':<7} {name}: {detail}")
            failed += [name] if problem else []
    _say_next_steps(options, failed)
    if failed:
        raise ConfigError(
            f"{choices.output} is written, but {' and '.join(dict.fromkeys(failed))} cannot be used yet: fix what the "
            f"lines above name, then run `ood-monitor check --config {choices.output}`"
        )
    return ExitCode.DONE


def _say_next_steps(options: argparse.Namespace, failed: list[str]) -> None:
    name = options.output
    steps = [f"ood-monitor check --config {name}     can everything be reached?"] if failed or options.offline else []
    if not options.create_topics and (options.offline or "kafka" in failed):
        steps.append("ood-monitor init --create-topics --force ...   or make the topics by hand, if they are missing")
    steps += [
        f"ood-monitor replay --config {name} --arm   judge the topic's records: is the budget right?",
        f"ood-monitor run --config {name}       count and judge; start as many as the topic has partitions",
        f"ood-monitor alerts --config {name}    look at the alerts",
    ]
    if options.http_port:
        steps.append(f"http://127.0.0.1:{options.http_port}/     the status page, as soon as `run` runs")
    else:
        steps.append("ood-monitor init --http-port 9464 --force ...   or set http.port, for the status page")
    print("next:", *steps, sep="\n  ")


def _choose(options: argparse.Namespace) -> Choices:
    """Choose settings from options, from a person's answers, or from defaults."""
    from monitor.errors import ConfigError
    from monitor.service import setup

    asks = not options.yes and sys.stdin.isatty() and sys.stdout.isatty()
    questions: tuple[tuple[str, str, str, Callable[[str], Any]], ...] = (
        ("artifact", "The artifact that scores, written by `openood calibrate`", "", setup.check_artifact),
        ("bootstrap_servers", "Kafka, HOST:PORT", "127.0.0.1:9092" if asks else "", setup.check_servers),
        ("topic", "Topic with the embeddings", "embeddings", setup.check_topic_names),
        ("group", "Consumer group, also part of the keys in Redis", "ood-monitor", _check_group),
        ("redis_url", "Redis", "redis://127.0.0.1:6379/0", setup.split_redis_url),
        ("requests_per_false_alert", "Requests per false alert that you can afford", "100000", _check_requests),
    )
    missing = [
        f"--{key.replace('_', '-')}" for key, _, default, _ in questions if not (getattr(options, key) or default)
    ]
    if missing and not asks:
        raise ConfigError(f"{' and '.join(missing)} must be given: nothing can be asked (--yes, or no terminal)")
    found: dict[str, Any] = {}
    for key, text, default, check in questions:
        given = getattr(options, key)
        if given is not None:
            found[key] = check(str(given))
        else:
            found[key] = _ask(text, default, check) if asks else check(default)
    url, user, password = found.pop("redis_url")
    secrets, files = _secrets(options, password, asks)
    return setup.Choices(
        output=Path(options.output), start=options.start, http_port=options.http_port,
        alertmanager_url=_without_secret(options.alertmanager_url), log_format=options.log_format, force=options.force,
        dead_letters=options.dead_letter_topic and setup.check_topic_name(options.dead_letter_topic),
        redis_url=url, redis={"username": options.redis_username or user, "ca_file": options.redis_ca_file},
        kafka={
            "security_protocol": "" if options.security_protocol == "PLAINTEXT" else options.security_protocol,
            "ssl_cafile": options.ssl_cafile,
            "sasl_mechanism": options.sasl_mechanism, "sasl_username": options.sasl_username,
        },
        secrets=secrets, secret_files=files, **found,
    )  # fmt: skip


def _ask(text: str, default: str, check: Callable[[str], Any]) -> Any:
    """Ask until the answer is valid."""
    from monitor.errors import ConfigError

    while True:
        try:
            answer = input(f"{text}{f' [{default}]' if default else ''}: ").strip() or default
        except EOFError:
            raise ConfigError("the input ended before everything was answered: nothing is written") from None
        try:
            return check(answer)
        except ConfigError as error:
            print(f"  {error}")


def _secrets(
    options: argparse.Namespace, url_password: str, asks: bool
) -> tuple[dict[tuple[str, str], str], dict[tuple[str, str], Path]]:
    """Collect passwords that were typed, and files that hold passwords already."""
    import getpass
    import os

    from monitor.config import PREFIX

    typed: dict[tuple[str, str], str] = {}
    files: dict[tuple[str, str], Path] = {}
    wanted = [
        (("redis", "password"), options.redis_password_file, True),
        (("kafka", "sasl_password"), options.sasl_password_file, options.security_protocol.startswith("SASL")),
    ]
    for (section, key), file, needed in wanted:
        if file:
            files[section, key] = Path(file)
        elif section == "redis" and url_password:
            typed[section, key] = url_password
        elif asks and needed and f"{PREFIX}{section}__{key}".upper() not in os.environ:
            answer = getpass.getpass(f"Password of {section.capitalize()} (empty for none; it goes into a file): ")
            typed |= {(section, key): answer} if answer else {}
    return typed, files


def _check_group(text: str) -> str:
    from monitor.errors import ConfigError

    if not text.isprintable() or not text or len(text) > 200:
        raise ConfigError("the group needs 1 to 200 printable characters")
    return text


def _check_requests(text: str) -> float:
    from monitor.errors import ConfigError

    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 100 <= number < float("inf"):
        raise ConfigError(f"{text} requests per false alert: expected a number, 100 or more")
    return int(number) if number.is_integer() else number


def _without_secret(url: str) -> str:
    from monitor.config import show_url
    from monitor.errors import ConfigError

    if url and show_url(url) != url:
        raise ConfigError(
            "--alertmanager-url holds a user, a password or a path, which may be secret: leave it out and set the "
            "variable OOD_MONITOR__DELIVERY__ALERTMANAGER_URL"
        )
    return url
