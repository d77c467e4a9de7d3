"""``qperf plugins``: what is installed for each step, where it came from, and what broke."""

from __future__ import annotations

import argparse
import dataclasses
import json
from typing import Any

from qperf_app.dicom.readers.installed import BUILT_IN
from qperf_app.plugins.manager import InstalledPlugin, PluginRegistry, load_plugins
from qperf_app.plugins.options import help_of
from qperf_app.plugins.steps import plugin_steps
from qperf_app.plugins.steps.spec import AUTO, slot_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the sub-command's arguments."""
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--disable-plugin", nargs="+", metavar="NAME", default=[], help="leave these out")


def run(args: argparse.Namespace) -> int:
    """List the plugins; always exits 0, broken ones are listed as such."""
    registry = load_plugins(args.disable_plugin)
    print(json.dumps(as_json(registry), indent=2, ensure_ascii=False) if args.json else as_text(registry))
    return 0


def as_json(registry: PluginRegistry) -> dict[str, Any]:
    """Everything that is known of the plugins as plain values."""
    return {
        "steps": {step: [_describe(p) for p in registry.of_step(step)] for step in plugin_steps()},
        "dicom_readers": [*registry.dicom_readers, *(reader.name for reader in BUILT_IN)],
        "broken": [dataclasses.asdict(b) for b in registry.broken],
    }


def as_text(registry: PluginRegistry) -> str:
    """The same for people."""
    lines: list[str] = []
    for step, spec in plugin_steps().items():
        defaults = slot_of(spec).default
        lines.append(f"{step}  (default: by the series' metadata)" if defaults == (AUTO,) else step)
        found = registry.of_step(step)
        for p in found:
            default = "  (default)" if p.name in defaults else ""
            lines.append(f"  {p.name} {p.version}{default}  {p.cls.summary}  [{p.distribution}]")  # type: ignore[attr-defined]
        for plugin in found:
            for option in _options(plugin):
                lines.append(f"      {plugin.name}.{option['name']} = {option['default']!r}  {option['help']}")
        if not found:
            lines.append("  (none)")
    readers = [f"  {name}  [installed]" for name in registry.dicom_readers]
    readers += [f"  {reader.name}  [qperf-app]" for reader in BUILT_IN]
    lines += ["dicom-reader  (by content, in this order)", *readers]
    if registry.broken:
        lines += ["broken", *(f"  {broken}" for broken in registry.broken)]
    return "\n".join(lines)


def _describe(plugin: InstalledPlugin) -> dict[str, Any]:
    cls: Any = plugin.cls
    return {
        "name": plugin.name,
        "version": plugin.version,
        "summary": cls.summary,
        "distribution": plugin.distribution,
        "entry_point": plugin.entry_point,
        "requires": list(getattr(cls, "requires", ())),
        "citations": list(getattr(cls, "citations", ())),
        "options": _options(plugin),
    }


def _options(plugin: InstalledPlugin) -> list[dict[str, Any]]:
    cls: Any = plugin.cls
    defaults = cls.Options()
    return [
        {
            "name": field.name,
            "type": str(field.type),
            "default": getattr(defaults, field.name),
            "help": help_of(field),
        }
        for field in dataclasses.fields(cls.Options)
    ]
