"""The section of a study: rest and stress maps on one scale, bull's-eyes, segments, reserve, quality."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from qperf_app.plugins.results import Paragraph, QualityMap, ScanResult, VoxelMap
from qperf_app.report.bullseye import bullseye
from qperf_app.report.display import heart_extent, view_of
from qperf_app.report.elements import Details, Gallery, HostElement, PictureGrid, Section, Subheading
from qperf_app.report.maps import Backdrop, map_grid, quality_counts, quality_grid, quality_key, region_of
from qperf_app.report.motion import brightest_volume
from qperf_app.report.scales import NAMES, STATISTICS, scale_for, unit_suffix
from qperf_app.report.scans import anatomy_of, blood_peak
from qperf_app.report.studies import (
    LOW_RESERVE,
    LOW_STRESS_MBF,
    Study,
    is_relative,
    maps_of,
    methods_of,
    primary_quantity,
    reserve_of,
    scan_title,
    segments_of,
    values_of,
)
from qperf_app.report.tables import other_quantities_table, reserve_table, segment_table

Method = tuple[str, str]
#: mm of surroundings that a map shows around the myocardium, and pixels along the edge of its picture.
_MARGIN, _EDGE, _SMALL_EDGE = 14.0, 400, 220


def perfusion_sections(studies: Sequence[Study]) -> tuple[Section, ...]:
    """One section for each study."""
    sections = []
    for number, study in enumerate(studies):
        title = f"Perfusion{': ' if study.label else ''}{study.label}"
        elements: list[HostElement] = [Paragraph(study.note, "warning")] if study.note else []
        methods = methods_of(study)
        for method in methods:
            if len(methods) > 1:
                elements.append(Subheading(f"Method {method[0]} (model {method[1]})"))
            elements += _method_elements(study, method)
        sections.append(Section(title, f"perfusion-{number}", tuple(elements)))
    return tuple(sections)


def _method_elements(study: Study, method: Method) -> list[HostElement]:
    quantity = primary_quantity(study, method)
    relative = any(is_relative(scan) for scan in study.scans)
    elements: list[HostElement] = []
    if relative:
        elements.append(Paragraph("Relative units: these values are not absolute flow.", "warning"))
    primary = _grid(study, method, quantity, None, _EDGE)
    if primary is not None:
        elements += [Subheading(f"{NAMES.get(quantity, quantity)}, {method[0]} ({method[1]})"), primary]
    spread = _grid(study, method, quantity, "std", _EDGE)
    if spread is not None:
        elements += [Subheading(f"Uncertainty of {quantity}"), spread]
    elements += _bullseye_elements(study, method, quantity, relative)
    elements += _table_elements(study, method, quantity, relative)
    elements += _other_maps(study, method, quantity)
    elements += _quality_elements(study, method)
    return elements


def _grid(study: Study, method: Method, quantity: str, statistic: str | None, edge: int) -> PictureGrid | None:
    """Show one quantity of all scans of the study on one colour scale; None where no scan has it."""
    found = [(scan, maps_of(scan, method).get((quantity, statistic))) for scan in study.scans]
    present = [(scan, voxel_map) for scan, voxel_map in found if voxel_map is not None]
    if not present:
        return None
    units = {voxel_map.units for _, voxel_map in present}
    side = max(_side(scan) for scan, _ in present)
    rows = [(_task(scan), voxel_map.data, _backdrop(scan, voxel_map, side, edge)) for scan, voxel_map in present]
    scale = scale_for(quantity, present[0][1].units, statistic, [voxel_map.data for _, voxel_map in present])
    kind = "Fixed colour scale" if scale.fixed else "Colour scale fitted to the values shown"
    caption = f"{kind}, the same for all pictures; colours stop at its ends. Voxels without colour were not estimated."
    if len(units) > 1:
        caption += f" The scans have different units ({', '.join(sorted(units))}): do not compare them."
    if edge == _EDGE:
        caption += " The bar is 20 mm long."
    return map_grid(rows, scale, caption, edges=edge == _EDGE)


def _task(scan: ScanResult) -> str:
    return scan.entities.get("task", "").capitalize() or scan_title(scan)


def _side(scan: ScanResult) -> float:
    """Edge, mm, of the square that shows the scan's region."""
    region = region_of(scan)
    return heart_extent(_affine(scan), region) + 2 * _MARGIN if region.any() else 0.0


def _affine(scan: ScanResult) -> np.ndarray:
    series = scan.corrected or scan.series
    return np.eye(4) if series is None else series.affine


