"""What plugin ``cnn`` is worth: tables of docs/validation-cnn.md.

accuracy  errors and coverage beside ``hmc`` and ``nlls`` at three noise levels
deciles   coverage in each tenth of the range of flow
speed     curves per second beside ``hmc``, ``nlls`` and SciPy, curve by curve, in one run
scope     curves that the network was not trained for, and how many it flags
real      the real resting slice beside ``hmc``
labels    the same network trained on five kinds of label: bias, variance, error (writes a picture)
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.hmc import priors
from benchmarks.kinetics_accuracy import HAEMATOCRIT, NAMES, NOISES, CurveSet, fit, fit_scipy, simulate, value
from benchmarks.kinetics_real import read_slice
from qperf_app.phantom.bolus import Bolus, blood_curves
from qperf_app.plugins import InputFunction, KineticsPlugin, RunContext, TissueConstants, TissueCurves
from qperf_cnn import ConvolutionalKinetics
from qperf_cnn.plugin import OUT_OF_SCOPE, NetworkOptions
from qperf_hmc import ExchangePosterior
from qperf_hmc.plugin import PosteriorOptions
from qperf_kinetics import ExchangeLeastSquares

Array = NDArray[np.float64]

#: Kinds of label that are compared, by what they are called in the table.
KINDS = ("truth", "mle", "posterior", "hybrid:0.5", "self")


def network(args: argparse.Namespace) -> KineticsPlugin:
    """The plugin with the weights asked for."""
    return ConvolutionalKinetics(NetworkOptions(weights=str(args.weights) if args.weights else ""))


def labeller() -> KineticsPlugin:
    """The posterior that the network is to give, with the pass in which nearly every curve converges."""
    return ExchangePosterior(PosteriorOptions(passes=2))


def held_out(args: argparse.Namespace, noise: float) -> CurveSet:
    """Curves of the myocardium's range or with parameters from the priors, of those that the network answers.

    What is left out hangs on the curve alone, so a posterior's intervals cover those that stay as often as all.
    """
    count, truth = args.count, None
    if args.draws == "prior":
        chosen, rng, count = priors(), np.random.default_rng([12, round(1e4 * noise)]), 2 * args.count
        x = chosen.mean + chosen.sd * rng.standard_normal((count, len(NAMES)))
        truth = dict(zip(NAMES, np.where(chosen.positive, np.exp(x), x).T, strict=True))
    drawn = simulate(count, 12, noise, of="input", truth=truth)
    kept = np.flatnonzero(~out_of_scope(args, drawn))[: args.count]
    return replace(drawn, tissue=drawn.tissue[kept], truth={name: v[kept] for name, v in drawn.truth.items()})


def out_of_scope(args: argparse.Namespace, curves: CurveSet) -> NDArray[np.bool_]:
    """Curves (n,) that the network says it was not trained for."""
    tissue = TissueCurves(curves.tissue, curves.times, np.zeros((len(curves.tissue), 3), dtype=np.intp), np.eye(4))
    aif = InputFunction(curves.times, curves.blood)
    return np.asarray(network(args).fit(tissue, aif, TissueConstants(HAEMATOCRIT), RunContext()).qc == OUT_OF_SCOPE)


def accuracy(args: argparse.Namespace) -> Iterator[str]:
    """Errors against the truth, and how near the network's mean is to the posterior's."""
    yield (
        "| noise, % | plugin | NMSE Fp | PS | vp | ve | bias of Fp, % | flow error, %: median | 90th percentile "
        "| r with `hmc`: Fp, PS, vp, ve | 90 % intervals cover Fp, PS, vp, ve, Ta, % |"
    )
    yield "| ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- | --- |"
    for noise in NOISES:
        curves, theirs = held_out(args, noise), None
        for plugin in (labeller(), network(args), ExchangeLeastSquares()):
            maps = fit(plugin, curves, args.threads)
            values = {name: value(maps, name, args.statistic) for name in NAMES}
            theirs = theirs or values
            scores = [np.nanmean((values[n] - curves.truth[n]) ** 2) / np.mean(curves.truth[n] ** 2) for n in NAMES[:4]]
            error = values["Fp"] / curves.truth["Fp"] - 1.0
            together = [_r(values[n], theirs[n]) for n in NAMES[:4]]
            covered = [_covers(maps, n, curves).mean() for n in NAMES if (n, "q05") in maps]
            yield (
                f"| {100 * noise:g} | `{plugin.name}` | {' | '.join(f'{s:.3f}' for s in scores)} "
                f"| {100 * np.nanmean(error):+.1f} | {100 * np.nanmedian(np.abs(error)):.1f} "
                f"| {100 * np.nanpercentile(np.abs(error), 90):.1f} | {', '.join(f'{r:.3f}' for r in together)} "
                f"| {', '.join(f'{100 * c:.0f}' for c in covered)} |"
            )


def deciles(args: argparse.Namespace) -> Iterator[str]:
    """Coverage of the 90 % intervals of flow in each tenth of its range."""
    yield "| plasma flow, mL/min/mL | `cnn` covers, % | `hmc` covers, % |"
    yield "| --- | ---: | ---: |"
    sets = [held_out(args, noise) for noise in NOISES]
    truth = np.concatenate([s.truth["Fp"] for s in sets])
    inside = [
        np.concatenate([_covers(fit(plugin, s, args.threads), "Fp", s) for s in sets])
        for plugin in (network(args), labeller())
    ]
    edges = np.quantile(truth, np.linspace(0.0, 1.0, 11))
    tenth = np.clip(np.searchsorted(edges, truth) - 1, 0, 9)
    for k in range(10):
        cover = (f"{100 * found[tenth == k].mean():.1f}" for found in inside)
        yield f"| {edges[k]:.2f} to {edges[k + 1]:.2f} | {' | '.join(cover)} |"
    yield f"| all | {' | '.join(f'{100 * found.mean():.1f}' for found in inside)} |"


def _covers(maps: dict[Any, Array], name: str, curves: CurveSet) -> NDArray[np.bool_]:
    return np.asarray((curves.truth[name] >= maps[name, "q05"]) & (curves.truth[name] <= maps[name, "q95"]))


def _r(a: Any, b: Any) -> float:
    known = np.isfinite(a) & np.isfinite(b)
    return float(np.corrcoef(a[known], b[known])[0, 1])


def speed(args: argparse.Namespace) -> Iterator[str]:
    """Everything a plugin does with curves in memory, compiled before; the median of some runs."""
    yield "| plugin | curves | s | curves/s | times `hmc` |"
    yield "| --- | ---: | ---: | ---: | ---: |"
    ways = {
        "`hmc`": (ExchangePosterior(), 1024, 3),
        "`hmc`, first pass, as for labels": (ExchangePosterior(PosteriorOptions(passes=1)), 1024, 3),
        "`nlls`": (ExchangeLeastSquares(), 3000, 3),
        "`cnn`, three slices": (network(args), 3000, 15),
        "`cnn`": (network(args), 20000, 15),
    }
    slowest = 0.0
    for label, (plugin, count, runs) in ways.items():
        curves = simulate(count, 3, 0.004, of="input")
        seconds = _median_time(lambda: fit(plugin, curves, args.threads), runs)  # noqa: B023
        slowest = slowest or count / seconds
        yield f"| {label} | {count} | {seconds:.3f} | {count / seconds:.0f} | {_ratio(count / seconds / slowest)} |"
    curves = simulate(12, 3, 0.004, of="input")
    seconds = _median_time(lambda: fit_scipy(curves, 10, 0), 1)
    rate = 12 / seconds
    yield f"| SciPy, curve by curve, 10 starts | 12 | {seconds:.1f} | {rate:.1f} | {_ratio(rate / slowest)} |"
    yield from _network_alone(args)


def _ratio(value: float) -> str:
    return f"{value:.0f}" if value >= 100.0 else f"{value:.2g}"


def _median_time(work: Callable[[], Any], runs: int) -> float:
    """Median of the seconds that it takes, when it has run once."""
    seconds = []
    for _ in range(runs + 1):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return float(np.median(seconds[1:]))


def _network_alone(args: argparse.Namespace) -> Iterator[str]:
    from qperf_cnn.features import build_filters, extract
    from qperf_cnn.inference import run
    from qperf_cnn.plugin import SHIPPED

    curves = simulate(20000, 3, 0.004, of="input")
    path = args.weights or SHIPPED
    filters = build_filters(curves.times, curves.times, curves.blood)
    features = extract(filters, curves.tissue)
    seconds = _median_time(lambda: run(path, features), 15)
    yield f"| the network of `cnn` alone | 20000 | {seconds:.3f} | {20000 / seconds:.0f} | |"


def scope(args: argparse.Namespace) -> Iterator[str]:
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
    yield "| curves | flagged, % |"
    yield "| --- | ---: |"
    for label, curves in cases.items():
        yield f"| {label} | {100 * out_of_scope(args, curves).mean():.1f} |"


def real(args: argparse.Namespace) -> Iterator[str]:
    """The published resting slice, ``cnn`` against ``hmc`` and the authors' map."""
    rest = read_slice(args.data)
    theirs = rest.theirs
    found = {}
    for plugin in (network(args), ExchangePosterior()):
        found[plugin.name] = plugin.fit(
            rest.curves,
            InputFunction(rest.times, rest.blood),
            TissueConstants(rest.haematocrit),
            RunContext(0, args.threads),
        )
    flow = {name: maps.values["MBF"] for name, maps in found.items()}
    yield "| voxels | r of `cnn` with `hmc` | bias, % | r with the authors: `cnn` | `hmc` | out of scope, % |"
    yield "| ---: | ---: | ---: | ---: | ---: | ---: |"
    ours, sampled = flow["cnn"], flow["hmc"]
    given = np.isfinite(ours)
    yield (
        f"| {len(theirs)} | {_r(ours, sampled):.3f} | {100 * (ours[given].mean() / sampled[given].mean() - 1):+.1f} "
        f"| {_r(ours, theirs):.2f} | {_r(sampled, theirs):.2f} | {100 * np.mean(found['cnn'].qc == 21):.1f} |"
    )


