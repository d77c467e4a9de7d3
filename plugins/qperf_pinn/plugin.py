"""``pinn``: the exchange model by a network that learns from the curves themselves, through the model's equations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from qperf_app.methods import judging, kinetic_inputs
from qperf_app.methods.exchange_quantities import exchange_quantities
from qperf_app.plugins import (
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

Array = NDArray[np.float64]

# Part of the range of log flow at either end that counts as the bound.
_MARGIN = 0.01
#: Learning rate of a fit from scratch, and of refining weights.
RATE, REFINING_RATE = 3e-3, 1e-3


@dataclass(frozen=True)
class PhysicsInformedOptions:
    """Options of ``pinn``."""

    weights: str = field(
        default="",
        metadata={"help": "weights (.npz) of `qperf train kinetics --plugin pinn`: one pass instead of a fit"},
    )
    steps: int = field(
        default=2000,
        metadata={"help": "steps of the fit, of 256 curves each; without weights", "range": (0, 10_000_000)},
    )
    refine: int = field(
        default=0, metadata={"help": "steps of refining the weights on the scan's own curves", "range": (0, 10_000_000)}
    )
    model: Literal["2CXM", "BTEX"] = field(
        default="2CXM",
        metadata={"help": "2CXM: two well-mixed compartments; BTEX: a capillary of 20 segments, slower by far"},
    )
    prior_weight: float = field(default=1.0, metadata={"help": "weight of the priors; 0: none", "range": (0.0, 1e6)})
    priors: str = field(default="", metadata={"help": "YAML file of priors; the built-in ones where it is empty"})

    def __post_init__(self) -> None:
        if self.model not in ("2CXM", "BTEX"):
            raise ValueError(f"model is {self.model!r}; it must be 2CXM or BTEX")


class PhysicsInformedFit(KineticsPlugin):
    """Plugin ``pinn``."""

    name = "pinn"
    version = "1.0"
    model = "2CXM"
    trainer = "qperf_pinn.trainer:PhysicsInformedTrainer"
    summary = "exchange or distributed model by a network taught on the scan's own curves, without labels"
    citations = (
        "van Herten RLM, Chiribiri A, Breeuwer M, Veta M, Scannell CM. Physics-informed neural networks for myocardial "
        "perfusion MRI quantification. Med Image Anal 2022;78:102399. doi:10.1016/j.media.2022.102399",
        "Sourbron SP, Buckley DL. Classic models for dynamic contrast-enhanced MRI. NMR Biomed 2013;26:1004-1027. "
        "doi:10.1002/nbm.2940",
    )
    Options = PhysicsInformedOptions

    def loaded_files(self) -> Mapping[str, str]:
        """The priors, and the weights where some are named."""
        from qperf_app.methods.priors import priors_file

        weights = [Path(self.options.weights)] if self.options.weights else []
        return file_digests(priors_file(self.options.priors), *weights)

    def resources(self, shape: tuple[int, int, int, int]) -> Resources:
        """TensorFlow, and curves of a myocardium of an eighth of the image."""
        return Resources(memory_gb=2.5 + shape[0] * shape[1] * shape[2] / 8 * shape[3] * 8 * 16 / 2**30, threads=2)

    def fit(
        self, curves: TissueCurves, aif: InputFunction, constants: TissueConstants, context: RunContext
    ) -> KineticMaps:
        """Estimate Fp, Fb, MBF, PS, Ktrans, vp, vb, ve and Ta of every curve."""
        from qperf_app.physics.backend import NumpyOps
        from qperf_pinn.network import predict
        from qperf_pinn.setting import LOWER, UPPER, Setting

        options = self.options
        kinetic_inputs.check(curves, aif)
        setting = Setting.of(curves, aif, constants.haematocrit, options.model)
        data = np.asarray(curves.concentration, dtype=np.float64) / setting.peak
        usable = kinetic_inputs.usable_curves(data)
        code = np.full(len(data), QualityCode.NOT_FINITE, dtype=np.uint8)
        x, fitted = np.full((len(data), 5), np.nan), np.full(data.shape, np.nan)
        weights = self._weights(setting, data[usable], context.seed)
        if usable.any():
            x[usable] = predict(weights, setting.features(data[usable])).astype(np.float64)
            fitted[usable] = setting.curves(NumpyOps, x[usable])
            margin = _MARGIN * (UPPER[0] - LOWER[0])
            at_bound = np.minimum(x[usable, 0] - LOWER[0], UPPER[0] - x[usable, 0]) < margin
            code[usable] = _codes(data[usable], fitted[usable], at_bound)
        x[code != QualityCode.FULL] = np.nan
        Fp, PS, vp, ve = np.exp(x[:, :4]).T
        quantities = exchange_quantities(Fp, PS, vp, ve, x[:, 4], constants)
        maps = tuple(ParameterMap(name, units, values) for name, (units, values) in quantities.items())
        return KineticMaps(options.model, maps, code, legend(code), fitted * setting.peak)

    def _weights(self, setting: Any, data: Array, seed: int) -> Any:
        """Weights of the file, or taught on the curves; refined on them where that is asked for."""
        from qperf_app.methods.priors import read
        from qperf_pinn.network import random_weights, read_network
        from qperf_pinn.setting import NAMES

        options = self.options
        # A capillary in segments has the same parameters, and so the same priors.
        priors = read(options.priors, "2CXM", NAMES)
        given = bool(options.weights)
        weights = read_network(Path(options.weights), options.model) if given else random_weights(seed, priors.mean)
        steps, rate = (options.refine, REFINING_RATE) if given else (options.steps, RATE)
        if not steps or not len(data):
            return weights
        from qperf_pinn.learning import Objective, examples_of, teach

        scan = examples_of(setting, data * setting.peak)
        return teach(weights, [scan], Objective(priors), steps, rate, seed, options.prior_weight)[0]


def _codes(data: Array, fitted: Array, at_bound: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """One code per curve; the gravest reason wins."""
    rss = np.nansum((data - fitted) ** 2, axis=1)
    code = np.where(at_bound, QualityCode.AT_BOUND, QualityCode.FULL)
    code = np.where(judging.lacks_fit(data, rss), QualityCode.POOR_FIT, code)
    return np.where(judging.enhances(data, rss), code, QualityCode.NO_ENHANCEMENT).astype(np.uint8)
