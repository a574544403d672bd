"""Settings of Redis, which keeps counts and alerts."""

from __future__ import annotations

from typing import Any

from pydantic import Field, SecretStr, model_validator

from monitor.config.redis_url import parse_redis_url
from monitor.config.sections.base import Section, from_file
from monitor.config.urls import SecretUrl


class RedisConfig(Section):
    """Settings of Redis, which keeps counts and alerts."""

    url: SecretUrl = Field(
        SecretUrl("redis://127.0.0.1:6379/0"),
        description="redis://, rediss:// (TLS), unix://, redis+cluster:// or redis+sentinel://HOST:26379/MASTER/DB",
    )
    username: str = Field("", description="user of Redis' ACL; empty for the default user")
    password: SecretStr = Field(SecretStr(""), description="password of the login")
    password_file: str = Field("", description="file that holds password")
    ca_file: str = Field(
        "", description="certificates of the authorities that sign Redis' certificate; empty for the system's"
    )
    cert_file: str = Field("", description="certificate of this client, if Redis asks for one")
    key_file: str = Field("", description="key of cert_file")
    key_password: SecretStr = Field(SecretStr(""), description="password of key_file if it is encrypted")
    key_password_file: str = Field("", description="file that holds key_password")
    sentinel_password: SecretStr = Field(SecretStr(""), description="password of the sentinels, if they ask for one")
    sentinel_password_file: str = Field("", description="file that holds sentinel_password")
    socket_timeout_seconds: float = Field(
        2.0, gt=0, description="limit on one answer of Redis; after this it counts as unreachable"
    )
    bucket_retention_seconds: float = Field(86_400, gt=0, description="how long the counts of a judged bucket are kept")
    alert_ttl_seconds: float = Field(604_800, gt=0, description="how long a resolved alert can be read")
    history_length: int = Field(10_000, ge=10, description="alert events kept, about")

    @model_validator(mode="before")
    @classmethod
    def _secret(cls, data: Any) -> Any:
        for secret in ("password", "key_password", "sentinel_password"):
            data = from_file(data, secret)
        return data

    @model_validator(mode="after")
    def _connection(self) -> RedisConfig:
        address = parse_redis_url(self.url)
        for key in ("username", "password"):
            if getattr(address, key) and getattr(self, key):
                raise ValueError(f"a {key} is given in url and in {key}: keep the one in {key}")
        for key in ("ca_file", "cert_file", "key_file"):
            if getattr(self, key) and not address.tls:
                raise ValueError(f"{key} is given, but url is not one of TLS: let it begin with rediss")
        if self.key_file and not self.cert_file:
            raise ValueError("key_file is given without cert_file: a key needs its certificate")
        return self
