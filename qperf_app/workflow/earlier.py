"""Results of kinetics plugins that an earlier run left in OUT_DIR: kept while what they were fitted to is the same.

``--kinetics hmc`` after a run with ``nlls`` adds to it: the report and the group level compare both. Results that were
fitted to other curves or another myocardium are not shown beside the new ones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from qperf_app.bids.images import sidecar_path
from qperf_app.workflow.configuration import KINETICS
from qperf_app.workflow.tasks import INPUT_FUNCTION, SEGMENT_VALUES, SEGMENTS

#: What a kinetics plugin and the segments' values read: step and role of the file.
_READ = (("concentration", "conc"), (INPUT_FUNCTION, "aif"), ("myocardium", "myocardium"), (SEGMENTS, "dseg"))
_CONSTANTS = ("haematocrit", "tissue-density")
_NOTE = "of an earlier run"


def basis_of(files: Mapping[str, Mapping[str, str]], out_dir: Path, configuration: str) -> str:
    """Digest of all that flow of a scan rests on; empty where nothing could be fitted.

    Parameters
    ----------
    files : mapping
        Published files of the scan below ``out_dir``, by step and role.
    configuration : str
        The run's configuration, YAML; its haematocrit and tissue density count.
    """
    digest = hashlib.sha256()
    for step, role in _READ:
        name = files.get(step, {}).get(role)
        if name is None and step != SEGMENTS:
            return ""
        for path in (out_dir / name, sidecar_path(out_dir / name)) if name else ():
            digest.update(path.read_bytes() if path.is_file() else b"")
    content = yaml.safe_load(configuration) or {}
    digest.update(repr([content.get(key) for key in _CONSTANTS]).encode())
    return digest.hexdigest()


def with_earlier_methods(scan: Mapping[str, Any], earlier: Mapping[str, Any] | None) -> dict[str, Any]:
    """Add to a scan's status what an earlier run's other kinetics plugins made from the very same input."""
    if earlier is None or not scan["basis"] or scan["basis"] != earlier.get("basis"):
        return dict(scan)
    others = [
        name
        for name in earlier["files"]
        if name.startswith((f"{KINETICS}:", f"{SEGMENT_VALUES}:"))
        and name not in scan["steps"]
        and name in earlier["steps"]
    ]
    return {
        **scan,
        "steps": {**scan["steps"], **{name: _noted(earlier["steps"][name]) for name in others}},
        "files": {**scan["files"], **{name: earlier["files"][name] for name in others}},
    }


def _noted(step: Mapping[str, Any]) -> dict[str, Any]:
    summary = step.get("summary", "")
    return {**step, "summary": summary if summary.startswith(_NOTE) else f"{_NOTE}; {summary}".rstrip("; ")}
