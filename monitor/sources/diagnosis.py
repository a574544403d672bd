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
from dataclasses import dataclass

from monitor.config import KafkaConfig
from monitor.sources.settings import connection

TIMEOUT = 3.0
"""Seconds for each step."""

METADATA, SASL_HANDSHAKE, API_VERSIONS, SASL_AUTHENTICATE = 3, 17, 18, 36
UNSUPPORTED_MECHANISM, ILLEGAL_SASL_STATE = 33, 34
HOSTNAME_MISMATCH, IP_MISMATCH, CERT_EXPIRED, CERT_NOT_YET_VALID = 62, 64, 10, 9


@dataclass(frozen=True)
class Diagnosis:
    """What is wrong, in one sentence with the setting to change. ``fatal`` means that waiting does not help."""

    text: str
    fatal: bool


class _Found(Exception):  # noqa: N818  it carries a finding, and is no error of its own
    def __init__(self, text: str, *, fatal: bool = True) -> None:
        super().__init__(text)
        self.diagnosis = Diagnosis(text, fatal)


def diagnose(config: KafkaConfig) -> Diagnosis | None:
    """Try each bootstrap server in turn. Returns ``None`` as soon as one accepts the connection.

    An answer that refuses the connection tells more than no answer, so it is preferred.
    """
    worst: Diagnosis | None = None
    for address in config.bootstrap_servers.split(","):
        try:
            _converse(address.strip(), config)
        except _Found as found:
            if worst is None or (found.diagnosis.fatal and not worst.fatal):
                worst = found.diagnosis
        else:
            return None
    return worst


def _converse(address: str, config: KafkaConfig) -> None:
    """Make one whole connection. Raises what is found to be wrong."""
    host, port = _split(address)
    tls = config.security_protocol.endswith("SSL")
    sasl = config.security_protocol.startswith("SASL")
    context = _context(config) if tls else None
    if sasl and not config.sasl_mechanism:
        raise _Found(
            f"kafka.security_protocol is {config.security_protocol}, but kafka.sasl_mechanism is empty: set it to "
            "PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512, as the broker has it"
        )
    with _open(host, port, context, config) as wire:
        try:
            _ask(wire, API_VERSIONS, 0, b"")
        except (OSError, ValueError) as error:
            raise _explain_silence(address, config, error) from error
        if sasl:
            _log_in(wire, address, config)
        else:
            _look_around(wire, address, config)


def _split(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    if not host or not port.isascii() or not port.isdigit():
        raise _Found(f"kafka.bootstrap_servers has {address!r}, expected host:port")
    return host.strip("[]"), int(port)


def _context(config: KafkaConfig) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=config.ssl_cafile or None)
    except (OSError, ssl.SSLError) as error:
        raise _Found(f"kafka.ssl_cafile {config.ssl_cafile} cannot be read as PEM certificates: {error}") from None
    if config.ssl_certfile:
        try:
            context.load_cert_chain(config.ssl_certfile, config.ssl_keyfile or None, password=lambda: "")
        except (OSError, ssl.SSLError) as error:
            files = f"kafka.ssl_certfile {config.ssl_certfile} and kafka.ssl_keyfile {config.ssl_keyfile or '(none)'}"
            raise _Found(
                f"{files} cannot be used: {error}; expected a PEM certificate and its key, without a passphrase"
            ) from None
    return context


@contextmanager
def _open(host: str, port: int, context: ssl.SSLContext | None, config: KafkaConfig) -> Iterator[socket.socket]:
    with _connect(host, port) as plain:
        if context is None:
            yield plain
            return
        try:
            wire = context.wrap_socket(plain, server_hostname=host)
        except ssl.SSLCertVerificationError as error:
            raise _explain_certificate(f"{host}:{port}", config, error) from None
        except (ssl.SSLError, OSError) as error:
            raise _explain_handshake(host, port, config, error) from None
        with wire:
            yield wire


def _connect(host: str, port: int) -> socket.socket:
    try:
        made = socket.create_connection((host, port), timeout=TIMEOUT)
    except socket.gaierror as error:
        raise _Found(
            f"the name {host!r} in kafka.bootstrap_servers cannot be resolved ({error.strerror})", fatal=False
        ) from None
    except OSError as error:
        why = error.strerror or str(error) or type(error).__name__
        raise _Found(f"nothing accepts connections at {host}:{port} ({why})", fatal=False) from None
    made.settimeout(TIMEOUT)
    return made


