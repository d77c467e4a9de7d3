"""The section of a study: rest and stress maps on one scale, bull's-eyes, segments, reserve, quality."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from qperf_app.methods.wider_intervals import SCALED
from qperf_app.plugins.results import Paragraph, QualityMap, ScanResult
from qperf_app.report.backdrops import Backdrop, region_of
from qperf_app.report.bullseye import SegmentPicture, bullseye, layers_bullseye
from qperf_app.report.elements import Details, Drawing, Gallery, HostElement, PictureGrid, Section, Subheading
from qperf_app.report.fits import drawn_reserves, fit_elements
from qperf_app.report.maps import MapRow, map_grid, quality_counts, quality_grid, quality_key, share_in_words
from qperf_app.report.marks import marks_of, marks_of_reserve
from qperf_app.report.medians import FLOW_APART, RESERVE_APART, Apart, off_median
from qperf_app.report.scales import NAMES, STATISTICS, ColourScale, scale_for, unit_suffix
from qperf_app.report.studies import (
    LOW_RESERVE,
    PRIMARY,
    Study,
    doubts_of,
    is_relative,
    maps_of,
    marked_task,
    method_title,
    methods_of,
    primary_quantity,
    reserve_of,
    reserve_tables,
    segments_of,
    task_of,
    units_of,
    values_of,
)
from qperf_app.report.tables import marks_in_words, other_quantities_table, reserve_table, segment_table

Method = tuple[str, str]
Backdrops = Mapping[str, Backdrop]


def perfusion_sections(studies: Sequence[Study], backdrops: Backdrops) -> tuple[Section, ...]:
    """One section for each study: the method that leads, and the others folded away."""
    sections = []
    for number, study in enumerate(studies):
        title = f"Perfusion{': ' if study.label else ''}{study.label}"
        elements: list[HostElement] = [Paragraph(study.note, "warning")] if study.note else []
        lead, *others = methods_of(study)
        elements += _method_elements(study, lead, backdrops, _spill_over_elements(study, backdrops))
        for method in others:
            inner = [*_bullseye_elements(study, method), *_method_elements(study, method, backdrops, [])]
            elements.append(Details(f"By another method: {method_title(method)}", tuple(inner)))
        sections.append(Section(title, f"perfusion-{number}", tuple(elements), printed=True))
    return tuple(sections)


def bullseye_elements(study: Study) -> list[HostElement]:
    """Bull's-eyes of the method that leads, for the summary."""
    return _bullseye_elements(study, methods_of(study)[0])


def _method_elements(
    study: Study, method: Method, backdrops: Backdrops, beside: Sequence[HostElement]
) -> list[HostElement]:
    """What a method says; ``beside`` is folded away among its grounds."""
    quantity = primary_quantity(study, method)
    elements: list[HostElement] = []
    if any(is_relative(scan) for scan in study.scans):
        elements.append(Paragraph("Relative units: these values are not absolute flow.", "warning"))
    for scan in study.scans:
        for text in doubts_of(scan, method):
            elements.append(Paragraph(f"{task_of(scan)} is doubtful: {text}.", "warning"))
    primary = _grid(study, method, quantity, None, backdrops, large=True)
    if primary is not None:
        elements += [Subheading(f"{NAMES.get(quantity, quantity)} by {method_title(method)}"), primary]
    elements += _layer_elements(study, method, quantity)
    elements += _table_elements(study, method, quantity)
    spread = _grid(study, method, quantity, "std", backdrops)
    if spread is not None:
        elements.append(Details(f"Uncertainty of {quantity}, voxel by voxel", (spread,)))
    if beside:
        elements.append(Details("Blood and fat in the voxels of the wall", tuple(beside)))
    elements += fit_elements(study, method)
    elements += _other_maps(study, method, quantity, backdrops)
    elements += _quality_elements(study, method, quantity, backdrops)
    return elements


def _spill_over_elements(study: Study, backdrops: Backdrops) -> list[HostElement]:
    """Show how much of each voxel of the wall is blood or fat; nothing where that was not looked for."""
    found = [scan for scan in study.scans if scan.spill_over]
    if not found:
        return []
    shares = [100.0 * np.sum([m.data for m in scan.spill_over], axis=0) for scan in found]
    rows = [(task_of(scan), share, backdrops[scan.label]) for scan, share in zip(found, shares, strict=True)]
    caption = (
        "Share of each voxel of the wall that is no muscle. Blood of a ventricle was taken out of the signal before "
        "flow was estimated; fat, told from its brightness before the bolus, was not. A voxel with more than half of "
        "both has no flow."
    )
    return [map_grid(rows, scale_for("Blood and fat", "% of the voxel", None, shares), caption, edges=False)]


