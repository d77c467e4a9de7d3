"""What the posteriors of ``hmc`` are worth.

convergence  effective sample size and tail of the weights within the passes
accuracy     error and coverage beside ``nlls`` and ``fermi`` at three noise levels
calibration  simulation-based calibration: ranks of prior draws within their posteriors
osipi        OSIPI's 2CXM curves at OSIPI's tolerances
real         the real resting slice against its authors' map, voxels by themselves and with the spatial prior
flags        how far the means of flagged curves, and of the others, are from those of a long run
spatial      what the spatial prior buys, on a simulated wall with a defect
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from benchmarks.kinetics_accuracy import HAEMATOCRIT, NAMES, NOISES, CurveSet, Maps, fit, simulate, value
from benchmarks.kinetics_real import read_slice
from benchmarks.osipi import inside, read_cases
from benchmarks.records import Cell, Column, Row, Table, argument_parser, publish
from benchmarks.scores import FLOW_ERROR, QUARTILES, correlation, covered, flow_error, nmse, quartiles
from qperf_app.methods.kinetic_inputs import even_input
from qperf_app.methods.priors import Priors, read
from qperf_app.physics.conversion import plasma_concentration
from qperf_app.physics.models import MODELS, two_compartment_exchange
from qperf_app.plugins import InputFunction, RunContext, TissueConstants, TissueCurves
from qperf_hmc import ExchangePosterior
from qperf_hmc.plugin import ExchangeOptions
from qperf_hmc.posterior import Posterior, sample
from qperf_kinetics import ExchangeLeastSquares, FermiDeconvolution
from qperf_kinetics.nlls import ExchangeOptions as LeastSquaresOptions

Array = NDArray[np.float64]

Label = Literal["2CXM", "ATH"]

#: Runs of three passes that a long run is made of.
LONG_RUNS = 6


def posterior(
    curves: CurveSet, threads: int, passes: int = 3, seed: int = 0, kept: int = 400, model: Label = "2CXM"
) -> Posterior:
    """Sample every curve with the built-in priors."""
    grid, cp = even_input(curves.times, plasma_concentration(curves.blood, HAEMATOCRIT), curves.times[-1] + 5.0)
    of = priors(model)
    return sample(MODELS[model], of, curves.times, curves.tissue, grid, cp, seed, threads, kept, passes)


def priors(model: Label = "2CXM") -> Priors:
    """The built-in ones, in the order of the model's parameters."""
    return read("", model, names(model))


def names(model: Label) -> list[str]:
    """Of the model's parameters."""
    return [p.name for p in MODELS[model].parameters]


NOISE = Column("noise", "% of the input's peak", "g")
#: Format of a median with a percentile.
TAIL = "{:.1f} ({:.1f})"


def convergence(count: int, threads: int) -> Table:
    """Effective sample size, tail of the weights and passes at three noise levels."""
    rows: list[Row] = []
    posterior(simulate(64, 4, NOISES[0], of="input"), threads, 2)  # compiles
    for noise in NOISES:
        curves = simulate(count, 1, noise, of="input")
        started = time.perf_counter()
        found = posterior(curves, threads)
        rate = count / (time.perf_counter() - started)
        good = [100.0 * float((found.good & (found.passes <= k)).mean()) for k in (1, 2, 3)]
        weighted = np.isfinite(found.shape)
        tails = tail(found.ess.min(axis=1), 5), tail(found.shape[weighted], 95)
        rows.append((100 * noise, *good, *tails, rate))
    columns = (
        NOISE,
        *(Column(f"converged after pass {k}", "%", ".1f") for k in (1, 2, 3)),
        Column("ESS of the worst parameter, median (5th percentile)", format="{:.0f} ({:.0f})"),
        Column("Pareto shape of the weights, median (95th)", format="{:.2f} ({:.2f})"),
        Column("speed, all passes", "curves/s", ".1f"),
    )
    return Table("hmc-convergence", f"Convergence of {count} curves a row", columns, tuple(rows), timed=True)


def tail(values: NDArray[np.floating], percentile: float) -> Cell:
    """Median, and a percentile."""
    return float(np.median(values)), float(np.percentile(values, percentile))


