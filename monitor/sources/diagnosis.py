"""Finds out why Kafka refuses a connection, and names the wrong setting.

Client libraries report most wrong security settings with the same words. Here each step of a connection is made
separately (name, socket, TLS, SASL), and the step that fails shows which setting to change. Secrets are never named.
"""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from monitor.config import KafkaConfig
from monitor.sources.connecting import Diagnosis, FoundError, connect, shorten, split, tls_context
from monitor.sources.kafka_requests import (
    API_VERSIONS,
    ILLEGAL_SASL_STATE,
    METADATA,
    UNSUPPORTED_MECHANISM,
    ask,
    offered_mechanisms,
    try_login,
)
from monitor.sources.tls_errors import explain_certificate, explain_handshake, explain_silence


def diagnose(config: KafkaConfig) -> Diagnosis | None:
    """Try each bootstrap server in turn. Returns ``None`` as soon as one accepts the connection.

    An answer that refuses the connection tells more than no answer, so it is preferred.
    """
    worst: Diagnosis | None = None
    for address in config.bootstrap_servers.split(","):
        try:
            _converse(address.strip(), config)
        except FoundError as found:
            if worst is None or (found.diagnosis.fatal and not worst.fatal):
                worst = found.diagnosis
        else:
            return None
    return worst


def _converse(address: str, config: KafkaConfig) -> None:
    """Make one whole connection. Raises what is found to be wrong."""
    host, port = split(address)
    tls = config.security_protocol.endswith("SSL")
    sasl = config.security_protocol.startswith("SASL")
    context = tls_context(config) if tls else None
    if sasl and not config.sasl_mechanism:
        raise FoundError(
            f"kafka.security_protocol is {config.security_protocol}, but kafka.sasl_mechanism is empty: set it to "
            "PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512, as the broker has it"
        )
    with _open(host, port, context, config) as wire:
        try:
            ask(wire, API_VERSIONS, 0, b"")
        except (OSError, ValueError) as error:
            raise explain_silence(address, config, error) from error
        if sasl:
            _log_in(wire, address, config)
        else:
            _look_around(wire, address, config)


@contextmanager
def _open(host: str, port: int, context: ssl.SSLContext | None, config: KafkaConfig) -> Iterator[socket.socket]:
    with connect(host, port) as plain:
        if context is None:
            yield plain
            return
        try:
            wire = context.wrap_socket(plain, server_hostname=host)
        except ssl.SSLCertVerificationError as error:
            raise explain_certificate(f"{host}:{port}", config, error) from None
        except (ssl.SSLError, OSError) as error:
            raise explain_handshake(host, port, config, error) from None
        with wire:
            yield wire


def _look_around(wire: socket.socket, address: str, config: KafkaConfig) -> None:
    """Without SASL, check that requests are answered. They are not if the port requires SASL."""
    try:
        ask(wire, METADATA, 1, struct.pack(">i", 0))
    except (OSError, ValueError) as error:
        host, port = split(address)
        context = tls_context(config) if config.security_protocol == "SSL" else None
        with _open(host, port, context, config) as again:
            try:
                code, offered = offered_mechanisms(again, "NONE")
            except (OSError, ValueError):
                code, offered = 0, []
        if code == UNSUPPORTED_MECHANISM:
            other = "SASL_SSL" if config.security_protocol == "SSL" else "SASL_PLAINTEXT"
            raise FoundError(
                f"{address} wants a login, but kafka.security_protocol is {config.security_protocol}: set it to "
                f"{other}, kafka.sasl_mechanism to one of {', '.join(offered)}, and kafka.sasl_username and "
                "kafka.sasl_password"
            ) from None
        raise FoundError(
            f"{address} does not answer a question about its topics ({shorten(error)})", fatal=False
        ) from None


def _log_in(wire: socket.socket, address: str, config: KafkaConfig) -> None:
    try:
        code, offered = offered_mechanisms(wire, config.sasl_mechanism)
        if code == UNSUPPORTED_MECHANISM:
            raise FoundError(
                f"{address} does not offer kafka.sasl_mechanism {config.sasl_mechanism}: set it to one of "
                f"{', '.join(offered)}"
            )
        if code == ILLEGAL_SASL_STATE:
            other = "SSL" if config.security_protocol == "SASL_SSL" else "PLAINTEXT"
            raise FoundError(
                f"{address} wants no login, but kafka.security_protocol is {config.security_protocol}: set it to "
                f"{other}"
            )
        refused = try_login(wire, config)
    except (OSError, ValueError) as error:
        raise FoundError(f"{address} breaks off the login ({shorten(error)})", fatal=False) from None
    if refused is not None:
        raise FoundError(
            f"{address} refuses the login of user {config.sasl_username!r} ({refused}): correct kafka.sasl_username, "
            f"or kafka.sasl_password, or kafka.sasl_mechanism ({config.sasl_mechanism})"
        )
