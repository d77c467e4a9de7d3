"""Flow of a single bolus by what its input function is taken from, on the phantom: the tables of docs/signal.md.

True masks, hearts that hold still, rest and stress of each person, doses of 0.025, 0.05 and 0.1 mmol/kg. Each scan's
input function is converted frame by frame, estimated from its signal, and estimated from its signal with the tissue's
curves as witness; with its proton-density volumes, and without. A dual sequence of the same hearts stands beside. A
scan that was measured is kept in WORK; the same command goes on where it stopped.
"""

from __future__ import annotations

import argparse
import json
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.records import Column, Row, Table, argument_parser, publish
from qperf_app.geometry.segments import label_segments
from qperf_app.methods import priors, tissue_witness
from qperf_app.methods.input_voxels import choose_input_voxels
from qperf_app.methods.saturated_input import BloodSignal, estimate_input
from qperf_app.methods.wider_intervals import widened
from qperf_app.phantom.config import PhantomConfig
from qperf_app.phantom.participant import sample_participant
from qperf_app.phantom.scan import Scan, simulate_scan
from qperf_app.plugins import InputFunction, KineticMaps, RunContext, Series, TissueConstants, TissueCurves
from qperf_app.report.agreement import agreement
from qperf_app.workflow.segments import segment_curve, segment_regions
from qperf_cnn.plugin import ConvolutionalKinetics
from qperf_concentration import SaturationRecoveryFlash
from qperf_kinetics import ExchangeLeastSquares

DOSES = (0.025, 0.05, 0.1)
TASKS = ("rest", "stress")
WAYS = ("converted", "estimated", "estimated with tissue")
#: Quantiles of the peak, and median and bounds of flow, of one input function.
Found = dict[str, Any]


def main() -> None:
    """Publish the tables."""
    parser = argument_parser(__doc__)
    parser.add_argument("work", type=Path, help="folder for what each scan gave; re-used")
    parser.add_argument("--participants", type=int, default=10)
    parser.add_argument("--seed", type=int, default=950)
    parser.add_argument("--matrix", type=int, default=96)
    args = parser.parse_args()
    scans = list(measured(args))
    publish((table(scans) for table in (peak_table, flow_table)), args)


