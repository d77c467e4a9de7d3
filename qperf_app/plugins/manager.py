"""Find the plugins that are installed, check each against its step's interface, and keep what breaks apart."""

from __future__ import annotations

import dataclasses
import inspect
import os
import re
import sys
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import pluggy

from qperf_app.plugins import hookspecs
from qperf_app.plugins.answers import one_line
from qperf_app.plugins.api_versions import version_fault
from qperf_app.plugins.options import PluginFaultError as PluginFaultError
from qperf_app.plugins.options import PluginOptionError as PluginOptionError
from qperf_app.plugins.options import check_ranges
from qperf_app.plugins.steps import plugin_steps
from qperf_app.plugins.steps.spec import Slot, StepSpec, slot_of

#: The distribution whose plugins are listed first, so that nobody takes a built-in's name.
OWN_DISTRIBUTION = "qperf-app"
#: A name is part of that of files and folders, which have room for 255 bytes.
LONGEST_NAME = 64


class UnknownPluginError(LookupError):
    """A plugin was asked for that is not there."""


@dataclass(frozen=True)
class InstalledPlugin:
    """A plugin that may be used, and the distribution it came from."""

    step: str
    name: str
    cls: type
    distribution: str
    entry_point: str

    @property
    def version(self) -> str:
        """The version that the class gives."""
        return str(self.cls.version)  # type: ignore[attr-defined]


@dataclass(frozen=True)
class BrokenPlugin:
    """A distribution's entry point, or one class of it, that can't be used, and why."""

    distribution: str
    entry_point: str
    reason: str

    def __str__(self) -> str:
        return f"plugin distribution {self.distribution!r} (entry point {self.entry_point!r}): {self.reason}"


@dataclass(frozen=True)
class PluginRegistry:
    """All installed plugins, by step and name, and third parties' readers of DICOM by name.

    ``not_there`` are names that were to be left out and that nothing has.
    """

    plugins: Mapping[tuple[str, str], InstalledPlugin]
    broken: tuple[BrokenPlugin, ...] = ()
    dicom_readers: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    not_there: tuple[str, ...] = ()

    def names(self, step: str) -> list[str]:
        """Names of the plugins for a step, the built-in ones first."""
        return [name for s, name in self.plugins if s == step]

    def get(self, step: str, name: str) -> InstalledPlugin:
        """Return one plugin.

        Raises
        ------
        UnknownPluginError
            When there is none of that name; the message lists those there are, and what broke on loading.
        """
        try:
            return self.plugins[step, name]
        except KeyError:
            known = ", ".join(self.names(step)) or "none"
            broken = "".join(f"; {b}" for b in self.broken)
            raise UnknownPluginError(f"--{step}: no plugin named {name!r} (installed: {known}){broken}") from None

    def of_step(self, step: str) -> list[InstalledPlugin]:
        """All plugins for a step."""
        return [p for (s, _), p in self.plugins.items() if s == step]


def load_plugins(disabled: Collection[str] = ()) -> PluginRegistry:
    """Load every entry point of the group ``qperf_app``.

    Parameters
    ----------
    disabled
        Names of distributions, entry points (not even imported) or single plugins to leave out.
    """
    return _registered(_entry_points(tuple((place, _changed(place)) for place in sys.path)), tuple(disabled))


@lru_cache(maxsize=8)
def _entry_points(places: tuple[tuple[str, float], ...]) -> tuple[EntryPoint, ...]:
    """Entry points of what is installed; looked for anew only where a folder that they are found in has changed."""
    return tuple(entry_points(group=hookspecs.PROJECT))


def _changed(place: str) -> float:
    """When a folder of ``sys.path`` last changed; 0 where it is not there."""
    try:
        return os.stat(place or ".").st_mtime
    except OSError:
        return 0.0


@lru_cache(maxsize=8)
def _registered(found: tuple[EntryPoint, ...], disabled: tuple[str, ...]) -> PluginRegistry:
    """Register entry points once in a process: every step asks for its plugin."""
    return register(_own_first(found), disabled)


