"""``cnn``: posterior of an exchange model's parameters by a network that was trained on posteriors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qperf_app.methods import kinetic_inputs, priors
from qperf_app.methods.exchange_models import ExchangeModel, ExchangeModelOptions
from qperf_app.methods.exchange_quantities import exchange_quantities
from qperf_app.methods.judging import MAX_OF_PRIOR
from qperf_app.methods.neighbours import CITATION, share_flow
from qperf_app.plugins import (
    STATISTICS,
    InputFunction,
    KineticMaps,
    KineticsPlugin,
    ParameterMap,
    QualityCode,
    Resources,
    RunContext,
    TissueConstants,
    TissueCurves,
)
from qperf_app.plugins.digests import file_digests
from qperf_app.plugins.quality import legend
from qperf_app.plugins.records import Statistic
from qperf_app.plugins.results import INTERVAL
from qperf_app.training import WeightsError, read_card
from qperf_cnn.labels import QUANTITIES

if TYPE_CHECKING:
    from qperf_cnn.inference import Estimates

Array = NDArray[np.float64]

#: Weights that come with the package, by the model that their network was taught.
SHIPPED: Mapping[ExchangeModel, Path] = {
    "2CXM": Path(__file__).parent / "weights" / "kinetics.npz",
    "ATH": Path(__file__).parent / "weights" / "kinetics-ath.npz",
}
# Standard deviation of log flow beyond which a curve has said little; that of its prior is 1.
_MAX_LOG_SD = 1.0 * MAX_OF_PRIOR
# The 90 % interval of a normal density, in standard deviations.
_INTERVAL_IN_SD = 3.29


@dataclass(frozen=True)
class NetworkOptions(ExchangeModelOptions):
    """Options of ``cnn``."""

    weights: str = field(
        default="", metadata={"help": "weights made by `qperf train kinetics`; the shipped ones where it is empty"}
    )


class ConvolutionalKinetics(KineticsPlugin):
    """Plugin ``cnn``."""

    name = "cnn"
    version = "1.1"
    model = "2CXM"
    summary = (
        "two-compartment exchange or distributed model, posterior of every voxel by a network, spatial prior of flow"
    )
    citations = (
        "Scannell CM, van den Bosch P, Chiribiri A, Lee J, Breeuwer M, Veta M. Deep learning-based prediction of "
        "kinetic parameters from myocardial perfusion MRI. arXiv:1907.11899 (2019).",
        CITATION,
    )
    trainer = "qperf_cnn.trainer:KineticsTrainer"
    Options = NetworkOptions

    @property
    def weights(self) -> Path:
        """File of the weights."""
        return Path(self.options.weights) if self.options.weights else SHIPPED[self.options.model]

    def loaded_files(self) -> Mapping[str, str]:
        """The weights."""
        return file_digests(self.weights)

    def resources(self, shape: tuple[int, int, int, int]) -> Resources:
        """Features of a myocardium of an eighth of the image, and the network's layers of a block on each thread."""
        voxels = shape[0] * shape[1] * shape[2] / 8
        return Resources(memory_gb=0.4 + voxels * 8e3 / 2**30, threads=2)

    def fit(
        self, curves: TissueCurves, aif: InputFunction, constants: TissueConstants, context: RunContext
    ) -> KineticMaps:
        """Estimate mean, standard deviation, median and 5 and 95 % quantiles of every quantity. Nothing is random.

        Curves out of scope get a code and no value: most of those of simulated scans lie at the wall's borders and have
        blood in them, and their flow would be several times too high.

        Raises
        ------
        WeightsError
            Where the weights that are asked for can't be read, or were taught another model.
        ValueError
            Where the curves and the input function don't go together (:func:`kinetic_inputs.check`).
        """
        from qperf_cnn.inference import estimate
        from qperf_cnn.network import load

        kinetic_inputs.check(curves, aif)
        path = self.weights
        statistics = read_card(path).get("statistics", [])
        if (taught := load(path).model) != self.options.model:
            raise WeightsError(f"{path}: its network was taught {taught}; option model is {self.options.model}")
        data = np.asarray(curves.concentration, dtype=np.float64)
        usable, code = kinetic_inputs.screen(data)
        values, fitted = np.full((len(data), len(QUANTITIES), len(STATISTICS)), np.nan), np.full(data.shape, np.nan)
        if usable.any():
            # A slice copies nothing.
            rows = slice(None) if usable.all() else np.flatnonzero(usable)
            found = estimate(
                path, np.asarray(curves.times, dtype=np.float64), data[rows], np.asarray(aif.times, dtype=np.float64),
                aif.in_plasma(constants.haematocrit), context.threads,
            )  # fmt: skip
            code[rows], values[rows], fitted[rows] = _codes(found, bool(statistics)), found.values, found.fitted
            values[code == QualityCode.OUT_OF_SCOPE] = np.nan
        if self.options.prior == "spatial" and curves.of_image and statistics:
            values[:, 0] = _informed_by_neighbours(values[:, 0], curves.voxels, self.options.model)
        return KineticMaps(self.options.model, _maps(values, statistics, constants), code, legend(code), fitted)


def _codes(found: Estimates, posterior: bool) -> NDArray[np.uint8]:
    """One code per curve; a network that was not taught posteriors can't say how much a curve narrows flow."""
    low, high = (found.values[:, 0, STATISTICS.index(s)] for s in INTERVAL)
    vague = np.log(high / low) > _INTERVAL_IN_SD * _MAX_LOG_SD
    code = np.where(vague & posterior, QualityCode.FLOW_NOT_IDENTIFIABLE, QualityCode.FULL)
    return np.where(found.outside, QualityCode.OUT_OF_SCOPE, code).astype(np.uint8)


def _informed_by_neighbours(flow: Array, voxels: NDArray[np.intp], model: ExchangeModel) -> Array:
    """STATISTICS (n, 5) of flow given that of the neighbours.

    On the logarithm all distances from the median shrink as the standard deviation does, the mean's with its square, as
    of a lognormal density.
    """
    mean, std, low, median, high = flow.T
    before = np.log(high / low) / _INTERVAL_IN_SD
    between = float(priors.read("", model, ["Fp"]).between[0])
    log_flow, after = share_flow(np.log(median), before, voxels, between)
    moved, shrunk = np.exp(log_flow), after / before
    to_mean = moved * (mean / median) ** shrunk**2
    bounds = (moved * (bound / median) ** shrunk for bound in (low, high))
    return np.stack([to_mean, to_mean * std / mean * shrunk, next(bounds), moved, next(bounds)], axis=1)


def _maps(values: Array, statistics: Sequence[str], constants: TissueConstants) -> tuple[ParameterMap, ...]:
    """Maps of the statistics that the network gives, from those of its quantities (n, 6, 5)."""
    Fp, PS, Ktrans, vp, ve, Ta = np.moveaxis(values, 1, 0)
    # A network that was not taught posteriors has one value of its own, which is no median.
    columns: dict[Statistic | None, int] = {} if "q50" in statistics else {None: STATISTICS.index("q50")}
    columns |= {s: k for k, s in enumerate(STATISTICS) if s in statistics}
    return tuple(
        ParameterMap(name, units, column[:, k], statistic)
        for name, (units, column) in exchange_quantities(Fp, PS, vp, ve, Ta, constants, Ktrans).items()
        for statistic, k in columns.items()
    )
