"""``hmc`` beside other samplers on the same curves in one run, and how its time and memory grow.

peers   curves/s that meet the same criteria (R-hat < 1.01, ESS > 400 of every parameter): hmc, BlackJAX, emcee
independent  posterior means beside long runs of emcee on the same curves
growth  time and peak memory by voxels, passes and frames, each in a process of its own, with compiling

BlackJAX and emcee are extras: ``pip install blackjax emcee``. Run from the root of the repository:
``python -m benchmarks.samplers peers``.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from benchmarks.hmc import LONG_RUNS, coordinates, posterior, priors
from benchmarks.kinetics_accuracy import HAEMATOCRIT, NAMES, CurveSet, simulate
from benchmarks.records import Column, Row, Table, argument_parser, publish
from qperf_app.methods.kinetic_inputs import even_input
from qperf_app.methods.noise import effective_sample_fraction
from qperf_app.physics.conversion import plasma_concentration
from qperf_app.physics.models import two_compartment_exchange
from qperf_hmc.diagnostics import diagnose
from qperf_hmc.posterior import MAX_RHAT, MIN_ESS

Array = NDArray[np.float64]
NOISE = 0.004
CHAINS = 4


def good(draws: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Which curves (v,) meet the criteria, from draws (n, chains, v, p)."""
    ess, rhat = (a.numpy() for a in diagnose(tf.constant(draws.astype(np.float32))))
    return np.asarray((ess > MIN_ESS).all(axis=1) & (rhat < MAX_RHAT).all(axis=1))


def grid_of(curves: CurveSet) -> tuple[Array, Array]:
    """Even grid, s, and input function in plasma, mmol/L."""
    return even_input(curves.times, plasma_concentration(curves.blood, HAEMATOCRIT), curves.times[-1] + 5.0)


def exact_densities(curves: CurveSet) -> Callable[[Array], Callable[[Array], Array]]:
    """Of a curve (t,), the logarithm (k,) of its posterior's density at coordinates (k, 5), up to a constant.

    The exact model in float64, white noise of unknown size integrated out.
    """
    chosen, (grid, cp) = priors(), grid_of(curves)
    joined = np.union1d(grid, curves.times)
    cp, index = np.interp(joined, grid, cp), np.searchsorted(joined, curves.times)
    scale = (chosen.noise_scale * cp.max()) ** 2

    def density_of(curve: Array) -> Callable[[Array], Array]:
        def log_density(x: Array) -> Array:
            Fp, PS, vp, ve = np.exp(x[:, :4]).T
            model = two_compartment_exchange(joined, cp, Fp, PS, vp, ve, x[:, 4])[:, index]
            squares = ((curve - model) ** 2).sum(axis=1)
            fit = -(chosen.noise_shape + 0.5 * len(curve)) * np.log(scale + 0.5 * squares)
            return np.asarray(fit - 0.5 * (((x - chosen.mean) / chosen.sd) ** 2).sum(axis=1))

        return log_density

    return density_of


def blackjax_density(curves: CurveSet) -> Callable[[Any, Any], Any]:
    """Log posterior of coordinates (5,) for a curve (t,), as a JAX function: the density that ``hmc`` samples."""
    import jax
    import jax.numpy as jnp

    chosen, (grid, cp) = priors(), grid_of(curves)
    index, step = jnp.asarray(np.searchsorted(grid, curves.times - 1e-9)), float(grid[1] - grid[0])
    scale = float((chosen.noise_scale * cp.max()) ** 2)
    mean, sd, grid_, cp_ = (jnp.asarray(a) for a in (chosen.mean, chosen.sd, grid, cp))

    def convolved(k: Any, input_: Any) -> Any:
        """Convolution of exp(-k t) with a piecewise-linear input, exact on an even grid."""
        x = k * step
        decay = jnp.exp(-x)
        whole = -jnp.expm1(-x) / k
        late = (step - whole) / x
        early = whole - late

        def advance(held: Any, pair: Any) -> tuple[Any, Any]:
            held = decay * held + early * pair[0] + late * pair[1]
            return held, held

        pairs = jnp.stack([input_[:-1], input_[1:]], axis=1)
        return jnp.concatenate([jnp.zeros(1), jax.lax.scan(advance, jnp.zeros(()), pairs)[1]])

    def density(x: Any, curve: Any) -> Any:
        Fp, PS, vp, ve = jnp.exp(x[:4]) / jnp.array([60.0, 60.0, 1.0, 1.0])
        into, back, flow = PS / vp, PS / ve, Fp / vp
        half = 0.5 * (into + back + flow)
        root = jnp.sqrt(half * half - back * flow)
        fast, slow = half + root, back * flow / (half + root)
        # The response starts at Fp and falls at first by Fp flow, as blood leaves.
        first = Fp * (flow - slow) / (fast - slow)
        second = Fp - first
        shifted = jnp.interp(grid_ - x[4], grid_, cp_, left=0.0)
        model = (first * convolved(fast, shifted) + second * convolved(slow, shifted))[index]
        squares = ((curve - model) ** 2).sum()
        fit = -(chosen.noise_shape + 0.5 * len(curves.times)) * jnp.log(scale + 0.5 * squares)
        return fit - 0.5 * (((x - mean) / sd) ** 2).sum()

    return density