def register(found: Iterable[EntryPoint], disabled: Collection[str] = ()) -> PluginRegistry:
    """Load the given entry points into a registry; whatever is wrong with one never stops the others."""
    plugins: dict[tuple[str, str], InstalledPlugin] = {}
    readers: dict[str, Any] = {}
    broken: list[BrokenPlugin] = []
    seen: set[str] = set()
    for entry_point in found:
        distribution = entry_point.dist.name if entry_point.dist else entry_point.value
        seen |= {distribution, entry_point.name}
        if {distribution, entry_point.name} & set(disabled):
            continue
        try:
            manager = _loaded(entry_point)
            classes, found_readers = list(_classes(manager)), _returned(manager, hookspecs.DICOM_READER)
        except KeyboardInterrupt:
            raise
        # A third party's module may raise anything at all when it is imported, SystemExit included.
        except BaseException as error:
            broken.append(BrokenPlugin(distribution, entry_point.name, one_line(error)))
            continue
        for step, cls in classes:
            reason = find_fault(step, cls)
            key = (step.name, str(getattr(cls, "name", "")))
            seen.add(key[1])
            if reason is None and key in plugins:
                owner = plugins[key].distribution
                reason = f"{step.name} plugin {key[1]!r} is already there, from distribution {owner!r}"
            if reason is not None:
                broken.append(BrokenPlugin(distribution, entry_point.name, reason))
            elif key[1] not in disabled:
                plugins[key] = InstalledPlugin(step.name, key[1], cls, distribution, entry_point.name)
        for reader in found_readers:
            reason = find_reader_fault(reader, readers)
            seen.add(str(getattr(reader, "name", "")))
            if reason is not None:
                broken.append(BrokenPlugin(distribution, entry_point.name, reason))
            elif reader.name not in disabled:
                readers[reader.name] = reader
    return PluginRegistry(plugins, tuple(broken), readers, tuple(name for name in disabled if name not in seen))


def find_reader_fault(reader: Any, known: Collection[str] = ()) -> str | None:
    """Say what keeps an object from being a reader of DICOM; None when nothing does."""
    where = f"DICOM reader {type(reader).__qualname__}"
    name = getattr(reader, "name", None)
    if not isinstance(name, str) or not re.fullmatch(r"[a-z][a-z0-9-]*", name):
        return f"{where} lacks a name of lower-case letters, digits and hyphens"
    if name in known:
        return f"DICOM reader {name!r} is already there"
    missing = [method for method in ("reads", "frames") if not callable(getattr(reader, method, None))]
    if missing:
        return f"{where} has no method {missing[0]!r}"
    private = getattr(reader, "private", None)
    if not isinstance(private, tuple | list) or not all(_is_private_element(element) for element in private):
        return f"{where}: private must list (creator, group, element)"
    return None


def _is_private_element(element: Any) -> bool:
    return isinstance(element, tuple) and tuple(map(type, element)) == (str, int, int) and element[1] % 2 == 1


def find_fault(step: StepSpec, cls: Any) -> str | None:
    """Say what keeps a class from being a plugin of a step; None when nothing does."""
    if not isinstance(cls, type):
        return f"hook {slot_of(step).hook} must return a class, got {type(cls).__name__}"
    slot = slot_of(step)
    where = f"{step.name} plugin {cls.__qualname__}"
    for attribute in ("name", "version", "summary", *slot.attributes):
        if not isinstance(getattr(cls, attribute, None), str):
            return f"{where} lacks the text attribute {attribute!r}"
    labels = {cls.name: slot.pattern, getattr(cls, "model", cls.name): slot.pattern}  # type: ignore[attr-defined]
    for label, pattern in labels.items():
        if not re.fullmatch(pattern, label):
            return f"{where}: {label!r} does not match {pattern}"
    if len(cls.name) > LONGEST_NAME:  # type: ignore[attr-defined]
        return f"{where}: its name has more than {LONGEST_NAME} letters"
    for attribute in ("citations", "requires"):
        texts = getattr(cls, attribute, ())
        if not isinstance(texts, tuple | list) or not all(isinstance(text, str) for text in texts):
            return f"{where}: {attribute} must be a tuple of texts, it is {texts!r:.60}"
    fault = version_fault(getattr(cls, "api_version", None), slot.since)
    if fault is not None:
        return f"{where} {fault}"
    options = getattr(cls, "Options", None)
    if not (isinstance(options, type) and dataclasses.is_dataclass(options)):
        return f"{where}: Options must be a dataclass"
    return _signature_fault(slot, cls, where) or _construction_fault(cls, where)


def make(plugin: InstalledPlugin, options: Mapping[str, Any] | None = None) -> Any:
    """Make a plugin with its options, their types checked.

    Raises
    ------
    PluginOptionError
        For an option that the plugin does not have, or a value that does not fit its type or lies outside its range.
    """
    return made(plugin, resolve_options(plugin, options or {}))


def made(plugin: InstalledPlugin, options: Any) -> Any:
    """Make a plugin with its resolved options.

    Raises
    ------
    PluginFaultError
    """
    try:
        return plugin.cls(options)
    except Exception as error:
        raise PluginFaultError(f"{plugin.step} plugin {plugin.name!r} can't be made: {one_line(error)}") from error


