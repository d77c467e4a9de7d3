"""Fits to OSIPI's test curves against their true values and tolerances.

The 2CXM set goes through the plugin ``nlls``; the other models through the same fitter without priors. The data are
those of OSIPI's code collection (``test/DCEmodels/data``).
"""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.records import Column, Row, Table, argument_parser, publish
from qperf_app.methods.sobol import sobol
from qperf_app.physics.models import MODELS, Model
from qperf_app.plugins import InputFunction, RunContext, TissueConstants, TissueCurves
from qperf_kinetics import ExchangeLeastSquares
from qperf_kinetics.fitting import Problem, estimate
from qperf_kinetics.least_squares import Prior

Array = NDArray[np.float64]

#: Absolute and relative tolerance in our units: OSIPI's are vp 0.025, ve 0.05, Fp 5 mL/100mL/min + 10 %,
#: PS and Ktrans 0.005 /min + 10 %, delay 1 s.
TOLERANCE = {
    "vp": (0.025, 0.0),
    "ve": (0.05, 0.0),
    "Fp": (0.05, 0.1),
    "PS": (0.005, 0.1),
    "Ktrans": (0.005, 0.1),
    "Ta": (1.0, 0.0),
}
_TRUTH = {
    "fp": "Fp",
    "ps": "PS",
    "vp": "vp",
    "ve": "ve",
    "Ktrans": "Ktrans",
    "arterial_delay": "Ta",
    "arterialdelay": "Ta",
}
_BOUNDS = {"Fp": (0.005, 10.0), "PS": (1e-4, 10.0), "Ktrans": (1e-4, 10.0), "vp": (1e-4, 0.6), "ve": (0.005, 1.0)}


@dataclasses.dataclass(frozen=True)
class Case:
    """One test curve: times in s, concentration in tissue and plasma, true parameters in our units."""

    label: str
    times: Array
    tissue: Array
    plasma: Array
    truth: dict[str, float]


def read_cases(path: Path) -> list[Case]:
    """Read a file of OSIPI's; flow per 100 mL becomes flow per mL."""
    csv.field_size_limit(2**31 - 1)
    with path.open(encoding="utf-8-sig", newline="") as stream:
        return [_case(row) for row in csv.DictReader(stream)]


def _case(row: dict[str, str]) -> Case:
    times, tissue, plasma = (
        np.array(next(row[key] for key in keys if key in row).split(), dtype=float)
        for keys in (("t",), ("C_t", "C"), ("cp_aif", "ca"))
    )
    truth = {name: float(row[key]) for key, name in _TRUTH.items() if key in row}
    if "Fp" in truth:
        truth["Fp"] /= 100.0
    return Case(row["label"], times, tissue, plasma, truth)


def inside(name: str, estimated: float, true: float) -> bool:
    """Whether an estimate is within OSIPI's tolerance; NaN is not."""
    absolute, relative = TOLERANCE[name]
    return bool(abs(estimated - true) <= absolute + relative * abs(true))


def fit_plugin(case: Case, delay: tuple[float, float], regularisation: str) -> dict[str, float]:
    """Estimates of the plugin ``nlls``."""
    options = ExchangeLeastSquares.Options(
        regularisation=regularisation,  # type: ignore[arg-type]
        min_delay=delay[0],
        max_delay=delay[1],
        max_iterations=200,
    )
    curves = TissueCurves(case.tissue[None], case.times, np.zeros((1, 3), dtype=np.intp), np.eye(4))
    aif = InputFunction(case.times, case.plasma, plasma=True)
    result = ExchangeLeastSquares(options).fit(curves, aif, TissueConstants(), RunContext())
    return {quantity: float(values[0]) for quantity, values in result.values.items()}