def check_density(density: Callable[[Any, Any], Any], curves: CurveSet) -> float:
    """Largest difference of the JAX model from the exact one, as differences of log posteriors, relative."""
    chosen = priors()
    x = chosen.mean + 0.3 * chosen.sd * np.random.default_rng(0).standard_normal((8, 5))
    exact = exact_densities(curves)(curves.tissue[0])(x)
    found = np.array([float(density(row, curves.tissue[0])) for row in x])
    return float(np.abs(found - exact).max() / np.abs(np.diff(exact)).max())


def blackjax(curves: CurveSet, kind: str, warmup: int, draws: int) -> tuple[float, NDArray[np.bool_]]:
    """Seconds (without compiling) and verdicts of chains with window adaptation, all curves and chains at once."""
    import blackjax as library
    import jax

    jax.config.update("jax_enable_x64", True)
    density = blackjax_density(curves)
    off = check_density(density, curves)
    assert off < 0.05, f"the JAX model is off by {off:.3f}"
    chosen = priors()
    tissue = np.repeat(curves.tissue, CHAINS, axis=0)
    start = chosen.mean + 0.5 * chosen.sd * np.random.default_rng(1).standard_normal((len(tissue), 5))
    algorithm, extra = (library.nuts, {}) if kind == "NUTS" else (library.hmc, {"num_integration_steps": 10})

    def chain(key: Any, position: Any, curve: Any) -> Any:
        of = lambda x: density(x, curve)  # noqa: E731
        first, second = jax.random.split(key)
        (state, found), _ = library.window_adaptation(algorithm, of, **extra).run(first, position, warmup)
        kernel = algorithm(of, **found).step

        def one(state: Any, key: Any) -> tuple[Any, Any]:
            state, _ = kernel(key, state)
            return state, state.position

        return jax.lax.scan(one, state, jax.random.split(second, draws))[1]

    run = jax.jit(jax.vmap(chain))
    run(jax.random.split(jax.random.key(0), len(tissue)), start, tissue).block_until_ready()
    started = time.perf_counter()
    found = np.asarray(run(jax.random.split(jax.random.key(1), len(tissue)), start, tissue))
    seconds = time.perf_counter() - started
    return seconds, good(found.reshape(len(curves.tissue), CHAINS, draws, 5).transpose(2, 1, 0, 3))


