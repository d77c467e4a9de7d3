"""What plugin ``cnn`` is worth.

accuracy  errors and coverage beside ``hmc`` and ``nlls`` at three noise levels
deciles   coverage in each tenth of the range of flow
speed     curves per second beside ``hmc``, ``nlls`` and SciPy, curve by curve, in one run
scope     curves that the network was not trained for, and how many it flags
real      the real resting slice beside ``hmc``
hearts    whole phantom hearts beside ``hmc``, out of an OUT_DIR that the app has written with both
labels    the same network trained on five kinds of label: bias, variance, error (writes a picture)
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.hmc import names, priors
from benchmarks.kinetics_accuracy import HAEMATOCRIT, NAMES, NOISES, CurveSet, fit, fit_scipy, simulate, value
from benchmarks.kinetics_real import read_slice
from benchmarks.masks import read_image
from benchmarks.records import Column, Row, Table, argument_parser, publish
from benchmarks.scores import correlation, nmse
from qperf_app.bids.names import map_name
from qperf_app.methods.exchange_models import EXCHANGE_MODELS
from qperf_app.phantom.bolus import Bolus, blood_curves
from qperf_app.plugins import (
    InputFunction,
    KineticsPlugin,
    MapKey,
    QualityCode,
    RunContext,
    TissueConstants,
    TissueCurves,
)
from qperf_cnn import ConvolutionalKinetics
from qperf_cnn.plugin import NetworkOptions
from qperf_hmc import ExchangePosterior
from qperf_hmc.plugin import ExchangeOptions
from qperf_kinetics import ExchangeLeastSquares
from qperf_kinetics.nlls import ExchangeOptions as LeastSquaresOptions

Array = NDArray[np.float64]

#: Kinds of label that are compared, by what they are called in the table.
KINDS = ("truth", "mle", "posterior", "hybrid:0.5", "self")
NOISE = Column("noise", "% of the input's peak", "g")


def network(args: argparse.Namespace) -> KineticsPlugin:
    """The plugin with the weights asked for."""
    return ConvolutionalKinetics(NetworkOptions(weights=str(args.weights or ""), model=args.model))


def labeller(args: argparse.Namespace) -> KineticsPlugin:
    """The posterior that the network is to give, with the pass in which nearly every curve converges."""
    return ExchangePosterior(ExchangeOptions(passes=2, model=args.model))


def held_out(args: argparse.Namespace, noise: float) -> CurveSet:
    """Curves of the myocardium's range or with parameters from the priors, of those that the network answers.

    What is left out depends on the curve alone, so a posterior's intervals cover those that stay as often as all.
    """
    count, truth = args.count, None
    if args.draws == "prior":
        chosen, rng, count = priors(args.model), np.random.default_rng([12, round(1e4 * noise)]), 2 * args.count
        x = chosen.mean + chosen.sd * rng.standard_normal((count, len(NAMES)))
        truth = dict(zip(names(args.model), np.where(chosen.positive, np.exp(x), x).T, strict=True))
    drawn = simulate(count, 12, noise, of="input", model=args.model, truth=truth)
    kept = np.flatnonzero(~out_of_scope(args, drawn))[: args.count]
    return replace(drawn, tissue=drawn.tissue[kept], truth={name: v[kept] for name, v in drawn.truth.items()})


def out_of_scope(args: argparse.Namespace, curves: CurveSet) -> NDArray[np.bool_]:
    """Curves (n,) that the network says it was not trained for."""
    tissue = TissueCurves(curves.tissue, curves.times, np.zeros((len(curves.tissue), 3), dtype=np.intp), np.eye(4))
    aif = InputFunction(curves.times, curves.blood)
    return np.asarray(
        network(args).fit(tissue, aif, TissueConstants(HAEMATOCRIT), RunContext()).qc == QualityCode.OUT_OF_SCOPE
    )


def weights(args: argparse.Namespace) -> tuple[str, ...]:
    """Shipped weights that take part."""
    return () if args.weights else ("kinetics" if args.model == "2CXM" else "kinetics-ath",)


def named(name: str, args: argparse.Namespace) -> str:
    """Of a record: with the model where it is not the default."""
    return name if args.model == "2CXM" else f"{name}-{args.model}"


def accuracy(args: argparse.Namespace) -> Table:
    """Errors against the truth, and how near the network's answer is to the posterior's."""
    rows: list[Row] = []
    kept = 0
    for noise in NOISES:
        curves, theirs = held_out(args, noise), None
        kept += len(curves.tissue)
        for plugin in (labeller(args), network(args), ExchangeLeastSquares(LeastSquaresOptions(model=args.model))):
            maps = fit(plugin, curves, args.threads)
            values = {name: value(maps, name, args.statistic) for name in NAMES}
            theirs = theirs or values
            scores = [nmse(values[n], curves.truth[n]) for n in NAMES[:4]]
            error = 100 * (values["Fp"] / curves.truth["Fp"] - 1.0)
            size = np.abs(error)
            errors = float(np.nanmean(error)), float(np.nanmedian(size)), float(np.nanpercentile(size, 90))
            together = tuple(correlation(values[n], theirs[n]) for n in NAMES[:4])
            cover = tuple(100 * float(_covers(maps, n, curves).mean()) for n in NAMES if (n, "q05") in maps)
            rows.append((100 * noise, f"`{plugin.name}`", *scores, *errors, together, cover or None))
    columns = (
        NOISE,
        Column("plugin"),
        *(Column(f"NMSE {name}", format=".3f") for name in NAMES[:4]),
        Column("bias of Fp, mean", "%", "+.1f"),
        Column("flow error, median", "%", ".1f"),
        Column("90th percentile", "%", ".1f"),
        Column("r with `hmc`: Fp, PS, vp, ve", format=", ".join(["{:.3f}"] * 4)),
        Column("90 % intervals cover Fp, PS, vp, ve, Ta", "%", ", ".join(["{:.0f}"] * len(NAMES))),
    )
    title = f"Errors against the truth, {3 * args.count} curves at three noise levels, those out of scope left out"
    return Table(named("cnn-accuracy", args), title, columns, tuple(rows), weights=weights(args))


def deciles(args: argparse.Namespace) -> Table:
    """Coverage of the 90 % intervals of flow in each tenth of its range."""
    sets = [held_out(args, noise) for noise in NOISES]
    truth = np.concatenate([s.truth["Fp"] for s in sets])
    inside = [
        100 * np.concatenate([_covers(fit(plugin, s, args.threads), "Fp", s) for s in sets])
        for plugin in (network(args), labeller(args))
    ]
    edges = np.quantile(truth, np.linspace(0.0, 1.0, 11))
    tenth = np.clip(np.searchsorted(edges, truth) - 1, 0, 9)
    rows: list[Row] = [
        (f"{edges[k]:.2f} to {edges[k + 1]:.2f}", *(float(found[tenth == k].mean()) for found in inside))
        for k in range(10)
    ]
    rows.append(("all", *(float(found.mean()) for found in inside)))
    columns = (Column("plasma flow, mL/min/mL"), *(Column(f"`{name}`", "%", ".1f") for name in ("cnn", "hmc")))
    title = "Coverage of the 90 % intervals of flow by tenths of its range"
    return Table(named("cnn-deciles", args), title, columns, tuple(rows), weights=weights(args))


def _covers(maps: dict[Any, Array], name: str, curves: CurveSet) -> NDArray[np.bool_]:
    return np.asarray((curves.truth[name] >= maps[name, "q05"]) & (curves.truth[name] <= maps[name, "q95"]))


def speed(args: argparse.Namespace) -> Table:
    """Everything a plugin does with curves in memory, compiled before; the median of some runs."""
    ways = {
        "`hmc`": (ExchangePosterior(), 1024, 3),
        "`hmc`, first pass, as for labels": (ExchangePosterior(ExchangeOptions(passes=1)), 1024, 3),
        "`nlls`": (ExchangeLeastSquares(), 3000, 3),
        "`cnn`, three slices": (network(args), 3000, 15),
        "`cnn`": (network(args), 20000, 15),
    }
    timed: dict[str, tuple[int, float]] = {}
    for label, (plugin, count, runs) in ways.items():
        curves = simulate(count, 3, 0.004, of="input")
        timed[label] = count, _median_time(lambda: fit(plugin, curves, args.threads), runs)  # noqa: B023
    few = simulate(12, 3, 0.004, of="input")
    timed["SciPy, curve by curve, 10 starts"] = 12, _median_time(lambda: fit_scipy(few, 10, 0), 1)
    timed["the network of `cnn` alone"] = _network_alone(args)
    count, seconds = timed["`hmc`"]
    slowest = count / seconds
    rows = tuple((label, n, s, n / s, n / s / slowest) for label, (n, s) in timed.items())
    columns = (
        Column("plugin"),
        Column("curves", format="d"),
        Column("time", "s", ".3f"),
        Column("speed", "curves/s", ".0f"),
        Column("times `hmc`", format=".4g"),
    )
    return Table("cnn-speed", "Speed of the kinetics plugins", columns, rows, timed=True)


def _median_time(work: Callable[[], Any], runs: int) -> float:
    """Median of the seconds that it takes, when it has run once."""
    seconds = []
    for _ in range(runs + 1):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return float(np.median(seconds[1:]))


def _network_alone(args: argparse.Namespace) -> tuple[int, float]:
    """Curves, and the seconds that the network takes once their features are known."""
    from qperf_cnn.features import build_filters, extract
    from qperf_cnn.inference import run
    from qperf_cnn.plugin import SHIPPED

    curves = simulate(20000, 3, 0.004, of="input")
    path = args.weights or SHIPPED["2CXM"]
    features = extract(build_filters(curves.times, curves.times, curves.blood), curves.tissue)
    return 20000, _median_time(lambda: run(path, features), 15)


def scope(args: argparse.Namespace) -> Table:
    """Flags of curves like and unlike the training's."""
    rng = np.random.default_rng(5)
    base = simulate(args.count, 8, 0.004, of="input")
    peak, (n, t) = base.blood.max(), base.tissue.shape
    clean = simulate(args.count, 8, 1e-9, of="input").tissue
    late = np.interp(base.times - 6.0, base.times, base.blood)
    broad = np.convolve(np.pad(base.blood, (8, 0), mode="edge"), np.ones(9) / 9.0, mode="valid")
    plug = simulate(args.count, 8, 0.004, of="input", model="ATH")
    cases = {
        **{f"normal, noise {100 * s:g} %": simulate(args.count, 9, s, of="input") for s in NOISES},
        "ten times the noise, 4 %": replace(base, tissue=clean + 0.04 * peak * rng.standard_normal((n, t))),
        "ten times the noise, 8 %": replace(base, tissue=clean + 0.08 * peak * rng.standard_normal((n, t))),
        "input function 6 s late": replace(base, blood=late),
        "input function of another study": replace(
            base, blood=blood_curves(Bolus(arrival=12.0, width=2.5), base.times)["left"]
        ),
        "input function of half the sharpness": replace(base, blood=broad),
        "no bolus in the tissue, noise only": replace(base, tissue=0.004 * peak * rng.standard_normal((n, t))),
        "right-ventricular blood as tissue": replace(
            base, tissue=0.6 * np.interp(base.times + 5.0, base.times, base.blood) * rng.uniform(0.5, 1.0, (n, 1))
        ),
        "a drift instead of a bolus": replace(
            base, tissue=peak * 0.1 * rng.uniform(0.2, 1.0, (n, 1)) * base.times / 50.0
        ),
        "plug flow (ATH)": plug,
        "motion: every tenth frame from blood": replace(
            base, tissue=np.where(np.arange(t) % 10 == 7, 0.5 * base.blood, base.tissue)
        ),
    }
    rows = tuple((label, 100 * float(out_of_scope(args, curves).mean())) for label, curves in cases.items())
    columns = (Column("curves"), Column("flagged", "%", ".1f"))
    title = f"Curves called out of scope, {args.count} of each kind"
    return Table("cnn-scope", title, columns, rows, weights=weights(args))


