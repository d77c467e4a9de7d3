"""What the matrix solver and the plugin ``pinn`` are worth.

solver    largest errors against the closed forms, of curves and gradients, and time
accuracy  errors beside ``nlls``, ``hmc`` and ``cnn`` at three noise levels; a fit, and another's weights
speed     time of the fit, of reuse and of refining for a whole heart of 3,000 voxels
real      the published resting slice
osipi     OSIPI's 2CXM curves at OSIPI's tolerances, without priors
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.kinetics_accuracy import HAEMATOCRIT, NAMES, NOISES, CurveSet, fit, simulate, value
from benchmarks.kinetics_real import read_slice
from benchmarks.osipi import inside, read_cases
from benchmarks.records import Cell, Column, Row, Table, argument_parser, publish
from benchmarks.scores import FLOW_ERROR, QUARTILES, correlation, flow_error, nmse, quartiles
from qperf_app.methods.kinetic_inputs import even_input
from qperf_app.phantom.bolus import Bolus, blood_curves
from qperf_app.physics import compartments, models
from qperf_app.physics.compartments import SYSTEMS
from qperf_app.physics.conversion import plasma_concentration
from qperf_app.physics.linear_response import EvenSolver, solve
from qperf_app.plugins import InputFunction, KineticsPlugin, RunContext, TissueConstants, TissueCurves
from qperf_app.training import KineticScan, TrainingJob
from qperf_cnn import ConvolutionalKinetics
from qperf_hmc import ExchangePosterior
from qperf_hmc.plugin import ExchangeOptions
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


@dataclass(frozen=True)
class Draws:
    """An even grid, s, plasma concentration on it, beats, s, and parameters over wide ranges."""

    grid: Array
    cp: Array
    beats: Array
    parameters: dict[str, Array]


def wide_draws(count: int) -> Draws:
    """Draw parameters, log-uniformly but for the delay."""
    rng = np.random.default_rng(0)
    study = simulate(2, 0, 0.0, of="input")
    grid, cp = even_input(study.times, plasma_concentration(study.blood, HAEMATOCRIT), study.times[-1] + 1.0)
    ranges = {"Fp": (0.05, 8.0), "PS": (0.01, 8.0), "Ktrans": (0.01, 4.0), "vp": (0.005, 0.4), "ve": (0.01, 0.6)}
    draws = {k: np.exp(rng.uniform(np.log(low), np.log(high), count)) for k, (low, high) in ranges.items()}
    return Draws(grid, cp, study.times, {**draws, "Ta": rng.uniform(-1.0, 6.0, count)})


def solver_errors(draws: Draws) -> Table:
    """Largest errors of the matrix solvers against the closed forms."""
    import tensorflow as tf

    grid, cp = draws.grid, draws.cp
    even = EvenSolver(grid, cp, grid, (-1.0, 6.0))
    weights = tf.constant(np.random.default_rng(1).standard_normal(len(grid)))
    rows: list[Row] = []
    for name in ("2CXM", "2CUM", "ETM", "Tofts", "1CM"):
        model, closed = SYSTEMS[name], models.MODELS[name]
        values = {p: tf.constant(draws.parameters[p]) for p in (*model.parameters, "Ta")}

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
        scale = np.abs(exact[1]).max(axis=1, keepdims=True)
        # The even solver does not offer the extended Tofts model, whose plasma has no compartment.
        ways = (anywhere,) if name == "ETM" else (anywhere, on_grid)
        found = [both(way) for way in ways]
        curves: list[Cell] = [float(np.abs(each[0] - exact[0]).max() / exact[0].max()) for each in found]
        gradients: list[Cell] = [float((np.abs(each[1] - exact[1]) / scale).max()) for each in found]
        missing: list[Cell] = ["not offered"] * (2 - len(found))
        rows.append((f"`{name}`", *curves, *missing, *gradients, *missing))
    errors = (f"{what}, {where}" for what in ("curve", "gradient") for where in ("any times", "on an even grid"))
    columns = (Column("model"), *(Column(name, format=".1e") for name in errors))
    return Table("pinn-solver", "Largest errors of the matrix solvers against the closed forms", columns, tuple(rows))


def solver_speed(draws: Draws) -> Table:
    """Curves at 60 beats with their gradients, by closed form and by matrices, in float32."""
    import tensorflow as tf

    grid, cp, n = draws.grid, draws.cp, 1024
    closed_form = models.two_compartment_exchange
    at_beats = EvenSolver(grid, cp, draws.beats, (-1.0, 6.0), squarings=6)
    ways: dict[str, tuple[Callable[..., Any], int]] = {
        "closed form": (
            lambda *x: closed_form(tf.constant(grid, x[0].dtype), tf.constant(cp, x[0].dtype), *x),
            n,
        ),
        "matrices, even grid": (
            lambda *x: at_beats(compartments.two_compartment_exchange(*x[:4]), x[4]),
            n,
        ),
        "matrices, any times": (
            lambda *x: solve(compartments.two_compartment_exchange(*x[:4]), grid, cp, x[4], draws.beats, squarings=8),
            128,
        ),
        "`BTEX` of 20 segments, even grid": (
            lambda *x: at_beats(compartments.capillary(*x[:4]), x[4]),
            128,
        ),
    }
    rows: list[Row] = []
    for name, (function, some) in ways.items():
        given = [tf.constant(draws.parameters[k][:some], tf.float32) for k in NAMES]

        def slopes(given: Any, function: Callable[..., Any] = function) -> Any:
            with tf.GradientTape() as tape:
                tape.watch(given)
                total = tf.reduce_sum(function(*given) ** 2)
            return tape.gradient(total, given)

        compiled = tf.function(slopes, jit_compile=True)
        started = time.perf_counter()
        compiled(given)[0].numpy()
        compiling, started = time.perf_counter() - started, time.perf_counter()
        for _ in range(5):
            compiled(given)[0].numpy()
        rows.append((name, 5 * some / (time.perf_counter() - started), compiling))
    columns = (Column("solver, 2CXM unless named"), Column("speed", "curves/s", ".0f"), Column("compiling", "s", ".1f"))
    title = "Curves at 60 beats with their gradients, float32"
    return Table("pinn-solver-speed", title, columns, tuple(rows), timed=True)


def train(curves: CurveSet, folder: Path, **options: Any) -> Path:
    """Weights of a training on a participant's curves."""
    scan = KineticScan(_tissue(curves), InputFunction(curves.times, curves.blood), TissueConstants(HAEMATOCRIT))
    trainer = PhysicsInformedTrainer(PhysicsInformedTrainer.Options(**options))
    trainer.train(TrainingJob(folder, seed=0, scans=(lambda: scan,), say=lambda _: None))
    return folder / "pinn.npz"


