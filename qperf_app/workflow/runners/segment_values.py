"""Step ``segment-values``: what one kinetics plugin says of the segments and their layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qperf_app.bids.images import read_image, read_json, sidecar_path
from qperf_app.bids.names import parse_entities
from qperf_app.bids.segment_curves import write_segment_curves
from qperf_app.bids.segment_tables import write_segments
from qperf_app.checks.flow import coarse_sampling, implausible_flow
from qperf_app.methods.wider_intervals import FLOWS, centred, widened
from qperf_app.physics.input_function import NoBolusError, find_features
from qperf_app.plugins import (
    CONCENTRATION_UNITS,
    InputFunction,
    KineticMaps,
    SegmentCurves,
    SegmentTable,
    Series,
    TissueCurves,
)
from qperf_app.plugins.keys import MapKey, Role
from qperf_app.plugins.records import value_keys
from qperf_app.plugins.results import INTERVAL, interval_column
from qperf_app.workflow.flow import flows_of
from qperf_app.workflow.outcomes import StepResult
from qperf_app.workflow.runners.common import Upstream, uris
from qperf_app.workflow.runners.kinetics import fit, read_curves
from qperf_app.workflow.segments import (
    Region,
    finite_median,
    mean_log_sd,
    segment_curve,
    segment_medians,
    segment_regions,
)
from qperf_app.workflow.slice_clocks import slice_offset
from qperf_app.workflow.tasks import Task, derive_seed, fingerprint

#: Share of a segment's voxels that must have an estimate of their own. Where most have none, blood or lung has passed
#: through the segment, and the fit of its curve is no better founded.
LEAST_ESTIMATED = 0.5


def run(task: Task, upstream: Upstream, out: Path) -> StepResult:
    """Write the table of each layer, and the segments' curves where the plugin gives its fit of them.

    Flow is the median over the voxels; the plugin fits each segment's curve besides, for everything else. Maps that
    were handed in have no plugin to fit anything, and are summarised.
    """
    labels, affine = read_image(upstream["labels"].files["dseg"], np.uint8)
    maps, units, model = _read_maps(upstream["maps"].files)
    regions = segment_regions(labels, affine)
    table = segment_medians(task.plugin, model, maps, units, labels, regions)
    sources = uris(path for outcome in upstream.values() for path in outcome.files.values())
    files: dict[Role, Path] = {}
    read = read_curves(upstream) if "muscle" in upstream else None
    if read is not None:
        table, curves = _fit_segments(task, *read, table, upstream["maps"].files, maps, labels, regions)
        files |= write_segment_curves(out, task.prefix, curves, sources) if curves else {}
    passed_on = [text for name in ("wall", "muscle", "aif") if name in upstream for text in upstream[name].step.doubts]
    doubts = (*dict.fromkeys(passed_on), *_doubts(task, read and read[0].units, table))
    files |= write_segments(out, task.prefix, table, sources, "map" if read is None else "curve", doubts)
    warnings = () if read is None else _warnings(*read, table)
    flows = flows_of(table)
    summary = f"{int(np.isfinite(flows).sum())} of {len(flows)} segments have a value"
    return StepResult("done", files, warnings, summary, doubts=doubts)


def _doubts(task: Task, concentration: str | None, table: SegmentTable) -> tuple[str, ...]:
    """Why the segments' flow is no heart's, where it is absolute; it was fitted to concentration in some unit."""
    if concentration not in (None, CONCENTRATION_UNITS):
        return ()
    # Maps that were handed in without a unit are read as what they must be.
    units = (table.units["MBF"] or "mL/min/g") if "MBF" in table.units else ""
    reason = implausible_flow(parse_entities(task.prefix).get("task", ""), flows_of(table), units)
    return (reason,) if reason else ()


def _warnings(series: Series, aif: InputFunction, table: SegmentTable) -> tuple[str, ...]:
    """That the sampling is too coarse for this flow, where the segments' intervals say so."""
    rows = [row.values for row in table.rows if row.layer == "transmural"]
    lower, upper = ([values.get(interval_column("MBF", bound), np.nan) for values in rows] for bound in INTERVAL)
    try:
        features = find_features(aif.times, aif.concentration)
    except NoBolusError:
        return ()
    text = coarse_sampling(lower, upper, series.times, features)
    return (f"{table.plugin}: {text}",) if text else ()