def real(args: argparse.Namespace) -> Table:
    """The published resting slice, ``cnn`` against ``hmc`` and the authors' map."""
    rest = read_slice(args.data)
    aif, constants = InputFunction(rest.times, rest.blood), TissueConstants(rest.haematocrit)
    ours = network(args).fit(rest.curves, aif, constants, RunContext(0, args.threads))
    theirs = ExchangePosterior(ExchangeOptions(model=args.model)).fit(
        rest.curves, aif, constants, RunContext(0, args.threads)
    )
    flow, sampled = ours.values["MBF"], theirs.values["MBF"]
    given = np.isfinite(flow)
    row: Row = (
        len(rest.theirs),
        correlation(flow, sampled),
        100 * float(flow[given].mean() / sampled[given].mean() - 1),
        correlation(flow, rest.theirs),
        correlation(sampled, rest.theirs),
        float(flow[given].mean() / rest.theirs[given].mean()),
        100 * float(np.mean(ours.qc == QualityCode.OUT_OF_SCOPE)),
    )
    columns = (
        Column("voxels", format="d"),
        Column("r with `hmc`", format=".3f"),
        Column("bias of the mean", "%", "+.1f"),
        Column("r with the authors, `cnn`", format=".2f"),
        Column("r with the authors, `hmc`", format=".2f"),
        Column("scale, `cnn` over the authors'", format=".2f"),
        Column("out of scope", "%", ".1f"),
    )
    return Table(named("cnn-real", args), "A resting slice, `cnn` beside `hmc`", columns, (row,), weights=weights(args))


