"""Which scans belong together, and the numbers that are read across them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from qperf_app.geometry import Grid
from qperf_app.geometry.levels import slice_places
from qperf_app.methods.wider_intervals import SCALED
from qperf_app.plugins.records import RELATIVE_UNITS, VALUE, value_keys
from qperf_app.plugins.results import ScanResult, SegmentRow, SegmentTable, VoxelMap
from qperf_app.report.scales import ABSOLUTE_FLOW

#: Perfusion reserve below which the reader's eye is drawn to a segment: a round figure, no diagnostic cut-off. Flow
#: itself has no mark, since what is low depends on sequence, model and stress agent.
LOW_RESERVE = 2.0
#: Quantities that may head the report, the first that there is.
PRIMARY = ("MBF", "Fb", "Fp", "Ktrans")
#: Cosine of the angle between two stacks' normals, 20 degrees, beyond which their slices are other planes.
SAME_PLANE = 0.94
#: How many segments are named before they are only counted.
_MOST_NAMED = 6
NO_MARKS: Mapping[int, str] = {}
_ENTITY_WORDS = {"ses": "session", "acq": "acquisition", "ce": "contrast", "rec": "reconstruction", "run": "run"}


@dataclass(frozen=True)
class Study:
    """A rest and a stress scan that are compared, or one scan alone. ``note``: how they were matched, if in doubt."""

    label: str
    scans: tuple[ScanResult, ...]
    rest: ScanResult | None = None
    stress: ScanResult | None = None
    note: str = ""


def studies_of(scans: Sequence[ScanResult]) -> tuple[Study, ...]:
    """Pair rest and stress of the same session and acquisition, run by run; what is left over stands alone.

    Only scans with maps take part.
    """
    groups: dict[tuple[str, ...], list[ScanResult]] = {}
    for scan in scans:
        if scan.maps:
            groups.setdefault(tuple(scan.entities.get(key, "") for key in ("ses", "acq", "ce")), []).append(scan)
    studies: list[Study] = []
    for scans_of_group in groups.values():
        pairs, alone = _pair(scans_of_group)
        for rest, stress in pairs:
            apart = [key for key in ("rec", "run") if rest.entities.get(key) != stress.entities.get(key)]
            differ = " and ".join(f"{_ENTITY_WORDS[key]}s" for key in apart)
            note = f"{scan_title(rest)} was compared with {scan_title(stress)}: their {differ} differ." if apart else ""
            keys = tuple(key for key in _ENTITY_WORDS if key not in apart)
            studies.append(Study(", ".join(_in_words(rest, keys)), (rest, stress), rest, stress, note))
        for scan in alone:
            task = scan.entities.get("task")
            studies.append(
                Study(scan_title(scan), (scan,), scan if task == "rest" else None, scan if task == "stress" else None)
            )
    return _with_word_of_other_half(studies)


def _with_word_of_other_half(studies: Sequence[Study]) -> tuple[Study, ...]:
    """Say of the one rest and the one stress scan that are left over what keeps them apart."""
    rests = [study.rest for study in studies if study.rest is not None and study.stress is None]
    stresses = [study.stress for study in studies if study.stress is not None and study.rest is None]
    if len(rests) != 1 or len(stresses) != 1:
        return tuple(studies)
    (rest,), (stress,) = rests, stresses
    apart = [word for key, word in _ENTITY_WORDS.items() if rest.entities.get(key) != stress.entities.get(key)]
    note = f"There is no reserve: {scan_title(rest)} and {scan_title(stress)} differ in {' and '.join(apart)}."
    return tuple(study if study.rest and study.stress else replace(study, note=note) for study in studies)


def _pair(scans: Sequence[ScanResult]) -> tuple[list[tuple[ScanResult, ScanResult]], list[ScanResult]]:
    """Match rest with stress: equal runs first, then what is left in order."""
    rests = [scan for scan in scans if scan.entities.get("task") == "rest"]
    stresses = [scan for scan in scans if scan.entities.get("task") == "stress"]
    pairs: list[tuple[ScanResult, ScanResult]] = []
    for same_run in (True, False):
        for rest in list(rests):
            for stress in list(stresses):
                if not same_run or rest.entities.get("run") == stress.entities.get("run"):
                    pairs.append((rest, stress))
                    rests.remove(rest)
                    stresses.remove(stress)
                    break
    paired = {id(scan) for pair in pairs for scan in pair}
    return pairs, [scan for scan in scans if id(scan) not in paired]


def scan_title(scan: ScanResult) -> str:
    """Title of a scan, such as ``Stress, session A, run 1``."""
    task = scan.entities.get("task", "").capitalize() or "Scan"
    if scan.entities.get("acq") == "aif":
        task += " (input function only)"
    return ", ".join([task, *_in_words(scan, tuple(_ENTITY_WORDS))])


def task_of(scan: ScanResult) -> str:
    """Heading of a scan's pictures within its study."""
    return scan.entities.get("task", "").capitalize() or scan_title(scan)