def _fit_segments(
    task: Task,
    series: Series,
    aif: InputFunction,
    table: SegmentTable,
    files: Mapping[Role, Path],
    maps: Mapping[str, NDArray[np.floating]],
    labels: NDArray[np.integer],
    segments: Sequence[Region],
) -> tuple[SegmentTable, SegmentCurves | None]:
    """Put the fit of each segment's curve (:func:`segment_curve`) in place of medians over its voxels, but for flow.

    The interval of flow is that of the curve, about the median, and holds that voxels differ (:func:`mean_log_sd`). The
    curves come along where the plugin gives its own.
    """
    regions = [region for _, region in segments]
    known = [k for k, region in enumerate(regions) if region.any()]
    curves = TissueCurves(
        concentration=np.stack([segment_curve(series.data[regions[k]]) for k in known]),
        times=series.times,
        voxels=np.stack([_middle(regions[k]) for k in known]),
        affine=series.affine,
        units=series.units,
    )
    result = fit(task, curves, aif, np.array([slice_offset(series, regions[k]) for k in known]))
    result = centred(result, _flow_of_voxels(files, maps, [regions[k] for k in known]))
    flow = next((maps[quantity] for quantity in FLOWS if quantity in maps), None)
    if flow is not None:
        apart = mean_log_sd(flow, labels, [regions[k] for k in known])
        rng = np.random.default_rng(derive_seed(task.seed, fingerprint(flow)))
        result = widened(result, apart, rng, FLOWS)
    table = _with_values(table, result, known)
    whole = [i for i, k in enumerate(known) if table.rows[k].layer == "transmural"]
    numbers = tuple(table.rows[known[i]].segment for i in whole)
    return table, _curves_of(table, curves, result, np.array(whole, dtype=int), numbers)


def _flow_of_voxels(
    files: Mapping[Role, Path], maps: Mapping[str, NDArray[np.floating]], regions: Sequence[NDArray[np.bool_]]
) -> dict[tuple[str, str | None], NDArray[np.float64]]:
    """Medians of the maps of flow, by quantity and statistic, over the voxels of each region.

    ``maps`` are those that stand for their quantities and have been read.
    """
    there = {key: path for key, path in _maps_in(files).items() if key[0] in FLOWS}
    values, found = value_keys(there), {}
    wall = np.logical_or.reduce(regions)
    inside = [region[wall] for region in regions]
    for key, path in there.items():
        data = (maps[key[0]] if key == values.get(key[0]) else read_image(path)[0])[wall]
        found[key] = np.array([finite_median(data[region]) for region in inside])
    return found


def _with_values(table: SegmentTable, result: KineticMaps, known: list[int]) -> SegmentTable:
    """The table with the values and interval bounds of a fit of the rows ``known``, where their voxels bear it out."""
    bounds = {interval_column(m.quantity, m.statistic): m for m in result.maps if m.statistic in INTERVAL}
    found = result.values | {column: m.values for column, m in bounds.items()}
    units = {**table.units, **{column: m.units for column, m in bounds.items()}}
    position = {k: i for i, k in enumerate(known)}
    rows = []
    for k, row in enumerate(table.rows):
        trusted = k in position and row.n_estimated >= LEAST_ESTIMATED * row.n_voxels
        values = {q: float(found[q][position[k]]) for q in units if q in found} if trusted else {}
        rows.append(replace(row, values=values or dict.fromkeys(units, float("nan"))))
    return replace(table, rows=tuple(rows), units=units)


def _curves_of(
    table: SegmentTable, curves: TissueCurves, result: KineticMaps, rows: NDArray[np.int_], segments: tuple[int, ...]
) -> SegmentCurves | None:
    """Some rows of what was fitted, and the fit."""
    if result.fitted is None or not segments:
        return None
    predicted = None if result.predicted_sd is None else result.predicted_sd[rows]
    draws = None if result.flow_draws is None else result.flow_draws[rows]
    measured, fitted = curves.concentration[rows], result.fitted[rows]
    return SegmentCurves(
        table.plugin, table.model, curves.units, segments, curves.times, measured, fitted, predicted, draws
    )


def _middle(region: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Voxel of a region that is nearest to its centre."""
    voxels = np.argwhere(region)
    middle: NDArray[np.intp] = voxels[np.argmin(((voxels - voxels.mean(axis=0)) ** 2).sum(axis=1))]
    return middle


def _read_maps(files: Mapping[Role, Path]) -> tuple[dict[str, NDArray[np.floating]], dict[str, str], str]:
    """The map that stands for each quantity (point estimate, median or mean), MBF first; units; model."""
    there = _maps_in(files)
    chosen = {q: there[key] for q, key in sorted(value_keys(there).items(), key=lambda item: (item[0] != "MBF", item))}
    maps = {q: read_image(path)[0] for q, path in chosen.items()}
    units = {q: str(read_json(sidecar_path(path)).get("Units", "")) for q, path in chosen.items()}
    return maps, units, next((k.model for k in files if isinstance(k, MapKey)), "")


def _maps_in(files: Mapping[Role, Path]) -> dict[tuple[str, str | None], Path]:
    """Files of maps, by quantity and statistic."""
    return {(k.quantity, k.statistic or None): path for k, path in files.items() if isinstance(k, MapKey)}
