"""Certificates for a broker and a client, made by openssl as a test begins."""

from __future__ import annotations

import subprocess
from pathlib import Path

KEY_USAGE = "keyUsage=critical,keyCertSign,cRLSign"


def authority(folder: Path, name: str) -> Path:
    """A CA; returns its certificate. Python 3.13 and later refuse one that does not say what its key is for."""
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    _openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}",
             "-addext", KEY_USAGE, "-keyout", str(key), "-out", str(certificate))  # fmt: skip
    return certificate


def signed(folder: Path, name: str, ca: Path, names: str) -> tuple[Path, Path]:
    """A certificate for these names, ``DNS:a,IP:b``; returns it and its key."""
    certificate, key, request = folder / f"{name}.pem", folder / f"{name}.key", folder / f"{name}.csr"
    extensions = folder / f"{name}.ext"
    extensions.write_text(f"subjectAltName={names}\nauthorityKeyIdentifier=keyid\n")
    _openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}", "-keyout", str(key), "-out", str(request))
    _openssl("x509", "-req", "-in", str(request), "-CA", str(ca), "-CAkey", str(ca.with_suffix(".key")),
             "-CAcreateserial", "-days", "2", "-extfile", str(extensions), "-out", str(certificate))  # fmt: skip
    return certificate, key


def keystore(certificate: Path, key: Path) -> Path:
    """Both in one file, as Kafka takes them."""
    joined = certificate.with_suffix(".keystore")
    joined.write_text(key.read_text() + certificate.read_text())
    return joined


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True, timeout=60)