def _tissue(curves: CurveSet) -> TissueCurves:
    return TissueCurves(curves.tissue, curves.times, np.zeros((len(curves.tissue), 3), dtype=np.intp), np.eye(4))


def accuracy(count: int) -> Table:
    """Errors of flow and parameters."""
    make, options = PhysicsInformedFit, PhysicsInformedOptions
    rows: list[Row] = []
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
                "`nlls`, all values given": ExchangeLeastSquares(
                    ExchangeLeastSquares.Options(max_log_sd=1e3, max_delay_sd=1e3)
                ),
                "`hmc`": ExchangePosterior(ExchangeOptions(passes=1)),
                "`cnn`": ConvolutionalKinetics(),
            }
            for name, plugin in fits.items():
                rows.append((100 * noise, name, *_scores(fit(plugin, curves, 2), curves)))
    columns = (
        Column("noise", "% of the input's peak", "g"),
        Column("fit"),
        *FLOW_ERROR,
        *(Column(f"NMSE {name}", format=".3f") for name in NAMES[:4]),
        Column("not given", "%", ".1f"),
    )
    title = f"Errors against the truth, {count} curves a row"
    return Table("pinn-accuracy", title, columns, tuple(rows), weights=("kinetics",))


def _scores(maps: dict[tuple[str, str | None], Array], curves: CurveSet) -> Row:
    flow = value(maps, "Fb")
    scores = (nmse(value(maps, k), curves.truth[k]) for k in NAMES[:4])
    return *flow_error(flow, curves.true_flow), *scores, 100 * float(np.isnan(flow).mean())


def speed() -> Table:
    """Wall-clock and processor time of a whole heart, what is compiled included."""
    from qperf_pinn.learning import _compiled

    curves, other = simulate(HEART, 0, 0.004, of="input"), another_participant(HEART, 9, 0.004)
    make, options = PhysicsInformedFit, PhysicsInformedOptions
    fit(make(options(steps=1)), simulate(4, 1, 0.01), 2)  # imports are not part of it
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        weights = str(train(curves, Path(folder)))
        ways: dict[str, tuple[KineticsPlugin, CurveSet]] = {
            "`pinn`, fit from nothing": (make(), curves),
            "`pinn`, weights reused on another participant": (make(options(weights=weights)), other),
            "the same, 150 steps of refining": (make(options(weights=weights, refine=150)), other),
            "`nlls`": (ExchangeLeastSquares(), curves),
        }
        for name, (plugin, given) in ways.items():
            _compiled.cache_clear()
            started, spent = time.perf_counter(), time.process_time()
            fit(plugin, given, 2)
            rows.append((name, time.perf_counter() - started, time.process_time() - spent))
    columns = (Column("fit"), Column("wall", "s", ".2f"), Column("processor", "s", ".2f"))
    title = f"Time of {HEART} voxels, 60 or 70 frames"
    return Table("pinn-speed", title, columns, tuple(rows), timed=True)


