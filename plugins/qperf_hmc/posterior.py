"""Sample the posterior of every curve: blocks, passes, and what may be trusted."""

from __future__ import annotations

import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from qperf_app.methods.noise import effective_sample_fraction
from qperf_app.methods.priors import Priors
from qperf_app.physics.models import Model
from qperf_app.plugins import RunContext
from qperf_hmc.blocks import Hamiltonian, Independent, Sampled, hamiltonian, independent
from qperf_hmc.setting import Setting, as_tensor, choose
from qperf_hmc.target import Coordinates, Problem, residuals
from qperf_hmc.weights import largest_shape

Array = NDArray[np.float64]
FloatArray = NDArray[np.float32]
Index = NDArray[np.intp]
Bools = NDArray[np.bool_]

#: Voxels sampled together: so many where points are few, and where they are many; trajectories, which take many small
#: steps, go in the least block that holds all, or else in the largest. What is missing is filled up where something is
#: compiled for as many.
BLOCK, SLOW_BLOCK, TRAJECTORY_BLOCKS = 64, 16, (4, 32, 256)
_FEW_POINTS = 4096
# Draws of each curve, at most, that model curves and the noise's level are described by.
_DESCRIBED = 400
#: Limits of effective sample size and split R-hat (Vehtari et al. 2021, doi:10.1214/20-BA1221), of the energy fraction
#: of missing information (Betancourt 2016, arXiv:1604.00695), and of the part of trajectories that diverge.
MIN_ESS, MAX_RHAT, MIN_BFMI, MAX_DIVERGENCES = 400.0, 1.01, 0.2, 0.02

Try = Independent | Hamiltonian
#: The first pass for all curves of a separable model, the others for those that fail: longer, in tries of which each
#: is for what the one before left, then with trajectories, few first: they decide the time of a heart's last curves.
PASSES: tuple[tuple[Try, ...], ...] = (
    (Independent(4096, 3e-3),),
    (Independent(16384, 1e-3), Independent(65536, 1e-3)),
    (Independent(262144, 3e-4), Hamiltonian(2, 4096, 800, 0.93), Hamiltonian(2, 4096, 2400, 0.93)),
)
#: Any other model: longer, then longer with a safer step.
GENERAL_PASSES: tuple[tuple[Try, ...], ...] = (
    (Hamiltonian(3, 1024, 400, 0.8),),
    (Hamiltonian(2, 2048, 1200, 0.8),),
    (Hamiltonian(2, 4096, 2400, 0.93),),
)


@dataclass(frozen=True)
class Posterior:
    """Posteriors of n curves.

    Parameters
    ----------
    draws : (n, kept, p) float32 array
        Physical parameters, resampled by importance weights or evenly thinned over the chains.
    noise : (n, m) array
        Draws of the noise's standard deviation, mmol/L, one for each of m of the kept draws, spread evenly.
    fitted, spread : (n, t) arrays
        Mean and standard deviation of those draws' model curves.
    ess, rhat : (n, p) arrays
        Effective sample size of each coordinate, of all draws (not of the kept ones), and split R-hat of chains.
    shape, bfmi, divergences : (n,) arrays
        Pareto shape of importance weights; least energy fraction of missing information, and part of the trajectories
        that diverged. NaN, like R-hat, where the last pass had no such thing.
    log_evidence : (n,) array
        Log marginal likelihood, up to what is the same for every model of a curve with this effective sample size; NaN
        where the draws' weights do not tell it.
    efficiency : (n,) array
        Effective samples per sample that the likelihood counts.
    passes : (n,) int array
        Passes that were needed; ``good`` (n,) says whether the last one met every criterion.
    """

    draws: FloatArray
    noise: FloatArray
    fitted: Array
    spread: Array
    ess: Array
    rhat: Array
    shape: Array
    bfmi: Array
    divergences: Array
    log_evidence: Array
    efficiency: Array
    passes: Index
    good: Bools