def _in_words(scan: ScanResult, keys: Sequence[str]) -> list[str]:
    """Entities of a scan in words; that a series is one of the input function is said elsewhere."""
    found = {key: scan.entities[key] for key in keys if scan.entities.get(key)}
    return [f"{_ENTITY_WORDS[key]} {label}" for key, label in found.items() if (key, label) != ("acq", "aif")]


def methods_of(study: Study) -> tuple[tuple[str, str], ...]:
    """Return (plugin, model) of the study's maps in order of first appearance."""
    return tuple(dict.fromkeys((m.plugin, m.model) for scan in study.scans for m in scan.maps))


def method_title(method: tuple[str, str]) -> str:
    """Plugin and model in words."""
    return f"{method[0]} ({method[1]})"


def maps_of(scan: ScanResult, method: tuple[str, str]) -> dict[tuple[str, str | None], VoxelMap]:
    """Maps of one method by (quantity, statistic); no statistic: what stands for the quantity, a posterior's median.

    A mean beside a median is left to the files.
    """
    there: dict[tuple[str, str | None], VoxelMap] = {}
    for voxel_map in scan.maps:
        if (voxel_map.plugin, voxel_map.model) == method:
            there.setdefault((voxel_map.quantity, voxel_map.statistic), voxel_map)
    values = {key: (quantity, None) for quantity, key in value_keys(there).items()}
    return {values.get(key, key): there[key] for key in there if key in values or key[1] not in VALUE}


def primary_quantity(study: Study, method: tuple[str, str]) -> str:
    """Return the quantity that heads the pictures of a method."""
    quantities = [quantity for scan in study.scans for quantity, statistic in maps_of(scan, method) if not statistic]
    return next((quantity for quantity in PRIMARY if quantity in quantities), quantities[0] if quantities else "")


def units_of(study: Study, units: str) -> str:
    """Units of a flow as they are shown: relative where any scan of the study is."""
    return "relative units" if units == RELATIVE_UNITS or any(is_relative(scan) for scan in study.scans) else units


def flow_units(study: Study, method: tuple[str, str]) -> str:
    """Units of the quantity that heads a method, as they are shown."""
    quantity = primary_quantity(study, method)
    known = [m.units for scan in study.scans for m in maps_of(scan, method).values() if m.quantity == quantity]
    return units_of(study, known[0] if known else "")


def segments_of(scan: ScanResult | None, method: tuple[str, str]) -> SegmentTable | None:
    """Return the segment table of one method."""
    tables = scan.segments if scan else ()
    return next((table for table in tables if (table.plugin, table.model) == method), None)


def rows_by_segment(table: SegmentTable | None, layer: str = "transmural") -> dict[int, SegmentRow]:
    """Rows of one layer by segment number."""
    return {row.segment: row for row in table.rows if row.layer == layer} if table else {}


def segments_in_words(numbers: Iterable[int], table: SegmentTable | None, marks: Mapping[int, str] = NO_MARKS) -> str:
    """Name segments with their marks; many are counted."""
    rows, every = rows_by_segment(table), sorted(numbers)
    names = [f"{rows[k].name}\u00a0{marks[k]}" if k in marks else rows[k].name for k in every[:_MOST_NAMED]]
    return ", ".join(names) + (f" and {len(every) - _MOST_NAMED} more" if len(every) > _MOST_NAMED else "")


def values_of(table: SegmentTable | None, quantity: str, layer: str = "transmural") -> dict[int, float]:
    """Value of a quantity by segment; NaN where there is none."""
    return {number: float(row.values.get(quantity, np.nan)) for number, row in rows_by_segment(table, layer).items()}


