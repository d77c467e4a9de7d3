"""Which percentile over a segment's voxels gives the segment's curve: flow of AHA segments against the phantom's truth.

Reads a folder that ``benchmarks.phantom_segments`` has filled (``--hand-in masks``), so that concentrations and masks
are those of the app, and fits the curves of every percentile again.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np

from benchmarks.phantom_segments import true_means
from qperf_app.bids import records
from qperf_app.plugins import ConcentrationSeries, InputFunction, RunContext, TissueConstants, TissueCurves
from qperf_app.report.agreement import agreement
from qperf_app.workflow.segments import LEAST_ESTIMATED
from qperf_kinetics import ExchangeLeastSquares

TASKS = ("rest", "stress")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path, help="folder of benchmarks.phantom_segments")
    parser.add_argument("--percentiles", nargs="+", type=float, default=[30, 35, 40, 45, 50])
    args = parser.parse_args()
    print("| percentile | segments | bias, % | ICC | bias at rest, % | ICC | bias under stress, % | ICC |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    pairs: dict[tuple[float, str], list[tuple[float, float]]] = {
        (p, task): [] for p in args.percentiles for task in TASKS
    }
    for task, series, aif, parts, truth in _scans(args.work):
        for p in args.percentiles:
            curves = [np.nanpercentile(series.data[inside], p, axis=0) for inside in parts]
            pairs[p, task].extend(zip(truth, _flows(np.stack(curves), series, aif), strict=True))
    for p in args.percentiles:
        both = [agreement(*zip(*found, strict=True))
                for found in (pairs[p, "rest"] + pairs[p, "stress"], pairs[p, "rest"], pairs[p, "stress"])]  # fmt: skip
        cells = [f"{100 * a.relative_bias:+.1f} | {a.icc:.3f}" for a in both]
        print(f"| {p:g} | {both[0].n} | {' | '.join(cells)} |")


def _scans(work: Path) -> Iterator[tuple[str, ConcentrationSeries, InputFunction, list[np.ndarray], list[float]]]:
    """Of every scan: concentration, input function, each segment's voxels and its true flow."""
    out, truths = work / "out-masks-progressive", work / "raw" / "derivatives" / "truth"
    for path in sorted(out.glob("sub-*/perf/*_desc-conc_dce.nii.gz")):
        prefix = path.name.removesuffix("_desc-conc_dce.nii.gz")
        flow = path.with_name(f"{prefix}_model-2CXM_param-MBF_desc-nlls_dcemap.nii.gz")
        if not flow.exists():
            continue
        labels = np.asarray(nib.load(path.with_name(f"{prefix}_seg-AHA17_dseg.nii.gz")).dataobj)
        estimated = np.isfinite(np.asarray(nib.load(flow).dataobj))
        truth = true_means(truths, prefix)
        shown = [k for k in sorted(truth) if estimated[labels == k].mean() >= LEAST_ESTIMATED]
        aif = records.read_aif(path.with_name(f"{prefix}_desc-aif_timeseries.tsv"))
        task = next(task for task in TASKS if f"task-{task}" in prefix)
        yield task, records.read_series(path), aif, [labels == k for k in shown], [truth[k] for k in shown]


def _flows(curves: np.ndarray, series: ConcentrationSeries, aif: InputFunction) -> list[float]:
    tissue = TissueCurves(curves, series.times, np.zeros((len(curves), 3), int), np.eye(4), series.units)
    maps = ExchangeLeastSquares().fit(tissue, aif, TissueConstants(), RunContext()).maps
    return next(m.values for m in maps if m.quantity == "MBF").tolist()


if __name__ == "__main__":
    main()