def flags(count: int, threads: int) -> Table:
    """Means of flagged curves and of the others beside those of a long run: other seeds, three passes each, pooled."""
    rows: list[Row] = []
    for noise in NOISES:
        curves = simulate(count, 1, noise, of="input")
        runs = [coordinates(posterior(curves, threads, seed=seed, kept=2000)) for seed in range(1, 1 + LONG_RUNS)]
        centre, spread = np.mean([x.mean(axis=1) for x in runs], axis=0), np.mean([x.std(axis=1) for x in runs], axis=0)
        for passes in (1, 2):
            found = posterior(curves, threads, passes, kept=2000)
            off = (100.0 * np.abs(coordinates(found).mean(axis=1) - centre) / spread).max(axis=1)
            good, bad = off[found.good], off[~found.good]
            shown: Row = (None, None)
            if len(bad):
                shown = tail(bad, 95), 100.0 * float((bad[:, None] > good).mean())
            rows.append((100 * noise, passes, count, len(bad), tail(good, 95), *shown))
    columns = (
        NOISE,
        *(Column(name, format="d") for name in ("passes", "curves", "flagged")),
        Column("farthest mean, converged, median (95th percentile)", "% of the posterior SD", TAIL),
        Column("flagged, median (95th)", "% of the posterior SD", TAIL),
        Column("a flagged curve is farther than a converged one", "% of pairs", ".0f"),
    )
    title = "Posterior means beside those of a long run, by what the convergence criteria say"
    return Table("hmc-flags", title, columns, tuple(rows))


def coordinates(found: Posterior) -> Array:
    """Draws (n, kept, p) as the sampler sees them: logarithms of all but the delay."""
    x = found.draws.astype(np.float64)
    x[..., :4] = np.log(x[..., :4])
    return x


def accuracy(count: int, threads: int, passes: int, model: Label) -> Table:
    """Errors of posterior medians and means beside least squares, on curves of the model."""
    rows: list[Row] = []
    for noise in NOISES:
        curves = simulate(count, 2, noise, of="input", model=model)
        for plugin in (
            ExchangePosterior(ExchangeOptions(model=model, passes=passes)),
            ExchangeLeastSquares(LeastSquaresOptions(model=model)),
            FermiDeconvolution(),
        ):
            maps = fit(plugin, curves, threads)
            ways = {"q50": ", median", "mean": ", mean"} if ("Fb", "mean") in maps else {"q50": ""}
            for statistic, label in ways.items():
                rows.append((100 * noise, f"`{plugin.name}`{label}", *_errors(maps, curves, statistic)))
    columns = (
        NOISE,
        Column("plugin"),
        *FLOW_ERROR,
        *(Column(f"NMSE {name}", format=".3f") for name in NAMES[:4]),
        Column("90 % intervals cover Fp, PS, vp, ve, Ta", "%", ", ".join(["{:.0f}"] * len(NAMES))),
        Column("not given", "%", ".1f"),
    )
    title = f"Errors against the truth, {count} curves a row"
    return Table(_named("hmc-accuracy", model), title, columns, tuple(rows))


def _named(name: str, model: Label) -> str:
    """Of a record: with the model where it is not the default."""
    return name if model == "2CXM" else f"{name}-{model}"


def _errors(maps: Maps, curves: CurveSet, statistic: str) -> Row:
    """Flow error, NMSE of the parameters that the plugin gives, coverage of its intervals, share without a flow."""
    flow = value(maps, "Fb", statistic)
    given = [name for name in NAMES if (name, "q05") in maps or (name, None) in maps]
    scores = [nmse(value(maps, n, statistic), curves.truth[n]) if n in given else None for n in NAMES[:4]]
    inside = [covered(maps[n, "q05"], maps[n, "q95"], curves.truth[n]) for n in NAMES if (n, "q05") in maps]
    missing = 100 * float(np.isnan(flow).mean())
    return *flow_error(flow, curves.true_flow), *scores, tuple(inside) or None, missing