def flow_maps(
    study: Study, method: Method, quantity: str, statistic: str | None, backdrops: Backdrops
) -> tuple[list[MapRow], ColourScale] | None:
    """Maps of one quantity of all scans of the study with their one colour scale; None where no scan has it."""
    found = [(scan, maps_of(scan, method).get((quantity, statistic))) for scan in study.scans]
    present = [(scan, voxel_map) for scan, voxel_map in found if voxel_map is not None]
    if not present:
        return None
    rows = [(marked_task(scan, method), voxel_map.data, backdrops[scan.label]) for scan, voxel_map in present]
    units = _units(study, quantity, present[0][1].units)
    return rows, scale_for(quantity, units, statistic, [voxel_map.data for _, voxel_map in present])


def _grid(
    study: Study, method: Method, quantity: str, statistic: str | None, backdrops: Backdrops, large: bool = False
) -> PictureGrid | None:
    found = flow_maps(study, method, quantity, statistic, backdrops)
    if found is None:
        return None
    rows, scale = found
    kind = "Fixed colour scale" if scale.fixed else "Colour scale fitted to the values shown"
    caption = f"{kind}, the same for all pictures; colours stop at its ends. Voxels without colour were not estimated."
    maps = (maps_of(scan, method).get((quantity, statistic)) for scan in study.scans)
    units = {voxel_map.units for voxel_map in maps if voxel_map is not None}
    if len(units) > 1:
        caption += f" The scans have different units ({', '.join(sorted(units))}): do not compare them."
    elif len(study.scans) > 1 and quantity in SCALED and any(is_relative(scan) for scan in study.scans):
        caption += " Relative units: compare colours within a scan alone."
    if large:
        caption += f"{_behind(study, backdrops)} The bar is 20 mm long."
    return map_grid(rows, scale, caption, edges=large)


def _behind(study: Study, backdrops: Backdrops) -> str:
    """Which volumes the grey pictures are, with a space before it; empty where there are none."""
    volumes = [(task_of(scan), backdrops[scan.label].volume) for scan in study.scans]
    known = ", ".join(f"{task.lower()} {volume}" for task, volume in volumes if volume is not None)
    return f" In grey: the volume in which the myocardium is brightest ({known})." if known else ""


def _units(study: Study, quantity: str, units: str) -> str:
    """Units as they are shown; flow of a relative scan has none of its own."""
    return units_of(study, units) if quantity in PRIMARY else units


def _scale(
    study: Study, method: Method, quantity: str, units: str, values: Sequence[Mapping[int, float]]
) -> ColourScale:
    """Scale of the maps, which what is told of segments shares; fitted to these where there is no map."""
    maps = [maps_of(scan, method).get((quantity, None)) for scan in study.scans]
    shown = [voxel_map.data for voxel_map in maps if voxel_map is not None]
    return scale_for(quantity, units, None, shown or [np.array(list(of.values())) for of in values])


def segment_pictures(study: Study, method: Method) -> list[SegmentPicture]:
    """What the bull's-eyes of a method show: flow of each scan, and the reserve."""
    quantity = primary_quantity(study, method)
    known = [(scan, table) for scan in study.scans for table in [segments_of(scan, method)] if table is not None]
    if not known:
        return []
    units = _units(study, quantity, known[0][1].units.get(quantity, ""))
    values = [values_of(table, quantity) for _, table in known]
    scale = _scale(study, method, quantity, units, values)
    pictures = [
        SegmentPicture(of, scale, f"{marked_task(scan, method)} {quantity}{unit_suffix(units)}",
                       marks=marks_of(table, quantity),
                       outlined=_low(of, FLOW_APART, (scan,), method))
        for (scan, table), of in zip(known, values, strict=True)
    ]  # fmt: skip
    both = reserve_tables(study, method)
    reserve = reserve_of(*both, quantity)
    if reserve:
        drawn = drawn_reserves(study.rest, study.stress, method) if quantity == "MBF" else {}
        marks = marks_of_reserve(*both, quantity, drawn)
        low = _low(reserve, RESERVE_APART, study.scans, method)
        doubtful = " (doubtful)" if any(doubts_of(scan, method) for scan in study.scans) else ""
        title = f"Perfusion reserve{doubtful} (stress / rest)"
        pictures.append(SegmentPicture(reserve, scale_for("MPR", "", None, []), title, LOW_RESERVE, marks, low))
    return pictures


def _low(values: Mapping[int, float], apart: Apart, scans: Sequence[ScanResult], method: Method) -> frozenset[int]:
    """Segments that the table of territories calls low; of doubtful scans it calls none so."""
    return frozenset() if any(doubts_of(scan, method) for scan in scans) else off_median(values, apart)[0]


def outlines_in_words(pictures: Sequence[SegmentPicture]) -> str:
    """What an outline means, with a space before it; empty where no segment has one."""
    if not any(picture.outlined for picture in pictures):
        return ""
    return f" Outlined: low, more than {FLOW_APART.below} the heart's median (of the reserve, a third)."