def emcee_sampler(curves: CurveSet, walkers: int, steps: int) -> tuple[float, NDArray[np.bool_]]:
    """Seconds and verdicts of the affine-invariant ensemble; four groups of walkers count as chains."""
    import emcee

    chosen, density_of, rng, found = priors(), exact_densities(curves), np.random.default_rng(2), []
    started = time.perf_counter()
    for curve in curves.tissue:
        sampler = emcee.EnsembleSampler(walkers, 5, density_of(curve), vectorize=True)
        sampler.run_mcmc(chosen.mean + 0.3 * chosen.sd * rng.standard_normal((walkers, 5)), steps)
        every = sampler.get_chain(discard=steps // 4)
        found.append(every.reshape(-1, walkers // CHAINS, CHAINS, 5).reshape(-1, CHAINS, 5))
    seconds = time.perf_counter() - started
    return seconds, good(np.stack(found, axis=2))


def peers(count: int, few: int, threads: int) -> Table:
    """All samplers on curves of the myocardium's range."""
    curves = simulate(count, 1, NOISE, of="input")
    less = replace(curves, tissue=curves.tissue[:few], truth={k: v[:few] for k, v in curves.truth.items()})
    posterior(replace(curves, tissue=curves.tissue[:64], truth={}), threads)
    rows: list[Row] = []
    for passes in (2, 3):
        started = time.perf_counter()
        found = posterior(curves, threads, passes)
        rows.append(_row(f"`hmc`, {passes} passes", time.perf_counter() - started, found.good))
    rows.append(_row("BlackJAX HMC, 10 steps, 4 chains, 500 + 2000", *blackjax(less, "HMC", 500, 2000)))
    fewer = replace(less, tissue=less.tissue[: max(few // 8, 2)])
    rows.append(_row("emcee, 40 walkers, 6000 steps", *emcee_sampler(fewer, 40, 6000)))
    rows.append(_row("BlackJAX NUTS, 4 chains, 500 + 2000", *blackjax(less, "NUTS", 500, 2000)))
    columns = (
        Column("sampler"),
        Column("curves", format="d"),
        Column("time", "s", ".1f"),
        Column("converged", "%", ".0f"),
        Column("speed", "converged curves/s", ".2f"),
    )
    return Table("hmc-peers", "Samplers on the same curves", columns, tuple(rows), timed=True)


def _row(name: str, seconds: float, verdict: NDArray[np.bool_]) -> Row:
    return name, len(verdict), seconds, 100 * float(verdict.mean()), float(verdict.sum()) / seconds


def independent(count: int, threads: int, steps: int) -> Table:
    """Posterior means and those of emcee, an ensemble sampler on the exact model in float64.

    Of one run, as a map has it, and of others pooled, whose chance is less: what is left is the method's.
    """
    import emcee

    curves = simulate(count, 5, 0.004, of="input")
    density_of = exact_densities(curves)
    # All draws of the first pass: those that are kept of a map would add chance of their own.
    found = posterior(curves, threads, kept=4000)
    others = [coordinates(posterior(curves, threads, seed=seed, kept=4000)) for seed in range(1, 1 + LONG_RUNS)]
    pooled = np.mean([x.mean(axis=1) for x in others], axis=0)
    rng, walkers = np.random.default_rng(6), 40
    differences, own, ours_drawn = [], [], coordinates(found)
    for k, curve in enumerate(curves.tissue):
        # White noise is assumed by both: what the autocorrelation of a residual says by chance is left out.
        if effective_sample_fraction((curve - found.fitted[k])[None], significant=True)[0] < 1.0:
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
    one, many = 100.0 * np.moveaxis(np.array(differences), 1, 0)
    known = 100.0 * np.array(own)
    rows: list[Row] = []
    for name, *sizes in zip((*NAMES, "all"), *([*size.T, size.ravel()] for size in (one, many, known)), strict=True):
        rows.append((name, *(float(f(size)) for size in sizes for f in (np.median, np.max))))
    what = ("one run off emcee's", f"{LONG_RUNS} runs pooled", "emcee off by itself, from its halves")
    percent = "% of the posterior SD"
    columns = (Column(f"{each}, {which}", percent, ".1f") for each in what for which in ("median", "worst"))
    title = "Posterior means beside long runs of emcee"
    note = f"{len(one)} curves; {walkers} walkers, {steps} steps."
    return Table("hmc-independent", title, (Column("quantity"), *columns), tuple(rows), note)


def growth(threads: int) -> Table:
    """Each case in a fresh process: compiling counts, and memory is that case's own."""
    rows: list[Row] = []
    for case in (
        (250, 60, 2),
        (1000, 60, 2),
        (4000, 60, 2),
        (1000, 60, 1),
        (1000, 60, 3),
        (1000, 40, 2),
        (1000, 110, 2),
    ):
        voxels, frames, passes = map(str, case)
        command = [sys.executable, "-m", "benchmarks.samplers", "one", "--threads", str(threads)]
        command += ["--count", voxels, "--frames", frames, "--passes", passes]
        told = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
        rows.append((*case, float(told[-2]), float(told[-1])))
    columns = (
        *(Column(name, format="d") for name in ("voxels", "frames", "passes")),
        Column("time with compiling", "s", ".0f"),
        Column("memory", "GiB", ".1f"),
    )
    return Table("hmc-growth", "Time and memory of `hmc` by size", columns, tuple(rows), timed=True)


def one(count: int, frames: int, passes: int, threads: int) -> tuple[float, float]:
    """Seconds and GiB of one case of :func:`growth`."""
    curves = simulate(count, 1, NOISE, of="input")
    times = np.linspace(curves.times[0], curves.times[-1], frames)
    tissue = np.stack([np.interp(times, curves.times, curve) for curve in curves.tissue])
    # Interpolated noise would be autocorrelated.
    tissue += 0.5 * NOISE * curves.blood.max() * np.random.default_rng(0).standard_normal(tissue.shape)
    blood = np.interp(times, curves.times, curves.blood)
    started = time.perf_counter()
    posterior(replace(curves, times=times, blood=blood, tissue=tissue), threads, passes)
    return time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    """Publish a table, or print the figures of one case."""
    parser = argument_parser(__doc__)
    parser.add_argument("table", choices=("peers", "independent", "growth", "one"))
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--few", type=int, default=64, help="curves for the other samplers; emcee gets an eighth")
    parser.add_argument("--steps", type=int, default=12000, help="steps of emcee (independent)")
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--passes", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    if args.table == "one":
        print(*one(args.count, args.frames, args.passes, args.threads))
        return
    tables: dict[str, Callable[[], Table]] = {
        "peers": lambda: peers(args.count, args.few, args.threads),
        "independent": lambda: independent(args.count, args.threads, args.steps),
        "growth": lambda: growth(args.threads),
    }
    publish([tables[args.table]()], args)


if __name__ == "__main__":
    main()
