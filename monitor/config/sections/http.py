"""Settings of the HTTP server."""

from __future__ import annotations

import ipaddress
import re
from typing import Any

from pydantic import Field, SecretStr, field_validator, model_validator

from monitor.config.sections.base import Section, from_file

SHORTEST_TOKEN = 16


class HttpConfig(Section):
    """An HTTP server, and who may use it."""

    port: int = Field(0, ge=0, le=65535, description="0: nothing is served")
    host: str = Field("127.0.0.1", min_length=1, description="address to listen on; 0.0.0.0 for all of IPv4")
    allowed_hosts: list[str] = Field(
        default_factory=list, description="names under which browsers reach this process, besides IP addresses"
    )
    token: SecretStr = Field(SecretStr(""), description="every client but health probes must show it")
    token_file: str = Field("", description="file that holds token")
    tls_certfile: str = Field("", description="certificate of this server, which then speaks only HTTPS")
    tls_keyfile: str = Field("", description="key of tls_certfile")
    tls_client_cafile: str = Field("", description="authority of the clients' certificates, which are then required")

    @model_validator(mode="before")
    @classmethod
    def _secret(cls, data: Any) -> Any:
        return from_file(data, "token")

    @field_validator("token")
    @classmethod
    def _strong(cls, given: SecretStr) -> SecretStr:
        text = given.get_secret_value()
        if text and not re.fullmatch(f"[!-~]{{{SHORTEST_TOKEN},500}}", text):
            raise ValueError(
                f"a token has {SHORTEST_TOKEN} to 500 letters, digits and signs of ASCII, without spaces: "
                "`openssl rand -hex 32` makes one"
            )
        return given

    @field_validator("allowed_hosts")
    @classmethod
    def _names(cls, given: list[str]) -> list[str]:
        for name in given:
            if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?", name):
                raise ValueError("allowed_hosts: expected names such as monitor.example.com, without scheme and port")
        return [name.lower() for name in given]

    @model_validator(mode="after")
    def _guarded(self) -> HttpConfig:
        if bool(self.tls_certfile) != bool(self.tls_keyfile):
            raise ValueError("tls_certfile and tls_keyfile go together: give both or neither")
        if self.tls_client_cafile and not self.tls_certfile:
            raise ValueError("tls_client_cafile is given without tls_certfile: only TLS has certificates")
        if self.port and not self.guarded and not is_loopback(self.host):
            raise ValueError(
                f"host {self.host!r} is not a loopback address, and any client could use it: set http.token_file (or "
                "http.token in the environment), or http.tls_client_cafile, or leave http.host at 127.0.0.1"
            )
        return self

    @property
    def guarded(self) -> bool:
        """Whether clients must identify themselves."""
        return bool(self.token.get_secret_value() or self.tls_client_cafile)


class StatusConfig(HttpConfig):
    """The HTTP server of a monitor: metrics, health, alerts and the status page."""

    image_link: str = Field(
        "", description="address of a request's image, with {id} in it, such as https://images.example.com/{id}"
    )

    @field_validator("image_link")
    @classmethod
    def _template(cls, given: str) -> str:
        if given and not re.fullmatch(r"https?://[^/{}\s]+/[^{}\s]*\{id\}[^{}\s]*", given):
            raise ValueError(
                "expected an address that begins with http:// or https:// and holds {id} once, behind the host, such "
                "as https://images.example.com/{id}"
            )
        return given


def is_loopback(host: str) -> bool:
    """Whether an address can only be reached from this machine.

    The only name for which this is known is ``localhost``.
    """
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"
