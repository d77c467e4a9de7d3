"""Check what derivative datasets hand in, and say of what they hold what is not taken."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qperf_app.bids import records
from qperf_app.bids.dataset import is_review
from qperf_app.bids.errors import DatasetError
from qperf_app.bids.handins import expected_names, find_left_out
from qperf_app.bids.images import read_header, read_image, read_json, sidecar_path
from qperf_app.bids.names import SERIES_ENTITIES, folder_of, is_input_series, parse_entities, plain_label
from qperf_app.checks.anatomy import enhancement_findings
from qperf_app.checks.curves import amount_findings, blood_peaks, curve_findings, peak_findings
from qperf_app.checks.dual_bolus import dose_ratio
from qperf_app.checks.findings import Finding, doubt, refusal
from qperf_app.checks.images import concentration_findings
from qperf_app.checks.masks import labels_findings, mask_findings, pools_findings, wall_findings
from qperf_app.checks.points import point_findings
from qperf_app.checks.spelling import spelling_findings
from qperf_app.checks.timing import dynamic_times
from qperf_app.checks.wording import counted
from qperf_app.geometry import Grid, grid_difference, reorientation
from qperf_app.plugins import CONCENTRATION_UNITS, RELATIVE_UNITS, SIGNAL_UNITS
from qperf_app.plugins.keys import MapKey, Role
from qperf_app.plugins.steps import CONCENTRATION, INPUT_FUNCTION, SPILL_OVER
from qperf_app.plugins.steps.concentration import CONVERTERS, RELATIVE_CONVERTER
from qperf_app.plugins.steps.spec import FileKind
from qperf_app.workflow.own_blood import brightest_blood_curve
from qperf_app.workflow.plan import ParticipantPlan, ScanPlan
from qperf_app.workflow.scans import SeriesInput
from qperf_app.workflow.tasks import Task

#: Units that maps of a quantity have where they are absolute; others would be read as these.
MAP_UNITS = {"MBF": "mL/min/g", "Fb": "mL/min/mL", "Fp": "mL/min/mL", "PS": "mL/min/mL", "Ktrans": "mL/min/mL"}
#: Units of concentration that the app knows.
KNOWN_UNITS = (CONCENTRATION_UNITS, RELATIVE_UNITS)
#: Correlation of the mean images of a series and of its corrected version below which they are two series.
LEAST_ALIKE = 0.5
#: Longest plausible displacement, mm: a deep breath moves the heart by some 30.
FARTHEST_MOTION = 60.0


def hand_in_findings(plan: ParticipantPlan, scan: ScanPlan, datasets: Mapping[str, Path]) -> Iterator[Finding]:
    """Check all that is handed in for a scan, each file for itself and together."""
    series = {s.prefix: s for s in scan.scan.series}
    tasks = [plan.tasks[node] for node in dict.fromkeys(scan.nodes.values())]
    given: dict[Path, None] = {}
    for task in tasks:
        for role, path in task.given.items():
            given[path] = None
            try:
                yield from _file_findings(role, path, task, series[task.prefix], tasks, scan.scan.blood)
            except DatasetError as error:
                yield _from_error(error, path)
    yield from _units_apart(tasks)
    frames = (find_left_out(datasets, s.prefix) for s in scan.scan.series)
    given |= dict.fromkeys(table for table in frames if table is not None)
    for name, dataset in datasets.items():
        yield from _nothing_of(name, dataset, plan, scan, [path for path in given if path.is_relative_to(dataset)])


def _units_apart(tasks: list[Task]) -> Iterator[Finding]:
    """Tissue and input function are in one unit, as far as both are known before anything runs."""
    by_step = {task.step: task for task in tasks if not is_input_series(parse_entities(task.prefix))}
    of_aif, of_tissue = by_step.get(INPUT_FUNCTION.name), by_step.get(CONCENTRATION.name)
    of_muscle = by_step.get(SPILL_OVER.name)
    if of_muscle is not None and of_muscle.handed_in:
        of_tissue = of_muscle
    if of_aif is None or of_tissue is None or not (of_aif.handed_in or of_tissue.handed_in):
        return
    try:
        aif, tissue = _units(of_aif), _units(of_tissue)
    except DatasetError:
        # Said of the file by itself.
        return
    if aif in KNOWN_UNITS and tissue in KNOWN_UNITS and aif != tissue:
        file = next(iter((of_tissue if of_tissue.handed_in else of_aif).given.values()))
        yield refusal(
            str(sidecar_path(file)), "Units",
            f"the tissue's concentration is in {tissue!r}, the input function in {aif!r}: flow needs both in one unit; "
            "hand in the other one too, or --concentration linear makes it relative",
        )  # fmt: skip


def _units(task: Task) -> str:
    """Unit of a curve or a concentration, as its file says or its plugin gives; empty where only a run can tell."""
    if task.handed_in:
        (path,) = (path for role, path in task.given.items() if role in ("aif", "conc", "muscle"))
        return records.read_aif(path).units if "aif" in task.given else str(_sidecar(path).get("Units", ""))
    units = str(task.metadata.get("Units", SIGNAL_UNITS))
    if units != SIGNAL_UNITS or task.plugin == RELATIVE_CONVERTER:
        return units if units != SIGNAL_UNITS else RELATIVE_UNITS
    return CONCENTRATION_UNITS if task.plugin in CONVERTERS.values() else ""


def _file_findings(
    role: Role, path: Path, task: Task, series: SeriesInput, tasks: list[Task], blood: SeriesInput
) -> Iterator[Finding]:
    kind = None if isinstance(role, MapKey) else task.spec.files[role].kind
    if kind is FileKind.CURVE:
        yield from _curve(path, series, blood, task.haematocrit)
        return
    if kind is FileKind.POINTS:
        if len(series.shape) == 4:
            outline = _wall_path(tasks)
            name = f"the wall of {outline.name}" if outline else "the wall"
            points, grid = records.read_landmarks(path), series.grid
            yield from point_findings(str(path), points, grid, _wall(tasks, grid), name)
        return
    other = _other_grid(path, kind, series)
    if other:
        yield refusal(str(path), "", other)
        return
    if kind in (FileKind.MASK, FileKind.MAYBE_EMPTY_MASK):
        yield from _mask(role, path, kind, series, tasks)
    elif kind is FileKind.LABELS:
        yield from labels_findings(str(path), read_image(path, onto=series.grid)[0])
    elif kind is FileKind.CONCENTRATION:
        yield from _concentration(path, series)
    elif kind is FileKind.DISPLACEMENT:
        yield from _displacement(path)
    elif kind is FileKind.SERIES:
        yield from _corrected(path, series)
    elif isinstance(role, MapKey):
        units = _sidecar(path).get("Units")
        wanted = MAP_UNITS.get(role.quantity)
        if wanted and units is None:
            yield doubt(str(path), "Units", f"its sidecar gives no Units; a map of {role.quantity} is in {wanted}")
        elif wanted and units not in (wanted, RELATIVE_UNITS):
            words = f"a map of {role.quantity} is in {wanted}, or in 1 where it is relative"
            yield refusal(str(path), "Units", f"Units is {units!r}, {words}")


def _other_grid(path: Path, kind: FileKind | None, series: SeriesInput) -> str:
    """Say how the image's grid differs from that of the series; empty where it is the same but for its axes."""
    header = read_header(path)
    if not header.is_magnitude:
        return f"the data type is {header.stored}; one real number in a voxel is needed"
    found, own = header.shape, header.shape[3:]
    if kind is FileKind.SERIES:
        fits, expected = own == series.shape[3:], tuple(series.shape)
    elif kind is FileKind.DISPLACEMENT:
        fits, expected = own == (*series.shape[3:], 3), (*series.shape, 3)
    else:
        fits = not own or (len(own) == 1 and (own[0] == 1 or kind is FileKind.CONCENTRATION))
        expected = tuple(series.shape[:3])
    if len(found) < 3 or not fits:
        return f"shape {found} does not fit the series' {expected}"
    if reorientation(header.grid, series.grid) is None:
        return f"lies on another grid than its series: {grid_difference(header.grid, series.grid)}"
    return ""


