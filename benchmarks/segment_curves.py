"""Which of a segment's voxels make its curve: flow of AHA segments against the phantom's truth.

Reads a folder that ``benchmarks.phantom_segments`` has filled (``--hand-in masks``), so that concentrations and masks
are those of the app, and fits the curves of every pair of percentiles again.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.masks import read_image
from benchmarks.phantom_runs import true_means
from benchmarks.records import Cell, Column, Row, Table, argument_parser, publish
from qperf_app.bids import records
from qperf_app.plugins import InputFunction, RunContext, Series, TissueConstants, TissueCurves
from qperf_app.report.agreement import agreement
from qperf_app.workflow.runners.segment_values import LEAST_ESTIMATED
from qperf_app.workflow.segments import segment_curve
from qperf_kinetics import ExchangeLeastSquares

TASKS = ("rest", "stress")
Between = tuple[float, float]
#: Single percentiles, means about the 40th, and the plain mean.
BETWEEN: tuple[Between, ...] = ((40, 40), (50, 50), (25, 55), (20, 60), (10, 70), (25, 75), (0, 100))


def main() -> None:
    """Publish the table."""
    parser = argument_parser(__doc__)
    parser.add_argument("work", type=Path, help="folder of benchmarks.phantom_segments")
    parser.add_argument("--hand-in", default="masks", help="which outputs of the folder")
    args = parser.parse_args()
    publish([comparison(args.work, args.hand_in)], args)


def comparison(work: Path, hand_in: str) -> Table:
    """Agreement with the truth by the percentiles between which a curve is the mean."""
    pairs: dict[tuple[Between, str], list[tuple[float, float]]] = {(p, task): [] for p in BETWEEN for task in TASKS}
    for task, series, aif, parts, truth in _scans(work, hand_in):
        for p in BETWEEN:
            curves = [_curve(series.data[inside], p) for inside in parts]
            pairs[p, task].extend(zip(truth, _flows(np.stack(curves), series, aif), strict=True))
    rows: list[Row] = []
    for p in BETWEEN:
        sets = (pairs[p, "rest"] + pairs[p, "stress"], pairs[p, "rest"], pairs[p, "stress"])
        found = [agreement(*zip(*each, strict=True)) for each in sets]
        cells: list[Cell] = [value for a in found for value in (100 * a.relative_bias, a.icc)]
        rows.append((p, found[0].n, *cells))
    columns = [Column("percentiles", format="{:.0f} to {:.0f}"), Column("segments", format="d")]
    for where in ("", " at rest", " under stress"):
        columns += [Column(f"bias{where}", "%", "+.1f"), Column(f"ICC{where}", format=".3f")]
    title = "Flow of segments (`nlls`) by the percentiles over voxels between which a segment's curve is the mean"
    return Table("segments-percentile", title, tuple(columns), tuple(rows))


def _curve(curves: NDArray[np.floating], between: Between) -> NDArray[np.float64]:
    if between[0] == between[1]:
        return np.asarray(np.nanpercentile(curves, between[0], axis=0), np.float64)
    return segment_curve(curves, between)


def _scans(
    work: Path, hand_in: str
) -> Iterator[tuple[str, Series, InputFunction, list[NDArray[np.bool_]], list[float]]]:
    """Of every scan: concentration, input function, each segment's voxels and its true flow."""
    out, truths = work / f"out-{hand_in}-progressive", work / "raw" / "derivatives" / "truth"
    for path in sorted(out.glob("sub-*/perf/*_desc-muscle_dce.nii.gz")):
        prefix = path.name.removesuffix("_desc-muscle_dce.nii.gz")
        flow = path.with_name(f"{prefix}_model-2CXM_param-MBF_desc-nlls_dcemap.nii.gz")
        if not flow.exists():
            continue
        labels = np.asarray(read_image(path.with_name(f"{prefix}_seg-AHA17_dseg.nii.gz")).dataobj)
        estimated = np.isfinite(np.asarray(read_image(flow).dataobj))
        truth = true_means(truths, prefix)
        shown = [k for k in sorted(truth) if estimated[labels == k].mean() >= LEAST_ESTIMATED]
        aif = records.read_aif(path.with_name(f"{prefix}_desc-aif_timeseries.tsv"))
        task = next(task for task in TASKS if f"task-{task}" in prefix)
        yield task, records.read_series(path), aif, [labels == k for k in shown], [truth[k] for k in shown]


def _flows(curves: NDArray[np.float64], series: Series, aif: InputFunction) -> list[float]:
    tissue = TissueCurves(curves, series.times, np.zeros((len(curves), 3), int), np.eye(4), series.units)
    maps = ExchangeLeastSquares().fit(tissue, aif, TissueConstants(), RunContext()).maps
    return [float(v) for v in next(m.values for m in maps if m.quantity == "MBF")]


if __name__ == "__main__":
    main()