def _backdrop(scan: ScanResult, voxel_map: VoxelMap, side: float, edge: int) -> Backdrop:
    region, anatomy, shape = region_of(scan), anatomy_of(scan), voxel_map.data.shape
    view = view_of(_affine(scan), shape, region, _MARGIN, edge, side)
    shown = tuple(z for z in range(shape[2]) if region[:, :, z].any()) or tuple(range(shape[2]))
    if anatomy is None or anatomy.after.data.shape[:3] != shape:
        return Backdrop(np.zeros(shape), view, tuple(f"Slice {z + 1}" for z in range(shape[2])), shown)
    since = blood_peak(anatomy.after, anatomy.masks.get("lv"))
    image = anatomy.after.data[..., brightest_volume(anatomy.after, region, since)]
    return Backdrop(image, view, anatomy.slices, shown)


def _bullseye_elements(study: Study, method: Method, quantity: str, relative: bool) -> list[HostElement]:
    tables = {id(scan): segments_of(scan, method) for scan in study.scans}
    known = [table for table in tables.values() if table is not None]
    if not known:
        return [Paragraph("No segments: there are no RV insertion points, so there is no bull's-eye.", "warning")]
    units = known[0].units.get(quantity, "")
    values = {id(scan): values_of(tables[id(scan)], quantity) for scan in study.scans}
    scale = scale_for(quantity, units, None, [np.array(list(v.values())) for v in values.values()])
    pictures = []
    for scan in study.scans:
        if tables[id(scan)] is None:
            continue
        stressed = scan is study.stress and quantity == "MBF" and not relative
        title = f"{_task(scan)} {quantity}{unit_suffix(units)}"
        pictures.append(bullseye(values[id(scan)], scale, title, LOW_STRESS_MBF if stressed else None))
    if study.rest is not None and study.stress is not None:
        reserve = reserve_of(tables[id(study.rest)], tables[id(study.stress)], quantity)
        if reserve:
            ratio = scale_for("MPR", "", None, [])
            pictures.append(bullseye(reserve, ratio, "Perfusion reserve (stress / rest)", LOW_RESERVE))
    reserve_colours = ", perfusion reserve from 0 to 4" if len(pictures) > 2 else ""
    caption = (
        f"Median of each AHA segment; colours as in the maps{reserve_colours}. Grey: not estimated. "
        f"▾ marks stress flow below {LOW_STRESS_MBF:g} mL/min/g or a reserve below {LOW_RESERVE:g}."
    )
    return [Subheading("Segments"), Gallery(tuple(pictures), caption)]


def _table_elements(study: Study, method: Method, quantity: str, relative: bool) -> list[HostElement]:
    elements: list[HostElement] = []
    if study.rest is not None and study.stress is not None:
        rest, stress = segments_of(study.rest, method), segments_of(study.stress, method)
        if rest is not None and stress is not None:
            elements += [Subheading("Perfusion reserve"), reserve_table(rest, stress, quantity)]
    for scan in study.scans:
        table = segments_of(scan, method)
        if table is not None:
            inner: list[HostElement] = [segment_table(table, quantity)]
            others = other_quantities_table(table, quantity)
            inner += [others] if others is not None else []
            summary = f"{_task(scan)}: {quantity} of every segment with its inner and outer layer"
            elements.append(Details(summary, tuple(inner)))
    return elements


def _other_maps(study: Study, method: Method, primary: str) -> list[HostElement]:
    """Everything that is not the primary quantity and its spread, in small, folded away."""
    keys = dict.fromkeys(key for scan in study.scans for key in maps_of(scan, method))
    elements: list[HostElement] = []
    for quantity, statistic in keys:
        if quantity == primary and statistic in (None, "std"):
            continue
        grid = _grid(study, method, quantity, statistic, _SMALL_EDGE)
        if grid is not None:
            words = f", {STATISTICS.get(statistic, statistic)}" if statistic else ""
            elements += [Subheading(f"{NAMES.get(quantity, quantity)} ({quantity}){words}"), grid]
    return [Details("Maps of the other quantities", tuple(elements))] if elements else []


def _quality_elements(study: Study, method: Method) -> list[HostElement]:
    found: list[tuple[ScanResult, QualityMap]] = []
    for scan in study.scans:
        found += [(scan, quality) for quality in scan.qc if quality.plugin == method[0]][:1]
    if not found:
        return []
    grids = []
    for scan, quality in found:
        voxel_map = next(iter(maps_of(scan, method).values()), None)
        if voxel_map is not None and voxel_map.data.shape == quality.data.shape:
            backdrop = _backdrop(scan, voxel_map, _side(scan), _SMALL_EDGE)
            grids.append(quality_grid(_task(scan), quality, region_of(scan), backdrop))
    counts = quality_counts({_task(scan): (quality, region_of(scan)) for scan, quality in found})
    return [Subheading("Quality of the fit"), counts, Details("Where", (quality_key([q for _, q in found]), *grids))]
