"""What the matrix solver and the plugin ``pinn`` are worth: tables of docs/validation-pinn.md.

solver    largest errors against the closed forms, of curves and gradients, and time
accuracy  errors beside ``nlls``, ``hmc`` and ``cnn`` at three noise levels; a fit, and another's weights
speed     time of the fit, of reuse and of refining for a whole heart of 3,000 voxels
real      the published resting slice
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.kinetics_accuracy import HAEMATOCRIT, NAMES, NOISES, CurveSet, fit, simulate, value
from benchmarks.kinetics_real import read_slice
from qperf_app.phantom.bolus import Bolus, blood_curves
from qperf_app.physics import compartments, models
from qperf_app.physics.compartments import SYSTEMS
from qperf_app.physics.conversion import plasma_concentration
from qperf_app.physics.linear_response import EvenSolver, solve
from qperf_app.plugins import InputFunction, KineticsPlugin, RunContext, TissueConstants, TissueCurves
from qperf_app.plugins.kinetic_inputs import even_input
from qperf_app.training import KineticScan, TrainingJob
from qperf_cnn import ConvolutionalKinetics
from qperf_hmc import ExchangePosterior
from qperf_hmc.plugin import PosteriorOptions
from qperf_kinetics import ExchangeLeastSquares
from qperf_pinn import PhysicsInformedFit
from qperf_pinn.plugin import PhysicsInformedOptions
from qperf_pinn.trainer import PhysicsInformedTrainer

Array = NDArray[np.float64]

#: Voxels of three slices.
HEART = 3000


def another_participant(count: int, seed: int, noise: float) -> CurveSet:
    """Curves of another heart rate and bolus: quicker, later and higher."""
    rng = np.random.default_rng([seed, 1])
    base = simulate(count, seed, noise, of="input")
    beats = np.concatenate([[0.0], np.cumsum(rng.normal(0.7, 0.03, 69))])
    fine = np.union1d(np.arange(0.0, beats[-1], 0.05), beats)
    blood = blood_curves(Bolus(arrival=5.3, transit=5.0, peak=6.0, width=4.5, recirculation=0.18), fine)["left"]
    at_beats = np.searchsorted(fine, beats)
    clean = models.two_compartment_exchange(fine, plasma_concentration(blood, HAEMATOCRIT), *base.truth.values())
    clean = np.asarray(clean)[:, at_beats]
    tissue = clean + noise * blood.max() * rng.standard_normal(clean.shape)
    return CurveSet(beats, tissue, blood[at_beats], base.truth)


def solver(count: int) -> Iterator[str]:
    """Errors of the matrix solvers and their time beside the closed form."""
    import tensorflow as tf

    rng = np.random.default_rng(0)
    study = simulate(2, 0, 0.0, of="input")
    grid, cp = even_input(study.times, plasma_concentration(study.blood, HAEMATOCRIT), study.times[-1] + 1.0)
    ranges = {"Fp": (0.05, 8.0), "PS": (0.01, 8.0), "Ktrans": (0.01, 4.0), "vp": (0.005, 0.4), "ve": (0.01, 0.6)}
    draws = {k: np.exp(rng.uniform(*np.log(limits), count)) for k, limits in ranges.items()}
    Ta = rng.uniform(-1.0, 6.0, count)
    yield (
        "| model | largest error of a curve, any times | on an even grid | largest error of a gradient, any times "
        "| on an even grid |"
    )
    yield "| --- | ---: | ---: | ---: | ---: |"
    even = EvenSolver(grid, cp, grid, (-1.0, 6.0))
    weights = tf.constant(rng.standard_normal(len(grid)))
    for name in ("2CXM", "2CUM", "ETM", "Tofts", "1CM"):
        model, closed = SYSTEMS[name], models.MODELS[name]
        values = {p: tf.constant(draws[p]) for p in model.parameters} | {"Ta": tf.constant(Ta)}

        def by_closed_form(v: Any, closed: Any = closed) -> Any:
            return closed(tf.constant(grid), tf.constant(cp), *(v[p.name] for p in closed.parameters))

        def anywhere(v: Any, model: Any = model) -> Any:
            return solve(model.system(*(v[p] for p in model.parameters)), grid, cp, v["Ta"])

        def on_grid(v: Any, model: Any = model) -> Any:
            return even(model.system(*(v[p] for p in model.parameters)), v["Ta"])

        def both(function: Callable[[Any], Any], values: Any = values) -> tuple[Array, Array]:
            with tf.GradientTape() as tape:
                tape.watch(values)
                curves = function(values)
                total = tf.reduce_sum(curves * weights)
            return curves.numpy(), np.stack([g.numpy() for g in tape.gradient(total, values).values()])

        exact = both(by_closed_form)
        errors = []
        for function in (anywhere, on_grid):
            if function is on_grid and name == "ETM":
                errors.append(("not offered", "not offered"))
                continue
            found = both(function)
            scale = np.abs(exact[1]).max(axis=1, keepdims=True)
            errors.append(
                (
                    f"{(np.abs(found[0] - exact[0]).max() / exact[0].max()):.1e}",
                    f"{(np.abs(found[1] - exact[1]) / scale).max():.1e}",
                )
            )
        yield f"| `{name}` | {errors[0][0]} | {errors[1][0]} | {errors[0][1]} | {errors[1][1]} |"
    yield ""
    yield "| curves at 60 beats with their gradients, 2CXM unless named | curves/s | compiling, s |"
    yield "| --- | ---: | ---: |"
    closed_form, n = models.two_compartment_exchange, 1024
    at_beats = EvenSolver(grid, cp, study.times, (-1.0, 6.0), squarings=6)
    parameters = [draws[k][:n] for k in ("Fp", "PS", "vp", "ve")] + [Ta[:n]]
    ways: dict[str, tuple[Callable[..., Any], int]] = {
        "closed form, float32": (
            lambda *x: closed_form(tf.constant(grid, x[0].dtype), tf.constant(cp, x[0].dtype), *x),
            n,
        ),
        "matrices, even grid, float32": (
            lambda *x: at_beats(compartments.two_compartment_exchange(*x[:4]), x[4]),
            n,
        ),
        "matrices, any times, float32": (
            lambda *x: solve(compartments.two_compartment_exchange(*x[:4]), grid, cp, x[4], study.times, squarings=8),
            128,
        ),
        "`BTEX` of 20 segments, even grid, float32": (
            lambda *x: at_beats(compartments.capillary(*x[:4]), x[4]),
            128,
        ),
    }
    for name, (function, some) in ways.items():
        given = [tf.constant(v[:some], tf.float32) for v in parameters]

        @tf.function(jit_compile=True)
        def slopes(given: Any, function: Callable[..., Any] = function) -> Any:
            with tf.GradientTape() as tape:
                tape.watch(given)
                total = tf.reduce_sum(function(*given) ** 2)
            return tape.gradient(total, given)

        started = time.perf_counter()
        slopes(given)[0].numpy()
        compiling, started = time.perf_counter() - started, time.perf_counter()
        for _ in range(5):
            slopes(given)[0].numpy()
        yield f"| {name} | {5 * some / (time.perf_counter() - started):.0f} | {compiling:.1f} |"


def train(curves: CurveSet, folder: Path, **options: Any) -> Path:
    """Weights of a training on a participant's curves."""
    scan = KineticScan(_tissue(curves), InputFunction(curves.times, curves.blood), TissueConstants(HAEMATOCRIT))
    trainer = PhysicsInformedTrainer(PhysicsInformedTrainer.Options(**options))
    trainer.train(TrainingJob(folder, seed=0, scans=(lambda: scan,), say=lambda _: None))
    return folder / "pinn.npz"


