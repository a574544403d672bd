"""The binding of a group: the settings its evidence was collected under, kept in Redis.

A process with other settings refuses to start, because evidence collected under one set says nothing about another.
"""

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
    """The settings that must not change while evidence is collected, under their names in the settings file.

    The artifact is among them, by its content hash.
    """

    settings: Mapping[str, str | float]
    bucket_ms: int

    @property
    def text(self) -> str:
        """The settings as JSON. Equal settings give equal text."""
        return json.dumps(dict(self.settings), sort_keys=True)

    @property
    def name(self) -> str:
        """A short name for these settings. Equal settings have equal names."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:16]

    @property
    def artifact(self) -> str:
        """Content hash of the artifact."""
        return str(self.settings["model.artifact"])


def binding_of(config: MonitorConfig, artifact: str, models: Mapping[str, str] | None = None) -> Binding:
    """Collect the settings that a group's evidence depends on.

    Args:
        config: the settings of this process.
        artifact: content hash of the artifact that they name; if there are several, one hash over all of them.
        models: if there are several models: the content hash of each, by name.

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
    """Bind the group to these settings, or raise if it is already bound to others.

    Raises:
        StoreError: the group has other settings; the message names each and says how to go on.
    """
    name, held = store.bind(binding.name, binding.text, binding.bucket_ms, binding.artifact)
    if name == binding.name:
        return
    raise StoreError(
        f"the evidence of group {group!r} was collected under other settings: {differences(held, binding)}. "
        "It means nothing under these. Set them back, use another group, or start the evidence "
        "afresh under these with `ood-monitor promote --config FILE`: every worker with other settings then stops"
    )


def differences(held: str, binding: Binding) -> str:
    """Describe what differs, for people: ``buckets.seconds is 1.0 there and 2.0 here``."""
    try:
        there = json.loads(held)
    except ValueError:  # an earlier release kept the artifact's hash alone
        there = {**binding.settings, "model.artifact": held}
    here = binding.settings
    return "; ".join(
        f"{key} is {_short(there.get(key))} there and {_short(here.get(key))} here"
        for key in {**here, **there}
        if there.get(key) != here.get(key)
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