def _explain_certificate(address: str, config: KafkaConfig, error: ssl.SSLCertVerificationError) -> _Found:
    code = error.verify_code
    if code in (HOSTNAME_MISMATCH, IP_MISMATCH):
        return _Found(
            f"the certificate of {address} is for another name ({error.verify_message}): write the name that is in the "
            "certificate into kafka.bootstrap_servers, or give the broker a certificate for this one"
        )
    if code in (CERT_EXPIRED, CERT_NOT_YET_VALID):
        return _Found(
            f"the certificate of {address} is out of date ({error.verify_message}): renew it, or set the clock"
        )
    known = f"kafka.ssl_cafile {config.ssl_cafile}" if config.ssl_cafile else "the certificates of this system"
    return _Found(
        f"the certificate of {address} is signed by a CA that {known} does not hold ({error.verify_message}): set "
        "kafka.ssl_cafile to the PEM file of the broker's CA"
    )


def _explain_handshake(host: str, port: int, config: KafkaConfig, error: OSError) -> _Found:
    """Explain a failed TLS handshake whose cause is not the broker's certificate."""
    if _speaks_plaintext(host, port):
        other = config.security_protocol.replace("SASL_SSL", "SASL_PLAINTEXT").replace("SSL", "PLAINTEXT")
        other = other if config.security_protocol == "SSL" else "SASL_PLAINTEXT"
        return _Found(
            f"{host}:{port} does not speak TLS, but kafka.security_protocol is {config.security_protocol}: set it to "
            f"{other}, or name the broker's TLS port in kafka.bootstrap_servers"
        )
    return _explain_alert(f"{host}:{port}", config, error)


def _explain_alert(address: str, config: KafkaConfig, error: Exception) -> _Found:
    words = str(error).lower()
    if any(
        w in words
        for w in ("certificate required", "bad certificate", "certificate unknown", "unknown ca", "handshake failure")
    ):
        if not config.ssl_certfile:
            return _Found(
                f"{address} demands a certificate of the client: set kafka.ssl_certfile and kafka.ssl_keyfile"
            )
        return _Found(
            f"{address} refuses our certificate (kafka.ssl_certfile {config.ssl_certfile}): it must be signed by a CA "
            f"that the broker trusts ({_short(error)})"
        )
    return _Found(f"TLS with {address} fails: {_short(error)}", fatal=isinstance(error, ssl.SSLError))


def _explain_silence(address: str, config: KafkaConfig, error: Exception) -> _Found:
    """Explain a connection on which the first request gets no answer in Kafka's protocol."""
    host, port = _split(address)
    if config.security_protocol.endswith("SSL"):
        return _explain_alert(address, config, error)
    if _speaks_tls(host, port):
        other = "SSL" if config.security_protocol == "PLAINTEXT" else "SASL_SSL"
        return _Found(
            f"{address} speaks TLS, but kafka.security_protocol is {config.security_protocol}: set it to {other} (and "
            "kafka.ssl_cafile to the PEM file of the broker's CA), or name a plaintext port in kafka.bootstrap_servers"
        )
    return _Found(f"{address} accepts connections but does not answer as Kafka ({_short(error)})", fatal=False)


def _speaks_plaintext(host: str, port: int) -> bool:
    try:
        with _connect(host, port) as wire:
            return bool(_ask(wire, API_VERSIONS, 0, b""))
    except (_Found, OSError, ValueError):
        return False


def _speaks_tls(host: str, port: int) -> bool:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE  # nothing is sent over it
    try:
        with _connect(host, port) as plain, context.wrap_socket(plain, server_hostname=host):
            return True
    except ssl.SSLError as error:
        return "alert" in str(error).lower()  # an alert is an answer in TLS
    except (_Found, OSError):
        return False


