"""Step ``segments``: the AHA segment of each voxel of the wall."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from qperf_app.bids import records
from qperf_app.bids.images import read_image, write_image
from qperf_app.bids.names import derivative_name
from qperf_app.bids.sidecars import describe_image, own_uri
from qperf_app.bids.tables import write_table
from qperf_app.checks.anatomy import segments_apart
from qperf_app.plugins import Landmark
from qperf_app.plugins.keys import Role
from qperf_app.workflow.outcomes import StepResult
from qperf_app.workflow.runners.common import Upstream
from qperf_app.workflow.tasks import Task


def run(task: Task, upstream: Upstream, out: Path) -> StepResult:
    """Write the labels and their table."""
    from qperf_app.geometry.segments import SEGMENT_NAMES, label_segments

    warnings: tuple[str, ...] = ()
    if "dseg" in task.given:
        labels, affine = read_image(task.given["dseg"], np.uint8)
        apart = segments_apart(labels, affine, _landmarks(upstream["myocardium"].files))
        warnings, sources = ((f"Segments handed in: {apart}",) if apart else ()), task.sources
    else:
        files = upstream["myocardium"].files
        mask, (_, affine) = records.read_mask(files["myocardium"]), read_image(files["myocardium"])
        found = label_segments(mask, affine, _landmarks(files), task.levels or None)
        labels, warnings = found.labels, found.warnings
        sources = tuple(own_uri(path.name) for path in files.values())
    if not labels.any():
        told = "; ".join(warnings) or "no voxel lies in a segment"
        return StepResult("not-found", reason=f"{told}; set the insertion points by qperf review")
    path = out / derivative_name(task.prefix, "dseg")
    write_image(path, labels.astype(np.uint8), affine, describe_image("AHA segments", "1", sources))
    present = [int(k) for k in np.unique(labels) if k]
    write_table(path.with_name(path.name.replace(".nii.gz", ".tsv")), ("index", "name"),
                [(k, SEGMENT_NAMES[k]) for k in present], {})  # fmt: skip
    sentences = tuple(f"{w[0].upper()}{w[1:].rstrip('.')}." for w in warnings)
    return StepResult("handed-in" if task.handed_in else "done", {"dseg": path}, sentences, f"{len(present)} segments")


def _landmarks(files: Mapping[Role, Path]) -> tuple[Landmark, ...]:
    return tuple(records.read_landmarks(files["landmarks"])) if "landmarks" in files else ()