def sample(
    model: Model,
    priors: Priors,
    times: Array,
    curves: Array,
    input_times: Array,
    concentration: Array,
    seed: int,
    threads: int = 1,
    kept: int = 400,
    passes: int = 3,
    say: Callable[[str], None] = lambda _: None,
    efficiency: Array | None = None,
) -> Posterior:
    """Sample the posterior of every curve.

    Parameters
    ----------
    model : Model
        Any model of tensors; ``2CXM`` and ``ATH`` are tabulated unless the noise is too low for it.
    times : (t,) array
        s.
    curves : (n, t) array
        mmol/L, NaN where a frame is missing.
    input_times, concentration : (m,) arrays
        Input function of the kind that the model takes.
    seed, threads : int
    kept : int
        Draws that are kept of each curve.
    passes : int
        How often to try at most, 1 to 3.
    say : function
        Told after every block how far sampling is.
    efficiency : (n,) array, optional
        Effective samples per sample; from the residuals of a first pass where it is not given.

    Returns
    -------
    Posterior
        The same, whatever the number of threads and the order of the curves.
    """
    curves = np.asarray(curves, dtype=np.float64)
    # One order for any: sums in single precision then fall the same way.
    order = np.lexsort(np.nan_to_num(curves).T)
    setting = choose(model, priors, times, curves, input_times, concentration)
    scale, context = priors.noise_scale * float(np.abs(concentration).max()), RunContext(seed, threads, say)
    given = None if efficiency is None else efficiency[order]
    found = Sampling(setting, priors, scale, curves[order], kept, context).run(passes, given)
    back = np.argsort(order)
    return Posterior(*(getattr(found, name)[back] for name in Posterior.__dataclass_fields__))


