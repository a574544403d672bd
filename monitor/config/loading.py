"""Reads the settings from a YAML file, a folder of secrets and the environment. Later sources override earlier ones.

A value in the environment is text, and the type of its key decides how it is read. A password stays exactly as it is;
lists and mappings are JSON.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import SecretStr, ValidationError

from monitor.config.explaining import MOVED, explain_error, is_secret, known_keys
from monitor.config.secret_files import read_secret_folder
from monitor.config.sections import MonitorConfig, ProcessSettings
from monitor.errors import ConfigError

PREFIX = f"{MonitorConfig.environment}__"

S = TypeVar("S", bound=ProcessSettings)


def load(path: str | Path, environment: Mapping[str, str] | None = None) -> MonitorConfig:
    """Read and validate the settings of a monitor process, see :func:`load_as`."""
    return load_as(MonitorConfig, path, environment)


def load_as(kind: type[S], path: str | Path, environment: Mapping[str, str] | None = None) -> S:
    """Read settings, override them, and validate them.

    A variable that ends in ``_SECRETS_DIR`` names a folder of secrets. Its files are named as the variables
    are and hold their values (docker's ``/run/secrets``).

    Args:
        kind: the settings class of the process.
        path: the YAML file.
        environment: by default the environment of the process.

    Raises:
        ConfigError: one line per problem, each with its key. Secrets are never quoted.
    """
    given = os.environ if environment is None else environment
    return validate_as(kind, _merged(_read_yaml(path, kind), _Environment(kind).read(given)), str(path))


def validate(data: Mapping[str, Any], where: str = "settings") -> MonitorConfig:
    """Validate a nested mapping, see :func:`load`."""
    return validate_as(MonitorConfig, data, where)


def validate_as(kind: type[S], data: Mapping[str, Any], where: str = "settings") -> S:
    """Validate a nested mapping, see :func:`load_as`."""
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        raise ConfigError(f"{where}: " + "; ".join(explain_error(e, kind) for e in error.errors())) from None


def _read_yaml(path: str | Path, kind: type[ProcessSettings]) -> dict[str, Any]:
    try:
        text = Path(path).read_text(encoding="utf-8")
        data = yaml.safe_load(text)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not UTF-8 text") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        # The parser's own message quotes the file, including secrets.
        mark = getattr(error, "problem_mark", None)
        place = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ConfigError(
            f"{path} is not valid YAML{place}: look for a missing quote or bracket and for wrong indentation; text "
            "that begins with one of @ ` % & * ! [ { or holds ': ' or ' #' must stand in quotes"
        ) from None
    if not isinstance(data, dict):
        raise ConfigError(f"{path} holds {type(data).__name__}, expected sections such as kafka: and redis:")
    _refuse_cut_secrets(yaml.compose(text, yaml.SafeLoader), text.splitlines(), kind)
    return data


def _refuse_cut_secrets(document: Any, lines: Sequence[str], kind: type[ProcessSettings]) -> None:
    """Refuse ``password: S3cret #1``, which YAML reads as ``S3cret``. Only quotes show that ``#1`` is not a comment."""
    for section, keys in document.value:
        for key, value in keys.value if isinstance(keys, yaml.MappingNode) else ():
            if not isinstance(value, yaml.ScalarNode) or value.style is not None:
                continue
            behind = lines[value.end_mark.line][value.end_mark.column :] if value.end_mark.line < len(lines) else ""
            if "#" in behind and is_secret([str(section.value), str(key.value)], (SecretStr,), kind):
                raise ConfigError(
                    f"{section.value}.{key.value} has a # behind it in line {value.end_mark.line + 1}: put the value "
                    "in quotes, so that it is certain what belongs to it"
                )


def _merged(data: dict[str, Any], over: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    merged = {k: dict(v) if isinstance(v, dict) else v for k, v in data.items()}
    for section, values in over.items():
        held = merged.get(section)
        if held is not None and not isinstance(held, dict):
            raise ConfigError(f"{section} holds {type(held).__name__}, expected a section with keys")
        merged[section] = {**(held or {}), **values}
    return merged


class _Environment:
    """The environment variables of one process, whose names begin with a prefix."""

    def __init__(self, kind: type[ProcessSettings]) -> None:
        self._kind, self._prefix, self._folder = kind, f"{kind.environment}__", f"{kind.environment}_SECRETS_DIR"

    def read(self, environment: Mapping[str, str]) -> dict[str, dict[str, Any]]:
        """Read the keys that the environment, or the folder of secrets that it names, gives a value."""
        folder = environment.get(self._folder, "")
        try:
            from_files = self._named(read_secret_folder(folder, self._prefix), "file") if folder else {}
        except ValueError as error:
            raise ConfigError(f"{self._folder}: {error}") from None
        variables = {**from_files, **self._named(environment, "environment variable")}
        return self._decoded(variables) if variables else {}

    def _named(self, values: Mapping[str, str], what: str) -> dict[str, str]:
        """Return our variables by their lower-case names.

        Raises:
            ConfigError: a variable without a key. The message names the nearest key.
        """
        found: dict[str, str] = {}
        for name in sorted(values):
            if not self._is_ours(name):
                continue
            self._refuse_unknown(name, what)
            if name.lower() in found:
                raise ConfigError(f"{what} {name}: it is given twice, in large and in small letters; keep one")
            found[name.lower()] = values[name]
        return found

    def _is_ours(self, name: str) -> bool:
        """Whether a variable is meant for us, even if it misses an underscore; Kubernetes' own variables are not."""
        upper = name.upper()
        near = self._prefix.removesuffix("_")
        return upper.startswith(self._prefix) or (upper.startswith(near) and "__" in upper[len(near) :])

    def _refuse_unknown(self, name: str, what: str) -> None:
        sections = known_keys([], self._kind)
        known = [f"{self._prefix}{s}__{k}".upper() for s in sections for k in known_keys([s], self._kind)]
        if name.upper() in known:
            return
        section = name.lower().removeprefix(self._prefix.lower()).partition("__")[0]
        if section in MOVED and self._kind is MonitorConfig:
            raise ConfigError(f"{what} {name}: no setting has this name; {section!r}: {MOVED[section]}")
        raise ConfigError(f"{what} {name}: no setting has this name; {self._hint(name.upper(), known)}")

    def _hint(self, name: str, known: Iterable[str]) -> str:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
        return f"did you mean {near[0]}?" if near else f"expected {self._prefix}SECTION__KEY"

    def _decoded(self, variables: Mapping[str, str]) -> dict[str, dict[str, Any]]:
        from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict, SettingsError

        class Settings(self._kind, BaseSettings):  # type: ignore[misc,name-defined]
            model_config = SettingsConfigDict(env_prefix=self._prefix, env_nested_delimiter="__", extra="forbid")

        source = EnvSettingsSource(Settings)
        source.env_vars = dict(variables)
        try:
            return {str(section): dict(values) for section, values in source().items()}
        except SettingsError as error:
            raise ConfigError(f'environment: a list or a mapping must be JSON, such as ["a", "b"] ({error})') from None
