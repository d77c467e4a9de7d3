"""``hmc``: the posterior of a kinetic model in every voxel, by Hamiltonian Monte Carlo."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from qperf_app.methods import kinetic_inputs
from qperf_app.methods.exchange_models import EXCHANGE_MODELS, ExchangeModelOptions, extracted_flow
from qperf_app.methods.exchange_quantities import exchange_quantities
from qperf_app.methods.judging import MAX_OF_PRIOR
from qperf_app.methods.neighbours import CITATION, NeighbourOptions
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
# Passes at most that evidence takes, and draws kept.
_PASSES_BESIDE, _DRAWS_BESIDE = 2, 100


@dataclass(frozen=True)
class PosteriorOptions(NeighbourOptions):
    """Options of ``hmc``."""

    priors: str = field(default="", metadata={"help": "YAML file of priors; the built-in ones where it is empty"})
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


@dataclass(frozen=True)
class _Curves:
    """Curves (n, t) at times (t,), with what they were measured beside."""

    times: Array
    data: Array
    aif: InputFunction
    constants: TissueConstants
    context: RunContext

    def sample(
        self, model: Model, priors: Priors, kept: int, passes: int, efficiency: Array | None = None
    ) -> Posterior:
        """Posteriors of a model."""
        from qperf_hmc import posterior

        haematocrit, context = self.constants.haematocrit, self.context
        plasma = model.input_kind == "plasma"
        concentration = self.aif.in_plasma(haematocrit) if plasma else self.aif.in_blood(haematocrit)
        earliest = priors.mean[-1] - _DELAY_REACH * priors.sd[-1]
        grid, c = kinetic_inputs.even_input(self.aif.times, concentration, self.times[-1] - min(earliest, 0.0))
        return posterior.sample(
            model, priors, self.times, self.data, grid, c, context.seed, context.threads, kept, passes, context.say,
            efficiency,
        )  # fmt: skip


class PosteriorKinetics(KineticsPlugin):
    """Posterior of any model of ``qperf_app.physics.models`` form.

    A third party's plugin names its own ``kinetic_model`` (a function of times, input and parameters that works on
    TensorFlow tensors) and its priors in a file, and overrides :meth:`quantities`. Its last parameter should be the
    delay and its first the flow.
    """

    kinetic_model: ClassVar[Model]
    Options = PosteriorOptions

    @property
    def sampled(self) -> tuple[str, Model]:
        """Label and model that this instance samples."""
        return self.model, self.kinetic_model

    def quantities(self, draws: Mapping[str, Array], constants: TissueConstants) -> dict[str, tuple[str, Array]]:
        """Quantities (unit and draws) from draws of the model's parameters; those of the model where not overridden."""
        return {p.name: (p.units, draws[p.name]) for p in self.sampled[1].parameters}

    def beside(self, found: Posterior, curves: _Curves) -> dict[str, tuple[str, Array]]:
        """Quantities (unit and values) of the curves that are not drawn; none where not overridden."""
        return {}

    def loaded_files(self) -> Mapping[str, str]:
        """The priors."""
        from qperf_app.methods.priors import priors_file

        return file_digests(priors_file(self.options.priors))

    def resources(self, shape: tuple[int, int, int, int]) -> Resources:
        """TensorFlow and a block of voxels in each thread; draws of a myocardium of an eighth of the image."""
        voxels = shape[0] * shape[1] * shape[2] / 8
        return Resources(memory_gb=3.0 + voxels * self.options.draws * 6 * 4 * (3 + _CHOICE) / 2**30, threads=2)

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
        single: tuple[ParameterMap, ...] = ()
        if usable.any():
            times = np.asarray(curves.times, dtype=np.float64)
            some = _Curves(times, data[usable], aif, constants, context)
            spatial = self._spatial and curves.of_image
            kept = self.options.draws * (_CHOICE if spatial else 1)
            found = some.sample(self.sampled[1], priors, kept, self.options.passes)
            voxels = curves.voxels[usable] if spatial else None
            drawn[usable], code[usable] = self._kept(found, voxels, priors, context.seed)
            fitted[usable] = found.fitted
            predicted[usable] = np.sqrt(found.spread**2 + (found.noise**2).mean(axis=1)[:, None])
            single = _single_maps(self.beside(found, some), usable)
        quantities = self.quantities({name: drawn[..., i] for i, name in enumerate(self._names)}, constants)
        flow = quantities["MBF"][1].astype(np.float32) if "MBF" in quantities else None
        return KineticMaps(self.sampled[0], _maps(quantities) + single, code, legend(code), fitted, predicted, flow)

    @property
    def _names(self) -> list[str]:
        return [p.name for p in self.sampled[1].parameters]

    @property
    def _spatial(self) -> bool:
        return str(self.options.prior) == "spatial"

    def _priors(self) -> Priors:
        """Priors of the model, with that of neighbours where it is needed."""
        from qperf_app.methods.priors import read

        label = self.sampled[0]
        priors = read(self.options.priors, label, self._names)
        if self._spatial and np.isnan(priors.between[0]):
            field = f"models.{label}.{self._names[0]}.between_neighbours"
            raise ValueError(f"{self.options.priors}: {field} is missing, which `prior: spatial` needs")
        return priors

    def _kept(
        self, found: Posterior, voxels: NDArray[np.intp] | None, priors: Priors, seed: int
    ) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """Draws to keep and codes: those that were made, or those that neighbours choose among them.

        ``voxels`` is None where they have no say.
        """
        spread = np.log(found.draws[..., 0]).std(axis=1)
        code = np.where(spread > MAX_OF_PRIOR * priors.sd[0], QualityCode.FLOW_NOT_IDENTIFIABLE, QualityCode.FULL)
        code = np.where(found.good, code, QualityCode.NOT_CONVERGED)
        draws = found.draws
        if voxels is not None:
            from qperf_hmc.spatial import couple

            log_flow = priors.coordinates(draws)[..., 0]
            chosen = couple(log_flow, voxels, float(priors.between[0]), self.options.draws, seed)
            few = np.array([len(np.unique(row)) for row in chosen]) < _LEAST_DRAWS
            code = np.where(few & (code == QualityCode.FULL), QualityCode.FEW_DRAWS, code)
            draws = np.take_along_axis(draws, chosen[..., None], axis=1)
        return draws, code.astype(np.uint8)


