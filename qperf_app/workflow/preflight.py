"""Everything that can be known to be wrong before anything runs, in one list."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from qperf_app.bids import records
from qperf_app.bids.errors import DatasetError
from qperf_app.bids.images import read_image, read_shape, sidecar_path
from qperf_app.plugins import CONCENTRATION_UNITS, RELATIVE_UNITS, SIGNAL_UNITS
from qperf_app.plugins.manager import PluginRegistry, make
from qperf_app.plugins.steps.spec import FileKind
from qperf_app.workflow.plan import ParticipantPlan
from qperf_app.workflow.scans import SeriesInput

KNOWN_UNITS = (SIGNAL_UNITS, CONCENTRATION_UNITS, RELATIVE_UNITS)


def find_problems(
    plans: Sequence[ParticipantPlan],
    registry: PluginRegistry,
    threads: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[str]:
    """Check every selected series, its metadata for the chosen plugins, its data, and what is handed in.

    Returns
    -------
    list of str
        One line for each problem, each naming file and field. Empty when all is well.
    """
    series = {s.path: s for plan in plans for s in plan.series}
    problems: list[str] = []
    for entry in series.values():
        problems += series_problems(entry)
    for plan in plans:
        problems += _plugin_problems(plan, registry)
    with ThreadPoolExecutor(threads) as pool:
        for done, found in enumerate(pool.map(data_problems, series.values()), start=1):
            problems += found
            progress(done, len(series))
    for plan in plans:
        problems += _hand_in_problems(plan)
    return list(dict.fromkeys(problems))


def series_problems(series: SeriesInput) -> list[str]:
    """What is missing or contradictory in a series whichever plugin runs."""
    metadata, image, sidecar = series.metadata, str(series.path), str(sidecar_path(series.path))
    problems = []
    if len(series.shape) != 4:
        problems.append(f"{image}: image has {len(series.shape)} dimensions, a series needs 4 (x, y, slice, t)")
    problems += [f"{sidecar}: {p}" for p in _timing_problems(metadata.get("VolumeTiming"), series.shape)]
    units = metadata.get("Units", SIGNAL_UNITS)
    if units not in KNOWN_UNITS:
        problems.append(f"{sidecar}: Units is {units!r}, expected one of {', '.join(map(repr, KNOWN_UNITS))}")
    count = metadata.get("ProtonDensityVolumeCount", 0)
    n_volumes = series.shape[3] if len(series.shape) == 4 else math.inf
    if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count < n_volumes:
        problems.append(
            f"{sidecar}: ProtonDensityVolumeCount is {count!r}, expected a whole number below that of volumes"
        )
    elif count and units == CONCENTRATION_UNITS:
        problems.append(f"{sidecar}: ProtonDensityVolumeCount is {count}, but Units says {CONCENTRATION_UNITS!r}")
    haematocrit = metadata.get("Haematocrit", 0.4)
    if not _is_number(haematocrit) or not 0 <= haematocrit < 1:
        problems.append(f"{sidecar}: Haematocrit is {haematocrit!r}, expected a fraction from 0 to below 1")
    return problems


def _timing_problems(times: Any, shape: Sequence[int]) -> list[str]:
    if times is None:
        return ["VolumeTiming is missing"]
    if not isinstance(times, list) or not all(_is_number(t) for t in times):
        return ["VolumeTiming must be a list of numbers (s)"]
    problems = []
    if len(shape) == 4 and len(times) != shape[3]:
        problems.append(f"VolumeTiming has {len(times)} times, the image has {shape[3]} volumes")
    if any(b <= a for a, b in itertools.pairwise(times)):
        problems.append("VolumeTiming must increase strictly")
    return problems


def data_problems(series: SeriesInput) -> list[str]:
    """What is wrong with the voxel values."""
    if len(series.shape) != 4:
        return []
    try:
        data, affine = read_image(series.path)
    except DatasetError as error:
        return [str(error)]
    bad = ~np.isfinite(data).all(axis=(0, 1, 2))
    if bad.any():
        frames = ", ".join(map(str, np.flatnonzero(bad)[:5])) + (", …" if bad.sum() > 5 else "")
        return [f"{series.path}: values that are not finite in {bad.sum()} frames (from 0: {frames})"]
    if data.size and data.min() == data.max():
        return [f"{series.path}: all values are the same"]
    if abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        return [f"{series.path}: the affine is singular"]
    return []


def _plugin_problems(plan: ParticipantPlan, registry: PluginRegistry) -> list[str]:
    series = {s.prefix: s for s in plan.series}
    problems = []
    for task in plan.tasks.values():
        if task.handed_in or not task.plugin:
            continue
        step = task.spec.plugin_of or task.step
        subject = series[task.subject]
        plugin = registry.get(step, task.plugin)
        where = f"{sidecar_path(subject.path)}:"
        required: Sequence[str] = plugin.cls.requires  # type: ignore[attr-defined]
        missing = [field for field in required if field not in task.metadata]
        problems += [f"{where} {field} is missing, the {step} plugin {task.plugin!r} needs it" for field in missing]
        if not missing and len(subject.shape) == 4:
            found = make(plugin, task.options).problems(task.metadata, tuple(subject.shape))
            problems += [f"{where} {problem} ({step} plugin {task.plugin!r})" for problem in found]
    return problems


def _hand_in_problems(plan: ParticipantPlan) -> list[str]:
    shapes = {s.prefix: s.shape for s in plan.series}
    problems: list[str] = []
    for task in plan.tasks.values():
        for role, path in task.given.items():
            kind = task.spec.files[role].kind if isinstance(role, str) else None
            try:
                problems += _file_problems(kind, path, shapes[task.prefix])
            except (DatasetError, KeyError) as error:
                problems.append(str(error))
    return problems


def _file_problems(kind: FileKind | None, path: Path, shape: Sequence[int]) -> list[str]:
    """What is wrong with a file that is handed in for a series; no kind: a parameter map."""
    if kind is FileKind.CURVE:
        records.read_aif(path)
        return []
    if kind is FileKind.POINTS:
        outside = [m for m in records.read_landmarks(path) if len(shape) == 4 and not 0 <= m.slice < shape[2]]
        return [f"{path}: column 'slice' has {m.slice}, the series has {shape[2]} slices" for m in outside]
    found = read_shape(path)
    if kind in (FileKind.SERIES, FileKind.DISPLACEMENT):
        expected = tuple(shape) if kind is FileKind.SERIES else (*shape, 3)
    else:
        expected = tuple(shape[:3])
        found = found[:3] if len(found) == 4 and (kind is FileKind.CONCENTRATION or found[3] == 1) else found
    if found != expected:
        return [f"{path}: shape {found} does not fit the series' {expected}"]
    if kind is FileKind.MASK and not records.read_mask(path).any():
        return [f"{path}: the mask is empty"]
    return []


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
