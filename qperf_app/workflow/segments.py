"""The host's own last steps: divide the myocardium into AHA segments, and summarise the maps over them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qperf_app.bids import records
from qperf_app.bids.images import read_image, read_json, sidecar_path, write_image
from qperf_app.bids.names import derivative_name, parse_entities
from qperf_app.bids.segment_curves import write_segment_curves
from qperf_app.bids.segment_tables import write_segments
from qperf_app.bids.sidecars import describe_image, own_uri
from qperf_app.bids.tables import write_table
from qperf_app.plugins import KineticMaps, SegmentCurves, SegmentRow, SegmentTable, TissueConstants, TissueCurves
from qperf_app.plugins.checks import check_maps
from qperf_app.plugins.manager import load_plugins, make
from qperf_app.plugins.records import value_keys
from qperf_app.plugins.results import CURVE_PERCENTILE, INTERVAL, interval_column
from qperf_app.workflow.saying import context_of
from qperf_app.workflow.tasks import Outcome, Task

Upstream = Mapping[str, Outcome]
Result = tuple[str, dict[str, Path], dict[str, Any]]
#: Share of a segment's voxels that must have an estimate of their own. Where most have none, blood or lung has passed
#: through the segment, and the fit of its curve is no better founded.
LEAST_ESTIMATED = 0.5


def divide(task: Task, upstream: Upstream, out: Path) -> Result:
    """Label the myocardium's voxels with their AHA segments."""
    from qperf_app.geometry.segments import SEGMENT_NAMES, label_segments

    warnings: tuple[str, ...] = ()
    if "dseg" in task.handed_in:
        labels, affine = read_image(Path(task.handed_in["dseg"]), np.uint8)
        state, sources = "handed-in", task.sources
    else:
        files = upstream["myocardium"].files
        mask, (_, affine) = records.read_mask(files["myocardium"]), read_image(files["myocardium"])
        landmarks = records.read_landmarks(files["landmarks"]) if "landmarks" in files else ()
        found = label_segments(mask, affine, landmarks)
        labels, warnings, state = found.labels, found.warnings, "done"
        sources = tuple(own_uri(path.name) for path in files.values())
    if not labels.any():
        return "not-found", {}, {"reason": "; ".join(warnings) or "no voxel lies in a segment"}
    path = out / derivative_name(task.prefix, "dseg")
    write_image(path, labels.astype(np.uint8), affine, describe_image("AHA segments", "1", sources))
    present = [int(k) for k in np.unique(labels) if k]
    write_table(path.with_name(path.name.replace(".nii.gz", ".tsv")), ("index", "name"),
                [(k, SEGMENT_NAMES[k]) for k in present], {})  # fmt: skip
    sentences = tuple(f"{w[0].upper()}{w[1:]}." for w in warnings)
    return state, {"dseg": path}, {"warnings": sentences, "summary": f"{len(present)} segments"}


def summarise(task: Task, upstream: Upstream, out: Path) -> Result:
    """Values of one kinetics plugin for the segments and their layers.

    The plugin fits each segment's curve; maps that were handed in have no plugin to fit anything, and are summarised.
    """
    labels, affine = read_image(upstream["segments"].files["dseg"], np.uint8)
    maps, units, model = _read_maps(upstream["kinetics"].files)
    table = segment_medians(task.plugin, model, maps, units, labels, affine)
    sources = sorted(own_uri(path.name) for outcome in upstream.values() for path in outcome.files.values())
    files: dict[str, Path] = {}
    fitted = "concentration" in upstream
    if fitted:
        table, curves = _fit_segments(task, upstream, table, labels, affine)
        files = write_segment_curves(out, task.prefix, curves, sources) if curves else {}
    files |= write_segments(out, task.prefix, table, sources, "curve" if fitted else "map")
    return "done", files, {"summary": f"{len({row.segment for row in table.rows})} segments"}


def _fit_segments(
    task: Task, upstream: Upstream, table: SegmentTable, labels: NDArray[np.integer], affine: NDArray[np.float64]
) -> tuple[SegmentTable, SegmentCurves | None]:
    """Put the fit of each segment's curve (:func:`segment_curve`) in place of the medians over its voxels.

    The curves come along where the plugin gives its own.
    """
    series = records.read_series(upstream["concentration"].files["conc"])
    aif = records.read_aif(upstream["aif"].files["aif"])
    regions = [region for _, region in _regions(labels, affine)]
    known = [k for k, region in enumerate(regions) if region.any()]
    curves = TissueCurves(
        concentration=np.stack([segment_curve(series.data[regions[k]]) for k in known]),
        times=series.times,
        voxels=np.stack([_middle(regions[k]) for k in known]),
        affine=series.affine,
        units=series.units,
    )
    plugin = make(load_plugins(task.disable).get("kinetics", task.plugin), task.options)
    constants = TissueConstants(task.haematocrit, task.tissue_density)
    result = check_maps(plugin.fit(curves, aif, constants, context_of(task)), curves)
    found = result.values
    bounds = {interval_column(m.quantity, m.statistic): m for m in result.maps if m.statistic in INTERVAL}
    found |= {column: m.values for column, m in bounds.items()}
    table = replace(table, units={**table.units, **{column: m.units for column, m in bounds.items()}})
    nothing = dict.fromkeys(table.units, float("nan"))
    values = [nothing] * len(regions)
    for position, k in enumerate(known):
        values[k] = {quantity: float(found[quantity][position]) for quantity in table.units if quantity in found}
    trusted = (row.n_estimated >= LEAST_ESTIMATED * row.n_voxels for row in table.rows)
    rows = tuple(
        replace(row, values=value if enough else nothing)
        for row, value, enough in zip(table.rows, values, trusted, strict=True)
    )
    whole = [i for i, k in enumerate(known) if table.rows[k].layer == "transmural"]
    numbers = tuple(table.rows[known[i]].segment for i in whole)
    return replace(table, rows=rows), _curves_of(table, curves, result, np.array(whole, dtype=int), numbers)


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


