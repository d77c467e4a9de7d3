"""``hmc``: the posterior of a kinetic model in every voxel, by Hamiltonian Monte Carlo."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from qperf_app.methods import kinetic_inputs
from qperf_app.methods.exchange_quantities import exchange_quantities
from qperf_app.methods.judging import MAX_OF_PRIOR
from qperf_app.physics.models import MODELS, Model
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

if TYPE_CHECKING:
    from qperf_app.methods.priors import Priors
    from qperf_hmc.posterior import Posterior

Array = NDArray[np.float64]

# Draws of a voxel that its neighbours must leave.
_LEAST_DRAWS = 20
# The spatial prior chooses among so many draws for each one that it keeps.
_CHOICE = 4
# The input function reaches back to a delay of so many standard deviations of the prior.
_DELAY_REACH = 4.0


@dataclass(frozen=True)
class PosteriorOptions:
    """Options of ``hmc``."""

    priors: str = field(default="", metadata={"help": "YAML file of priors; the built-in ones where it is empty"})
    prior: Literal["voxel", "spatial"] = field(
        default="voxel", metadata={"help": "voxel: every voxel by itself; spatial: neighbours resemble each other"}
    )
    passes: int = field(
        default=3,
        metadata={
            "help": "passes at most: voxels whose chains have not converged are sampled again, longer",
            "range": (1, 3),
        },
    )
    draws: int = field(
        default=400,
        metadata={"help": "draws of each voxel that maps and quantiles are made of", "range": (100, 1_000_000)},
    )

    def __post_init__(self) -> None:
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

    def quantities(self, draws: Mapping[str, Array], constants: TissueConstants) -> dict[str, tuple[str, Array]]:
        """Quantities (unit and draws) from draws of the model's parameters; those of the model where not overridden."""
        return {p.name: (p.units, draws[p.name]) for p in self.kinetic_model.parameters}

    def loaded_files(self) -> Mapping[str, str]:
        """The priors."""
        from qperf_app.methods.priors import priors_file

        return file_digests(priors_file(self.options.priors))

    def resources(self, shape: tuple[int, int, int, int]) -> Resources:
        """TensorFlow and a block of voxels in each thread; draws of a myocardium of an eighth of the image."""
        voxels = shape[0] * shape[1] * shape[2] / 8
        return Resources(memory_gb=3.0 + voxels * self.options.draws * 6 * 4 * 3 / 2**30, threads=2)

    def fit(
        self, curves: TissueCurves, aif: InputFunction, constants: TissueConstants, context: RunContext
    ) -> KineticMaps:
        """Estimate mean, standard deviation, median and 5 and 95 % quantiles of every quantity."""
        kinetic_inputs.check(curves, aif)
        priors = self._priors()
        data = np.asarray(curves.concentration, dtype=np.float64)
        # A curve without noise has no posterior to speak of.
        usable, code = kinetic_inputs.screen(data)
        fitted, predicted = np.full(data.shape, np.nan), np.full(data.shape, np.nan)
        drawn = np.full((len(data), self.options.draws, len(self._names)), np.nan)
        if usable.any():
            times = np.asarray(curves.times, dtype=np.float64)
            found = self._sample(times, data[usable], aif, constants, priors, context)
            drawn[usable], code[usable] = self._kept(found, curves.voxels[usable], priors, context.seed)
            fitted[usable] = found.fitted
            predicted[usable] = np.sqrt(found.spread**2 + (found.noise**2).mean(axis=1)[:, None])
        quantities = self.quantities({name: drawn[..., i] for i, name in enumerate(self._names)}, constants)
        flow = quantities["MBF"][1].astype(np.float32) if "MBF" in quantities else None
        return KineticMaps(self.model, _maps(quantities), code, legend(code), fitted, predicted, flow)

    @property
    def _names(self) -> list[str]:
        return [p.name for p in self.kinetic_model.parameters]

    @property
    def _spatial(self) -> bool:
        return str(self.options.prior) == "spatial"

    def _priors(self) -> Priors:
        """Priors of the model, with those of neighbours where they are needed."""
        from qperf_app.methods.priors import read

        priors = read(self.options.priors, self.model, self._names)
        if self._spatial and np.isnan(priors.between).any():
            lacking = self._names[int(np.isnan(priors.between).argmax())]
            raise ValueError(f"{self.options.priors}: models.{self.model}.{lacking}.between_neighbours is missing")
        return priors

    def _sample(
        self, times: Array, data: Array, aif: InputFunction, constants: TissueConstants, priors: Priors,
        context: RunContext,
    ) -> Posterior:  # fmt: skip
        """Posteriors of curves (n, t), each under its own prior."""
        from qperf_hmc import posterior

        plasma = self.kinetic_model.input_kind == "plasma"
        concentration = aif.in_plasma(constants.haematocrit) if plasma else aif.in_blood(constants.haematocrit)
        earliest = priors.mean[-1] - _DELAY_REACH * priors.sd[-1]
        grid, c = kinetic_inputs.even_input(aif.times, concentration, times[-1] - min(earliest, 0.0))
        kept = self.options.draws * (_CHOICE if self._spatial else 1)
        return posterior.sample(
            self.kinetic_model, priors, times, data, grid, c, context.seed, context.threads, kept, self.options.passes,
            context.say,
        )  # fmt: skip

    def _kept(
        self, found: Posterior, voxels: NDArray[np.intp], priors: Priors, seed: int
    ) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """Draws to keep and codes: those that were made, or those that the spatial prior chooses among them."""
        spread = np.log(found.draws[..., 0]).std(axis=1)
        code = np.where(spread > MAX_OF_PRIOR * priors.sd[0], QualityCode.FLOW_NOT_IDENTIFIABLE, QualityCode.FULL)
        code = np.where(found.good, code, QualityCode.NOT_CONVERGED)
        draws = found.draws
        if self._spatial:
            from qperf_hmc.spatial import couple

            chosen = couple(priors.coordinates(draws), voxels, priors.between, self.options.draws, seed)
            few = np.array([len(np.unique(row)) for row in chosen]) < _LEAST_DRAWS
            code = np.where(few & (code == QualityCode.FULL), QualityCode.FEW_DRAWS, code)
            draws = np.take_along_axis(draws, chosen[..., None], axis=1)
        return draws, code.astype(np.uint8)