def _tissue(curves: CurveSet) -> TissueCurves:
    return TissueCurves(curves.tissue, curves.times, np.zeros((len(curves.tissue), 3), dtype=np.intp), np.eye(4))


def accuracy(count: int) -> Iterator[str]:
    """Errors of flow and parameters."""
    yield (
        "| noise, % | fit | flow error, %: median | 90th percentile | bias | NMSE Fp | PS | vp | ve | not given, % |"
    )
    yield "| ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    make, options = PhysicsInformedFit, PhysicsInformedOptions
    wide = {"max_log_sd": 1e3, "max_delay_sd": 1e3}
    for noise in NOISES:
        curves = simulate(count, 2, noise, of="input")
        with tempfile.TemporaryDirectory() as folder:
            weights = str(train(another_participant(HEART, 9, noise), Path(folder)))
            fits: dict[str, KineticsPlugin] = {
                "`pinn`, fit": make(),
                "`pinn`, fit, no priors": make(options(prior_weight=0.0)),
                "`pinn`, another participant's weights": make(options(weights=weights)),
                "the same, 150 steps of refining": make(options(weights=weights, refine=150)),
                "`nlls`": ExchangeLeastSquares(),
                "`nlls`, all values given": ExchangeLeastSquares(ExchangeLeastSquares.Options(**wide)),
                "`hmc`": ExchangePosterior(PosteriorOptions(passes=1)),
                "`cnn`": ConvolutionalKinetics(),
            }
            for name, plugin in fits.items():
                yield f"| {100 * noise:g} | {name} | {_scores(fit(plugin, curves, 2), curves)} |"