def _look_around(wire: socket.socket, address: str, config: KafkaConfig) -> None:
    """Without SASL, check that requests are answered. They are not if the port requires SASL."""
    try:
        _ask(wire, METADATA, 1, struct.pack(">i", 0))
    except (OSError, ValueError) as error:
        host, port = _split(address)
        context = _context(config) if config.security_protocol == "SSL" else None
        with _open(host, port, context, config) as again:
            try:
                code, offered = _handshake(again, "NONE")
            except (OSError, ValueError):
                code, offered = 0, []
        if code == UNSUPPORTED_MECHANISM:
            other = "SASL_SSL" if config.security_protocol == "SSL" else "SASL_PLAINTEXT"
            raise _Found(
                f"{address} wants a login, but kafka.security_protocol is {config.security_protocol}: set it to "
                f"{other}, kafka.sasl_mechanism to one of {', '.join(offered)}, and kafka.sasl_username and "
                "kafka.sasl_password"
            ) from None
        raise _Found(f"{address} does not answer a question about its topics ({_short(error)})", fatal=False) from None


def _log_in(wire: socket.socket, address: str, config: KafkaConfig) -> None:
    try:
        code, offered = _handshake(wire, config.sasl_mechanism)
        if code == UNSUPPORTED_MECHANISM:
            raise _Found(
                f"{address} does not offer kafka.sasl_mechanism {config.sasl_mechanism}: set it to one of "
                f"{', '.join(offered)}"
            )
        if code == ILLEGAL_SASL_STATE:
            other = "SSL" if config.security_protocol == "SASL_SSL" else "PLAINTEXT"
            raise _Found(
                f"{address} wants no login, but kafka.security_protocol is {config.security_protocol}: set it to "
                f"{other}"
            )
        refused = _refused(wire, config)
    except (OSError, ValueError) as error:
        raise _Found(f"{address} breaks off the login ({_short(error)})", fatal=False) from None
    if refused is not None:
        raise _Found(
            f"{address} refuses the login of user {config.sasl_username!r} ({refused}): correct kafka.sasl_username, "
            f"or kafka.sasl_password, or kafka.sasl_mechanism ({config.sasl_mechanism})"
        )


def _handshake(wire: socket.socket, mechanism: str) -> tuple[int, list[str]]:
    """Ask for SASL. Returns ``(error code, mechanisms that the port offers)``."""
    answer = _ask(wire, SASL_HANDSHAKE, 1, _text(mechanism))
    code, count = struct.unpack_from(">hi", answer)
    at, offered = 6, []
    for _ in range(count):
        (size,) = struct.unpack_from(">h", answer, at)
        offered.append(answer[at + 2 : at + 2 + size].decode(errors="replace"))
        at += 2 + size
    return code, offered


def _refused(wire: socket.socket, config: KafkaConfig) -> str | None:
    """Log in, and return why it was refused; ``None`` if it was not, or if this mechanism cannot be tried here."""
    from kafka.net.sasl import get_sasl_mechanism

    if config.sasl_mechanism not in ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"):
        return None
    settings = connection(config)
    login = get_sasl_mechanism(config.sasl_mechanism)(**settings)
    while not login.is_done():
        sent = login.auth_bytes()
        answer = _ask(wire, SASL_AUTHENTICATE, 0, struct.pack(">i", len(sent)) + sent)
        code, size = struct.unpack_from(">hh", answer)
        at = 4 + max(0, size)
        if code:
            return answer[4:at].decode(errors="replace") or f"error {code}"
        (length,) = struct.unpack_from(">i", answer, at)
        login.receive(answer[at + 4 : at + 4 + length])
    return None


def _ask(wire: socket.socket, key: int, version: int, body: bytes) -> bytes:
    """Send one request, and return its answer without the header."""
    message = struct.pack(">hhi", key, version, 1) + _text("ood-monitor") + body
    wire.sendall(struct.pack(">i", len(message)) + message)
    size, number = struct.unpack(">ii", _read(wire, 8))
    if number != 1 or not 4 <= size <= 10_000_000:
        raise ValueError("the answer is not one of Kafka's")
    return _read(wire, size - 4)


def _read(wire: socket.socket, n: int) -> bytes:
    read = b""
    while len(read) < n:
        chunk = wire.recv(n - len(read))
        if not chunk:
            raise ConnectionResetError("the connection was closed")
        read += chunk
    return read


def _text(text: str) -> bytes:
    return struct.pack(">h", len(text.encode())) + text.encode()


def _short(error: Exception) -> str:
    return " ".join((str(error) or type(error).__name__).split())[:200]