@dataclass(frozen=True)
class ExchangeOptions(ExchangeModelOptions, PosteriorOptions):
    """Options of ``hmc``."""

    evidence: bool = field(
        default=False,
        metadata={
            "help": "also give logBF, the log Bayes factor of each curve for ATH against 2CXM; takes about three times "
            "as long"
        },
    )


class ExchangePosterior(PosteriorKinetics):
    """Plugin ``hmc``."""

    name = "hmc"
    version = "1.7"
    model = "2CXM"
    kinetic_model = MODELS["2CXM"]
    summary = (
        "two-compartment exchange or distributed model, posterior by Hamiltonian Monte Carlo, spatial prior of flow"
    )
    citations = (
        CITATION,
        "Samsonov S, Lagutin E, Gabrie M, Durmus A, Naumov A, Moulines E. Local-global MCMC kernels: the best of both "
        "worlds. Adv Neural Inf Process Syst 2022;35. arXiv:2111.02702",
        "St. Lawrence KS, Lee TY. An adiabatic approximation to the tissue homogeneity model for water exchange in the "
        "brain: I. Theoretical derivation. J Cereb Blood Flow Metab 1998;18:1365-1377. "
        "doi:10.1097/00004647-199812000-00011",
    )
    Options = ExchangeOptions

    @property
    def sampled(self) -> tuple[str, Model]:
        """That of the option ``model``."""
        return self.options.model, MODELS[self.options.model]

    def quantities(self, draws: Mapping[str, Array], constants: TissueConstants) -> dict[str, tuple[str, Array]]:
        """Parameters and what follows from them, draw by draw."""
        Fp, PS = draws["Fp"], draws["PS"]
        extracted = extracted_flow(self.options.model, Fp, PS)
        return exchange_quantities(**draws, constants=constants, Ktrans=extracted)

    def beside(self, found: Posterior, curves: _Curves) -> dict[str, tuple[str, Array]]:
        """The log Bayes factor of each curve, where it is asked for."""
        return {"logBF": ("nat", self._log_bayes_factor(found, curves))} if self.options.evidence else {}

    def _log_bayes_factor(self, found: Posterior, curves: _Curves) -> Array:
        """Log marginal likelihood (n,) of the second model less that of the first.

        Both with the same effective sample size: how noise is autocorrelated is the noise's doing and not the model's,
        and of two models the one that leaves more of it in the residuals is the one that fits worse.
        """
        from qperf_app.methods.priors import read

        other = next(name for name in EXCHANGE_MODELS if name != self.options.model)
        known = {self.options.model: found}
        all_priors = {n: read(self.options.priors, n, [p.name for p in MODELS[n].parameters]) for n in EXCHANGE_MODELS}
        passes = min(self.options.passes, _PASSES_BESIDE)
        known[other] = curves.sample(MODELS[other], all_priors[other], _DRAWS_BESIDE, passes)
        efficiency = np.maximum(*(known[name].efficiency for name in EXCHANGE_MODELS))
        level = {}
        for name in EXCHANGE_MODELS:
            level[name] = known[name].log_evidence.copy()
            again = known[name].efficiency < efficiency
            if again.any():
                some = replace(curves, data=curves.data[again])
                level[name][again] = some.sample(
                    MODELS[name], all_priors[name], _DRAWS_BESIDE, passes, efficiency[again]
                ).log_evidence
        return np.asarray(level[EXCHANGE_MODELS[1]] - level[EXCHANGE_MODELS[0]])


def _maps(quantities: Mapping[str, tuple[str, Array]]) -> tuple[ParameterMap, ...]:
    """Maps of every quantity's statistics, from its draws (n, draws)."""
    return tuple(
        ParameterMap(name, units, value, statistic)
        for name, (units, values) in quantities.items()
        for statistic, value in zip(STATISTICS, summaries(values), strict=True)
    )


def _single_maps(quantities: Mapping[str, tuple[str, Array]], usable: NDArray[np.bool_]) -> tuple[ParameterMap, ...]:
    """Maps of quantities that are one value for each of the usable curves."""
    maps = []
    for name, (units, values) in quantities.items():
        every = np.full(len(usable), np.nan)
        every[usable] = values
        maps.append(ParameterMap(name, units, every))
    return tuple(maps)


def summaries(draws: Array) -> tuple[Array, ...]:
    """Mean, standard deviation, 5, 50 and 95 % quantile over the last axis."""
    low, median, high = np.quantile(draws, (0.05, 0.5, 0.95), axis=-1)
    return draws.mean(axis=-1), draws.std(axis=-1), low, median, high