def labels(args: argparse.Namespace) -> Iterator[str]:
    """Train the same network on each kind of label, and repeat noise on a grid of flows."""
    from qperf_app.cli.tools import main as qperf

    plugins = {}
    for kind in KINDS:
        out = args.out / kind.replace(":", "-")
        if not (out / "kinetics.npz").exists():
            command = [
                "train",
                "kinetics",
                str(out),
                "--seed",
                "1",
                "--labels",
                kind,
                "--label-folder",
                str(args.label_folder),
            ]
            command += ["--studies", str(args.studies), "--held-out", "10", "--epochs", str(args.epochs)]
            assert qperf([*command, *(["--resume"] if out.exists() else [])]) == 0
        plugins[kind] = ConvolutionalKinetics(NetworkOptions(weights=str(out / "kinetics.npz")))
    head = "| noise, % | labels | " + " | ".join(f"{n}: bias, SD, RMSE, % of the mean" for n in NAMES[:4])
    yield head + " | out of scope, % |"
    yield "| ---: | --- | ---: | ---: | ---: | ---: | ---: |"
    repeats, curves_by_noise = 16, {}
    rows: dict[tuple[float, str], dict[str, tuple[Array, Array]]] = {}
    for noise in NOISES:
        clean = simulate(args.count, 31, 1e-9, of="input")
        rng = np.random.default_rng(32)
        tissue = np.repeat(clean.tissue, repeats, axis=0)
        tissue = tissue + noise * clean.blood.max() * rng.standard_normal(tissue.shape)
        curves_by_noise[noise] = replace(clean, tissue=tissue)
        for kind, plugin in plugins.items():
            maps = fit(plugin, curves_by_noise[noise], args.threads)
            cells, of_kind = [], {}
            for name in NAMES[:4]:
                values = value(maps, name).reshape(-1, repeats)
                truth = clean.truth[name]
                # Curves that the network calls out of scope have no value.
                bias, sd = np.nanmean(values, axis=1) - truth, np.nanstd(values, axis=1)
                of_kind[name] = (bias, sd)
                size = 100.0 / truth.mean()
                rms = np.sqrt(np.nanmean(bias**2 + sd**2))
                spread = np.sqrt(np.nanmean(sd**2))
                cells.append(f"{size * np.nanmean(bias):+.1f}, {size * spread:.1f}, {size * rms:.1f}")
            rows[noise, kind] = of_kind
            yield f"| {100 * noise:g} | {kind} | {' | '.join(cells)} | {100 * np.isnan(values).mean():.1f} |"
    _draw(clean.truth, rows, args.picture)


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
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    tables = {f.__name__: f for f in (accuracy, deciles, speed, scope, real, labels)}
    parser.add_argument("table", choices=tables)
    parser.add_argument("--count", type=int, default=1700)
    parser.add_argument(
        "--draws",
        choices=("range", "prior"),
        default="range",
        help="for accuracy and deciles: of parameters",
    )
    parser.add_argument("--statistic", choices=("q50", "mean"), default="q50", help="for accuracy: of posteriors")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--weights", type=Path, help="weights other than the shipped ones")
    parser.add_argument("--data", type=Path, help="for real: qperf/rest.npz")
    parser.add_argument(
        "--out", type=Path, default=Path("label-comparison"), help="for labels: folder of the trainings"
    )
    parser.add_argument("--label-folder", type=Path, default=Path("label-comparison/labels"), help="for labels")
    parser.add_argument("--studies", type=int, default=200, help="for labels: studies of 128 curves")
    parser.add_argument("--epochs", type=int, default=30, help="for labels")
    parser.add_argument("--picture", type=Path, default=Path("docs/images/labels.png"), help="for labels")
    args = parser.parse_args()
    for line in tables[args.table](args):
        print(line, flush=True)


if __name__ == "__main__":
    main()
