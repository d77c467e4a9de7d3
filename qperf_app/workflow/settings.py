"""Whether participants that are put together were run alike: constants, plugins, versions, options, loaded files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from qperf_app.methods.yaml_files import load_yaml
from qperf_app.plugins.steps import workflow_steps
from qperf_app.workflow.status import ScanRecord

#: Keys of the configuration that decide about flow beside the plugins.
_CONSTANTS = ("haematocrit", "tissue-density", "leave-out-uncorrected")
_MOST_NAMED = 3


def settings_apart(out_dir: Path, scans: Mapping[str, Iterable[ScanRecord]]) -> list[str]:
    """Say of each setting in which participants differ, who has which value.

    Parameters
    ----------
    out_dir : Path
    scans : mapping
        Selected scans by participant.
    """
    found: dict[str, dict[str, dict[str, None]]] = {}
    for participant, of_participant in scans.items():
        for name, value in (*_constants(out_dir, participant), *_of_steps(of_participant)):
            found.setdefault(name, {}).setdefault(str(value), {})[f"sub-{participant}"] = None
    return [
        f"{name} is {', '.join(f'{value} in {_names(who)}' for value, who in values.items())}: their flow was not "
        "computed alike"
        for name, values in found.items()
        if len(values) > 1
    ]


def _constants(out_dir: Path, participant: str) -> Iterator[tuple[str, Any]]:
    path = out_dir / f"sub-{participant}" / f"sub-{participant}_config.yaml"
    content = load_yaml(path.read_text(encoding="utf-8")) if path.is_file() else None
    if isinstance(content, dict):
        yield from ((name, content.get(name)) for name in _CONSTANTS)


def _of_steps(scans: Iterable[ScanRecord]) -> Iterator[tuple[str, Any]]:
    """Plugin, version, options and loaded files of every step that a plugin has done."""
    steps = workflow_steps()
    for scan in scans:
        for record in scan.steps:
            done = record.outcome
            # Values of the segments have the options of the kinetics that they are of: said once.
            spec = steps.get(record.key.step)
            step = spec.plugin_of if spec and spec.plugin_of else record.key.step
            if done.state != "done" or not done.plugin:
                continue
            if not record.key.plugin:
                yield f"the plugin of {step}", done.plugin
            for name, value in {"version": done.version, **done.options, **_short(done.loaded_files)}.items():
                yield f"{name} of {done.plugin} ({step})", value


def _short(digests: Mapping[str, str]) -> dict[str, str]:
    return {name: digest[:12] for name, digest in digests.items()}


def _names(participants: Iterable[str]) -> str:
    names = list(participants)
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return f"{', '.join(names[:_MOST_NAMED])}{more}"
