"""Sample the posterior of every curve: blocks, passes, and what may be trusted."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from numpy.typing import NDArray

from qperf_app.physics.models import Model
from qperf_app.plugins.kinetic_priors import Priors
from qperf_hmc.blocks import Hamiltonian, Independent, Sampled, hamiltonian, independent
from qperf_hmc.setting import Setting, choose, without_gaps
from qperf_hmc.target import Coordinates, Problem, residuals

Array = NDArray[np.float64]
FloatArray = NDArray[np.float32]
Index = NDArray[np.intp]

#: Voxels sampled together. Fixed, so that nothing depends on how many there are; what is missing is filled up.
#: So many where points are few, and where they are many; trajectories take many small steps, which pay for many voxels
#: only, or for few.
BLOCK, SLOW_BLOCK, LARGE_BLOCK, SMALL_BLOCK = 64, 16, 256, 32
_FEW_POINTS = 8192
_LEAST_WORTH = 0.1
MAX_RHAT, MIN_ESS, MIN_BFMI, MAX_DIVERGENCES = 1.01, 400.0, 0.2, 0.02

Try = Independent | Hamiltonian
#: The first pass for all curves of the exchange model, the others for those that fail: longer, in tries of which each
#: is for what the one before left, then with trajectories.
PASSES: tuple[tuple[Try, ...], ...] = (
    (Independent(4096, 1e-3),),
    (Independent(12288, 2e-4), Independent(49152, 5e-5)),
    (Hamiltonian(2, 4096, 2400, 0.93),),
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
        Physical parameters, evenly thinned over the chains.
    noise : (n, kept) array
        Draws of the noise's standard deviation, mmol/L.
    fitted, spread : (n, t) arrays
        Mean and standard deviation of the model curves.
    rhat, ess : (n, p) arrays
        Split R-hat and effective sample size of each coordinate, of all draws (not the thinned ones).
    bfmi, divergences : (n,) arrays
        Least energy fraction of missing information, NaN without trajectories; part of the trajectories that diverged.
    passes : (n,) int array
        Passes that were needed; ``good`` (n,) says whether the last one met every criterion.
    """

    draws: FloatArray
    noise: FloatArray
    fitted: Array
    spread: Array
    rhat: Array
    ess: Array
    bfmi: Array
    divergences: Array
    passes: Index
    good: NDArray[np.bool_]


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
) -> Posterior:
    """Sample the posterior of every curve.

    Parameters
    ----------
    model : Model
        Any model of tensors; ``2CXM`` is tabulated unless the noise is too low for it.
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

    Returns
    -------
    Posterior
        The same, whatever the number of threads and the order of the curves.
    """
    curves = np.asarray(curves, dtype=np.float64)
    # One order for any: sums in single precision then fall the same way.
    order = np.lexsort(np.nan_to_num(curves).T)
    setting = choose(model, priors, times, curves, input_times, concentration)
    scale = priors.noise_scale * float(np.abs(concentration).max())
    parts: list[tuple[Index, Posterior]] = []
    for rows in _alike(np.isfinite(curves), order, setting.basis is not None):
        own = without_gaps(setting, np.isfinite(curves[rows[0]]))
        parts.append((rows, _Run(own, priors, scale, curves[rows], seed, threads, kept, say).sample(passes)))
    index = np.argsort(np.concatenate([rows for rows, _ in parts]))
    fields = Posterior.__dataclass_fields__
    return Posterior(*(np.concatenate([getattr(part, name) for _, part in parts])[index] for name in fields))


def _alike(present: NDArray[np.bool_], order: Index, separate: bool) -> Iterator[Index]:
    """Rows that are sampled together: those with the same samples, where that matters."""
    if not separate:
        yield order
        return
    _, group = np.unique(present, axis=0, return_inverse=True)
    for k in range(group.max() + 1):
        yield order[group.reshape(-1)[order] == k]


