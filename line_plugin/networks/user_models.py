"""Loads a user's own network, named as ``path/to/file.py:factory`` or ``package.module:factory``."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from line_plugin.errors import SettingsError, unknown_name

if TYPE_CHECKING:
    from torch import nn

_EXPECTED = "expected path/to/file.py:factory or package.module:factory"


def load_user_model(spec: str) -> nn.Module:
    """Import the file or module, call the factory without arguments, and return its network in eval mode.

    The user's code runs here, with the rights of this process. Modules beside the file, or in the working directory
    for ``package.module``, can be imported by it.

    Args:
        spec: ``path/to/file.py:factory`` or ``package.module:factory``; a module-level network is taken as it is.

    Raises:
        SettingsError: the file, module or factory does not exist, its code raised an error, or it returned something
            else.
    """
    from torch import nn

    source, colon, name = spec.rpartition(":")
    if not colon or not source or not name:
        raise SettingsError(f"model {spec!r} given, {_EXPECTED}")
    module = _from_file(Path(source)) if source.endswith(".py") else _from_package(source)
    if not hasattr(module, name):
        callables = [n for n, v in vars(module).items() if callable(v) and not n.startswith("_")]
        raise unknown_name(f"factory in {source}", name, callables)
    factory = getattr(module, name)
    if isinstance(factory, nn.Module):
        return factory.eval()
    if not callable(factory):
        raise SettingsError(
            f"{spec} is of type {type(factory).__name__}, expected a function that returns a torch nn.Module"
        )
    try:
        model: Any = factory()
    except Exception as error:
        raise SettingsError(f"{spec}() failed with {_describe_error(error)}: it is called without arguments") from error
    if not isinstance(model, nn.Module):
        raise SettingsError(f"{spec}() returned an object of type {type(model).__name__}, expected a torch nn.Module")
    return model.eval()


def _from_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise SettingsError(f"no file {path}: {_EXPECTED}")
    name = f"_user_model_{path.stem}"
    found = importlib.util.spec_from_file_location(name, path)
    if found is None or found.loader is None:
        raise SettingsError(f"{path} cannot be imported: {_EXPECTED}")
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module  # so that the fingerprint can find the source of its classes
    try:
        with _importable(path.parent):
            found.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise SettingsError(f"{path} cannot be imported: {_describe_error(error)}") from error
    return module


def _from_package(name: str) -> ModuleType:
    try:
        with _importable(Path.cwd()):  # an installed command does not search there by itself
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise SettingsError(f"no module {name!r} here or installed: {_EXPECTED}") from error
        raise SettingsError(f"{name} cannot be imported: {_describe_error(error)}") from error
    except Exception as error:
        raise SettingsError(f"{name} cannot be imported: {_describe_error(error)}") from error


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    entry = str(folder.resolve())
    sys.path.insert(0, entry)
    try:
        yield
    finally:
        sys.path.remove(entry)


def _describe_error(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