def _mask(role: Role, path: Path, kind: FileKind, series: SeriesInput, tasks: list[Task]) -> Iterator[Finding]:
    grid = series.grid
    values, _ = read_image(path, onto=grid)
    values = values[..., 0] if values.ndim == 4 else values
    yield from mask_findings(str(path), values, may_be_empty=kind is FileKind.MAYBE_EMPTY_MASK)
    inside = np.nan_to_num(values) > 0.5
    if role == "myocardium":
        yield from wall_findings(str(path), inside)
    times = dynamic_times(series.metadata)
    if times is not None and len(series.shape) == 4 and series.header.is_magnitude:
        dynamic = read_image(series.path)[0][..., -len(times) :]
        yield from enhancement_findings(str(path), str(role), inside, dynamic, grid.affine)
    wall = _wall(tasks, grid) if role == "lv" else None
    if wall is not None:
        yield from pools_findings(str(path), wall, inside)


def _wall(tasks: list[Task], grid: Grid) -> NDArray[np.bool_] | None:
    """The myocardium that is handed in for the scan, where it lies on a grid."""
    path = _wall_path(tasks)
    try:
        return None if path is None else records.read_mask(path, grid)
    except DatasetError:
        return None


def _wall_path(tasks: list[Task]) -> Path | None:
    return next((task.given["myocardium"] for task in tasks if "myocardium" in task.given), None)