def real(path: Path) -> Table:
    """The published resting slice beside its authors' map and ``nlls``."""
    rest = read_slice(path)
    aif = InputFunction(rest.times, rest.blood)
    make, options = PhysicsInformedFit, PhysicsInformedOptions
    plugins: dict[str, KineticsPlugin] = {
        "`nlls`": ExchangeLeastSquares(),
        "`pinn`": make(),
        "`pinn`, no priors": make(options(prior_weight=0.0)),
        "`pinn`, model BTEX": make(options(model="BTEX", steps=600)),
    }
    reference: Array | None = None
    rows: list[Row] = []
    for name, plugin in plugins.items():
        started = time.perf_counter()
        found = plugin.fit(rest.curves, aif, TissueConstants(rest.haematocrit), RunContext(0, 2))
        seconds = time.perf_counter() - started
        flow = next(m.values for m in found.maps if m.quantity == "MBF")
        reference = flow if reference is None else reference
        assert found.fitted is not None
        residual = float(np.sqrt(np.nanmean((found.fitted - rest.tissue) ** 2)))
        scores = correlation(flow, rest.theirs), quartiles(flow / rest.theirs), correlation(flow, reference)
        rows.append((name, int(np.isfinite(flow).sum()), *scores, residual, seconds))
    columns = (
        Column("fit"),
        Column("voxels", format="d"),
        Column("r with the authors' map", format=".2f"),
        Column("ratio to it, median (quartiles)", format=QUARTILES),
        Column("r with `nlls`", format=".2f"),
        Column("residual", "mmol/L", ".4f"),
        Column("time", "s", ".0f"),
    )
    return Table("pinn-real", "A resting slice against its authors' flow map", columns, tuple(rows), timed=True)


def osipi(folder: Path, steps: Iterable[int]) -> Table:
    """OSIPI's 2CXM curves, which have one input function: all together, as a scan's are."""
    cases = read_cases(folder / "2cxm_sd_0.001_delay_0.csv")
    first = cases[0]
    curves = TissueCurves(
        np.stack([case.tissue for case in cases]), first.times, np.zeros((len(cases), 3), np.intp), np.eye(4)
    )
    aif = InputFunction(first.times, first.plasma, plasma=True)
    names, rows = NAMES[:4], []
    for count in steps:
        plugin = PhysicsInformedFit(PhysicsInformedOptions(prior_weight=0.0, steps=count))
        values = plugin.fit(curves, aif, TissueConstants(), RunContext(0, 2)).values
        good = np.array(
            [[inside(n, float(values[n][k]), case.truth[n]) for n in names] for k, case in enumerate(cases)]
        )
        rows.append((count, (int(good.all(axis=1).sum()), len(cases)), *good.sum(axis=0).tolist()))
    columns = (
        Column("steps", format="d"),
        Column("inside every tolerance", format="{} of {}"),
        *(Column(name, format="d") for name in names),
    )
    return Table("pinn-osipi", "OSIPI's 2CXM curves by the network without priors, delay free", columns, tuple(rows))


def main() -> None:
    """Publish a benchmark's tables."""
    parser = argument_parser(__doc__)
    parser.add_argument("table", choices=("solver", "accuracy", "speed", "real", "osipi"))
    parser.add_argument("--data", type=Path, help="rest.npz (real), folder of OSIPI's DCEmodels (osipi)")
    parser.add_argument("--steps", type=int, nargs="+", default=(2000, 20000), help="of the fit (osipi)")
    parser.add_argument("--count", type=int, default=2000, help="curves")
    args = parser.parse_args()
    if args.table in ("real", "osipi") and args.data is None:
        parser.error(f"{args.table} needs --data")
    tables: dict[str, Callable[[], Iterable[Table]]] = {
        "solver": lambda: (of(wide_draws(args.count)) for of in (solver_errors, solver_speed)),
        "accuracy": lambda: [accuracy(args.count)],
        "speed": lambda: [speed()],
        "real": lambda: [real(args.data)],
        "osipi": lambda: [osipi(args.data, args.steps)],
    }
    publish(tables[args.table](), args)


if __name__ == "__main__":
    main()