def hearts(args: argparse.Namespace) -> Table:
    """Flow of the voxels that both give, at rest and under stress, and how many ``hmc`` alone gives."""
    rows = []
    for task in ("rest", "stress"):
        scans = [_of_both(path) for path in sorted(args.out.glob(f"sub-*/perf/sub-*_task-{task}_desc-hmc_qc.nii.gz"))]
        theirs, ours = np.concatenate(scans, axis=1)
        given = np.isfinite(theirs)
        both = given & np.isfinite(ours)
        apart = np.log(ours[both] / theirs[both])
        size = 100 * np.abs(np.expm1(apart))
        rows.append(
            (
                task,
                len(scans),
                int(given.sum()),
                100 * float(both.sum() / given.sum()),
                100 * float(np.expm1(np.median(apart))),
                float(np.median(size)),
                float(np.percentile(size, 90)),
                correlation(ours[both], theirs[both]),
            )
        )
    columns = (
        Column("task"),
        Column("scans", format="d"),
        Column("voxels with a flow by `hmc`", format="d"),
        Column("by `cnn` as well", "%", ".1f"),
        Column("`cnn` over `hmc`, median", "%", "+.1f"),
        Column("size of the difference, median", "%", ".1f"),
        Column("90th percentile", "%", ".1f"),
        Column("r", format=".3f"),
    )
    title = "Flow of whole phantom hearts, `cnn` beside `hmc`"
    return Table("cnn-hearts", title, columns, tuple(rows), weights=weights(args))