def _curve(path: Path, series: SeriesInput, blood: SeriesInput, haematocrit: float) -> Iterator[Finding]:
    """Check an input function for a series against it, and against the input-function series where there is one."""
    aif, times, sidecar = records.read_aif(path), dynamic_times(series.metadata), _sidecar(path)
    clock = np.zeros(0) if times is None else times
    yield from spelling_findings(str(sidecar_path(path)), sidecar)
    found = list(curve_findings(str(path), aif, clock, sidecar, series.metadata.get("Haematocrit")))
    yield from found
    if not found and times is not None and len(times) > 1 and len(series.shape) == 4 and series.header.is_magnitude:
        data, _ = read_image(series.path)
        interval = float(np.median(np.diff(times)))
        yield from peak_findings(str(path), aif, blood_peaks(data[..., -len(times) :], times), interval)
        if blood.is_aif and aif.units == CONCENTRATION_UNITS:
            own = brightest_blood_curve(blood, read_image(blood.path)[0])
            # Of a dual bolus the blood is measured with the small dose, and the input function is of the main one.
            of_main = blood.is_prebolus and blood is not series
            dose = dose_ratio(series.metadata, blood.metadata) if of_main else 1.0
            if own is not None and np.isfinite(dose):
                own = replace(own, concentration=dose * own.concentration)
                yield from amount_findings(str(path), aif, own, haematocrit)


def _concentration(path: Path, series: SeriesInput) -> Iterator[Finding]:
    given = records.read_series(path, onto=series.grid)
    times = dynamic_times(series.metadata)
    if times is not None and len(given.times) > 1:
        shared = min(given.times[-1], times[-1]) - max(given.times[0], times[0])
        if shared < 0.5 * (times[-1] - times[0]):
            yield refusal(
                str(sidecar_path(path)), "VolumeTiming",
                f"VolumeTiming runs from {given.times[0]:g} to {given.times[-1]:g} s, the series from {times[0]:g} to "
                f"{times[-1]:g} s",
            )  # fmt: skip
    if given.units == "mmol/L":
        yield from concentration_findings(str(path), given.data)
    elif given.units != "1":
        yield refusal(str(sidecar_path(path)), "Units", f"Units is {given.units!r}, expected 'mmol/L' or '1'")


def _displacement(path: Path) -> Iterator[Finding]:
    units = _sidecar(path).get("Units", "mm")
    if units != "mm":
        yield refusal(str(sidecar_path(path)), "Units", f"Units is {units!r}, a displacement is in mm")
    values, _ = read_image(path)
    if not np.isfinite(values).all():
        yield refusal(str(path), "", "the displacement is not finite everywhere")
    elif values.size and np.abs(values).max() > FARTHEST_MOTION:
        yield doubt(str(path), "", f"displaces by up to {np.abs(values).max():.0f} mm: is it in mm?")


def _corrected(path: Path, series: SeriesInput) -> Iterator[Finding]:
    values, _ = read_image(path, onto=series.grid)
    bad = ~np.isfinite(values).all(axis=(0, 1, 2))
    if bad.any():
        yield refusal(str(path), "", f"values that are not finite in {counted(int(bad.sum()), 'frame')}")
        return
    means = [image.mean(axis=-1).ravel() for image in (values, read_image(series.path)[0])]
    if all(mean.std() > 0 for mean in means) and np.corrcoef(*means)[0, 1] < LEAST_ALIKE:
        yield doubt(str(path), "", "has little in common with its series: is it of another one?")


