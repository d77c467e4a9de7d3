"""A plugin as the app would see it, before it is installed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from types import ModuleType
from typing import Any, cast

from qperf_app.plugins.hookspecs import hookimpl
from qperf_app.plugins.manager import PluginRegistry, register
from qperf_app.plugins.steps.spec import slot_of
from qperf_app.testing.inputs import step_of


@dataclass(frozen=True)
class _Source:
    """Stands for the entry point that an installed distribution has."""

    module: ModuleType
    dist: None = None

    @property
    def name(self) -> str:
        return self.module.__name__

    @property
    def value(self) -> str:
        return self.module.__name__

    def load(self) -> ModuleType:
        return self.module


def uninstalled(*sources: ModuleType | type) -> PluginRegistry:
    """The registry of plugins that are not installed: modules with hooks, or classes that derive from an interface.

    They pass through the checks that installed ones pass. ``uninstalled(Mine).get("kinetics", "mine")`` and
    :func:`qperf_app.plugins.manager.make` give an instance with its options checked.

    Raises
    ------
    ValueError
        Where qperf-app would refuse one; the message is what ``qperf plugins`` would say.
    """
    modules = [source if isinstance(source, ModuleType) else _module_of(source) for source in sources]
    registry = register(cast(Iterable[EntryPoint], map(_Source, modules)))
    if registry.broken:
        raise ValueError("; ".join(str(broken) for broken in registry.broken))
    return registry


def _module_of(cls: type) -> ModuleType:
    """A module whose one hook returns the class."""
    hook = slot_of(step_of(cls)).hook

    def returns() -> Any:
        return cls

    module = ModuleType(cls.__qualname__)
    setattr(module, hook, hookimpl(returns, specname=hook))
    return module