class _Run:
    """All curves of one setting."""

    def __init__(
        self, setting: Setting, priors: Priors, scale: float, curves: Array, seed: int, threads: int, kept: int,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:  # fmt: skip
        self.setting, self.priors = setting, priors
        self.seed, self.threads, self.kept, self.say = seed, threads, kept, say
        self.scale = scale**2
        self.curves, self.present = curves, np.isfinite(curves)
        self.count = self.present.sum(axis=1).astype(np.float64)
        self.worth = np.ones(len(curves))
        if setting.basis is None:
            self.data, self.rest = np.nan_to_num(curves), np.zeros(len(curves))
        else:
            measured = curves[:, self.present[0]]
            self.data = measured @ setting.basis
            self.rest = np.maximum((measured**2).sum(axis=1) - (self.data**2).sum(axis=1), 0.0)
        self.tables = tf.nest.map_structure(_tensor, setting.tables)

    def sample(self, passes: int) -> Posterior:
        """First pass for all, further ones for what fails."""
        ways = (GENERAL_PASSES if self.setting.cells is None else PASSES)[:passes]
        (first,) = ways[0]
        result = self._try(np.arange(len(self.curves)), first, 0, {})
        self.worth = sample_worth(self.curves - result["fitted"])
        self._again(result, np.flatnonzero(self.worth < 1.0), first, 0, {})
        for turn, tries in enumerate(ways[1:], 1):
            for how in tries:
                self._again(result, np.flatnonzero(~result["good"]), how, turn, result)
        return Posterior(**{name: result[name] for name in Posterior.__dataclass_fields__})

    def _again(self, result: dict[str, Any], rows: Index, how: Try, turn: int, before: dict[str, Any]) -> None:
        """Put what a try finds for some rows in place of what was found before."""
        if len(rows):
            for name, values in self._try(rows, how, turn, before).items():
                result[name][rows] = values

    def _try(self, rows: Index, how: Try, turn: int, before: dict[str, Any]) -> dict[str, Any]:
        size = LARGE_BLOCK if len(rows) > SMALL_BLOCK else SMALL_BLOCK
        if isinstance(how, Independent):
            size = BLOCK if how.points <= _FEW_POINTS else SLOW_BLOCK
        blocks = [rows[i : i + size] for i in range(0, len(rows), size)]
        one = functools.partial(self._block, size=size, how=how, turn=turn, before=before)
        with ThreadPoolExecutor(max_workers=max(self.threads, 1)) as pool:
            found = []
            for part in pool.map(one, blocks):
                found.append(part)
                self.say(f"pass {turn + 1}: {min(size * len(found), len(rows))} of {len(rows)} curves sampled")
        return {name: np.concatenate([part[name] for part in found]) for name in found[0]}

    def _block(self, rows: Index, size: int, how: Try, turn: int, before: dict[str, Any]) -> dict[str, Any]:
        padded = np.concatenate([rows, np.full(size - len(rows), rows[0])])
        problem, seed = self._problem(padded), 10 * self.seed + turn
        if isinstance(how, Independent):
            found = independent(self.setting, problem, how, seed)
        else:
            drawn = self._coordinates(before["draws"][padded]) if before else None
            found = hamiltonian(self.setting, problem, how, seed, drawn)
        return {name: value[: len(rows)] for name, value in self._judge(padded, problem, found, turn).items()}

    def _problem(self, rows: Index) -> Problem:
        tile = lambda v: np.tile(v[:, None], (1, len(rows)))  # noqa: E731
        worth, data = self.worth[rows], self.data[rows].T
        weight = np.sqrt(worth) * (self.present[rows].T if self.setting.basis is None else np.ones(data.shape))
        return Problem(
            self.tables,
            *map(
                _tensor,
                (
                    data, weight, worth * self.rest[rows], worth * self.count[rows], tile(self.priors.mean),
                    tile(self.priors.sd), self.priors.noise_shape, self.scale,
                ),
            ),
        )  # fmt: skip

    def _coordinates(self, parameters: FloatArray) -> FloatArray:
        return np.where(np.array(self.priors.positive), np.log(np.maximum(parameters, 1e-30)), parameters)

    def _judge(self, rows: Index, problem: Problem, found: Sampled, turn: int) -> dict[str, Any]:
        ess, rhat = (a.numpy() for a in _diagnose(tf.constant(found.x)))
        flat = found.x.reshape(-1, *found.x.shape[2:])
        thin = flat[np.linspace(0, len(flat) - 1, self.kept).astype(int)]
        coordinates = [tf.constant(a) for a in np.moveaxis(thin, -1, 0)]
        squares, features, covariance = _fit(self.setting.model, problem, coordinates, self.setting.bridge is not None)
        # Given a curve, the noise's variance is inverse-gamma.
        rng = np.random.default_rng([self.seed, turn, int(rows[0])])
        shape = self.priors.noise_shape + 0.5 * (self.worth * self.count)[rows][:, None]
        unit = rng.standard_gamma(np.broadcast_to(shape, (len(rows), self.kept)))
        noise = np.sqrt((self.scale + 0.5 * squares.numpy().T) / unit)
        draws = thin.transpose(1, 0, 2)
        draws = np.where(np.array(self.priors.positive), np.exp(draws), draws).astype(np.float32)
        good = (rhat < MAX_RHAT).all(axis=1) & (ess > MIN_ESS).all(axis=1)
        good &= ~(found.bfmi <= MIN_BFMI) & (found.divergences < MAX_DIVERGENCES)
        return {
            "draws": draws, "noise": noise.astype(np.float32),
            "fitted": self.setting.curves(features.numpy().T.astype(np.float64)),
            "spread": self.setting.spreads(covariance.numpy().astype(np.float64)), "rhat": rhat, "ess": ess,
            "bfmi": found.bfmi, "divergences": found.divergences, "passes": np.full(len(rows), turn + 1), "good": good,
        }  # fmt: skip


def sample_worth(residual: Array) -> Array:
    """Independent samples per sample, (n,), from the lag-one autocorrelation r of residuals (n, t): (1 - r) / (1 + r).

    Interpolation in time and motion correction leave noise that hangs together, and a model that is only nearly right
    looks the same; counted as independent such samples would claim a precision that is not there (Bartlett 1946,
    doi:10.2307/2983611). An r that white noise has in one curve of forty counts as 0.
    """
    known = np.nan_to_num(residual)
    r = np.einsum("nt,nt->n", known[:, 1:], known[:, :-1]) / (np.einsum("nt,nt->n", known, known) + 1e-300)
    chance = 2.0 / np.sqrt(np.maximum(np.isfinite(residual).sum(axis=1), 1))
    return np.where(r > chance, np.clip((1.0 - r) / (1.0 + r), _LEAST_WORTH, 1.0), 1.0)


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


@functools.partial(tf.function, autograph=False)
def _diagnose(x: Any) -> tuple[Any, Any]:
    """Effective sample size and split R-hat (v, p) of draws (n, chains, v, p).

    Vehtari et al. 2021, doi:10.1214/20-BA1221 (without rank normalisation); TFP gives the square of R-hat.
    """
    ess = tfp.mcmc.effective_sample_size(x, cross_chain_dims=1, filter_beyond_positive_pairs=True)
    rhat = tfp.mcmc.potential_scale_reduction(x, independent_chain_ndims=1, split_chains=True)
    return ess, tf.sqrt(rhat)


def _tensor(value: Any) -> Any:
    array = np.asarray(value)
    return tf.constant(array if array.dtype.kind == "i" else array.astype(np.float32))
