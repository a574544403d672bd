"""Requests of Kafka's protocol, made byte by byte: enough to find out at which step a connection fails."""

from __future__ import annotations

import socket
import struct

from monitor.config import KafkaConfig
from monitor.sources.settings import connection

METADATA, SASL_HANDSHAKE, API_VERSIONS, SASL_AUTHENTICATE = 3, 17, 18, 36
"""Kafka's numbers of requests."""

UNSUPPORTED_MECHANISM, ILLEGAL_SASL_STATE = 33, 34
"""Kafka's error codes."""


def ask(wire: socket.socket, key: int, version: int, body: bytes) -> bytes:
    """Send one request, and return its answer without the header.

    Raises:
        OSError: the connection breaks off or times out. ValueError: the answer is not one of Kafka's.
    """
    message = struct.pack(">hhi", key, version, 1) + _text("ood-monitor") + body
    wire.sendall(struct.pack(">i", len(message)) + message)
    size, number = struct.unpack(">ii", _read(wire, 8))
    if number != 1 or not 4 <= size <= 10_000_000:
        raise ValueError("the answer is not one of Kafka's")
    return _read(wire, size - 4)


def offered_mechanisms(wire: socket.socket, mechanism: str) -> tuple[int, list[str]]:
    """Ask for SASL. Returns ``(error code, mechanisms that the port offers)``."""
    answer = ask(wire, SASL_HANDSHAKE, 1, _text(mechanism))
    code, count = struct.unpack_from(">hi", answer)
    at, offered = 6, []
    for _ in range(count):
        (size,) = struct.unpack_from(">h", answer, at)
        offered.append(answer[at + 2 : at + 2 + size].decode(errors="replace"))
        at += 2 + size
    return code, offered


def try_login(wire: socket.socket, config: KafkaConfig) -> str | None:
    """Log in, and return why it was refused; ``None`` if it was not, or if this mechanism cannot be tried here."""
    from kafka.net.sasl import get_sasl_mechanism

    if config.sasl_mechanism not in ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"):
        return None
    settings = connection(config)
    login = get_sasl_mechanism(config.sasl_mechanism)(**settings)
    while not login.is_done():
        sent = login.auth_bytes()
        answer = ask(wire, SASL_AUTHENTICATE, 0, struct.pack(">i", len(sent)) + sent)
        code, size = struct.unpack_from(">hh", answer)
        at = 4 + max(0, size)
        if code:
            return answer[4:at].decode(errors="replace") or f"error {code}"
        (length,) = struct.unpack_from(">i", answer, at)
        login.receive(answer[at + 4 : at + 4 + length])
    return None


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
