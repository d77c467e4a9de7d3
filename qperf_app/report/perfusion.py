"""The section of a study: rest and stress maps on one scale, bull's-eyes, segments, reserve, quality."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from qperf_app.plugins.results import Paragraph, QualityMap, ScanResult, interval_column
from qperf_app.report.backdrops import backdrop_of, side_of, task_of
from qperf_app.report.bullseye import bullseye
from qperf_app.report.elements import Details, Gallery, HostElement, PictureGrid, Section, Subheading
from qperf_app.report.fits import drawn_reserves, fit_elements
from qperf_app.report.maps import map_grid, quality_counts, quality_grid, quality_key, region_of, share_in_words
from qperf_app.report.scales import NAMES, STATISTICS, scale_for, unit_suffix
from qperf_app.report.studies import (
    LOW_RESERVE,
    Study,
    doubts_of,
    is_relative,
    maps_of,
    method_title,
    methods_of,
    primary_quantity,
    reserve_of,
    reserve_tables,
    segments_of,
    values_of,
)
from qperf_app.report.tables import (
    doubtful_reserves,
    doubtful_segments,
    other_quantities_table,
    reserve_table,
    segment_table,
)

Method = tuple[str, str]
#: Pixels along the edge of a map's picture.
_EDGE, _SMALL_EDGE = 400, 220


def perfusion_sections(studies: Sequence[Study]) -> tuple[Section, ...]:
    """One section for each study."""
    sections = []
    for number, study in enumerate(studies):
        title = f"Perfusion{': ' if study.label else ''}{study.label}"
        elements: list[HostElement] = [Paragraph(study.note, "warning")] if study.note else []
        methods = methods_of(study)
        for method in methods:
            elements += _method_elements(study, method, _spill_over_elements(study) if method == methods[0] else [])
        sections.append(Section(title, f"perfusion-{number}", tuple(elements)))
    return tuple(sections)


def _method_elements(study: Study, method: Method, beside: Sequence[HostElement]) -> list[HostElement]:
    """What a method says; ``beside`` stands beside its map of flow."""
    quantity = primary_quantity(study, method)
    relative = any(is_relative(scan) for scan in study.scans)
    elements: list[HostElement] = []
    if relative:
        elements.append(Paragraph("Relative units: these values are not absolute flow.", "warning"))
    for scan in study.scans:
        for text in doubts_of(scan, method):
            elements.append(Paragraph(f"{task_of(scan)} is doubtful: {text}.", "warning"))
    primary = _grid(study, method, quantity, None, _EDGE)
    if primary is not None:
        elements += [Subheading(f"{NAMES.get(quantity, quantity)} by {method_title(method)}"), primary]
    elements += beside
    spread = _grid(study, method, quantity, "std", _EDGE)
    if spread is not None:
        elements += [Subheading(f"Uncertainty of {quantity} by {method_title(method)}"), spread]
    elements += _bullseye_elements(study, method, quantity)
    elements += _table_elements(study, method, quantity)
    elements += fit_elements(study, method)
    elements += _other_maps(study, method, quantity)
    elements += _quality_elements(study, method, quantity)
    return elements


def _spill_over_elements(study: Study) -> list[HostElement]:
    """Show how much of each voxel of the wall is blood; nothing where that was not looked for."""
    found = [scan for scan in study.scans if scan.spill_over]
    if not found:
        return []
    shares = [100.0 * np.sum([m.data for m in scan.spill_over], axis=0) for scan in found]
    side = max(side_of(scan) for scan in found)
    rows = [
        (task_of(scan), share, backdrop_of(scan, scan.spill_over[0], side, _SMALL_EDGE))
        for scan, share in zip(found, shares, strict=True)
    ]
    caption = (
        "Share of each voxel of the wall that is blood of a ventricle. It was taken out of the signal before flow was "
        "estimated; a voxel with more than half of it has no flow. The more blood, the less is known of the muscle."
    )
    grid = map_grid(rows, scale_for("Blood", "% of the voxel", None, shares), caption, edges=False)
    return [Subheading("Blood in the voxels of the wall"), grid]


def flow_elements(study: Study, method: Method) -> list[HostElement]:
    """Maps and bull's-eyes of the quantity that heads a method, without the rest of its part of the section."""
    quantity = primary_quantity(study, method)
    grid = _grid(study, method, quantity, None, _EDGE)
    return [*([] if grid is None else [grid]), *_bullseye_elements(study, method, quantity)]


