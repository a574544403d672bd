"""Decides which records are meant for the monitor, by the rules of ``messages.accept``.

A topic may also carry records that must not be scored, such as the requests beside the responses of a model server. A
record is accepted if it meets all conditions of at least one rule. All others are skipped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from monitor.errors import ConfigError
from monitor.messages.names import header_name

Condition = tuple[str, ...]
"""The allowed values, in which ``*`` stands for any characters."""


@dataclass(frozen=True)
class Rule:
    """Conditions that must all be met.

    Attributes:
        headers: allowed values by the name of a header, or of an attribute of a CloudEvents envelope.
        topic: allowed topics; None allows all.
        model: allowed models, as named by the record's header or by the document in its value; None allows all.
    """

    headers: Mapping[str, Condition]
    topic: Condition | None = None
    model: Condition | None = None

    @classmethod
    def of(cls, conditions: Mapping[str, str | list[str]]) -> Rule:
        """Read a rule from the settings, such as ``{ce_type: org.kubeflow.serving.inference.response, model: [a, b]}``.

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
        """Whether the rule allows this topic."""
        return self.topic is None or _fits(topic, self.topic)

    def fits_headers(self, headers: Mapping[str, bytes], longest: int) -> bool:
        """Whether the headers are present with values that the rule allows. Overlong values are never allowed."""
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
        """Whether the rule allows this model.

        A record without a model is allowed only if the rule does not name models.
        """
        return self.model is None or (model is not None and _fits(model, self.model))


def _fits(text: str, allowed: Condition) -> bool:
    return text in allowed or any("*" in pattern and _matches(text, pattern) for pattern in allowed)


def _matches(text: str, pattern: str) -> bool:
    return fnmatchcase(text, pattern.replace("[", "[[]").replace("?", "[?]"))
