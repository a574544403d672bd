"""The settings that a group's evidence stands on: remembered in Redis, so that no process judges under others."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from monitor.config import MonitorConfig
from monitor.errors import ConfigError, StoreError
from monitor.store.protocol import Store


@dataclass(frozen=True)
class Binding:
    """Settings by their names in the settings file, and the artifact's content hash."""

    settings: Mapping[str, str | float]
    bucket_ms: int

    @property
    def text(self) -> str:
        """As JSON, the same for the same settings."""
        return json.dumps(dict(self.settings), sort_keys=True)

    @property
    def name(self) -> str:
        """A short name: equal settings have an equal one."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:16]

    @property
    def artifact(self) -> str:
        """Content hash of the artifact."""
        return str(self.settings["model.artifact"])


def binding_of(config: MonitorConfig, artifact: str, models: Mapping[str, str] | None = None) -> Binding:
    """What evidence under these settings stands on.

    Args:
        config: the settings of this process.
        artifact: content hash of the artifact that they name; of several, of all together.
        models: several models by name, with the content hash of each.

    Raises:
        ConfigError: the class calibration cannot be read.
    """
    settings: dict[str, str | float] = {
        "model.artifact": artifact,
        "buckets.seconds": config.bucket_ms / 1000,
        "alerts.requests_per_false_alert": config.alerts.requests,
        "alerts.masses": config.alerts.masses,
        "alerts.class_calibration": _hash_of(config.alerts.class_calibration),
    }
    if models:
        settings["models"] = ", ".join(f"{name} {sha[:12]}" for name, sha in sorted(models.items()))
    return Binding(settings, config.bucket_ms)


def bind(store: Store, binding: Binding, group: str) -> None:
    """Tie the group to these settings, or refuse to run under others than it is tied to.

    Raises:
        StoreError: the group stands on other settings; the message names each and says how to go on.
    """
    name, held = store.bind(binding.name, binding.text, binding.bucket_ms, binding.artifact)
    if name == binding.name:
        return
    raise StoreError(
        f"the evidence of group {group!r} was gathered under other settings: {differences(held, binding)}. "
        "Evidence under one is not evidence under the other. Set them back, use another group, or start the evidence "
        "afresh under these with `ood-monitor promote --config FILE`: every worker with other settings then stops"
    )


def differences(held: str, binding: Binding) -> str:
    """What differs, for people: ``buckets.seconds is 1.0 there and 2.0 here``."""
    try:
        there = json.loads(held)
    except ValueError:  # an earlier release kept the artifact's hash alone
        there = {**binding.settings, "model.artifact": held}
    return "; ".join(
        f"{key} is {_short(there.get(key))} there and {_short(here)} here"
        for key, here in binding.settings.items()
        if there.get(key) != here
    )


def _short(value: object) -> str:
    text = "not set" if value in ("", None) else str(value)
    return text[:12] if len(text) == 64 else text


def _hash_of(path: str) -> str:
    if not path:
        return ""
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError as error:
        raise ConfigError(f"alerts.class_calibration {path} cannot be read: {error.strerror}") from error