def _grid(study: Study, method: Method, quantity: str, statistic: str | None, edge: int) -> PictureGrid | None:
    """Show one quantity of all scans of the study on one colour scale; None where no scan has it."""
    found = [(scan, maps_of(scan, method).get((quantity, statistic))) for scan in study.scans]
    present = [(scan, voxel_map) for scan, voxel_map in found if voxel_map is not None]
    if not present:
        return None
    units = {voxel_map.units for _, voxel_map in present}
    side = max(side_of(scan) for scan, _ in present)
    rows = [(task_of(scan), voxel_map.data, backdrop_of(scan, voxel_map, side, edge)) for scan, voxel_map in present]
    scale = scale_for(quantity, present[0][1].units, statistic, [voxel_map.data for _, voxel_map in present])
    kind = "Fixed colour scale" if scale.fixed else "Colour scale fitted to the values shown"
    caption = f"{kind}, the same for all pictures; colours stop at its ends. Voxels without colour were not estimated."
    if len(units) > 1:
        caption += f" The scans have different units ({', '.join(sorted(units))}): do not compare them."
    if edge == _EDGE:
        caption += " The bar is 20 mm long."
    return map_grid(rows, scale, caption, edges=edge == _EDGE)


def _bullseye_elements(study: Study, method: Method, quantity: str) -> list[HostElement]:
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
        title = f"{_marked(scan, method)} {quantity}{unit_suffix(units)}"
        doubtful = doubtful_segments(tables[id(scan)], quantity)
        pictures.append(bullseye(values[id(scan)], scale, title, doubtful=doubtful))
    caption = "Each AHA segment's own estimate; colours as in the maps. Grey: not estimated."
    if study.rest is not None and study.stress is not None:
        both = reserve_tables(study, method)
        reserve = reserve_of(*both, quantity)
        if reserve:
            ratio, doubtful = (
                scale_for("MPR", "", None, []),
                doubtful_reserves(*both, quantity, drawn_reserves(study.rest, study.stress, method)),
            )
            pictures.append(bullseye(reserve, ratio, "Perfusion reserve (stress / rest)", LOW_RESERVE, doubtful))
            caption += (
                f" Perfusion reserve has colours from 0 to 4; ▾ marks one below {LOW_RESERVE:g}, a round figure to "
                "guide the eye, no diagnostic cut-off."
            )
    if any(interval_column(quantity, "q05") in table.units for table in known):
        caption += " ? marks a value whose 90 % interval is wider than the value itself."
    return [Subheading(f"Segments by {method_title(method)}"), Gallery(tuple(pictures), caption)]


def _table_elements(study: Study, method: Method, quantity: str) -> list[HostElement]:
    elements: list[HostElement] = []
    if study.rest is not None and study.stress is not None:
        rest, stress = reserve_tables(study, method)
        if rest is not None and stress is not None and rest.rows:
            drawn = drawn_reserves(study.rest, study.stress, method) if quantity == "MBF" else {}
            elements += [Subheading("Perfusion reserve"), reserve_table(rest, stress, quantity, drawn)]
    for scan in study.scans:
        table = segments_of(scan, method)
        if table is not None:
            inner: list[HostElement] = [segment_table(table, quantity)]
            others = other_quantities_table(table, quantity)
            inner += [others] if others is not None else []
            summary = f"{_marked(scan, method)}: {quantity} of every segment with its inner and outer layer"
            elements.append(Details(summary, tuple(inner)))
    return elements


def _marked(scan: ScanResult, method: Method) -> str:
    """The scan's task, with a mark where its flow is doubtful."""
    return f"{task_of(scan)}{' (doubtful)' if doubts_of(scan, method) else ''}"


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


def _quality_elements(study: Study, method: Method, quantity: str) -> list[HostElement]:
    found: list[tuple[ScanResult, QualityMap]] = []
    for scan in study.scans:
        found += [(scan, quality) for quality in scan.qc if quality.plugin == method[0]][:1]
    if not found:
        return []
    grids = []
    for scan, quality in found:
        voxel_map = next(iter(maps_of(scan, method).values()), None)
        if voxel_map is not None and voxel_map.data.shape == quality.data.shape:
            backdrop = backdrop_of(scan, voxel_map, side_of(scan), _SMALL_EDGE)
            grids.append(quality_grid(task_of(scan), quality, region_of(scan), backdrop))
    labelled = {task_of(scan): (quality, region_of(scan)) for scan, quality in found}
    inner: tuple[HostElement, ...] = (quality_counts(labelled), quality_key([quality for _, quality in found]), *grids)
    words = "; ".join(_estimated(scan, method, quantity) for scan, _ in found)
    why = (
        f"{quantity} needs less of the data than the model's other parameters: at rest it can often be told where they "
        "can't. Such a voxel keeps it, and has a code for what is missing."
    )
    return [Paragraph(f"Voxels of the myocardium with a value of {quantity}: {words}. {why}"),
            Details("Quality of the fit, voxel by voxel", inner)]  # fmt: skip


def _estimated(scan: ScanResult, method: Method, quantity: str) -> str:
    region, voxel_map = region_of(scan), maps_of(scan, method).get((quantity, None))
    same = voxel_map is not None and voxel_map.data.shape == region.shape
    n, whole = int(np.isfinite(voxel_map.data[region]).sum()) if same and voxel_map else 0, int(region.sum())
    return f"{task_of(scan).lower()} {n} of {whole} ({share_in_words(n, whole)})"