def handed_in(scan: ScanResult) -> tuple[str, ...]:
    """Steps whose result was handed in instead of computed."""
    return tuple(step.step for step in scan.steps if step.state == "handed-in")


def doubts_of(scan: ScanResult | None, method: tuple[str, str]) -> tuple[str, ...]:
    """Why flow of one method can't be right; empty where it may be."""
    steps = scan.steps if scan else ()
    return tuple(text for step in steps if step.plugin == method[0] for text in step.doubts)


def marked_task(scan: ScanResult, *methods: tuple[str, str]) -> str:
    """The scan's task, with a mark where its flow by one of the methods is doubtful."""
    return f"{task_of(scan)}{' (doubtful)' if any(doubts_of(scan, method) for method in methods) else ''}"


def reserve_tables(study: Study, method: tuple[str, str]) -> tuple[SegmentTable | None, SegmentTable | None]:
    """Rest and stress tables of a method with the segments that lie in the same place in both scans alone.

    None of flow in relative units: the unknown factor of each scan is its own.
    """
    rest, stress = segments_of(study.rest, method), segments_of(study.stress, method)
    if rest is None or stress is None or any(is_relative(scan) for scan in study.scans):
        return None, None
    apart = segments_apart(study)
    return tuple(  # type: ignore[return-value]
        replace(table, rows=tuple(row for row in table.rows if row.segment not in apart)) for table in (rest, stress)
    )


def segments_apart(study: Study) -> set[int]:
    """Segments of rest and stress that lie in slices farther from each other than half of the slices' distance.

    Positions are those of the slices along their normal in the world, of each segment the mean over its voxels. A scan
    whose series is not at hand has no positions, and none of its segments is called apart.
    """
    rest, stress = (_places(scan, study.rest) for scan in (study.rest, study.stress))
    if rest is None or stress is None:
        return set()
    grids = [_grid_of(scan) for scan in (study.rest, study.stress)]
    nearest = max(float(grid.voxel_size[2]) for grid in grids if grid is not None) / 2
    return {k for k in rest.keys() & stress.keys() if abs(rest[k] - stress[k]) > nearest + 1e-6}


def _grid_of(scan: ScanResult | None) -> Grid | None:
    series = (scan.corrected or scan.series) if scan is not None else None
    return None if series is None else Grid.of(series.data.shape, series.affine)


def _places(scan: ScanResult | None, reference: ScanResult | None) -> dict[int, float] | None:
    """Where each segment lies along the normal of a reference, mm; infinitely far where the planes are others."""
    grid, other = _grid_of(scan), _grid_of(reference)
    if scan is None or grid is None or other is None or scan.segment_labels is None:
        return None
    if scan.segment_labels.shape != grid.shape:
        return None
    places = slice_places(grid, other)
    if abs(float(grid.normal @ other.normal)) < SAME_PLANE:
        places = np.full(len(places), np.inf)
    labels = scan.segment_labels
    counts = {int(k): (labels == k).sum(axis=(0, 1)) for k in np.unique(labels) if k}
    return {k: float((n * places).sum() / n.sum()) if np.isfinite(places).all() else np.inf for k, n in counts.items()}


def reserve_of(
    rest: SegmentTable | None, stress: SegmentTable | None, quantity: str, layer: str = "transmural"
) -> dict[int, float]:
    """Stress over rest by segment; NaN where either is missing or rest is not positive."""
    resting, stressed = values_of(rest, quantity, layer), values_of(stress, quantity, layer)
    return {
        number: stressed[number] / resting[number] if resting[number] > 0 else float("nan")
        for number in sorted(resting.keys() & stressed.keys())
    }


def is_relative(scan: ScanResult, voxel_map: VoxelMap | None = None) -> bool:
    """Tell whether flow of a scan is not absolute: relative concentration, or a flow map in other units.

    Of a map of one quantity, whether that is known but for a factor: a delay never is.
    """
    if voxel_map is not None and voxel_map.quantity not in SCALED:
        return False
    if scan.aif is not None and scan.aif.units == RELATIVE_UNITS:
        return True
    flow = voxel_map or next((m for m in scan.maps if m.quantity == "MBF" and m.statistic != "std"), None)
    return flow is not None and flow.quantity == "MBF" and flow.units != ABSOLUTE_FLOW