def segment_curve(curves: NDArray[np.floating]) -> NDArray[np.float64]:
    """Percentile ``CURVE_PERCENTILE`` over curves (n, t) at each time, missing samples left out.

    Blood, whose concentration is ten times that of muscle, lies in the voxels at the wall's borders, and with breathing
    through the slice in others at other times. It would decide a mean; it moves a median less, and a percentile below
    it less still. Noise is averaged before the fit: the median of many fits of noisy curves is not the flow, since the
    error of a fit is lopsided.

    Parameters
    ----------
    curves : (n, t) array

    Returns
    -------
    (t,) array
        NaN where no curve has a sample.
    """
    finite = np.where(np.isfinite(curves), curves, np.nan).astype(np.float64)
    result = np.full(finite.shape[1], np.nan)
    some = np.isfinite(finite).any(axis=0)
    result[some] = np.nanpercentile(finite[:, some], CURVE_PERCENTILE, axis=0)
    return result


def _middle(region: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Voxel of a region that is nearest to its centre."""
    voxels = np.argwhere(region)
    middle: NDArray[np.intp] = voxels[np.argmin(((voxels - voxels.mean(axis=0)) ** 2).sum(axis=1))]
    return middle


def _regions(
    labels: NDArray[np.integer], affine: NDArray[np.float64]
) -> list[tuple[tuple[int, str], NDArray[np.bool_]]]:
    """Every segment, transmural and by layer: its number and layer, and its voxels."""
    from qperf_app.geometry.segments import label_layers

    layers = label_layers(labels > 0, affine)
    parts: tuple[tuple[str, NDArray[np.bool_]], ...] = (
        ("transmural", labels > 0),
        ("endo", layers == 1),
        ("epi", layers == 2),
    )
    segments = np.unique(labels[labels > 0]).tolist()
    return [((k, layer), where & (labels == k)) for layer, where in parts for k in segments]


def segment_medians(
    plugin: str,
    model: str,
    maps: Mapping[str, NDArray[np.floating]],
    units: Mapping[str, str],
    labels: NDArray[np.integer],
    affine: NDArray[np.float64],
) -> SegmentTable:
    """Median of every quantity over each segment, transmural and by layer; voxels without an estimate are left out.

    The median, since voxels at the wall's borders share their volume with blood, whose concentration is ten times that
    of muscle: few of them, with flows far too high, would decide a mean.

    Parameters
    ----------
    maps, units
        (x, y, z) values and their unit by quantity.
    labels : (x, y, z) integer array
        AHA segment of each voxel, 0 for none.

    Returns
    -------
    SegmentTable
        ``n_estimated`` counts the voxels that have the first quantity.
    """
    from qperf_app.geometry.segments import SEGMENT_NAMES

    first = next(iter(maps))
    rows = []
    for (segment, layer), inside in _regions(labels, affine):
        values = {quantity: _median(data[inside]) for quantity, data in maps.items()}
        estimated = int(np.isfinite(maps[first][inside]).sum())
        rows.append(SegmentRow(segment, SEGMENT_NAMES[segment], layer, int(inside.sum()), estimated, values))
    return SegmentTable(plugin, model, tuple(rows), dict(units))


def _read_maps(files: Mapping[str, Path]) -> tuple[dict[str, NDArray[np.floating]], dict[str, str], str]:
    """The map that stands for each quantity (point estimate, median or mean), MBF first; units; model."""
    entities = {path: parse_entities(path.name) for path in files.values()}
    there = {(e["param"], e.get("stat")): path for path, e in entities.items() if "param" in e}
    chosen = {q: there[key] for q, key in sorted(value_keys(there).items(), key=lambda item: (item[0] != "MBF", item))}
    maps = {q: read_image(path)[0] for q, path in chosen.items()}
    units = {q: str(read_json(sidecar_path(path)).get("Units", "")) for q, path in chosen.items()}
    return maps, units, next((entities[path]["model"] for path in chosen.values()), "")


def _median(values: NDArray[np.floating]) -> float:
    finite = values[np.isfinite(values)].astype(np.float64)
    return float(np.median(finite)) if finite.size else float("nan")