def _bullseye_elements(study: Study, method: Method) -> list[HostElement]:
    pictures = segment_pictures(study, method)
    if not pictures:
        return [Paragraph("No segments: there are no RV insertion points, so there is no bull's-eye.", "warning")]
    caption = (
        "Each AHA segment's own estimate; colours as in the maps. Hatched: outside of the slices, or fewer than half "
        "of its voxels could be estimated."
    )
    caption += outlines_in_words(pictures)
    if any(picture.low is not None for picture in pictures):
        caption += (
            f" Perfusion reserve has colours from 0 to 4; ▾ marks one below {LOW_RESERVE:g}, a round figure to "
            "guide the eye, no diagnostic cut-off."
        )
    caption += marks_in_words(marks for picture in pictures for marks in picture.marks.values())
    return [Gallery(tuple(map(bullseye, pictures)), caption)]


def _layer_elements(study: Study, method: Method, quantity: str) -> list[HostElement]:
    """Inner and outer layer of every segment as a gradient through the wall; nothing where no scan has layers."""
    pictures: list[Drawing] = []
    for scan in study.scans:
        table = segments_of(scan, method)
        endo, epi = (values_of(table, quantity, layer) for layer in ("endo", "epi"))
        if table is not None and np.isfinite([*endo.values()]).any():
            units = _units(study, quantity, table.units.get(quantity, ""))
            scale = _scale(study, method, quantity, units, (endo, epi))
            pictures.append(layers_bullseye(endo, epi, scale, f"{marked_task(scan, method)}: endo to epi"))
    caption = (
        "Colours run from the inner layer (towards the middle) to the outer one, on the scale of the maps; the number "
        "is endo/epi, the transmural gradient. Hatched: fewer than half of a layer's voxels could be estimated. Blood "
        "left in the inner layer raises the number."
    )
    return [Subheading("Through the wall"), Gallery(tuple(pictures), caption)] if pictures else []


def _table_elements(study: Study, method: Method, quantity: str) -> list[HostElement]:
    elements: list[HostElement] = []
    if study.rest is not None and study.stress is not None:
        rest, stress = reserve_tables(study, method)
        if rest is not None and stress is not None and rest.rows:
            drawn = drawn_reserves(study.rest, study.stress, method) if quantity == "MBF" else {}
            units = _units(study, quantity, rest.units.get(quantity, ""))
            table_of_all = reserve_table(rest, stress, quantity, units, drawn)
            elements.append(Details("Every segment: rest, stress and perfusion reserve", (table_of_all,)))
    for scan in study.scans:
        table = segments_of(scan, method)
        if table is not None:
            units = _units(study, quantity, table.units.get(quantity, ""))
            inner: list[HostElement] = [segment_table(table, quantity, units)]
            others = other_quantities_table(table, quantity)
            inner += [others] if others is not None else []
            summary = f"{marked_task(scan, method)}: {quantity} of every segment with its inner and outer layer"
            elements.append(Details(summary, tuple(inner)))
    return elements


def _other_maps(study: Study, method: Method, primary: str, backdrops: Backdrops) -> list[HostElement]:
    """Everything that is not the primary quantity and its spread, in small, folded away."""
    keys = dict.fromkeys(key for scan in study.scans for key in maps_of(scan, method))
    elements: list[HostElement] = []
    for quantity, statistic in keys:
        if quantity == primary and statistic in (None, "std"):
            continue
        grid = _grid(study, method, quantity, statistic, backdrops)
        if grid is not None:
            words = f", {STATISTICS.get(statistic, statistic)}" if statistic else ""
            elements += [Subheading(f"{NAMES.get(quantity, quantity)} ({quantity}){words}"), grid]
    return [Details("Maps of the other quantities", tuple(elements))] if elements else []


def _quality_elements(study: Study, method: Method, quantity: str, backdrops: Backdrops) -> list[HostElement]:
    found: list[tuple[ScanResult, QualityMap]] = []
    for scan in study.scans:
        found += [(scan, quality) for quality in scan.qc if quality.plugin == method[0]][:1]
    if not found:
        return []
    grids = []
    for scan, quality in found:
        voxel_map = next(iter(maps_of(scan, method).values()), None)
        if voxel_map is not None and voxel_map.data.shape == quality.data.shape:
            grids.append(quality_grid(task_of(scan), quality, region_of(scan), backdrops[scan.label]))
    labelled = {task_of(scan): (quality, region_of(scan)) for scan, quality in found}
    key = quality_key(labelled)
    words = "; ".join(_estimated(scan, method, quantity) for scan, _ in found)
    why = (
        f"{quantity} needs less of the data than the model's other parameters: at rest it can often be told where they "
        "can't. Such a voxel keeps it, and has a code for what is missing."
    )
    voxels = Paragraph(f"Voxels of the myocardium with a value of {quantity}: {words}. {why}")
    return [Details("Quality of the fit, voxel by voxel", (voxels, quality_counts(labelled), key, *grids))]


def _estimated(scan: ScanResult, method: Method, quantity: str) -> str:
    region, voxel_map = region_of(scan), maps_of(scan, method).get((quantity, None))
    same = voxel_map is not None and voxel_map.data.shape == region.shape
    n, whole = int(np.isfinite(voxel_map.data[region]).sum()) if same and voxel_map else 0, int(region.sum())
    return f"{task_of(scan).lower()} {n} of {whole} ({share_in_words(n, whole)})"