def _scores(maps: dict[tuple[str, str | None], Array], curves: CurveSet) -> str:
    values = {name: value(maps, name) for name in ("Fb", *NAMES)}
    error = 100 * (values["Fb"] / curves.true_flow - 1.0)
    size = np.abs(error)
    nmse = [np.nanmean((values[k] - curves.truth[k]) ** 2) / np.mean(curves.truth[k] ** 2) for k in NAMES[:4]]
    return (
        f"{np.nanmedian(size):.1f} | {np.nanpercentile(size, 90):.1f} | {np.nanmedian(error):+.1f} "
        f"| {' | '.join(f'{v:.3f}' for v in nmse)} | {100 * np.isnan(error).mean():.1f}"
    )


def speed() -> Iterator[str]:
    """Wall-clock and processor time of a whole heart, what is compiled included."""
    curves, other = simulate(HEART, 0, 0.004, of="input"), another_participant(HEART, 9, 0.004)
    fit(PhysicsInformedFit(PhysicsInformedOptions(steps=1)), simulate(4, 1, 0.01), 2)  # imports are not part of it
    yield "| 3,000 voxels, 60 or 70 frames | s | processor, s |"
    yield "| --- | ---: | ---: |"
    with tempfile.TemporaryDirectory() as folder:
        weights = str(train(curves, Path(folder)))
        ways = {
            "`pinn`, fit from nothing": (PhysicsInformedFit(), curves),
            "`pinn`, weights reused on another participant": (
                PhysicsInformedFit(PhysicsInformedOptions(weights=weights)),
                other,
            ),
            "the same, 150 steps of refining": (
                PhysicsInformedFit(PhysicsInformedOptions(weights=weights, refine=150)),
                other,
            ),
            "`nlls`": (ExchangeLeastSquares(), curves),
        }
        for name, (plugin, given) in ways.items():
            from qperf_pinn.learning import _compiled

            _compiled.cache_clear()
            started, spent = time.perf_counter(), time.process_time()
            fit(plugin, given, 2)
            yield f"| {name} | {time.perf_counter() - started:.2f} | {time.process_time() - spent:.2f} |"


def real(path: Path) -> Iterator[str]:
    """The published resting slice beside its authors' map and ``nlls``."""
    rest = read_slice(path)
    tissue, theirs, aif = rest.tissue, rest.theirs, InputFunction(rest.times, rest.blood)
    yield (
        "| fit | voxels | r with the authors' map | ratio, median (quartiles) | r with `nlls` | residual, mmol/L | s |"
    )
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    make, options = PhysicsInformedFit, PhysicsInformedOptions
    plugins = {
        "`nlls`": ExchangeLeastSquares(),
        "`pinn`": make(),
        "`pinn`, no priors": make(options(prior_weight=0.0)),
        "`pinn`, model BTEX": make(options(model="BTEX", steps=600)),
    }
    reference: Array | None = None
    for name, plugin in plugins.items():
        started = time.perf_counter()
        found = plugin.fit(rest.curves, aif, TissueConstants(rest.haematocrit), RunContext(0, 2))
        seconds = time.perf_counter() - started
        flow = next(m.values for m in found.maps if m.quantity == "MBF")
        reference = flow if reference is None else reference
        given = np.isfinite(flow) & np.isfinite(reference)
        low, middle, high = np.percentile(flow[given] / theirs[given], (25, 50, 75))
        assert found.fitted is not None
        yield (
            f"| {name} | {given.sum()} of {len(flow)} | {np.corrcoef(flow[given], theirs[given])[0, 1]:.2f} "
            f"| {middle:.2f} ({low:.2f} to {high:.2f}) | {np.corrcoef(flow[given], reference[given])[0, 1]:.2f} "
            f"| {np.sqrt(np.nanmean((found.fitted - tissue) ** 2)):.4f} | {seconds:.0f} |"
        )


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=("solver", "accuracy", "speed", "real"))
    parser.add_argument("--data", type=Path, help="rest.npz (real)")
    parser.add_argument("--count", type=int, default=2000, help="curves")
    arguments = parser.parse_args()
    if arguments.table == "real" and arguments.data is None:
        parser.error("real needs --data")
    lines = {
        "solver": lambda: solver(arguments.count),
        "accuracy": lambda: accuracy(arguments.count),
        "speed": speed,
        "real": lambda: real(arguments.data),
    }[arguments.table]()
    for line in lines:
        print(line, flush=True)


if __name__ == "__main__":
    main()
