"""The kinetics step: curves of the myocardium in, maps out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from qperf_app.bids import records
from qperf_app.bids.sidecars import own_uri
from qperf_app.plugins import KineticMaps, TissueConstants, TissueCurves
from qperf_app.plugins.checks import check_maps
from qperf_app.plugins.manager import load_plugins, make
from qperf_app.workflow.saying import context_of
from qperf_app.workflow.tasks import Outcome, Task


def estimate(task: Task, upstream: Mapping[str, Outcome], out: Path) -> tuple[str, dict[str, Path], dict[str, Any]]:
    """Estimate every voxel of the myocardium, or take the maps handed in."""
    if task.handed_in:
        return "handed-in", _copy_maps(task, out), {}
    series = records.read_series(upstream["concentration"].files["conc"])
    mask = records.read_mask(upstream["myocardium"].files["myocardium"])
    aif = records.read_aif(upstream["aif"].files["aif"])
    if aif.units != series.units:
        raise ValueError(
            f"the input function is in {aif.units!r}, the tissue in {series.units!r}: flow needs both in one unit"
        )
    voxels = np.argwhere(mask)
    curves = TissueCurves(
        concentration=series.data[mask].astype(np.float64),
        times=series.times,
        voxels=voxels,
        affine=series.affine,
        units=series.units,
    )
    constants = TissueConstants(task.haematocrit, task.tissue_density)
    plugin = make(load_plugins(task.disable).get("kinetics", task.plugin), task.options)
    result = check_maps(plugin.fit(curves, aif, constants, context_of(task)), curves)
    sources = sorted(own_uri(path.name) for outcome in upstream.values() for path in outcome.files.values())
    files = records.write_maps(
        out, task.prefix, task.plugin, result, voxels, mask.shape, series.affine, constants, sources
    )
    return "done", files, {"summary": _summary(result, len(voxels))}


def _summary(result: KineticMaps, count: int) -> str:
    """How many voxels have flow, and how many everything: at rest the one is many and the other few."""
    full = int((result.qc == 0).sum())
    flow = result.values.get("MBF")
    known = "" if flow is None else f"MBF in {int(np.isfinite(flow).sum())}, "
    return f"{known}every parameter in {full} of {count} voxels"


def _copy_maps(task: Task, out: Path) -> dict[str, Path]:
    from qperf_app.bids.images import read_image, read_json, sidecar_path, write_image

    files = {}
    for role, name in task.handed_in.items():
        path = Path(name)
        data, affine = read_image(path)
        target = out / (path.name if path.name.endswith(".gz") else f"{path.name}.gz")
        sidecar = read_json(sidecar_path(path)) if sidecar_path(path).is_file() else {}
        write_image(target, data, affine, {**sidecar, "Sources": list(task.sources), "SkullStripped": False})
        files[role] = target
    return files
