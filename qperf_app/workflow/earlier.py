"""Results of kinetics plugins that an earlier run left in OUT_DIR: kept while what they were fitted to is the same.

``--kinetics hmc`` after a run with ``nlls`` adds to it: the report and the group level compare both. Results that were
fitted to other curves or another myocardium are not shown beside the new ones.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

from qperf_app.bids.images import sidecar_path
from qperf_app.methods.yaml_files import load_yaml
from qperf_app.plugins.steps import (
    INPUT_FUNCTION,
    JOINT_INPUT_FUNCTION,
    KINETICS,
    MYOCARDIUM,
    SEGMENT_VALUES,
    SEGMENTS,
    SPILL_OVER,
)
from qperf_app.workflow.status import ScanRecord, StepRecord

#: Steps whose plugins' results stand beside each other.
_BESIDE = (KINETICS.name, SEGMENT_VALUES.name)
#: What a kinetics plugin and the segments' values read: step, role of the file, and whether there is a fit without it.
_BASIS = (
    (SPILL_OVER.name, "muscle", False),
    (INPUT_FUNCTION.name, "aif", False),
    (JOINT_INPUT_FUNCTION.name, "joint", True),
    (MYOCARDIUM.name, "myocardium", False),
    (SEGMENTS.name, "dseg", True),
)
_CONSTANTS = ("haematocrit", "tissue-density")
_NOTE = "of an earlier run"


def basis_of(scan: ScanRecord, out_dir: Path, configuration: str) -> str:
    """Digest of all that flow of a scan rests on; empty where nothing could be fitted.

    Parameters
    ----------
    scan : ScanRecord
        Its files are published below ``out_dir``.
    configuration : str
        The run's configuration, YAML; its haematocrit and tissue density count.
    """
    digest = hashlib.sha256()
    for step, role, dispensable in _BASIS:
        record = scan.find(step)
        name = record.paths.get(role) if record else None
        if name is None and not dispensable:
            return ""
        for path in (out_dir / name, sidecar_path(out_dir / name)) if name else ():
            digest.update(path.read_bytes() if path.is_file() else b"")
    content = load_yaml(configuration) or {}
    digest.update(repr([content.get(key) for key in _CONSTANTS]).encode())
    return digest.hexdigest()


def with_earlier_methods(scan: ScanRecord, earlier: ScanRecord | None) -> ScanRecord:
    """Add to a scan's record what an earlier run's other kinetics plugins made from the very same input."""
    if earlier is None or not scan.basis or scan.basis != earlier.basis:
        return scan
    here = {record.key for record in scan.steps}
    others = (r for r in earlier.steps if r.key.step in _BESIDE and r.files and r.key not in here)
    return replace(scan, steps=(*scan.steps, *map(_noted, others)))


def _noted(record: StepRecord) -> StepRecord:
    summary = record.outcome.summary
    noted = summary if summary.startswith(_NOTE) else f"{_NOTE}; {summary}".rstrip("; ")
    return replace(record, outcome=replace(record.outcome, summary=noted))