def _of_both(qc: Path) -> Array:
    """Flow (2, n) of a scan's voxels by ``hmc`` and by ``cnn``, from the quality map of the first."""
    prefix = qc.name.removesuffix("_desc-hmc_qc.nii.gz")
    key = MapKey("2CXM", "MBF", "q50")
    return np.stack(
        [read_image(qc.with_name(map_name(prefix, key, name))).get_fdata().ravel() for name in ("hmc", "cnn")]
    )


def labels(args: argparse.Namespace) -> Table:
    """Train the same network on each kind of label, and repeat noise on a grid of flows."""
    plugins = {kind: _trained(args, kind) for kind in KINDS}
    repeats = 16
    rows: list[Row] = []
    errors: dict[tuple[float, str], dict[str, tuple[Array, Array]]] = {}
    clean = simulate(args.count, 31, 1e-9, of="input")
    for noise in NOISES:
        tissue = np.repeat(clean.tissue, repeats, axis=0)
        tissue = tissue + noise * clean.blood.max() * np.random.default_rng(32).standard_normal(tissue.shape)
        noisy = replace(clean, tissue=tissue)
        for kind, plugin in plugins.items():
            maps = fit(plugin, noisy, args.threads)
            values = {name: value(maps, name).reshape(-1, repeats) for name in NAMES[:4]}
            # Curves that the network calls out of scope have no value.
            found = {
                name: (np.nanmean(each, axis=1) - clean.truth[name], np.nanstd(each, axis=1))
                for name, each in values.items()
            }
            errors[noise, kind] = found
            cells = [_parts(*found[name], clean.truth[name]) for name in found]
            rows.append((100 * noise, kind, *cells, 100 * float(np.isnan(values["ve"]).mean())))
    _draw(clean.truth, errors, args.picture)
    form = "{:+.1f}, {:.1f}, {:.1f}"
    names = (f"{NAMES[0]}: bias, SD, RMSE", *NAMES[1:4])
    columns = (NOISE, Column("labels"), *(Column(name, "% of the mean", form) for name in names))
    title = f"The same network trained on five kinds of label, {args.count} curves with {repeats} draws of noise"
    return Table("cnn-labels", title, (*columns, Column("out of scope", "%", ".1f")), tuple(rows))


