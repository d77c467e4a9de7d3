"""Which plugin runs each step, with which options: read from YAML, overridden by flags, written beside the outputs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from qperf_app.methods.yaml_files import load_yaml
from qperf_app.plugins.manager import PluginRegistry, plain_options, resolve_options
from qperf_app.plugins.steps import STEPS, configurable_steps
from qperf_app.plugins.steps.spec import AUTO, slot_of

_OTHER_KEYS = ("random-seed", "disable", "haematocrit", "tissue-density", "leave-out-uncorrected")


class ConfigurationError(ValueError):
    """A configuration file or flag that can't be followed; the message names the file and the key."""


@dataclasses.dataclass(frozen=True)
class Choice:
    """A plugin's name and its options as plain values."""

    plugin: str
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Configuration:
    """All that decides the result beside the data.

    ``haematocrit`` stands in where the series gives none; ``tissue_density`` is in g/mL. ``leave_out_uncorrected``:
    frames that motion correction could not place take no part in the fit.
    """

    steps: Mapping[str, tuple[Choice, ...]]
    random_seed: int = 0
    disable: tuple[str, ...] = ()
    haematocrit: float = 0.42
    tissue_density: float = 1.05
    leave_out_uncorrected: bool = False

    def to_yaml(self) -> str:
        """Return the configuration file that gives this configuration again."""
        content: dict[str, Any] = {}
        for step, choices in self.steps.items():
            entries = [{"plugin": c.plugin, "options": dict(c.options)} for c in choices]
            content[step] = entries if slot_of(STEPS[step]).several else entries[0]
        content |= {
            "random-seed": self.random_seed,
            "disable": list(self.disable),
            "haematocrit": self.haematocrit,
            "tissue-density": self.tissue_density,
            "leave-out-uncorrected": self.leave_out_uncorrected,
        }
        text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
        # A series' own goes before it: who reads the file must not take this one for what was used.
        return text.replace("\ntissue-density:", "  # of series whose sidecar gives none\ntissue-density:")


def read_configuration(path: Path | None) -> dict[str, Any]:
    """Read a configuration file into a mapping; an empty one for None.

    Raises
    ------
    ConfigurationError
        When the file can't be read, is not YAML, is not a mapping or has a key that is not known.
    """
    if path is None:
        return {}
    try:
        content = load_yaml(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"--config-file {path}: can't be read: {error}") from None
    except yaml.YAMLError as error:
        raise ConfigurationError(f"--config-file {path}: not YAML: {' '.join(str(error).split())}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigurationError(f"--config-file {path}: must hold a mapping of steps")
    known = (*configurable_steps(), *_OTHER_KEYS)
    for key in content:
        if key not in known:
            raise ConfigurationError(f"--config-file {path}: unknown key {key!r} (known: {', '.join(known)})")
    return content


def configure(
    content: Mapping[str, Any],
    flags: Mapping[str, Sequence[str] | None],
    random_seed: int | None,
    disable: Sequence[str],
    leave_out_uncorrected: bool = False,
) -> Configuration:
    """Merge the defaults, a configuration file's content and the command line's flags; flags win.

    A flag that names the plugin that the file names keeps the file's options.
    """
    steps: dict[str, tuple[Choice, ...]] = {}
    for step, spec in configurable_steps().items():
        slot = slot_of(spec)
        choices = _choices(step, content[step]) if step in content else tuple(map(Choice, slot.default))
        names = flags.get(step)
        if names:
            by_name = {c.plugin: c for c in choices}
            choices = tuple(by_name.get(name, Choice(name)) for name in dict.fromkeys(names))
        if (not slot.several and len(choices) != 1) or not choices:
            raise ConfigurationError(f"{step}: one plugin is needed, got {len(choices)}")
        plugins = [c.plugin for c in choices]
        twice = next((name for name in plugins if plugins.count(name) > 1), "")
        if twice:
            raise ConfigurationError(f"{step}: plugin {twice!r} is there twice")
        steps[step] = choices
    return Configuration(
        steps=steps,
        random_seed=_integer("random-seed", content.get("random-seed", 0) if random_seed is None else random_seed),
        disable=(*_texts("disable", content.get("disable", ())), *disable),
        haematocrit=_number("haematocrit", content.get("haematocrit", 0.42), 0.0, 0.8),
        tissue_density=_number("tissue-density", content.get("tissue-density", 1.05), 0.5, 2.0),
        leave_out_uncorrected=_truth("leave-out-uncorrected", content.get("leave-out-uncorrected", False))
        or leave_out_uncorrected,
    )


def resolve(configuration: Configuration, registry: PluginRegistry) -> Configuration:
    """Check every choice against the installed plugins and fill in all options.

    Raises
    ------
    UnknownPluginError, PluginOptionError
        For a name or an option that is not there.
    """
    steps = {
        step: tuple(_resolve_choice(registry, step, choice) for choice in choices)
        for step, choices in configuration.steps.items()
    }
    return dataclasses.replace(configuration, steps=steps)


def _resolve_choice(registry: PluginRegistry, step: str, choice: Choice) -> Choice:
    if slot_of(STEPS[step]).choose and choice.plugin == AUTO:
        return Choice(AUTO)
    plugin = registry.get(step, choice.plugin)
    return Choice(choice.plugin, plain_options(resolve_options(plugin, choice.options)))


def _choices(step: str, value: Any) -> tuple[Choice, ...]:
    entries = value if isinstance(value, list) else [value]
    return tuple(_choice(step, entry) for entry in entries)


def _choice(step: str, value: Any) -> Choice:
    if isinstance(value, str):
        return Choice(value)
    if isinstance(value, dict) and isinstance(value.get("plugin"), str) and set(value) <= {"plugin", "options"}:
        options = value.get("options") or {}
        if isinstance(options, dict):
            return Choice(value["plugin"], options)
    raise ConfigurationError(f"configuration key {step!r}: expected a plugin name or {{plugin: NAME, options: {{…}}}}")


def _integer(key: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ConfigurationError(f"configuration key {key!r}: expected a whole number from 0, got {value!r}")
    return value


def _number(key: str, value: Any, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ConfigurationError(f"configuration key {key!r}: expected a number from {low} to {high}, got {value!r}")
    return float(value)


def _truth(key: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise ConfigurationError(f"configuration key {key!r}: expected true or false, got {value!r}")
    return value


def _texts(key: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(v, str) for v in value):
        raise ConfigurationError(f"configuration key {key!r}: expected a list of names, got {value!r}")
    return tuple(value)