def calibration(count: int, threads: int, passes: int, model: Label) -> Table:
    """Simulation-based calibration (Talts et al. 2018, arXiv:1804.06788)."""
    from scipy.stats import chi2

    chosen, rng = priors(model), np.random.default_rng(3)
    base = simulate(2, 1, 0.002)
    grid, cp = even_input(base.times, plasma_concentration(base.blood, HAEMATOCRIT), base.times[-1] + 5.0)
    x = chosen.mean + chosen.sd * rng.standard_normal((count, 5))
    truth = np.where(chosen.positive, np.exp(x), x)
    scale = (chosen.noise_scale * cp.max()) ** 2
    noise = np.sqrt(scale / rng.standard_gamma(chosen.noise_shape, count))
    joined = np.union1d(grid, base.times)
    clean = MODELS[model](joined, np.interp(joined, grid, cp), *truth.T)
    clean = clean[:, np.searchsorted(joined, base.times)]
    tissue = clean + noise[:, None] * rng.standard_normal(clean.shape)
    found = posterior(replace(base, tissue=tissue), threads, passes, model=model)
    rows: list[Row] = []
    drawn = [(name, truth[:, i], found.draws[..., i]) for i, name in enumerate(names(model))]
    drawn.append(("noise", noise, found.noise))
    for name, known, draws in drawn:
        # About one effective draw in each: autocorrelated ranks would pile up at the ends.
        thin = draws[:, ::4][:, :99]
        ranks = (thin < known[:, None]).sum(axis=1)
        bins = np.bincount(ranks * 20 // 100, minlength=20)
        statistic = float(((bins - count / 20) ** 2 / (count / 20)).sum())
        low, high = np.quantile(draws, (0.05, 0.95), axis=1)
        rows.append((name, statistic, float(chi2.sf(statistic, 19)), covered(low, high, known)))
    columns = (
        Column("quantity"),
        Column("chi-square of 20 rank bins", format=".1f"),
        Column("p", format=".3f"),
        Column("90 % intervals cover", "%", ".1f"),
    )
    note = f"{count} draws of the prior; {100 * found.good.mean():.1f} % with every criterion of convergence met."
    return Table(_named("hmc-calibration", model), "Simulation-based calibration", columns, tuple(rows), note)


def osipi(folder: Path, threads: int) -> Table:
    """OSIPI's 2CXM curves with the delay held near 0, as OSIPI's own tests hold it."""
    chosen = priors()
    # These are not hearts: priors wide enough for any tissue.
    wide = replace(
        chosen,
        mean=np.append(np.log([0.2, 0.1, 0.05, 0.2]), 0.0),
        sd=np.array([2.0, 2.0, 1.0, 1.0, 0.05]),
        noise_scale=2e-4,
    )
    names = ("Fp", "PS", "vp", "ve")
    good = {name: 0 for name in names}
    cases, whole = read_cases(folder / "2cxm_sd_0.001_delay_0.csv"), 0
    for case in cases:
        found = sample(MODELS["2CXM"], wide, case.times, case.tissue[None], case.times, case.plasma, 0, threads)
        fits = {
            name: bool(inside(name, float(found.draws[0, :, i].mean()), case.truth[name]))
            for i, name in enumerate(names)
        }
        whole += all(fits.values())
        for name in names:
            good[name] += fits[name]
    columns = (Column("inside every tolerance", format="{} of {}"), *(Column(name, format="d") for name in names))
    row: Row = ((whole, len(cases)), *good.values())
    return Table("hmc-osipi", "OSIPI's 2CXM curves, posterior means under wide priors", columns, (row,))


def real(path: Path, threads: int) -> Table:
    """The published resting slice."""
    from scipy.stats import spearmanr

    rest = read_slice(path)
    rows: list[Row] = []
    for prior in ("voxel", "spatial"):
        started = time.perf_counter()
        found = ExchangePosterior(ExchangeOptions(prior=prior)).fit(
            replace(rest.curves, of_image=True),
            InputFunction(rest.times, rest.blood),
            TissueConstants(rest.haematocrit),
            RunContext(0, threads),
        )
        seconds = time.perf_counter() - started
        flow = found.values["MBF"]
        spread = next(m.values for m in found.maps if (m.quantity, m.statistic) == ("MBF", "std"))
        assert found.fitted is not None
        residual = np.sqrt(((rest.tissue - found.fitted) ** 2).mean(axis=1))
        together = float(spearmanr(spread / flow, residual / rest.tissue.max(axis=1)).statistic)
        scores = correlation(flow, rest.theirs), quartiles(flow / rest.theirs), float(np.median(spread / flow))
        rows.append((prior, len(flow), *scores, together, 100 * float(np.mean(found.qc != 18)), seconds))
    columns = (
        Column("prior"),
        Column("voxels", format="d"),
        Column("r", format=".2f"),
        Column("ratio to the authors' MBF, median (quartiles)", format=QUARTILES),
        Column("relative SD, median", format=".2f"),
        Column("rank correlation of relative SD and residual over peak", format=".2f"),
        Column("converged", "%", ".1f"),
        Column("time", "s", ".0f"),
    )
    return Table("hmc-real", "A resting slice against its authors' flow map", columns, tuple(rows), timed=True)


def spatial(threads: int) -> Table:
    """A ring of muscle whose flow falls to a fifth in one sector, smooth elsewhere; noise from voxel to voxel."""
    i, j = np.indices((32, 32)) - 15.5
    radius, angle = np.hypot(i, j), np.arctan2(i, j)
    ring = (radius > 8) & (radius < 12)
    defect = np.abs(angle[ring]) < 0.5
    n, a = int(ring.sum()), angle[ring]
    Fp = np.where(defect, 0.3, 1.4 + 0.3 * np.cos(a))
    truth = np.stack([Fp, 0.8 + 0.2 * np.sin(a), np.full(n, 0.07), 0.18 + 0.03 * np.cos(a), 1.0 + 0.3 * np.sin(a)])
    voxels = np.pad(np.argwhere(ring), ((0, 0), (0, 1)))
    rows: list[Row] = []
    for noise in NOISES[1:]:
        base = simulate(2, 1, noise, of="input")
        cp = plasma_concentration(base.blood, HAEMATOCRIT)
        clean = two_compartment_exchange(base.times, cp, *truth)
        tissue = clean + noise * base.blood.max() * np.random.default_rng(7).standard_normal(clean.shape)
        curves = TissueCurves(tissue, base.times, voxels, np.eye(4), of_image=True)
        for label, plugin in (
            ("`nlls`, `prior: voxel`", ExchangeLeastSquares(LeastSquaresOptions(prior="voxel"))),
            ("`nlls`", ExchangeLeastSquares()),
            ("`hmc`, `prior: voxel`", ExchangePosterior(ExchangeOptions(prior="voxel"))),
            ("`hmc`", ExchangePosterior()),
        ):
            found = plugin.fit(
                curves, InputFunction(base.times, base.blood), TissueConstants(HAEMATOCRIT), RunContext(0, threads)
            )
            maps: Maps = {(m.quantity, m.statistic): m.values for m in found.maps}
            flow = value(maps, "Fp")
            inside = covered(maps["Fp", "q05"], maps["Fp", "q95"], Fp) if ("Fp", "q05") in maps else None
            bias = 100.0 * float(np.median(flow[defect] / Fp[defect] - 1.0))
            rows.append((100 * noise, label, *flow_error(flow, Fp)[:2], bias, inside))
    columns = (Column("bias in the defect", "%", "+.1f"), Column("90 % intervals cover", "%", ".0f"))
    title = f"A ring of {n} voxels with a defect"
    return Table("hmc-spatial", title, (NOISE, Column("method"), *FLOW_ERROR[:2], *columns), tuple(rows))


def main() -> None:
    """Publish a table."""
    parser = argument_parser(__doc__)
    choices = ("convergence", "flags", "calibration", "spatial", "accuracy", "osipi", "real")
    parser.add_argument("table", choices=choices)
    parser.add_argument(
        "--data", type=Path, help="folder or file of reference data (osipi, real), or OUT_DIR of the app"
    )
    parser.add_argument("--scans", default="*", help="pattern of the scans' names (hearts, referee)")
    parser.add_argument("--model", choices=("2CXM", "ATH"), default="2CXM", help="(accuracy, calibration)")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--passes", type=int, default=3, help="passes at most (accuracy, calibration)")
    args = parser.parse_args()
    if args.table in ("osipi", "real") and args.data is None:
        parser.error(f"{args.table} needs --data")
    tables: dict[str, Callable[[], Table]] = {
        "convergence": lambda: convergence(args.count, args.threads),
        "flags": lambda: flags(args.count, args.threads),
        "calibration": lambda: calibration(args.count, args.threads, args.passes, args.model),
        "spatial": lambda: spatial(args.threads),
        "accuracy": lambda: accuracy(args.count, args.threads, args.passes, args.model),
        "osipi": lambda: osipi(args.data, args.threads),
        "real": lambda: real(args.data, args.threads),
    }
    publish([tables[args.table]()], args)


if __name__ == "__main__":
    main()
