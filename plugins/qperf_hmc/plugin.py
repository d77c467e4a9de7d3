"""``hmc``: the posterior of a kinetic model in every voxel, by Hamiltonian Monte Carlo."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from qperf_app.physics.models import MODELS, Model
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

FULL, PRIOR_DECIDES, FEW_DRAWS, NOT_CONVERGED, NO_ENHANCEMENT, NOT_FINITE = 0, 16, 17, 18, 19, 20
_LEGEND = {
    FULL: "full estimate",
    PRIOR_DECIDES: "flow hardly narrowed from its prior",
    FEW_DRAWS: "the neighbours contradict the curve: the spatial prior leaves fewer than 20 draws",
    NOT_CONVERGED: "the chains did not converge: R-hat above 1.01 or fewer than 400 effective draws after every pass",
    NO_ENHANCEMENT: "no enhancement: the curve is constant",
    NOT_FINITE: "too few finite frames",
}
_MAX_OF_PRIOR = 0.7
_LEAST_DRAWS = 20
# The spatial prior chooses among so many draws for each one that it keeps.
_CHOICE = 4


@dataclass(frozen=True)
class PosteriorOptions:
    """Options of ``hmc``."""

    priors: str = field(default="", metadata={"help": "YAML file of priors; the built-in ones where it is empty"})
    prior: Literal["voxel", "spatial"] = field(
        default="voxel", metadata={"help": "voxel: every voxel by itself; spatial: neighbours resemble each other"}
    )
    passes: int = field(
        default=3,
        metadata={"help": "passes at most, 1 to 3: voxels whose chains have not converged are sampled again, longer"},
    )
    draws: int = field(default=400, metadata={"help": "draws of each voxel that maps and quantiles are made of"})

    def __post_init__(self) -> None:
        if not 1 <= self.passes <= 3:
            raise ValueError(f"passes is {self.passes}; it must be 1, 2 or 3")
        if self.draws < 100:
            raise ValueError(f"draws is {self.draws}; it must be at least 100")
        if self.prior not in ("voxel", "spatial"):
            raise ValueError(f"prior is {self.prior!r}; it must be voxel or spatial")


class PosteriorKinetics(KineticsPlugin):
    """Posterior of any model of ``qperf_app.physics.models`` form.

    A third party's plugin names its own ``kinetic_model`` (a function of times, input and parameters that works on
    TensorFlow tensors) and its priors in a file, and overrides :meth:`quantities`. Its last parameter should be the
    delay and its first the flow.
    """

    kinetic_model: ClassVar[Model]
    Options = PosteriorOptions

    def quantities(
        self, draws: Mapping[str, NDArray[np.float64]], constants: TissueConstants
    ) -> dict[str, tuple[str, NDArray[np.float64]]]:
        """Quantities (unit and draws) from draws of the model's parameters; those of the model where not overridden."""
        return {p.name: (p.units, draws[p.name]) for p in self.kinetic_model.parameters}

    def loaded_files(self) -> Mapping[str, str]:
        """The priors."""
        from qperf_app.plugins.kinetic_priors import priors_file

        return file_digests(priors_file(self.options.priors))

    def resources(self, shape: tuple[int, int, int, int]) -> Resources:
        """TensorFlow and a block of voxels in each thread; draws of a myocardium of an eighth of the image."""
        voxels = shape[0] * shape[1] * shape[2] / 8
        return Resources(memory_gb=3.0 + voxels * self.options.draws * 6 * 4 * 3 / 2**30, threads=2)

    def fit(
        self, curves: TissueCurves, aif: InputFunction, constants: TissueConstants, context: RunContext
    ) -> KineticMaps:
        """Estimate mean, standard deviation, median and 5 and 95 % quantiles of every quantity."""
        from qperf_app.plugins.kinetic_priors import read
        from qperf_hmc import posterior

        kinetic_inputs.check(curves, aif)
        names = [p.name for p in self.kinetic_model.parameters]
        priors = read(self.options.priors, self.model, names)
        spatial_prior = self.options.prior == "spatial"
        if spatial_prior and np.isnan(priors.between).any():
            lacking = names[int(np.isnan(priors.between).argmax())]
            raise ValueError(f"{self.options.priors}: models.{self.model}.{lacking}.between_neighbours is missing")
        data = np.asarray(curves.concentration, dtype=np.float64)
        n, finite = len(data), kinetic_inputs.usable_curves(data)
        # A curve without noise has no posterior to speak of.
        usable = finite & kinetic_inputs.changing_curves(data)
        code = np.where(finite, NO_ENHANCEMENT, NOT_FINITE).astype(np.uint8)
        fitted, predicted = np.full(data.shape, np.nan), np.full(data.shape, np.nan)
        drawn = np.full((n, self.options.draws, len(names)), np.nan)
        if usable.any():
            plasma = self.kinetic_model.input_kind == "plasma"
            concentration = aif.in_plasma(constants.haematocrit) if plasma else aif.in_blood(constants.haematocrit)
            earliest = priors.mean[-1] - 4.0 * priors.sd[-1]
            times = np.asarray(curves.times, dtype=np.float64)
            grid, c = kinetic_inputs.even_input(aif.times, concentration, times[-1] - min(earliest, 0.0))
            kept = self.options.draws * (_CHOICE if spatial_prior else 1)
            found = posterior.sample(
                self.kinetic_model, priors, times, data[usable], grid, c, context.seed, context.threads, kept,
                self.options.passes, context.say,
            )  # fmt: skip
            draws, codes = found.draws, self._codes(found, priors)
            if spatial_prior:
                draws, few = self._coupled(draws, curves.voxels[usable], priors, context.seed)
                codes = np.where(few & (codes == FULL), FEW_DRAWS, codes).astype(np.uint8)
            drawn[usable], fitted[usable], code[usable] = draws, found.fitted, codes
            predicted[usable] = np.sqrt(found.spread**2 + (found.noise**2).mean(axis=1)[:, None])
        quantities = self.quantities({name: drawn[..., i] for i, name in enumerate(names)}, constants)
        maps = [
            ParameterMap(name, units, value, statistic)
            for name, (units, values) in quantities.items()
            for statistic, value in zip(STATISTICS, summaries(values), strict=True)
        ]
        legend = {k: _LEGEND[k] for k in sorted({FULL, *np.unique(code).tolist()})}
        flow = quantities["MBF"][1].astype(np.float32) if "MBF" in quantities else None
        return KineticMaps(self.model, tuple(maps), code, legend, fitted, predicted, flow)

    def _coupled(
        self, draws: NDArray[np.float32], voxels: NDArray[np.intp], priors: Any, seed: int
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Draws under the spatial prior, and where too few different ones are left."""
        from qperf_hmc.spatial import couple

        x = np.where(np.array(priors.positive), np.log(np.maximum(draws, 1e-30)), draws)
        chosen = couple(x, voxels, priors.between, self.options.draws, seed)
        few = np.array([len(np.unique(row)) for row in chosen]) < _LEAST_DRAWS
        return np.take_along_axis(draws, chosen[..., None], axis=1), few

    @staticmethod
    def _codes(found: Any, priors: Any) -> NDArray[np.uint8]:
        flow = np.log(found.draws[..., 0]).std(axis=1)
        code = np.where(flow > _MAX_OF_PRIOR * priors.sd[0], PRIOR_DECIDES, FULL)
        return np.where(found.good, code, NOT_CONVERGED).astype(np.uint8)


class ExchangePosterior(PosteriorKinetics):
    """Plugin ``hmc``."""

    name = "hmc"
    version = "1.3"
    model = "2CXM"
    kinetic_model = MODELS["2CXM"]
    summary = "two-compartment exchange model, posterior of every voxel by Hamiltonian Monte Carlo"
    citations = (
        "Scannell CM, Chiribiri A, Villa ADM, Breeuwer M, Lee J. Hierarchical Bayesian myocardial perfusion "
        "quantification. Med Image Anal 2020;60:101611. doi:10.1016/j.media.2019.101611",
        "Samsonov S, Lagutin E, Gabrie M, Durmus A, Naumov A, Moulines E. Local-global MCMC kernels: the best of both "
        "worlds. Adv Neural Inf Process Syst 2022;35. arXiv:2111.02702",
    )

    def quantities(
        self, draws: Mapping[str, NDArray[np.float64]], constants: TissueConstants
    ) -> dict[str, tuple[str, NDArray[np.float64]]]:
        """Parameters and what follows from them, draw by draw."""
        return exchange_quantities(**draws, constants=constants)


def summaries(draws: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Mean, standard deviation, 5, 50 and 95 % quantile over the last axis."""
    low, median, high = np.quantile(draws, (0.05, 0.5, 0.95), axis=-1)
    return draws.mean(axis=-1), draws.std(axis=-1), low, median, high
