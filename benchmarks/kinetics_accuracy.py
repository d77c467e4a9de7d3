"""Flow error of the kinetics plugins and of per-voxel SciPy on simulated curves.

Curves over the myocardium's range at rest and under stress, from a continuous input function, sampled once a heartbeat;
the fits see the input function at those beats only. The tissue follows the 2CXM, or plug flow through the capillary
(ATH), which no plugin fits.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.records import Column, Row, Table, argument_parser, publish
from benchmarks.scores import FLOW_ERROR, flow_error
from qperf_app.phantom.bolus import Bolus, blood_curves
from qperf_app.physics.conversion import blood_flow, plasma_concentration
from qperf_app.physics.models import MODELS, two_compartment_exchange
from qperf_app.plugins import InputFunction, KineticMaps, KineticsPlugin, RunContext, TissueConstants, TissueCurves
from qperf_kinetics import ExchangeLeastSquares, FermiDeconvolution

Array = NDArray[np.float64]

#: Maps by quantity and statistic.
Maps = dict[tuple[str, str | None], Array]

HAEMATOCRIT = 0.42
#: Standard deviation of the noise relative to the input function's peak: tissue peaks are about a ninth of it.
NOISES = (0.002, 0.004, 0.008)
NAMES = ("Fp", "PS", "vp", "ve", "Ta")
#: Ranges that parameters are drawn from: flow and PS log-uniformly, the others uniformly.
RANGES = {"Fp": (0.4, 4.0), "PS": (0.3, 3.0), "vp": (0.03, 0.12), "ve": (0.08, 0.3), "Ta": (0.0, 3.0)}
#: Bounds of the SciPy fit: wide of the ranges, as a user who doesn't know them would set them.
SCIPY_BOUNDS = {"Fp": (0.05, 8.0), "PS": (0.01, 8.0), "vp": (0.005, 0.3), "ve": (0.01, 0.6), "Ta": (0.0, 5.0)}


@dataclass(frozen=True)
class CurveSet:
    """Noisy curves (n, t) at ``times``, whole-blood input at the same times, true parameters (n,) each."""

    times: Array
    tissue: Array
    blood: Array
    truth: dict[str, Array]

    @property
    def true_flow(self) -> Array:
        """Fb, mL/min/mL."""
        return np.asarray(blood_flow(self.truth["Fp"], HAEMATOCRIT))


def simulate(
    count: int, seed: int, noise: float, of: str = "tissue", model: str = "2CXM", truth: dict[str, Array] | None = None
) -> CurveSet:
    """Draw curves.

    Parameters
    ----------
    count, seed : int
    noise : float
        Standard deviation relative to the peak of each tissue curve or of the input function.
    of : {"tissue", "input"}
    model : str
        Label in :data:`qperf_app.physics.models.MODELS`.
    truth : dict of (count,) arrays, optional
        Parameters; drawn from :data:`RANGES` where they are not given.
    """
    rng = np.random.default_rng(seed)
    truth = truth or {
        name: np.exp(rng.uniform(np.log(limits[0]), np.log(limits[1]), count))
        if name in ("Fp", "PS")
        else rng.uniform(*limits, count)
        for name, limits in RANGES.items()
    }
    beats = np.concatenate([[0.0], np.cumsum(rng.normal(0.85, 0.03, 59))])
    fine = np.union1d(np.arange(0.0, beats[-1], 0.05), beats)
    blood = blood_curves(Bolus(arrival=4.0), fine)["left"]
    plasma = plasma_concentration(blood, HAEMATOCRIT)
    chosen = MODELS[model]
    at_beats = np.searchsorted(fine, beats)
    clean = np.asarray(chosen(fine, plasma, *(truth[p.name] for p in chosen.parameters)))[:, at_beats]
    peak = clean.max(axis=1, keepdims=True) if of == "tissue" else blood.max()
    return CurveSet(beats, clean + noise * peak * rng.standard_normal(clean.shape), blood[at_beats], truth)


def fit(plugin: KineticsPlugin, curves: CurveSet, threads: int = 1) -> Maps:
    """Maps by quantity and statistic."""
    n = len(curves.tissue)
    tissue = TissueCurves(curves.tissue, curves.times, np.zeros((n, 3), dtype=np.intp), np.eye(4))
    aif = InputFunction(curves.times, curves.blood)
    found: KineticMaps = plugin.fit(tissue, aif, TissueConstants(HAEMATOCRIT), RunContext(0, threads))
    return {(m.quantity, m.statistic): m.values for m in found.maps}


def value(maps: Maps, quantity: str, statistic: str = "q50") -> Array:
    """What stands for a quantity; of a posterior, the statistic."""
    return maps[quantity, statistic if (quantity, statistic) in maps else None]


def fit_plugin(plugin: KineticsPlugin, curves: CurveSet) -> Array:
    """Blood flow (n,), NaN where it is not reported."""
    return value(fit(plugin, curves), "Fb")


def fit_scipy(curves: CurveSet, starts: int, seed: int) -> Array:
    """Blood flow (n,) of ``scipy.optimize.curve_fit`` with the same model from random starts, curve by curve."""
    from scipy.optimize import curve_fit

    plasma = plasma_concentration(curves.blood, HAEMATOCRIT)
    lower, upper = (np.array([SCIPY_BOUNDS[name][i] for name in NAMES]) for i in (0, 1))
    rng = np.random.default_rng(seed)

    def predict(times: Array, *parameters: float) -> Array:
        return np.asarray(two_compartment_exchange(times, plasma, *parameters))

    def best(curve: Array) -> float:
        found, least = np.nan, np.inf
        for _ in range(starts):
            start = np.append(
                np.exp(rng.uniform(np.log(lower[:4]), np.log(upper[:4]))), rng.uniform(lower[4], upper[4])
            )
            try:
                x, _ = curve_fit(
                    predict, curves.times, curve, start, bounds=(lower, upper), x_scale=(upper + lower) / 4
                )
            except RuntimeError:
                continue
            rss = float(((predict(curves.times, *x) - curve) ** 2).sum())
            if rss < least:
                found, least = x[0], rss
        return found

    return np.asarray(blood_flow(np.array([best(curve) for curve in curves.tissue]), HAEMATOCRIT))


def methods(starts: int, seed: int) -> dict[str, Callable[[CurveSet], Array]]:
    """Fits by name."""
    return {
        "`nlls`": lambda curves: fit_plugin(ExchangeLeastSquares(), curves),
        "`nlls`, regularisation none": lambda curves: fit_plugin(
            ExchangeLeastSquares(ExchangeLeastSquares.Options(regularisation="none")), curves
        ),
        "`fermi`": lambda curves: fit_plugin(FermiDeconvolution(), curves),
        "`fermi`, regularisation none": lambda curves: fit_plugin(
            FermiDeconvolution(FermiDeconvolution.Options(regularisation="none")), curves
        ),
        f"SciPy `curve_fit`, {starts} starts": lambda curves: fit_scipy(curves, starts, seed),
    }


#: Title and how curves are simulated, by record.
TISSUES: dict[str, tuple[str, dict[str, Any]]] = {
    "exchange": ("2CXM tissue, noise 0.8 % of each tissue curve's peak", {"noise": 0.008}),
    "exchange-noisy": ("2CXM tissue, noise 0.8 % of the input function's peak", {"noise": 0.008, "of": "input"}),
    "plug-flow": ("Plug-flow (ATH) tissue, noise 0.8 % of each tissue curve's peak", {"noise": 0.008, "model": "ATH"}),
}


def tables(count: int, seed: int, starts: int) -> Iterator[Table]:
    """All tables."""
    fits = methods(starts, seed)
    fit_plugin(ExchangeLeastSquares(), simulate(2, seed, 0.01))  # imports are not part of the time
    for name, (title, settings) in TISSUES.items():
        some = {key: way for key, way in fits.items() if name != "plug-flow" or "SciPy" not in key}
        yield errors(name, title, some, simulate(count, seed, **settings))
    yield by_flow(count, seed)
    yield speed(seed)


def errors(name: str, title: str, fits: dict[str, Callable[[CurveSet], Array]], curves: CurveSet) -> Table:
    """Errors of blood flow, of curves for which it is given, and time."""
    rows: list[Row] = []
    for label, run in fits.items():
        started = time.process_time()
        flow = run(curves)
        milliseconds = 1e3 * (time.process_time() - started) / len(flow)
        missing = 100 * float(np.isnan(flow).mean())
        rows.append((label, *flow_error(flow, curves.true_flow), missing, milliseconds))
    columns = (Column("fit"), *FLOW_ERROR, Column("not given", "%", ".1f"), Column("time", "ms CPU/curve", ".1f"))
    note = f"{title}: {len(curves.tissue)} curves of {len(curves.times)} beats."
    return Table(f"kinetics-{name}", title, columns, tuple(rows), note, timed=True)


def by_flow(count: int, seed: int) -> Table:
    """Ratio to the true flow on plug-flow tissue, which grows with flow."""
    limits = (0.4, 0.7, 1.2, 2.0, 4.0)
    curves = simulate(3 * count, seed, 0.008, model="ATH")
    ranges = list(itertools.pairwise(limits))
    rows: list[Row] = []
    for name, plugin in {"`nlls`": ExchangeLeastSquares(), "`fermi`": FermiDeconvolution()}.items():
        ratio = fit_plugin(plugin, curves) / curves.true_flow
        chosen = [(curves.truth["Fp"] >= low) & (curves.truth["Fp"] < high) for low, high in ranges]
        rows.append((name, *(float(np.nanmedian(ratio[part])) for part in chosen)))
    columns = (Column("fit"), *(Column(f"Fp {low:g} to {high:g}", format=".2f") for low, high in ranges))
    title = "Plug-flow (ATH) tissue: estimated over true blood flow, median by Fp (mL/min/mL)"
    return Table("kinetics-by-flow", title, columns, tuple(rows), f"{title}; {3 * count} curves.")


def speed(seed: int) -> Table:
    """Processor time for a slice's worth of voxels."""
    many = simulate(1500, seed, 0.03)
    rows: list[Row] = []
    for name, plugin in {"`nlls`": ExchangeLeastSquares(), "`fermi`": FermiDeconvolution()}.items():
        started = time.process_time()
        fit_plugin(plugin, many)
        rows.append((name, len(many.tissue), len(many.times), time.process_time() - started))
    columns = (
        Column("fit"),
        Column("curves", format="d"),
        Column("frames", format="d"),
        Column("time", "s CPU", ".1f"),
    )
    return Table("kinetics-speed", "Time for a slice", columns, tuple(rows), timed=True)


def main() -> None:
    """Publish the tables."""
    parser = argument_parser(__doc__)
    parser.add_argument("--curves", type=int, default=144)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--starts", type=int, default=4, help="of the SciPy fit")
    args = parser.parse_args()
    publish(tables(args.curves, args.seed, args.starts), args)


if __name__ == "__main__":
    main()