class Sampling:
    """Sampling of all curves of one setting.

    Parameters
    ----------
    setting : Setting
    priors : Priors
    scale : float
        Scale of the noise's prior, mmol/L.
    curves : (n, t) array
        mmol/L, NaN where a frame is missing.
    kept : int
        Draws to keep of each.
    context : RunContext
    """

    def __init__(
        self, setting: Setting, priors: Priors, scale: float, curves: Array, kept: int, context: RunContext
    ) -> None:
        self.setting, self.priors, self.kept, self.context = setting, priors, kept, context
        self.scale = scale**2
        self.curves, self.present = curves, np.isfinite(curves)
        self.count = self.present.sum(axis=1).astype(np.float64)
        self.efficiency = np.ones(len(curves))
        self.data, self.rest, self.turns = setting.compress(curves)
        # Of a table the basis stays behind: it is as long as the series, and what is compiled is to serve every scan.
        tables = setting.tables if setting.basis is None else setting.tables._replace(basis=())
        self.tables = tf.nest.map_structure(as_tensor, tables)

    def run(self, passes: int, efficiency: Array | None = None) -> Posterior:
        """First pass for all, anew where residuals are autocorrelated, and further ones for what fails."""
        ways = (GENERAL_PASSES if self.setting.octree is None else PASSES)[:passes]
        (first,) = ways[0]
        if efficiency is not None:
            self.efficiency = efficiency
        result = self._try(np.arange(len(self.curves)), first, 0, {})
        if efficiency is None:
            self.efficiency = effective_sample_fraction(self.curves - result["fitted"], significant=True)
            self._again(result, np.flatnonzero(self.efficiency < 1.0), first, 0, {})
        for turn, tries in enumerate(ways[1:], 1):
            for how in tries:
                self._again(result, np.flatnonzero(~result["good"]), how, turn, result)
        return Posterior(**result)

    def problem(self, rows: Index) -> Problem:
        """What the posterior of some of the curves rests on."""
        efficiency, data = self.efficiency[rows], self.data[rows].T
        weight = np.sqrt(efficiency) * (self.present[rows].T if self.setting.basis is None else np.ones(data.shape))
        mean, sd = (np.tile(v[:, None], (1, len(rows))) for v in (self.priors.mean, self.priors.sd))
        arrays = (
            data, weight, efficiency * self.rest[rows], efficiency * self.count[rows], mean, sd,
            self.priors.noise_shape, self.scale,
        )  # fmt: skip
        turns = None if self.turns is None else as_tensor(self.turns[rows])
        return Problem(self.tables, *map(as_tensor, arrays))._replace(turn=turns)

    def _again(self, result: dict[str, Any], rows: Index, how: Try, turn: int, before: dict[str, Any]) -> None:
        """Put what a try finds for some rows in place of what was found before."""
        if len(rows):
            for name, values in self._try(rows, how, turn, before).items():
                result[name][rows] = values

    def _try(self, rows: Index, how: Try, turn: int, before: dict[str, Any]) -> dict[str, Any]:
        """Fields of :class:`Posterior` for some rows, block by block."""
        size = _block_size(how, len(rows))
        blocks = [rows[i : i + size] for i in range(0, len(rows), size)]
        one = functools.partial(self._block, size=size, how=how, turn=turn, before=before)
        with ThreadPoolExecutor(max_workers=max(self.context.threads, 1)) as pool:
            found = []
            for part in pool.map(one, blocks):
                found.append(part)
                self.context.say(f"pass {turn + 1}: {min(size * len(found), len(rows))} of {len(rows)} curves sampled")
        return {name: np.concatenate([part[name] for part in found]) for name in found[0]}

    def _block(self, rows: Index, size: int, how: Try, turn: int, before: dict[str, Any]) -> dict[str, Any]:
        seed = 10 * self.context.seed + turn
        padded = np.concatenate([rows, np.full(_compiled(how, size) - len(rows), rows[0])])
        problem = self.problem(padded)
        if isinstance(how, Independent):
            found = independent(self.setting, self.problem(rows), how, self.kept, seed)
            found = found._replace(x=found.x[:, np.minimum(np.arange(len(padded)), len(rows) - 1)])
        else:
            drawn = self.priors.coordinates(before["draws"][padded]) if before else None
            found = hamiltonian(self.setting, problem, how, self.kept, seed, drawn)
        return {name: value[: len(rows)] for name, value in self._describe(padded, problem, found, how, turn).items()}

    def _describe(self, rows: Index, problem: Problem, found: Sampled, how: Try, turn: int) -> dict[str, Any]:
        """Fields of :class:`Posterior` of a block."""
        some = found.x[:: -(-len(found.x) // _DESCRIBED)]
        coordinates = [tf.constant(a) for a in np.moveaxis(some, -1, 0)]
        squares, features, covariance = _fit(self.setting.model, problem, coordinates, self.setting.basis is not None)
        return {
            "draws": self.priors.parameters(found.x.transpose(1, 0, 2)).astype(np.float32),
            "noise": self._noise(rows, squares.numpy().T, turn),
            "fitted": self.setting.curves(features.numpy().T.astype(np.float64)),
            "spread": self.setting.spreads(covariance.numpy().astype(np.float64)), "ess": found.ess,
            "rhat": found.rhat, "shape": found.shape, "bfmi": found.bfmi, "divergences": found.divergences,
            "log_evidence": found.log_evidence, "efficiency": self.efficiency[rows],
            "passes": np.full(len(rows), turn + 1), "good": _converged(found, how),
        }  # fmt: skip

    def _noise(self, rows: Index, squares: FloatArray, turn: int) -> FloatArray:
        """Draws of the noise's standard deviation: given a curve, its variance is inverse-gamma."""
        shape = self.priors.noise_shape + 0.5 * (self.efficiency * self.count)[rows]
        # Random numbers go with the curve: none depends on the curves beside it.
        seeds = [[self.context.seed, turn, crc32(curve.tobytes())] for curve in self.curves[rows]]
        unit = [
            np.random.default_rng(key).standard_gamma(a, squares.shape[1]) for key, a in zip(seeds, shape, strict=True)
        ]
        return np.asarray(np.sqrt((self.scale + 0.5 * squares) / unit), np.float32)


def _block_size(how: Try, count: int) -> int:
    if isinstance(how, Independent):
        return BLOCK if how.points <= _FEW_POINTS else SLOW_BLOCK
    return next((size for size in TRAJECTORY_BLOCKS if size >= count), TRAJECTORY_BLOCKS[-1])


def _compiled(how: Try, size: int) -> int:
    """Voxels that a block is filled up to."""
    return BLOCK if isinstance(how, Independent) else size


def _converged(found: Sampled, how: Try) -> Bools:
    """Whether a voxel meets every criterion that there is of its draws."""
    good = (found.ess > MIN_ESS).all(axis=1)
    if isinstance(how, Independent):
        return np.asarray(good & (found.shape < largest_shape(how.points)))
    good &= (found.rhat < MAX_RHAT).all(axis=1)
    return np.asarray(good & (found.bfmi > MIN_BFMI) & (found.divergences < MAX_DIVERGENCES))


@functools.partial(tf.function, jit_compile=True, autograph=False)
def _fit(model: Coordinates, problem: Problem, x: Any, joint: bool) -> tuple[Any, Any, Any]:
    """Sum of squared residuals (draws, v), mean features (r, v), and their covariance (v, r, r) or variance (v, r)."""
    found, squares = residuals(model, problem, x)
    mean = tf.reduce_mean(found, axis=1)
    off = found - mean[:, None]
    if not joint:
        return squares, mean, tf.transpose(tf.reduce_mean(off * off, axis=1))
    off = tf.transpose(off, (2, 0, 1))
    return squares, mean, tf.matmul(off, off, transpose_b=True) / float(off.shape[2])
