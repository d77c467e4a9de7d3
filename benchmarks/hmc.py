"""What the posteriors of ``hmc`` are worth: tables of docs/validation-hmc.md.

convergence  R-hat and effective sample size within the passes, and whether the flags are right
accuracy     error and coverage beside ``nlls`` and ``fermi`` at three noise levels
calibration  simulation-based calibration: ranks of prior draws within their posteriors
osipi        OSIPI's 2CXM curves at OSIPI's tolerances
real         the real resting slice against its authors' map, voxels by themselves and with the spatial prior
flags        how far the means of flagged curves, and of the others, are from those of a long run
independent  posterior means beside long runs of emcee (an extra: pip install emcee)
spatial      what the spatial prior buys, on a simulated wall with a defect
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.kinetics_accuracy import HAEMATOCRIT, NAMES, NOISES, CurveSet, Maps, fit, simulate, value
from benchmarks.kinetics_real import read_slice
from benchmarks.osipi import inside, read_cases
from qperf_app.physics.conversion import plasma_concentration
from qperf_app.physics.models import MODELS, two_compartment_exchange
from qperf_app.plugins import InputFunction, RunContext, TissueConstants, TissueCurves
from qperf_app.plugins.kinetic_inputs import even_input
from qperf_app.plugins.kinetic_priors import Priors, read
from qperf_hmc import ExchangePosterior
from qperf_hmc.plugin import PosteriorOptions
from qperf_hmc.posterior import Posterior, sample, sample_worth
from qperf_kinetics import ExchangeLeastSquares, FermiDeconvolution

Array = NDArray[np.float64]

#: Runs of three passes that a long run is made of.
_LONG_RUNS = 6


def posterior(curves: CurveSet, threads: int, passes: int = 3, seed: int = 0, kept: int = 400) -> Posterior:
    """Sample every curve with the built-in priors."""
    grid, cp = even_input(curves.times, plasma_concentration(curves.blood, HAEMATOCRIT), curves.times[-1] + 5.0)
    return sample(MODELS["2CXM"], priors(), curves.times, curves.tissue, grid, cp, seed, threads, kept, passes)


def priors() -> Priors:
    """The built-in ones."""
    return read("", "2CXM", NAMES)


def convergence(count: int, threads: int) -> Iterator[str]:
    """R-hat, effective sample size and passes at three noise levels."""
    yield (
        "| noise, % of the input's peak | good after pass 1, % | 2, % | 3, % | ESS of the worst parameter, median (5th "
        "percentile) | R-hat, median (95th) | curves/s, all passes |"
    )
    yield "| ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    posterior(simulate(64, 4, NOISES[0], of="input"), threads, 2)  # compiles
    for noise in NOISES:
        curves = simulate(count, 1, noise, of="input")
        started = time.perf_counter()
        found = posterior(curves, threads)
        whole = time.perf_counter() - started
        good = [100.0 * (found.good & (found.passes <= k)).mean() for k in (1, 2, 3)]
        ess, rhat = found.ess.min(axis=1), found.rhat.max(axis=1)
        yield (
            f"| {100 * noise:g} | {good[0]:.1f} | {good[1]:.1f} | {good[2]:.1f} | {np.median(ess):.0f} "
            f"({np.percentile(ess, 5):.0f}) | {np.median(rhat):.4f} ({np.percentile(rhat, 95):.4f}) "
            f"| {count / whole:.1f} |"
        )


def flags(count: int, threads: int) -> Iterator[str]:
    """Means of flagged curves and of the others beside those of a long run: other seeds, three passes each, pooled."""
    yield (
        "| noise, % | passes | curves | flagged | farthest mean, % of the posterior SD: good, median (95th percentile) "
        "| flagged, median (95th) | a flagged curve is farther than a good one, % of pairs |"
    )
    yield "| ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    for noise in NOISES:
        curves = simulate(count, 1, noise, of="input")
        runs = [_coordinates(posterior(curves, threads, seed=seed, kept=2000)) for seed in range(1, 1 + _LONG_RUNS)]
        centre, spread = np.mean([x.mean(axis=1) for x in runs], axis=0), np.mean([x.std(axis=1) for x in runs], axis=0)
        for passes in (1, 2):
            found = posterior(curves, threads, passes, kept=2000)
            off = 100.0 * (np.abs(_coordinates(found).mean(axis=1) - centre) / spread).max(axis=1)
            good, bad = off[found.good], off[~found.good]
            shown = "– | –"
            if len(bad):
                farther = 100.0 * (bad[:, None] > good).mean()
                shown = f"{np.median(bad):.1f} ({np.percentile(bad, 95):.1f}) | {farther:.0f}"
            yield (
                f"| {100 * noise:g} | {passes} | {count} | {len(bad)} | {np.median(good):.1f} "
                f"({np.percentile(good, 95):.1f}) | {shown} |"
            )


def _coordinates(found: Posterior) -> Array:
    """Draws (n, kept, p) as the sampler sees them: logarithms of all but the delay."""
    x = found.draws.astype(np.float64)
    x[..., :4] = np.log(x[..., :4])
    return x


def accuracy(count: int, threads: int, passes: int) -> Iterator[str]:
    """Errors of posterior means beside least squares."""
    yield (
        "| noise, % | plugin | flow error, %: median | 90th percentile | bias | NMSE Fp | PS | vp | ve "
        "| 90 % intervals cover Fp, PS, vp, ve, Ta, % | not given, % |"
    )
    yield "| ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- | ---: |"
    for noise in NOISES:
        curves = simulate(count, 2, noise, of="input")
        for plugin in (
            ExchangePosterior(PosteriorOptions(passes=passes)),
            ExchangeLeastSquares(),
            FermiDeconvolution(),
        ):
            maps = fit(plugin, curves, threads)
            if ("Fb", "mean") in maps:
                yield _errors(noise, f"`{plugin.name}`, median", maps, curves, "q50")
                yield _errors(noise, f"`{plugin.name}`, mean", maps, curves, "mean")
            else:
                yield _errors(noise, f"`{plugin.name}`", maps, curves)


def _errors(noise: float, label: str, maps: Maps, curves: CurveSet, statistic: str = "q50") -> str:
    """A line of the table of :func:`accuracy`."""
    flow = value(maps, "Fb", statistic)
    error = flow / curves.true_flow - 1.0
    size, scores, covered = 100 * np.abs(error), [], []
    for name in NAMES:
        truth = curves.truth[name]
        if (name, "q05") in maps or (name, None) in maps:
            scores.append(f"{np.nanmean((value(maps, name, statistic) - truth) ** 2) / np.mean(truth**2):.3f}")
        if (name, "q05") in maps:
            covered.append(f"{100 * np.mean((truth >= maps[name, 'q05']) & (truth <= maps[name, 'q95'])):.0f}")
    return (
        f"| {100 * noise:g} | {label} | {np.nanmedian(size):.1f} | {np.nanpercentile(size, 90):.1f} "
        f"| {100 * np.nanmedian(error):+.1f} | {' | '.join((*scores, *('' for _ in NAMES))[:4])} "
        f"| {', '.join(covered)} | {100 * np.isnan(flow).mean():.1f} |"
    )


def calibration(count: int, threads: int) -> Iterator[str]:
    """Simulation-based calibration (Talts et al. 2018, arXiv:1804.06788)."""
    from scipy.stats import chi2

    chosen, rng = priors(), np.random.default_rng(3)
    base = simulate(2, 1, 0.002)
    grid, cp = even_input(base.times, plasma_concentration(base.blood, HAEMATOCRIT), base.times[-1] + 5.0)
    x = chosen.mean + chosen.sd * rng.standard_normal((count, 5))
    truth = np.where(chosen.positive, np.exp(x), x)
    scale = (chosen.noise_scale * cp.max()) ** 2
    noise = np.sqrt(scale / rng.standard_gamma(chosen.noise_shape, count))
    joined = np.union1d(grid, base.times)
    clean = two_compartment_exchange(joined, np.interp(joined, grid, cp), *truth.T)
    clean = clean[:, np.searchsorted(joined, base.times)]
    tissue = clean + noise[:, None] * rng.standard_normal(clean.shape)
    found = posterior(replace(base, tissue=tissue), threads)
    yield "| quantity | chi-square of 20 rank bins | p | 90 % intervals cover, % |"
    yield "| --- | ---: | ---: | ---: |"
    columns = [(name, truth[:, i], found.draws[..., i]) for i, name in enumerate(NAMES)]
    columns.append(("noise", noise, found.noise))
    for name, known, draws in columns:
        # About one effective draw in each: autocorrelated ranks would pile up at the ends.
        thin = draws[:, ::4][:, :99]
        ranks = (thin < known[:, None]).sum(axis=1)
        bins = np.bincount(ranks * 20 // 100, minlength=20)
        statistic = ((bins - count / 20) ** 2 / (count / 20)).sum()
        low, high = np.quantile(draws, (0.05, 0.95), axis=1)
        cover = 100 * np.mean((known >= low) & (known <= high))
        yield f"| {name} | {statistic:.1f} | {chi2.sf(statistic, 19):.3f} | {cover:.1f} |"
    yield ""
    yield f"{count} draws of the prior; {100 * found.good.mean():.1f} % with every criterion of convergence met."


def osipi(folder: Path, threads: int) -> Iterator[str]:
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
    yield f"{whole} of {len(cases)} inside every tolerance; " + ", ".join(f"{k} {v}" for k, v in good.items())


def real(path: Path, threads: int) -> Iterator[str]:
    """The published resting slice."""
    rest = read_slice(path)
    tissue, theirs = rest.tissue, rest.theirs
    yield (
        "| prior | voxels | r | ratio to the authors' MBF, median (quartiles) | relative SD, median "
        "| rank correlation of relative SD and residual noise over peak | converged, % | s |"
    )
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    from scipy.stats import spearmanr

    for prior in ("voxel", "spatial"):
        started = time.perf_counter()
        found = ExchangePosterior(PosteriorOptions(prior=prior)).fit(
            rest.curves,
            InputFunction(rest.times, rest.blood),
            TissueConstants(rest.haematocrit),
            RunContext(0, threads),
        )
        seconds = time.perf_counter() - started
        flow = found.values["MBF"]
        spread = next(m.values for m in found.maps if (m.quantity, m.statistic) == ("MBF", "std"))
        assert found.fitted is not None
        residual = np.sqrt(((tissue - found.fitted) ** 2).mean(axis=1))
        low, middle, high = np.percentile(flow / theirs, (25, 50, 75))
        together = spearmanr(spread / flow, residual / tissue.max(axis=1)).statistic
        yield (
            f"| {prior} | {len(flow)} | {np.corrcoef(flow, theirs)[0, 1]:.2f} | {middle:.2f} ({low:.2f} to {high:.2f}) "
            f"| {np.median(spread / flow):.2f} | {together:.2f} | {100 * np.mean(found.qc != 18):.1f} | {seconds:.0f} |"
        )


def independent(count: int, threads: int, steps: int) -> Iterator[str]:
    """Posterior means and those of emcee, an ensemble sampler on the exact model in float64.

    Of one run, as a map has it, and of others pooled, whose chance is less: what is left is the method's.
    """
    import emcee

    curves = simulate(count, 5, 0.004, of="input")
    density_of = exact_densities(curves)
    started = time.perf_counter()
    # All draws of the first pass: those that are kept of a map would add chance of their own.
    found = posterior(curves, threads, kept=4000)
    ours = time.perf_counter() - started
    others = [_coordinates(posterior(curves, threads, seed=seed, kept=4000)) for seed in range(1, 1 + _LONG_RUNS)]
    pooled = np.mean([x.mean(axis=1) for x in others], axis=0)
    rng, walkers = np.random.default_rng(6), 40
    differences, own, started, ours_drawn = [], [], time.perf_counter(), _coordinates(found)
    for k, curve in enumerate(curves.tissue):
        # White noise is assumed by both: what the autocorrelation of a residual says by chance is left out.
        if _worth(curve, found.fitted[k]) < 1.0:
            continue
        x = ours_drawn[k]
        start = x[rng.integers(len(x), size=walkers)] + 1e-3 * rng.standard_normal((walkers, 5))
        # Its stretch moves: with a fifth of snooker moves in 3.1.6 the same posteriors came out too narrow by a fifth.
        sampler = emcee.EnsembleSampler(walkers, 5, density_of(curve), vectorize=True)
        sampler.random_state = np.random.RandomState(k).get_state()
        sampler.run_mcmc(start, steps)
        theirs = sampler.get_chain(discard=steps // 6, flat=True)
        mean, sd = theirs.mean(axis=0), theirs.std(axis=0)
        differences.append([np.abs(x.mean(axis=0) - mean) / sd, np.abs(pooled[k] - mean) / sd])
        halves = [half.mean(axis=0) for half in np.array_split(theirs, 2)]
        # The mean of both halves is off by half of what they differ by.
        own.append(0.5 * np.abs(halves[0] - halves[1]) / sd)
    seconds = time.perf_counter() - started
    one, many = 100.0 * np.moveaxis(np.array(differences), 1, 0)
    known = 100.0 * np.array(own)
    yield (
        "| quantity | means of one run off emcee's, % of the posterior SD: median | worst "
        f"| of {_LONG_RUNS} runs pooled: median | worst | emcee off by itself, from its halves: median | worst |"
    )
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    for name, *columns in zip((*NAMES, "all"), *([*size.T, size.ravel()] for size in (one, many, known)), strict=True):
        cells = [f"{value:.1f}" for column in columns for value in (np.median(column), column.max())]
        yield f"| {name} | " + " | ".join(cells) + " |"
    yield ""
    yield (
        f"{len(one)} curves; {count / ours:.1f} curves/s here with compiling, {len(one) / seconds:.2f} curves/s "
        f"emcee ({walkers} walkers, {steps} steps)."
    )


def exact_densities(curves: CurveSet) -> Callable[[Array], Callable[[Array], Array]]:
    """Of a curve (t,), the logarithm (k,) of its posterior's density at coordinates (k, 5), up to a constant.

    The exact model in float64, white noise of unknown size integrated out.
    """
    chosen = priors()
    grid, cp = even_input(curves.times, plasma_concentration(curves.blood, HAEMATOCRIT), curves.times[-1] + 5.0)
    joined = np.union1d(grid, curves.times)
    cp, index = np.interp(joined, grid, cp), np.searchsorted(joined, curves.times)
    scale = (chosen.noise_scale * cp.max()) ** 2

    def density_of(curve: Array) -> Callable[[Array], Array]:
        def log_density(x: Array) -> Array:
            model = two_compartment_exchange(joined, cp, *np.exp(x[:, :4]).T, x[:, 4])[:, index]
            squares = ((curve - model) ** 2).sum(axis=1)
            fit = -(chosen.noise_shape + 0.5 * len(curve)) * np.log(scale + 0.5 * squares)
            return np.asarray(fit - 0.5 * (((x - chosen.mean) / chosen.sd) ** 2).sum(axis=1))

        return log_density

    return density_of


def _worth(curve: Array, fitted: Array) -> float:
    return float(sample_worth((curve - fitted)[None])[0])


def spatial(count: int, threads: int) -> Iterator[str]:
    """A ring of muscle whose flow falls to a fifth in one sector, smooth elsewhere; noise from voxel to voxel."""
    yield (
        "| noise, % | method | flow error, %: median | 90th percentile | bias in the defect, % "
        "| 90 % intervals cover, % |"
    )
    yield "| ---: | --- | ---: | ---: | ---: | ---: |"
    i, j = np.indices((32, 32)) - 15.5
    radius, angle = np.hypot(i, j), np.arctan2(i, j)
    ring = (radius > 8) & (radius < 12)
    defect = np.abs(angle[ring]) < 0.5
    n, a = int(ring.sum()), angle[ring]
    Fp = np.where(defect, 0.3, 1.4 + 0.3 * np.cos(a))
    truth = np.stack([Fp, 0.8 + 0.2 * np.sin(a), np.full(n, 0.07), 0.18 + 0.03 * np.cos(a), 1.0 + 0.3 * np.sin(a)])
    voxels = np.pad(np.argwhere(ring), ((0, 0), (0, 1)))
    for noise in NOISES[1:]:
        base = simulate(2, 1, noise, of="input")
        cp = plasma_concentration(base.blood, HAEMATOCRIT)
        clean = two_compartment_exchange(base.times, cp, *truth)
        tissue = clean + noise * base.blood.max() * np.random.default_rng(7).standard_normal(clean.shape)
        curves = TissueCurves(tissue, base.times, voxels, np.eye(4))
        for label, plugin in (
            ("`nlls`", ExchangeLeastSquares()),
            ("`hmc`", ExchangePosterior()),
            ("`hmc`, spatial prior", ExchangePosterior(PosteriorOptions(prior="spatial"))),
        ):
            found = plugin.fit(
                curves, InputFunction(base.times, base.blood), TissueConstants(HAEMATOCRIT), RunContext(0, threads)
            )
            maps = {(m.quantity, m.statistic): m.values for m in found.maps}
            error, cover = 100.0 * (value(maps, "Fp") / Fp - 1.0), ""
            size = np.abs(error)
            if ("Fp", "q05") in maps:
                cover = f"{100 * np.mean((Fp >= maps['Fp', 'q05']) & (Fp <= maps['Fp', 'q95'])):.0f}"
            yield (
                f"| {100 * noise:g} | {label} | {np.median(size):.1f} | {np.percentile(size, 90):.1f} "
                f"| {np.median(error[defect]):+.1f} | {cover} |"
            )


TABLES = {"convergence": convergence, "flags": flags, "calibration": calibration, "spatial": spatial}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=(*TABLES, "accuracy", "independent", "osipi", "real"))
    parser.add_argument("--data", type=Path, help="folder or file of reference data (osipi, real)")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--passes", type=int, default=3, help="passes at most (accuracy)")
    parser.add_argument("--steps", type=int, default=12000, help="steps of emcee (independent)")
    arguments = parser.parse_args()
    if arguments.table in ("osipi", "real") and arguments.data is None:
        parser.error(f"{arguments.table} needs --data")
    if arguments.table == "osipi":
        lines = osipi(arguments.data, arguments.threads)
    elif arguments.table == "real":
        lines = real(arguments.data, arguments.threads)
    elif arguments.table == "independent":
        lines = independent(arguments.count, arguments.threads, arguments.steps)
    elif arguments.table == "accuracy":
        lines = accuracy(arguments.count, arguments.threads, arguments.passes)
    else:
        lines = TABLES[arguments.table](arguments.count, arguments.threads)
    for line in lines:
        print(line, flush=True)


if __name__ == "__main__":
    main()
