"""Settings of the receivers of alerts."""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from typing import Any

from pydantic import Field, ValidationError, field_validator, model_validator

from monitor.config.sections.base import Section, from_file
from monitor.config.urls import SecretUrl

IDENTITY = ("alertname", "group", "kind", "stream", "subject", "fingerprint")
"""Labels that the monitor itself sets, which settings may not override."""


class DeliveryConfig(Section):
    """The receivers of alerts besides Redis."""

    webhook_url: SecretUrl = Field(
        SecretUrl(""), description="gets each transition as JSON, in Alertmanager's webhook layout (version 4)"
    )
    webhook_url_file: str = Field("", description="file that holds webhook_url")
    alertmanager_url: SecretUrl = Field(SecretUrl(""), description="base URL; alerts go to /api/v2/alerts under it")
    timeout_seconds: float = Field(
        5.0, gt=0, description="limit on one call of a receiver, from the name lookup to the end of its answer"
    )
    resend_seconds: float = Field(
        30.0, gt=0, le=3600, description="Alertmanager gets firing alerts again after this time"
    )
    keep_firing_seconds: float = Field(
        330.0, ge=0, le=86_400,
        description="Alertmanager gets an alert as firing for at least this long, even if it is over sooner. It "
        "does not notify of alerts that end within its group_wait (30 s), or group_interval (5 min) in an old group",
    )  # fmt: skip
    runbook_url: str = Field(
        "", description="address of your copy of docs/runbook.md; each alert links to its entry there; empty: no link"
    )
    information: bool = Field(
        False, description="receivers also get information (kind drift, severity info), which is not urgent"
    )
    labels: dict[str, str] = Field(default_factory=dict, description="fixed labels of every alert, such as team")
    heartbeat: bool = Field(True, description="Alertmanager gets an alert that always fires, MonitorHeartbeat")
    heartbeat_url: SecretUrl = Field(
        SecretUrl(""), description="called while the monitor makes progress, as healthchecks.io expects it"
    )
    heartbeat_url_file: str = Field("", description="file that holds heartbeat_url")
    heartbeat_seconds: float = Field(60.0, gt=0, description="time between two calls of heartbeat_url")
    sinks: dict[str, Any] = Field(
        default_factory=dict, description="settings of further sinks; delivery.NAME is read as delivery.sinks.NAME"
    )

    @model_validator(mode="before")
    @classmethod
    def _sections(cls, data: Any) -> Any:
        """Read ``delivery.NAME`` for every sink with settings of its own."""
        if not isinstance(data, Mapping):
            return data
        named = {name: data[name] for name in _sink_sections() if name in data and name not in cls.model_fields}
        if not named:
            return data
        return {k: v for k, v in data.items() if k not in named} | {"sinks": {**data.get("sinks", {}), **named}}

    @field_validator("sinks")
    @classmethod
    def _known_sinks(cls, given: dict[str, Any]) -> dict[str, Any]:
        from monitor.config.explaining import explain_error  # imported here, since it imports this module

        known = _sink_sections()
        for name in given:
            if name not in known:
                raise ValueError(
                    f"there is no sink {name!r} with settings of its own, known: {', '.join(known) or 'none'}"
                )
        found = {}
        for name, value in given.items():
            try:
                found[name] = known[name].model_validate(value)
            except ValidationError as error:
                raise ValueError(
                    "; ".join(f"{name}: {explain_error(e, known[name])}" for e in error.errors())
                ) from None
        return found

    @field_validator("runbook_url")
    @classmethod
    def _link(cls, given: str) -> str:
        if given and not re.fullmatch(r"https?://[!-~]{1,300}", given):
            raise ValueError("runbook_url: expected an address that begins with http:// or https://, without spaces")
        if "#" in given:
            raise ValueError("runbook_url: leave out '#' and what follows: the entry of each alert is put there")
        return given

    @field_validator("labels")
    @classmethod
    def _label_names(cls, given: dict[str, str]) -> dict[str, str]:
        for name, value in given.items():
            if not re.fullmatch("[a-zA-Z_][a-zA-Z0-9_]*", name) or name.startswith("__"):
                raise ValueError(f"label {name!r}: expected letters, digits and underscore, such as team")
            if name in IDENTITY:
                raise ValueError(f"label {name!r} is set by the monitor: choose another name")
            if not value or len(value) > 200 or not value.isprintable():
                raise ValueError(f"label {name!r}: expected 1 to 200 printable characters")
        return given

    @model_validator(mode="before")
    @classmethod
    def _secret(cls, data: Any) -> Any:
        return from_file(from_file(data, "webhook_url"), "heartbeat_url")


def _sink_sections() -> dict[str, type[Section]]:
    """Find the settings classes of sinks. Sinks are in a higher layer, so they are looked up, not imported."""
    found: dict[str, type[Section]] = importlib.import_module("monitor.alerts.sinks").sections()
    return found