class ExchangePosterior(PosteriorKinetics):
    """Plugin ``hmc``."""

    name = "hmc"
    version = "1.4"
    model = "2CXM"
    kinetic_model = MODELS["2CXM"]
    summary = "two-compartment exchange model, posterior of every voxel by Hamiltonian Monte Carlo"
    citations = (
        "Scannell CM, Chiribiri A, Villa ADM, Breeuwer M, Lee J. Hierarchical Bayesian myocardial perfusion "
        "quantification. Med Image Anal 2020;60:101611. doi:10.1016/j.media.2019.101611",
        "Samsonov S, Lagutin E, Gabrie M, Durmus A, Naumov A, Moulines E. Local-global MCMC kernels: the best of both "
        "worlds. Adv Neural Inf Process Syst 2022;35. arXiv:2111.02702",
    )

    def quantities(self, draws: Mapping[str, Array], constants: TissueConstants) -> dict[str, tuple[str, Array]]:
        """Parameters and what follows from them, draw by draw."""
        return exchange_quantities(**draws, constants=constants)


def _maps(quantities: Mapping[str, tuple[str, Array]]) -> tuple[ParameterMap, ...]:
    """Maps of every quantity's statistics, from its draws (n, draws)."""
    return tuple(
        ParameterMap(name, units, value, statistic)
        for name, (units, values) in quantities.items()
        for statistic, value in zip(STATISTICS, summaries(values), strict=True)
    )


def summaries(draws: Array) -> tuple[Array, ...]:
    """Mean, standard deviation, 5, 50 and 95 % quantile over the last axis."""
    low, median, high = np.quantile(draws, (0.05, 0.5, 0.95), axis=-1)
    return draws.mean(axis=-1), draws.std(axis=-1), low, median, high
