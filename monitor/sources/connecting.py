"""The first steps of a connection: address, certificates, socket. A step that fails says which setting to change."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass

from monitor.config import KafkaConfig
from monitor.sources.kafka_requests import API_VERSIONS, ask

TIMEOUT = 3.0
"""Seconds for each step."""


@dataclass(frozen=True)
class Diagnosis:
    """What is wrong, in one sentence with the setting to change. ``fatal`` means that waiting does not help."""

    text: str
    fatal: bool


class FoundError(Exception):
    """Ends the attempt to connect with what was found to be wrong."""

    def __init__(self, text: str, *, fatal: bool = True) -> None:
        super().__init__(text)
        self.diagnosis = Diagnosis(text, fatal)


def split(address: str) -> tuple[str, int]:
    """Return host and port of ``host:port``.

    Raises:
        FoundError: it is something else.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isascii() or not port.isdigit():
        raise FoundError(f"kafka.bootstrap_servers has {address!r}, expected host:port")
    return host.strip("[]"), int(port)


def tls_context(config: KafkaConfig) -> ssl.SSLContext:
    """Read the certificates in the settings.

    Raises:
        FoundError: a file of them cannot be used.
    """
    try:
        context = ssl.create_default_context(cafile=config.ssl_cafile or None)
    except (OSError, ssl.SSLError) as error:
        raise FoundError(f"kafka.ssl_cafile {config.ssl_cafile} cannot be read as PEM certificates: {error}") from None
    if config.ssl_certfile:
        try:
            context.load_cert_chain(config.ssl_certfile, config.ssl_keyfile or None, password=lambda: "")
        except (OSError, ssl.SSLError) as error:
            files = f"kafka.ssl_certfile {config.ssl_certfile} and kafka.ssl_keyfile {config.ssl_keyfile or '(none)'}"
            raise FoundError(
                f"{files} cannot be used: {error}; expected a PEM certificate and its key, without a passphrase"
            ) from None
    return context


def connect(host: str, port: int) -> socket.socket:
    """Open a socket, of which each step may last ``TIMEOUT`` seconds.

    Raises:
        FoundError: nobody has that name, or nothing listens there.
    """
    try:
        made = socket.create_connection((host, port), timeout=TIMEOUT)
    except socket.gaierror as error:
        raise FoundError(
            f"the name {host!r} in kafka.bootstrap_servers cannot be resolved ({error.strerror})", fatal=False
        ) from None
    except OSError as error:
        why = error.strerror or str(error) or type(error).__name__
        raise FoundError(f"nothing accepts connections at {host}:{port} ({why})", fatal=False) from None
    made.settimeout(TIMEOUT)
    return made


def speaks_plaintext(host: str, port: int) -> bool:
    """Whether a port answers a request of Kafka's protocol without TLS."""
    try:
        with connect(host, port) as wire:
            return bool(ask(wire, API_VERSIONS, 0, b""))
    except (FoundError, OSError, ValueError):
        return False


def speaks_tls(host: str, port: int) -> bool:
    """Whether a port answers a TLS handshake, be it with a refusal."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # nothing is sent over it
    try:
        with connect(host, port) as plain, context.wrap_socket(plain, server_hostname=host):
            return True
    except ssl.SSLError as error:
        return "alert" in str(error).lower()  # an alert is an answer in TLS
    except (FoundError, OSError):
        return False


def shorten(error: Exception) -> str:
    """Make one line of at most 200 characters of an error."""
    return " ".join((str(error) or type(error).__name__).split())[:200]