def measured(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """What every scan gave, from its file where there is one."""
    args.work.mkdir(parents=True, exist_ok=True)
    for number in range(args.participants):
        for task in TASKS:
            for acquisition, dose in (("dual", 0.05), *(("single", dose) for dose in DOSES)):
                path = args.work / f"{args.seed}-{args.matrix}-{number}-{task}-{acquisition}-{dose}.json"
                if not path.is_file():
                    config = PhantomConfig(
                        task=task,  # type: ignore[arg-type]
                        acquisition=acquisition,
                        dose=dose,
                        matrix=args.matrix,
                        breathing="none",
                        abnormal_bolus=0.0,
                    )
                    found = measure(config, [args.seed, number])
                    part = path.with_suffix(".part")
                    part.write_text(json.dumps(found), encoding="utf-8")
                    os.replace(part, path)
                yield json.loads(path.read_text(encoding="utf-8"))


def measure(config: PhantomConfig, seed: list[int]) -> dict[str, Any]:
    """One scan's true flow and peak, and what each way finds."""
    person = sample_participant(config, np.random.default_rng(seed))
    scan = simulate_scan(config, np.random.default_rng([*seed, config.task == "stress"]), person)
    series, truth = scan.series["tissue"], scan.truth["tissue"]
    labels = label_segments(truth.masks["myocardium"], series.affine, truth.landmarks).labels
    regions = [region for (_, layer), region in segment_regions(labels, series.affine) if layer == "transmural"]
    found: dict[str, Found] = {}
    for weighted in (True, False) if config.acquisition == "single" else (True,):
        plugin = SaturationRecoveryFlash(SaturationRecoveryFlash.Options(use_proton_density=weighted))
        data = plugin.convert(series, "myocardium", RunContext()).data
        curves = np.stack([segment_curve(data[region]) for region in regions])
        for way, aif, peak in inputs(scan, plugin, curves):
            found[f"{way}{'' if weighted else ', no proton density'}"] = {"peak": peak, **flows(scan, curves, aif)}
    return {
        "task": config.task,
        "acquisition": config.acquisition,
        "dose": config.dose,
        "peak": float(scan.aif.concentration.max()),
        "flow": [float(np.nanmean(truth.parameters["MBF"][region])) for region in regions],
        "found": found,
    }


def inputs(
    scan: Scan, plugin: SaturationRecoveryFlash, curves: NDArray[np.float64]
) -> Iterator[tuple[str, InputFunction, list[float]]]:
    """Each way's input function, and the quantiles of its peak."""
    name = "aif" if "aif" in scan.series else "tissue"
    series = scan.series[name]
    voxels = choose_input_voxels(series.dynamic().data, scan.truth[name].masks["LV"])
    mean = series.data[voxels].mean(axis=0, dtype=np.float64)[None, None, None]
    curve = Series(mean, series.times, series.affine, series.metadata)
    converted = plugin.convert(curve, "blood", RunContext()).data[0, 0, 0]
    times = series.dynamic().times
    known = np.isfinite(converted)
    top = float(np.nanmax(converted))
    yield WAYS[0], InputFunction(times[known], converted[known]), [top, top, top]
    if name == "aif":
        return
    equation = plugin.signal_equation(curve)
    assert equation is not None
    blood = BloodSignal.of(curve, equation)
    prior = priors.read("", "2CXM", ("Fp", "PS", "vp", "ve", "Ta"))

    def witness(blood_curves: NDArray[np.float64]) -> NDArray[np.float64]:
        plasma = blood_curves / (1.0 - scan.participant.haematocrit)
        return tissue_witness.log_evidence(times, curves, plasma, prior)

    for way, asked in zip(WAYS[1:], (None, witness), strict=True):
        estimate = estimate_input(blood, np.random.default_rng(0), asked)
        aif = InputFunction(times, estimate.concentration, log_peak_sd=estimate.log_peak_sd)
        yield way, aif, estimate.peak.tolist()


def flows(scan: Scan, curves: NDArray[np.float64], aif: InputFunction) -> Found:
    """MBF of the segments by nlls, and median and 90 % interval by cnn, the input's uncertainty in them."""
    times = scan.series["tissue"].dynamic().times
    tissue = TissueCurves(curves, times, np.zeros((len(curves), 3), np.intp), np.eye(4))
    constants = TissueConstants(scan.participant.haematocrit)
    values = {"nlls": _values(ExchangeLeastSquares().fit(tissue, aif, constants, RunContext()), None)}
    result = ConvolutionalKinetics().fit(tissue, aif, constants, RunContext())
    result = widened(result, aif.log_peak_sd, np.random.default_rng(0)) if aif.log_peak_sd else result
    return values | {statistic: _values(result, statistic) for statistic in ("q05", "q50", "q95")}


def _values(result: KineticMaps, statistic: str | None) -> list[float | None]:
    values = next(m.values for m in result.maps if (m.quantity, m.statistic) == ("MBF", statistic))
    return [float(v) if math.isfinite(v) else None for v in values]


def _groups(scans: Sequence[dict[str, Any]]) -> Iterator[tuple[tuple[float, str, str], list[dict[str, Any]]]]:
    """Scans of one acquisition and dose, by task and way."""
    for acquisition, dose in (("dual", 0.05), *(("single", dose) for dose in DOSES)):
        of_kind = [s for s in scans if (s["acquisition"], s["dose"]) == (acquisition, dose)]
        for task in TASKS:
            chosen = [s for s in of_kind if s["task"] == task]
            for way in chosen[0]["found"] if chosen else ():
                yield (dose, task, f"dual sequence, {way}" if acquisition == "dual" else way), chosen


def peak_table(scans: Sequence[dict[str, Any]]) -> Table:
    """Height of the input function against the truth."""
    rows: list[Row] = []
    for (dose, task, way), chosen in _groups(scans):
        true = np.array([s["peak"] for s in chosen])
        low, middle, high = np.array([s["found"][way.removeprefix("dual sequence, ")]["peak"] for s in chosen]).T
        error = 100 * (middle / true - 1.0)
        inside = None if (low == high).all() else float(100 * np.mean((low <= true) & (true <= high)))
        wide = None if inside is None else float(np.median(np.sqrt(high / low)))
        rows.append((f"{dose:g}", task, way, len(true), float(error.mean()), float(error.std()), wide, inside))
    columns = (
        Column("dose", "mmol/kg"),
        Column("task"),
        Column("input function"),
        Column("scans", format="d"),
        Column("error of the peak, mean", "%", "+.1f"),
        Column("SD", "%", ".1f"),
        Column("interval, factor either way", format=".2f"),
        Column("90 % intervals cover", "%", ".0f"),
    )
    return Table("saturated-peak", "Height of the input function against the phantom's truth", columns, tuple(rows))


def flow_table(scans: Sequence[dict[str, Any]]) -> Table:
    """Flow of segments against the truth."""
    rows: list[Row] = []
    for (dose, task, way), chosen in _groups(scans):
        true = np.concatenate([s["flow"] for s in chosen])
        of_way = [s["found"][way.removeprefix("dual sequence, ")] for s in chosen]
        nlls, low, middle, high = (
            np.concatenate([np.array(f[key], dtype=np.float64) for f in of_way])
            for key in ("nlls", "q05", "q50", "q95")
        )
        by_fit, by_network = agreement(true, nlls), agreement(true, middle)
        known = np.isfinite(low)
        inside = float(100 * np.mean(((low <= true) & (true <= high))[known]))
        rows.append(
            (f"{dose:g}", task, way, by_fit.n, 100 * by_fit.relative_bias, by_fit.icc, 100 * by_network.relative_bias,
             by_network.icc, inside)
        )  # fmt: skip
    columns = (
        Column("dose", "mmol/kg"),
        Column("task"),
        Column("input function"),
        Column("segments", format="d"),
        Column("bias, nlls", "%", "+.1f"),
        Column("ICC", format=".2f"),
        Column("bias, cnn", "%", "+.1f"),
        Column("ICC", format=".2f"),
        Column("90 % intervals of cnn cover", "%", ".0f"),
    )
    title = "MBF of segments against the phantom's truth"
    return Table("saturated-flow", title, columns, tuple(rows), weights=("kinetics",))


if __name__ == "__main__":
    main()
