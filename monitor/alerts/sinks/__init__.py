"""The sinks, one in each file. Each has ``open(settings, context)``, which returns a sink, or ``None`` if switched off.

A new sink is one new module in this folder. A module may have a class ``Settings`` (a section of the settings); then
``delivery.NAME`` in the settings file is read as that. ``NAME`` is the name of the module. ``open`` gets it, or
``None`` if the module has none. Libraries are imported when the sink is opened.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Any

from monitor.errors import ConfigError

if TYPE_CHECKING:
    from monitor.alerts.sink import Context, Sink


@cache
def modules() -> dict[str, ModuleType]:
    """The module of each sink, by name.

    Raises:
        ConfigError: a module cannot be imported.
    """
    found = {}
    for module in pkgutil.iter_modules(__path__):
        try:
            found[module.name] = importlib.import_module(f"{__name__}.{module.name}")
        except ImportError as error:
            raise ConfigError(f"the sink {module.name} (monitor/alerts/sinks) cannot be loaded: {error}") from error
    return found


def sections() -> dict[str, type[Any]]:
    """The settings class of each sink that has settings of its own, by name."""
    return {name: module.Settings for name, module in modules().items() if hasattr(module, "Settings")}


def open_sinks(context: Context) -> list[Sink]:
    """Open every sink that the settings switch on.

    Raises:
        ConfigError: the settings of a sink cannot be used.
    """
    given, opened = context.delivery.sinks, []
    for name, module in sorted(modules().items()):
        section = sections().get(name)
        settings = None if section is None else given.get(name) or section()
        sink = module.open(settings, context)
        if sink is not None:
            opened.append(sink)
    return opened
