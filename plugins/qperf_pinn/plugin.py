"""``pinn``: the exchange model by a network that learns from the curves themselves, through the model's equations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from qperf_app.plugins import (
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

Array = NDArray[np.float64]

FULL, POOR_FIT, AT_BOUND, NO_ENHANCEMENT, NOT_FINITE = 0, 17, 18, 19, 20
_LEGEND = {
    FULL: "full estimate",
    POOR_FIT: "the model does not describe the curve",
    AT_BOUND: "flow at the end of its range",
    NO_ENHANCEMENT: "no enhancement above the noise",
    NOT_FINITE: "too few finite frames",
}
# As `nlls` has them: log-likelihood over that of a curve of zeros; half of the variance explained or residuals below
# three times the frame-to-frame noise.
_MIN_GAIN, _MIN_EXPLAINED, _MAX_NOISE_RATIO = 12.0, 0.5, 3.0
# Part of the range of log flow at either end that counts as the end.
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
    steps: int = field(default=2000, metadata={"help": "steps of the fit, of 256 curves each; without weights"})
    refine: int = field(default=0, metadata={"help": "steps of refining the weights on the scan's own curves"})
    model: Literal["2CXM", "BTEX"] = field(
        default="2CXM",
        metadata={"help": "2CXM: two well-mixed compartments; BTEX: a capillary of 20 segments, slower by far"},
    )
    prior_weight: float = field(default=1.0, metadata={"help": "weight of the priors; 0: none"})
    priors: str = field(default="", metadata={"help": "YAML file of priors; the built-in ones where it is empty"})

    def __post_init__(self) -> None:
        for name in ("steps", "refine", "prior_weight"):
            if not 0 <= getattr(self, name) < np.inf:
                raise ValueError(f"{name} is {getattr(self, name)}; it must not be negative")
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
        from qperf_app.plugins.kinetic_priors import priors_file

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
        code = np.full(len(data), NOT_FINITE, dtype=np.uint8)
        x, fitted = np.full((len(data), 5), np.nan), np.full(data.shape, np.nan)
        weights = self._weights(setting, data[usable], context.seed)
        if usable.any():
            x[usable] = predict(weights, setting.features(data[usable])).astype(np.float64)
            fitted[usable] = setting.curves(NumpyOps, x[usable])
            span = UPPER[0] - LOWER[0]
            ends = np.minimum(x[usable, 0] - LOWER[0], UPPER[0] - x[usable, 0]) < _MARGIN * span
            code[usable] = _codes(data[usable], fitted[usable], ends)
        x[code != FULL] = np.nan
        Fp, PS, vp, ve = np.exp(x[:, :4]).T
        quantities = exchange_quantities(Fp, PS, vp, ve, x[:, 4], constants)
        maps = tuple(ParameterMap(name, units, values) for name, (units, values) in quantities.items())
        legend = {k: _LEGEND[k] for k in sorted({FULL, *np.unique(code).tolist()})}
        return KineticMaps(options.model, maps, code, legend, fitted * setting.peak)

    def _weights(self, setting: Any, data: Array, seed: int) -> Any:
        """Weights of the file, or taught on the curves; refined on them where that is asked for."""
        from qperf_app.plugins.kinetic_priors import read
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


def _codes(data: Array, fitted: Array, ends: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """One code per curve; the gravest reason wins."""
    n, energy = np.isfinite(data).sum(axis=1), np.nansum(data**2, axis=1)
    rss = np.nansum((data - fitted) ** 2, axis=1)
    spread = np.nansum((data - np.nanmean(data, axis=1, keepdims=True)) ** 2, axis=1)
    noise = 1.4826 * np.nanmedian(np.abs(np.diff(data, 2, axis=1)), axis=1) / np.sqrt(6.0)
    poor = (rss > (1.0 - _MIN_EXPLAINED) * spread) & (np.sqrt(rss / n) > _MAX_NOISE_RATIO * noise)
    with np.errstate(divide="ignore", invalid="ignore"):
        gain = 0.5 * n * np.log(energy / np.maximum(rss, 1e-12 * energy))
        enhances = (energy > 0.0) & (gain > _MIN_GAIN)
    code = np.where(ends, AT_BOUND, FULL)
    return np.where(enhances, np.where(poor, POOR_FIT, code), NO_ENHANCEMENT).astype(np.uint8)