def resolve_options(plugin: InstalledPlugin, options: Mapping[str, Any]) -> Any:
    """Return the plugin's ``Options`` filled from ``options``, defaults for the rest.

    Types are those of the fields: ``true`` and ``"2"`` are no numbers, 1 is no truth value; a whole number is a number.
    """
    from pydantic import ValidationError
    from pydantic.errors import PydanticUserError
    from pydantic_core import PydanticSerializationError, to_json

    where = f"{plugin.step} plugin {plugin.name!r}"
    cls: Any = plugin.cls
    known = [f.name for f in dataclasses.fields(cls.Options)]
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise PluginOptionError(f"{where} has no option {unknown[0]!r} (it has: {', '.join(known) or 'none'})")
    try:
        # As JSON, in which a list may be a tuple and a text a path.
        plain = to_json(dict(options), inf_nan_mode="constants", fallback=lambda value: value.item())
        resolved = _checker(cls.Options).validate_json(plain, strict=True)
        check_ranges(resolved)
    except PydanticSerializationError as error:
        raise PluginOptionError(f"{where}: an option is nothing that YAML keeps: {one_line(error)}") from None
    except PydanticUserError as error:
        raise PluginFaultError(f"{where}: the types of its options can't be told: {one_line(error)}") from None
    except PluginOptionError as error:
        raise PluginOptionError(f"{where}, {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        if first["type"] == "value_error" and not first["loc"]:
            # What ``Options`` itself says of fields that contradict each other.
            raise PluginOptionError(f"{where}: {first['ctx']['error']}") from None
        name = ".".join(str(part) for part in first["loc"]) or "options"
        raise PluginOptionError(f"{where}, option {name!r}: {first['msg']}, got {first['input']!r}") from None
    return resolved


@cache
def _checker(options: type) -> Any:
    """What checks the types of an options dataclass; making it takes a thousand times as long as using it."""
    from pydantic import TypeAdapter

    return TypeAdapter(options)


def plain_options(options: Any) -> dict[str, Any]:
    """Options dataclass as plain values that YAML and JSON keep."""
    return {key: list(v) if isinstance(v, tuple) else v for key, v in dataclasses.asdict(options).items()}


def _own_first(found: Iterable[EntryPoint]) -> list[EntryPoint]:
    def key(entry_point: EntryPoint) -> tuple[bool, str, str]:
        distribution = entry_point.dist.name if entry_point.dist else ""
        return distribution != OWN_DISTRIBUTION, distribution, entry_point.name

    return sorted(found, key=key)


def _loaded(entry_point: EntryPoint) -> pluggy.PluginManager:
    # A manager for each entry point: pluggy leaves a plugin half-registered when one of its hooks is refused.
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs.HOOKS)
    manager.register(entry_point.load(), name=entry_point.name)
    manager.check_pending()
    return manager


def _returned(manager: pluggy.PluginManager, hook: str) -> list[Any]:
    """What the implementations of a hook return, tuples taken apart."""
    results = getattr(manager.hook, hook)()
    return [one for result in results for one in (result if isinstance(result, tuple | list) else (result,))]


def _classes(manager: pluggy.PluginManager) -> Iterable[tuple[StepSpec, Any]]:
    for step in plugin_steps().values():
        yield from ((step, cls) for cls in _returned(manager, slot_of(step).hook))


def _signature_fault(slot: Slot, cls: type, where: str) -> str | None:
    method = getattr(cls, slot.method, None)
    if not callable(method):
        return f"{where} has no method {slot.method!r}"
    expected = inspect.signature(getattr(slot.interface, slot.method))
    try:
        inspect.signature(method).bind(*[None] * len(expected.parameters))
    except TypeError:
        wanted = ", ".join(list(expected.parameters)[1:])
        return f"{where}: method {slot.method!r} must take ({wanted}), it takes {inspect.signature(method)}"
    return None


def _construction_fault(cls: Any, where: str) -> str | None:
    try:
        options = cls.Options()
        check_ranges(options)
        for option in dataclasses.fields(options):
            if not _is_plain(getattr(options, option.name)):
                return f"{where}: the default of option {option.name!r} is nothing that YAML keeps"
        plugin = cls(options)
        missing = [m for m in ("problems", "resources") if not callable(getattr(plugin, m, None))]
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return f"{where} can't be made with its default options: {one_line(error)}"
    return f"{where} has no method {missing[0]!r}" if missing else None


def _is_plain(value: Any) -> bool:
    """Whether a configuration file can hold a value."""
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and _is_plain(item) for key, item in value.items())
    if isinstance(value, tuple | list):
        return all(map(_is_plain, value))
    return value is None or type(value) in (bool, int, float, str)