def fit_model(model: Model, case: Case, delay: tuple[float, float]) -> dict[str, float]:
    """Estimates of any model with the plugins' fitter, without priors."""
    names = [parameter.name for parameter in model.parameters if parameter.name != "Ta"]
    lower, upper = (np.append(np.log([_BOUNDS[n][i] for n in names]), delay[i]) for i in (0, 1))
    shapes = lower + sobol(2048, len(lower)) * (upper - lower)
    problem = Problem(
        evaluate=_with_differences(model, case),
        lower=lower,
        upper=upper,
        prior=Prior(np.zeros(len(lower)), np.full(len(lower), np.inf)),
        shapes=shapes,
        groups=4 * np.arange(2048) // 2048,
        amplitude=np.zeros(len(lower)),
    )
    x = estimate(problem, case.tissue[None], 200).x[0]
    return {**dict(zip(names, np.exp(x[:-1]).tolist(), strict=True)), "Ta": float(x[-1])}


def _with_differences(model: Model, case: Case) -> Callable[..., tuple[Array, Array | None]]:
    def values(x: Array) -> Array:
        return np.asarray(model(case.times, case.plasma, *np.moveaxis(np.exp(x[..., :-1]), -1, 0), x[..., -1]))

    def evaluate(x: Array, derivatives: bool = True) -> tuple[Array, Array | None]:
        if not derivatives:
            return values(x), None
        shift = 1e-5 * np.eye(x.shape[1])
        return values(x), (values(x[:, None] + shift) - values(x[:, None] - shift)) / 2e-5

    return evaluate


@dataclasses.dataclass(frozen=True)
class Trial:
    """A data set fitted in one way."""

    file: str
    model: str
    delay: tuple[float, float]
    regularisation: str = ""

    def fit(self, case: Case) -> dict[str, float]:
        """Estimates, under the names of the data set's true values."""
        if self.regularisation:
            return fit_plugin(case, self.delay, self.regularisation)
        found = fit_model(MODELS[self.model], case, self.delay)
        return {**found, "PS": found.get("PS", found.get("Ktrans", np.nan))}


FREE, NONE = (-1.0, 6.0), (0.0, 0.0)
TRIALS = (
    Trial("2cxm_sd_0.001_delay_0", "2CXM", NONE, "none"),
    Trial("2cxm_sd_0.001_delay_0", "2CXM", FREE, "none"),
    Trial("2cxm_sd_0.001_delay_0", "2CXM", FREE, "physiological"),
    Trial("2cum_sd_0.0025_delay_0", "2CUM", NONE),
    Trial("dce_DRO_data_extended_tofts", "ETM", NONE),
    Trial("dce_DRO_data_tofts", "Tofts", NONE),
    Trial("patlak_sd_0.02_delay_0", "Patlak", NONE),
    Trial("patlak_sd_0.02_delay_5", "Patlak", (0.0, 10.0)),
)


def of_trial(trial: Trial, folder: Path) -> Row:
    """Cases of a data set whose estimates are inside every tolerance, and inside that of each parameter."""
    cases = read_cases(folder / f"{trial.file}.csv")
    found = [trial.fit(case) for case in cases]
    names = [name for name in cases[0].truth if name != "Ta" or trial.delay != NONE]
    good = {
        name: [inside(name, fit[name], case.truth[name]) for fit, case in zip(found, cases, strict=True)]
        for name in names
    }
    whole = int(np.all(list(good.values()), axis=0).sum())
    parts = ", ".join(f"{name} {sum(values)}" for name, values in good.items())
    delay = "fixed at 0" if trial.delay == NONE else f"{trial.delay[0]:g} to {trial.delay[1]:g} s"
    way = f"`nlls`, {trial.regularisation}" if trial.regularisation else "fitter, no prior"
    return trial.file, trial.model, way, delay, (whole, len(cases)), parts


def main() -> None:
    """Publish the table."""
    parser = argument_parser(__doc__)
    parser.add_argument("data", type=Path, help="folder with OSIPI's DCEmodels files")
    args = parser.parse_args()
    columns = (*map(Column, ("data set", "model", "fit", "delay")), Column("inside every tolerance", format="{} of {}"))
    rows = tuple(of_trial(trial, args.data) for trial in TRIALS)
    title = "Fits to OSIPI's test curves"
    publish([Table("osipi", title, (*columns, Column("of each parameter")), rows)], args)


if __name__ == "__main__":
    main()
