"""Kinetics plugins side by side: maps of the same slices on one colour scale, and how their flows agree."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from qperf_app.plugins.results import ScanResult, Table, VoxelMap
from qperf_app.report.backdrops import Backdrop
from qperf_app.report.elements import Columns, Drawing, HostElement, PictureGrid, PictureRow, Section, TextTable
from qperf_app.report.maps import map_in_words
from qperf_app.report.scales import ColourScale, scale_for, unit_suffix
from qperf_app.report.studies import Study, maps_of, marked_task, method_title, methods_of, primary_quantity, units_of
from qperf_app.report.tables import number

_CAPTION = (
    "Voxels that both methods estimated: median of each, median of the differences (second minus first), and rank "
    "correlation (Spearman), which a few voxels with extreme flow do not decide."
)


def comparison_sections(studies: Sequence[Study], backdrops: Mapping[str, Backdrop]) -> tuple[Section, ...]:
    """One section for each study in which several methods estimated flow of the same scan in the same units."""
    sections = []
    for position, study in enumerate(studies):
        scans = [(scan, found) for scan in study.scans if len(found := flows_of(study, scan)) > 1]
        if scans:
            title = f"Methods compared{': ' if study.label else ''}{study.label}"
            elements = (_agreement_table(study, scans), *_side_by_side(study, scans, backdrops))
            sections.append(Section(title, f"comparison-{position}", elements))
    return tuple(sections)


def flows_of(study: Study, scan: ScanResult) -> dict[str, VoxelMap]:
    """Maps of a scan by method, all of the quantity, units and grid of the first method that has one."""
    found: dict[str, VoxelMap] = {}
    for method in methods_of(study):
        voxel_map = maps_of(scan, method).get((primary_quantity(study, method), None))
        if voxel_map is None:
            continue
        first = next(iter(found.values()), voxel_map)
        same = voxel_map.quantity == first.quantity and voxel_map.units == first.units
        if same and voxel_map.data.shape == first.data.shape:
            found[method_title(method)] = voxel_map
    return found


def _side_by_side(
    study: Study, scans: Sequence[tuple[ScanResult, dict[str, VoxelMap]]], backdrops: Mapping[str, Backdrop]
) -> list[HostElement]:
    """One row for each slice, one column for each method; two scans beside each other."""
    columns = tuple(dict.fromkeys(name for _, flows in scans for name in flows))
    maps = [voxel_map for _, flows in scans for voxel_map in flows.values()]
    scale = scale_for(maps[0].quantity, units_of(study, maps[0].units), None, [voxel_map.data for voxel_map in maps])
    grids = [
        PictureGrid(
            columns,
            tuple(_rows(marked_task(scan, *methods_of(study)), flows, columns, scale, backdrops[scan.label])),
            "",
            scale.bar(),
            size="small",
        )
        for scan, flows in scans
    ]
    return [Columns((grids[0],), (grids[1],))] if len(grids) == 2 else [*grids]


def _rows(
    task: str, flows: dict[str, VoxelMap], columns: Sequence[str], scale: ColourScale, backdrop: Backdrop
) -> list[PictureRow]:
    rows = []
    for z in backdrop.shown:
        heading = f"{task}, {backdrop.slices[z]}"
        tiles: list[Drawing | None] = []
        for name in columns:
            if name not in flows:
                tiles.append(None)
                continue
            values = flows[name].data[:, :, z]
            alt = f"{scale.title} by {name}, {heading}: {map_in_words(values)}"
            tiles.append(backdrop.tile(z, scale.levels(values), scale.palette, alt))
        rows.append(PictureRow(heading, tuple(tiles)))
    return rows


def _agreement_table(study: Study, scans: Sequence[tuple[ScanResult, dict[str, VoxelMap]]]) -> Table:
    rows = []
    for scan, flows in scans:
        for (name, one), (other_name, other) in itertools.combinations(flows.items(), 2):
            shared = np.isfinite(one.data) & np.isfinite(other.data)
            a, b = one.data[shared].astype(np.float64), other.data[shared].astype(np.float64)
            either = int((np.isfinite(one.data) | np.isfinite(other.data)).sum())
            medians = [number(float(np.median(x))) if x.size else number(np.nan) for x in (a, b)]
            difference = f"{round(float(np.median(b - a)), 2) + 0.0:+.2f}" if a.size else number(np.nan)
            rows.append(
                (
                    f"{marked_task(scan, *methods_of(study))}: {name}, {other_name}",
                    f"{a.size} of {either}",
                    *medians,
                    difference,
                    number(rank_correlation(a, b)),
                )
            )
    quantity = next(iter(scans[0][1].values()))
    shown = f"{quantity.quantity}{unit_suffix(units_of(study, quantity.units))}"
    columns = ("Scan: first, second method", "Voxels", "First", "Second", "Difference", "Rank correlation")
    return TextTable(columns, tuple(rows), f"{shown}. {_CAPTION}")


def rank_correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Spearman's rank correlation; NaN for fewer than three pairs, or where one is the same everywhere."""
    if a.size < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(np.corrcoef(_ranks(a), _ranks(b))[0, 1])


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks, ties at the middle of theirs. SciPy has the same; importing its statistics takes longer than the page."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    middles: NDArray[np.float64] = last - (count - 1) / 2
    return middles[place]
