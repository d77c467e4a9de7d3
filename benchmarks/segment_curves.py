"""Which percentile over a segment's voxels gives the segment's curve: flow of AHA segments against the phantom's truth.

Reads a folder that ``benchmarks.phantom_segments`` has filled (``--hand-in masks``), so that concentrations and masks
are those of the app, and fits the curves of every percentile again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
from qperf_kinetics import ExchangeLeastSquares

TASKS = ("rest", "stress")


def main() -> None:
    """Publish the table."""
    parser = argument_parser(__doc__)
    parser.add_argument("work", type=Path, help="folder of benchmarks.phantom_segments")
    parser.add_argument("--percentiles", nargs="+", type=float, default=[30, 35, 40, 45, 50])
    args = parser.parse_args()
    publish([comparison(args.work, args.percentiles)], args)


def comparison(work: Path, percentiles: Sequence[float]) -> Table:
    """Agreement with the truth by percentile."""
    pairs: dict[tuple[float, str], list[tuple[float, float]]] = {(p, task): [] for p in percentiles for task in TASKS}
    for task, series, aif, parts, truth in _scans(work):
        for p in percentiles:
            curves = [np.nanpercentile(series.data[inside], p, axis=0) for inside in parts]
            pairs[p, task].extend(zip(truth, _flows(np.stack(curves), series, aif), strict=True))
    rows: list[Row] = []
    for p in percentiles:
        sets = (pairs[p, "rest"] + pairs[p, "stress"], pairs[p, "rest"], pairs[p, "stress"])
        found = [agreement(*zip(*each, strict=True)) for each in sets]
        cells: list[Cell] = [value for a in found for value in (100 * a.relative_bias, a.icc)]
        rows.append((p, found[0].n, *cells))
    columns = [Column("percentile", format=".0f"), Column("segments", format="d")]
    for where in ("", " at rest", " under stress"):
        columns += [Column(f"bias{where}", "%", "+.1f"), Column(f"ICC{where}", format=".3f")]
    title = "Flow of segments (`nlls`) by the percentile over voxels that makes a segment's curve"
    return Table("segments-percentile", title, tuple(columns), tuple(rows))


def _scans(work: Path) -> Iterator[tuple[str, Series, InputFunction, list[NDArray[np.bool_]], list[float]]]:
    """Of every scan: concentration, input function, each segment's voxels and its true flow."""
    out, truths = work / "out-masks-progressive", work / "raw" / "derivatives" / "truth"
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
