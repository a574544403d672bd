"""Explains what a failed TLS handshake, or silence after it, means for the settings."""

from __future__ import annotations

import ssl

from monitor.config import KafkaConfig
from monitor.sources.connecting import FoundError, shorten, speaks_plaintext, speaks_tls, split

HOSTNAME_MISMATCH, IP_MISMATCH, CERT_EXPIRED, CERT_NOT_YET_VALID = 62, 64, 10, 9


def explain_certificate(address: str, config: KafkaConfig, error: ssl.SSLCertVerificationError) -> FoundError:
    """Explain why the broker's certificate is not accepted."""
    code = error.verify_code
    if code in (HOSTNAME_MISMATCH, IP_MISMATCH):
        return FoundError(
            f"the certificate of {address} is for another name ({error.verify_message}): write the name that is in the "
            "certificate into kafka.bootstrap_servers, or give the broker a certificate for this one"
        )
    if code in (CERT_EXPIRED, CERT_NOT_YET_VALID):
        return FoundError(
            f"the certificate of {address} is out of date ({error.verify_message}): renew it, or set the clock"
        )
    known = f"kafka.ssl_cafile {config.ssl_cafile}" if config.ssl_cafile else "the certificates of this system"
    return FoundError(
        f"the certificate of {address} is signed by a CA that {known} does not hold ({error.verify_message}): set "
        "kafka.ssl_cafile to the PEM file of the broker's CA"
    )


def explain_handshake(host: str, port: int, config: KafkaConfig, error: OSError) -> FoundError:
    """Explain a failed TLS handshake whose cause is not the broker's certificate."""
    if speaks_plaintext(host, port):
        other = config.security_protocol.replace("SASL_SSL", "SASL_PLAINTEXT").replace("SSL", "PLAINTEXT")
        other = other if config.security_protocol == "SSL" else "SASL_PLAINTEXT"
        return FoundError(
            f"{host}:{port} does not speak TLS, but kafka.security_protocol is {config.security_protocol}: set it to "
            f"{other}, or name the broker's TLS port in kafka.bootstrap_servers"
        )
    return _explain_alert(f"{host}:{port}", config, error)


def explain_silence(address: str, config: KafkaConfig, error: Exception) -> FoundError:
    """Explain a connection on which the first request gets no answer in Kafka's protocol."""
    host, port = split(address)
    if config.security_protocol.endswith("SSL"):
        return _explain_alert(address, config, error)
    if speaks_tls(host, port):
        other = "SSL" if config.security_protocol == "PLAINTEXT" else "SASL_SSL"
        return FoundError(
            f"{address} speaks TLS, but kafka.security_protocol is {config.security_protocol}: set it to {other} (and "
            "kafka.ssl_cafile to the PEM file of the broker's CA), or name a plaintext port in kafka.bootstrap_servers"
        )
    return FoundError(f"{address} accepts connections but does not answer as Kafka ({shorten(error)})", fatal=False)


def _explain_alert(address: str, config: KafkaConfig, error: Exception) -> FoundError:
    words = str(error).lower()
    if any(
        w in words
        for w in ("certificate required", "bad certificate", "certificate unknown", "unknown ca", "handshake failure")
    ):
        if not config.ssl_certfile:
            return FoundError(
                f"{address} demands a certificate of the client: set kafka.ssl_certfile and kafka.ssl_keyfile"
            )
        return FoundError(
            f"{address} refuses our certificate (kafka.ssl_certfile {config.ssl_certfile}): it must be signed by a CA "
            f"that the broker trusts ({shorten(error)})"
        )
    return FoundError(f"TLS with {address} fails: {shorten(error)}", fatal=isinstance(error, ssl.SSLError))