def _parts(bias: Array, sd: Array, truth: Array) -> tuple[float, float, float]:
    """Mean bias, spread over the noise, and root mean square of both, % of the mean truth."""
    parts = np.nanmean(bias), np.sqrt(np.nanmean(sd**2)), np.sqrt(np.nanmean(bias**2 + sd**2))
    mean, spread, rms = (100.0 * float(part) / float(truth.mean()) for part in parts)
    return mean, spread, rms


def _trained(args: argparse.Namespace, kind: str) -> KineticsPlugin:
    """The plugin with weights learnt from one kind of label, trained unless they are there."""
    from qperf_app.cli.tools import main as qperf

    out = args.out / kind.replace(":", "-")
    if not (out / "kinetics.npz").exists():
        command = ["train", "kinetics", str(out), "--seed", "1", "--labels", kind]
        command += ["--label-folder", str(args.label_folder), "--studies", str(args.studies), "--held-out", "10"]
        command += ["--epochs", str(args.epochs), *(["--resume"] if out.exists() else [])]
        if qperf(command):
            raise SystemExit(f"the training on {kind} failed")
    return ConvolutionalKinetics(NetworkOptions(weights=str(out / "kinetics.npz")))


def _draw(truth: dict[str, Array], rows: dict[tuple[float, str], dict[str, tuple[Array, Array]]], path: Path) -> None:
    """Bias and standard deviation over the range of each parameter, at the middle noise."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 5), layout="constrained")
    axes = figure.subplots(2, 4)
    for column, name in enumerate(NAMES[:4]):
        edges = np.quantile(truth[name], np.linspace(0.0, 1.0, 11))
        tenth = np.clip(np.searchsorted(edges, truth[name]) - 1, 0, 9)
        middle = [np.median(truth[name][tenth == k]) for k in range(10)]
        for kind in KINDS:
            bias, sd = rows[NOISES[1], kind][name]
            axes[0, column].plot(middle, [np.nanmean(bias[tenth == k]) for k in range(10)], label=kind)
            axes[1, column].plot(middle, [np.sqrt(np.nanmean(sd[tenth == k] ** 2)) for k in range(10)])
        axes[0, column].axhline(0.0, color="0.8", zorder=0)
        axes[0, column].set(title=name, ylabel="bias" if column == 0 else None)
        axes[1, column].set(xlabel="truth", ylabel="standard deviation" if column == 0 else None)
    axes[0, 0].legend(fontsize=7)
    figure.savefig(path, dpi=90)


def main() -> None:
    """Publish one table."""
    parser = argument_parser(__doc__)
    tables = {f.__name__: f for f in (accuracy, deciles, speed, scope, real, hearts, labels)}
    parser.add_argument("table", choices=tables)
    parser.add_argument("--count", type=int, default=1700)
    parser.add_argument(
        "--draws",
        choices=("range", "prior"),
        default="range",
        help="for accuracy and deciles: of parameters",
    )
    parser.add_argument("--statistic", choices=("q50", "mean"), default="q50", help="for accuracy: of posteriors")
    parser.add_argument("--model", choices=EXCHANGE_MODELS, default="2CXM", help="(accuracy, deciles, real)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--weights", type=Path, help="weights other than the shipped ones")
    parser.add_argument("--data", type=Path, help="for real: qperf/rest.npz")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("label-comparison"),
        help="for labels: folder of the trainings; for hearts: an OUT_DIR of the app",
    )
    parser.add_argument("--label-folder", type=Path, default=Path("label-comparison/labels"), help="for labels")
    parser.add_argument("--studies", type=int, default=200, help="for labels: studies of 128 curves")
    parser.add_argument("--epochs", type=int, default=30, help="for labels")
    parser.add_argument("--picture", type=Path, default=Path("docs/images/labels.png"), help="for labels")
    args = parser.parse_args()
    publish([tables[args.table](args)], args)


if __name__ == "__main__":
    main()