def _nothing_of(
    name: str, dataset: Path, plan: ParticipantPlan, scan: ScanPlan, given: list[Path]
) -> Iterator[Finding]:
    """Say of a dataset that it holds nothing for a scan, or a file whose name nearly fits."""
    prefixes = [s.prefix for s in scan.scan.series]
    taken = {path.name for path in given}
    known = taken | {wanted for s in plan.series for wanted in expected_names(s.prefix)}
    expected = [wanted for prefix in prefixes for wanted in expected_names(prefix) if wanted not in taken]
    folder = dataset / folder_of(prefixes[0])
    # What is there under its right name needs no other.
    endings = {_parts(name)[1] for name in taken}
    other = [n for n in _names(folder) if n not in known and _parts(n)[1] not in endings]
    near = {n: wanted for n in other if (wanted := _nearest(n, expected))}
    if near:
        some = ", ".join(f"{found} is passed over ({wanted} would be taken)" for found, wanted in [*near.items()][:3])
        yield doubt(str(dataset), "", f"-d {name}: {some}{f' and {len(near) - 3} more' if len(near) > 3 else ''}")
    elif not given and not is_review(dataset):
        nothing = f"-d {name}: no file of it stands in for a step of this scan"
        yield doubt(str(dataset), "", f"{nothing}{_what(dataset, folder)}")


def _nearest(name: str, expected: list[str]) -> str:
    """The expected name that a file of the same series comes nearest to; empty where none is near."""
    if not name.endswith((".nii.gz", ".nii", ".tsv")):
        return ""
    series, ending = _parts(name)
    same = {_parts(wanted)[1]: wanted for wanted in expected if _agree(series, _parts(wanted)[0])}
    close = [each for each in same if _cut_short(ending, each)]
    close += difflib.get_close_matches(ending, same, n=1, cutoff=0.8)
    return same[close[0]] if close else ""


def _cut_short(one: str, other: str) -> bool:
    """Whether two names differ in nothing but that words of one are cut short, as ``myo`` is of ``myocardium``."""
    words, others = (re.split("[-_.]", name) for name in (one, other))
    return len(words) == len(others) and all(
        a.startswith(b) or b.startswith(a) for a, b in zip(words, others, strict=True)
    )


def _parts(name: str) -> tuple[dict[str, str], str]:
    """A series' entities as they compare, and the rest of the name, both in small letters."""
    stem, _, extension = name.partition(".")
    pairs = [part.partition("-") for part in stem.split("_")]
    series = {k: plain_label(k, v).lower() for k, _, v in pairs if k in SERIES_ENTITIES}
    rest = "_".join(f"{k}{dash}{v}" for k, dash, v in pairs if k not in SERIES_ENTITIES).lower()
    return series, f"{rest}.{'tsv' if extension == 'tsv' else 'nii.gz'}"


def _agree(one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    """Whether the entities that both names have are the same, and one has all of the other's but for one."""
    if any(one[k] != other[k] for k in one.keys() & other.keys()):
        return False
    return len(one.keys() ^ other.keys()) <= 1 and one.get("acq") == other.get("acq")


def _what(dataset: Path, folder: Path) -> str:
    """What a dataset that gives nothing has instead."""
    images = [n for n in _names(folder) if n.endswith((".nii.gz", ".nii", ".tsv"))]
    if images:
        return f"; it has {', '.join(images[:3])}{', …' if len(images) > 3 else ''}"
    people = [n for n in _names(dataset) if n.startswith("sub-") and (dataset / n).is_dir()]
    participant = f"sub-{parse_entities(folder.relative_to(dataset).parts[0]).get('sub', '')}"
    if participant in people:
        return f"; it has nothing in {folder.relative_to(dataset)}"
    return (
        f"; it has {', '.join(people[:3])}{', …' if len(people) > 3 else ''}" if people else "; it has no participants"
    )


def _names(folder: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in folder.iterdir())
    except OSError:
        return []


def _sidecar(path: Path) -> dict[str, Any]:
    return read_json(sidecar_path(path)) if sidecar_path(path).is_file() else {}


def _from_error(error: DatasetError, path: Path) -> Finding:
    """A finding from an error that names its file."""
    return refusal(str(path), "", str(error).removeprefix(f"{path}: "))
