"""``cnn``: posterior of the exchange model's parameters by a network that was trained on posteriors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qperf_app.plugins import (
    STATISTICS,
    InputFunction,
    KineticMaps,
    KineticsPlugin,
    ParameterMap,
    Resources,
    RunContext,
    TissueConstants,
    TissueCurves,
    kinetic_inputs,
)
from qperf_app.plugins.digests import file_digests
from qperf_app.plugins.exchange_quantities import exchange_quantities
from qperf_app.plugins.records import Statistic
from qperf_app.plugins.results import INTERVAL
from qperf_app.training import read_card

Array = NDArray[np.float64]

#: Weights that come with the package.
SHIPPED = Path(__file__).parent / "weights" / "kinetics.npz"
FULL, PRIOR_DECIDES, OUT_OF_SCOPE, NO_ENHANCEMENT, NOT_FINITE = 0, 16, 21, 19, 20
_LEGEND = {
    FULL: "full estimate",
    PRIOR_DECIDES: "flow hardly narrowed from its prior",
    OUT_OF_SCOPE: "unlike the curves that the network was trained on: not estimated",
    NO_ENHANCEMENT: "no enhancement: the curve is constant",
    NOT_FINITE: "too few finite frames",
}
# Standard deviation of log flow, told from its quantiles, beyond which a curve has said little: 0.7 of the prior's 1.0,
# as in hmc.
_MAX_LOG_SD = 0.7
_INTERVAL_IN_SD = 3.29


@dataclass(frozen=True)
class NetworkOptions:
    """Options of ``cnn``."""

    weights: str = field(
        default="", metadata={"help": "weights made by `qperf train kinetics`; the shipped ones where it is empty"}
    )


class ConvolutionalKinetics(KineticsPlugin):
    """Plugin ``cnn``."""

    name = "cnn"
    version = "1.0"
    model = "2CXM"
    summary = "two-compartment exchange model, posterior of every voxel by a network trained on those of hmc"
    citations = (
        "Scannell CM, van den Bosch P, Chiribiri A, Lee J, Breeuwer M, Veta M. Deep learning-based prediction of "
        "kinetic parameters from myocardial perfusion MRI. arXiv:1907.11899 (2019).",
    )
    trainer = "qperf_cnn.trainer:KineticsTrainer"
    Options = NetworkOptions

    @property
    def weights(self) -> Path:
        """File of the weights."""
        return Path(self.options.weights) if self.options.weights else SHIPPED

    def loaded_files(self) -> Mapping[str, str]:
        """The weights."""
        return file_digests(self.weights)

    def resources(self, shape: tuple[int, int, int, int]) -> Resources:
        """TensorFlow, and features of a myocardium of an eighth of the image."""
        voxels = shape[0] * shape[1] * shape[2] / 8
        return Resources(memory_gb=1.2 + voxels * 8e3 / 2**30, threads=2)

    def fit(
        self, curves: TissueCurves, aif: InputFunction, constants: TissueConstants, context: RunContext
    ) -> KineticMaps:
        """Estimate mean, standard deviation, median and 5 and 95 % quantiles of every quantity. Nothing is random.

        Curves out of scope get a code and no value: most of those of simulated scans lie at the wall's borders and have
        blood in them, and their flow would be several times too high.

        Raises
        ------
        WeightsError
            Where the weights that are asked for can't be read.
        ValueError
            Where the curves and the input function don't go together (:func:`kinetic_inputs.check`).
        """
        from qperf_cnn.inference import estimate

        kinetic_inputs.check(curves, aif)
        path = self.weights
        statistics = read_card(path).get("statistics", [])
        data = np.asarray(curves.concentration, dtype=np.float64)
        finite = kinetic_inputs.usable_curves(data)
        usable = finite & kinetic_inputs.changing_curves(data)
        code, fitted = np.where(finite, NO_ENHANCEMENT, NOT_FINITE).astype(np.uint8), np.full(data.shape, np.nan)
        values = np.full((len(data), 6, len(STATISTICS)), np.nan)
        if usable.any():
            # A slice copies nothing.
            rows = slice(None) if usable.all() else np.flatnonzero(usable)
            found = estimate(
                path, np.asarray(curves.times, dtype=np.float64), data[rows], np.asarray(aif.times, dtype=np.float64),
                aif.in_plasma(constants.haematocrit), context.threads,
            )  # fmt: skip
            low, high = (found.values[:, 0, STATISTICS.index(s)] for s in INTERVAL)
            vague = np.log(high / low) > _INTERVAL_IN_SD * _MAX_LOG_SD
            codes = np.where(vague & bool(statistics), PRIOR_DECIDES, FULL)
            code[rows] = np.where(found.outside, OUT_OF_SCOPE, codes)
            values[rows], fitted[rows] = found.values, found.fitted
            values[code == OUT_OF_SCOPE] = np.nan
        Fp, PS, Ktrans, vp, ve, Ta = np.moveaxis(values, 1, 0)
        # A network that was not taught posteriors has one value of its own, which is no median.
        columns: dict[Statistic | None, int] = {} if "q50" in statistics else {None: STATISTICS.index("q50")}
        columns |= {s: k for k, s in enumerate(STATISTICS) if s in statistics}
        maps = [
            ParameterMap(name, units, column[:, k], statistic)
            for name, (units, column) in exchange_quantities(Fp, PS, vp, ve, Ta, constants, Ktrans).items()
            for statistic, k in columns.items()
        ]
        legend = {k: _LEGEND[k] for k in sorted({FULL, *np.unique(code).tolist()})}
        return KineticMaps(self.model, tuple(maps), code, legend, fitted)
