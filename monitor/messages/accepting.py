"""Which records are meant for the monitor at all: ``messages.accept``, a list of rules.

A topic may carry what is not to be scored, such as the requests beside the responses of a model server. A record is
accepted if it fits at least one rule, and it fits a rule if it fits each condition of it. All others are skipped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from monitor.errors import ConfigError
from monitor.messages.names import header_name

Condition = tuple[str, ...]
"""What a value may be: any of these, in which ``*`` stands for any characters."""


@dataclass(frozen=True)
class Rule:
    """Conditions that hold together.

    Attributes:
        headers: name of a header, or of an attribute of a CloudEvents envelope, to what it may be.
        topic: what the topic may be; None for any.
        model: what the model may be, which the record's header or the document in its value names; None for any.
    """

    headers: Mapping[str, Condition]
    topic: Condition | None = None
    model: Condition | None = None

    @classmethod
    def of(cls, conditions: Mapping[str, str | list[str]]) -> Rule:
        """From the settings, such as ``{ce_type: org.kubeflow.serving.inference.response, model: [a, b]}``.

        Raises:
            ConfigError: there is no condition, a condition allows nothing, or two are on the same header.
        """
        found: dict[str, Condition] = {}
        for given, allowed in conditions.items():
            name, texts = header_name(given.strip()), (allowed,) if isinstance(allowed, str) else tuple(allowed)
            if not name or not texts or not all(texts):
                raise ConfigError(
                    f"messages.accept: condition {given[:40]!r} allows nothing, expected a text or a list of texts"
                )
            if name in found:
                raise ConfigError(f"messages.accept: two conditions on {name[:40]!r} in one rule, list both texts")
            found[name] = texts
        if not found:
            raise ConfigError("messages.accept: a rule without a condition, expected such as {ce_type: TEXT}")
        return cls(found, found.pop("topic", None), found.pop("model", None))

    def fits_topic(self, topic: str) -> bool:
        """Whether the topic is one of those that the rule allows."""
        return self.topic is None or _fits(topic, self.topic)

    def fits_headers(self, headers: Mapping[str, bytes], longest: int) -> bool:
        """Whether the headers are there and hold what the rule allows; longer ones never do."""
        for name, allowed in self.headers.items():
            value = headers.get(name)
            if value is None or len(value) > longest:
                return False
            try:
                text = value.decode("utf-8")
            except UnicodeDecodeError:
                return False
            if not _fits(text, allowed):
                return False
        return True

    def fits_model(self, model: str | None) -> bool:
        """Whether the model is one of those that the rule allows; a record that names none fits only if any may be."""
        return self.model is None or (model is not None and _fits(model, self.model))


def _fits(text: str, allowed: Condition) -> bool:
    return text in allowed or any("*" in pattern and _matches(text, pattern) for pattern in allowed)


def _matches(text: str, pattern: str) -> bool:
    return fnmatchcase(text, pattern.replace("[", "[[]").replace("?", "[?]"))
