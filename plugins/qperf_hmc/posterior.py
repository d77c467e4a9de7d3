"""Sample the posterior of every curve: blocks, passes, and what may be trusted."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from numpy.typing import NDArray

from qperf_app.physics.models import Model
from qperf_hmc import approximation, chains, exchange, table
from qperf_hmc.forward import Direct, make_grid
from qperf_hmc.priors import Priors
from qperf_hmc.target import Coordinates, Problem

Array = NDArray[np.float64]
FloatArray = NDArray[np.float32]

#: Voxels sampled together. Fixed, so that nothing depends on how many there are; what is missing is filled up.
BLOCK, SMALL_BLOCK = 256, 32
CHAINS = 4
MAX_RHAT, MIN_ESS, MIN_BFMI, MAX_DIVERGENCES = 1.01, 400.0, 0.2, 0.02
_DICTIONARY, _TEMPERED_SIZE = 8192, 60.0
_STARTS = 4
# The table's delays reach this many standard deviations of the prior to either side.
_DELAY_REACH = 3.5
# The table is used where the noise exceeds its error by this factor.
_ERROR_BELOW_NOISE = 5.0


@dataclass(frozen=True)
class Pass:
    """How hard to try: rounds and draws of the approximation, draws of each chain, acceptance aimed at."""

    rounds: int
    importance_draws: int
    draws: int
    acceptance: float


#: The first for all, the others for those that fail: longer, then longer with a safer step.
PASSES = (Pass(3, 1024, 400, 0.8), Pass(2, 2048, 1200, 0.8), Pass(2, 4096, 2400, 0.93))


@dataclass(frozen=True)
class Posterior:
    """Posteriors of n curves.

    Parameters
    ----------
    draws : (n, kept, p) float32 array
        Physical parameters, evenly thinned over the chains.
    noise : (n, kept) array
        Draws of the noise's standard deviation, mmol/L.
    fitted : (n, t) array
        Mean of the model curves.
    rhat, ess : (n, p) arrays
        Split R-hat and effective sample size of each coordinate, of all draws (not the thinned ones).
    bfmi, divergences : (n,) arrays
        Least energy fraction of missing information; part of the trajectories that diverged.
    passes : (n,) int array
        Passes that were needed; ``good`` (n,) says whether the last one met every criterion.
    """

    draws: FloatArray
    noise: FloatArray
    fitted: Array
    rhat: Array
    ess: Array
    bfmi: Array
    divergences: Array
    passes: NDArray[np.intp]
    good: NDArray[np.bool_]


class _Setting(NamedTuple):
    """One way to compute features: model, its tables, the basis (t, r) or None where features are samples."""

    model: Coordinates
    tables: Any
    basis: Array | None


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
    passes: Sequence[Pass] = PASSES,
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

    Returns
    -------
    Posterior
        The same, whatever the number of threads and the order of the curves.
    """
    curves = np.asarray(curves, dtype=np.float64)
    # One order for any: sums in single precision then fall the same way.
    order = np.lexsort(np.nan_to_num(curves).T)
    whole = np.isfinite(curves[order]).all(axis=1)
    parts: list[tuple[NDArray[np.intp], Posterior]] = []
    for complete in (True, False):
        rows = order[whole == complete]
        if len(rows):
            setting = _setting(model, priors, times, curves[rows], input_times, concentration, complete)
            scale = priors.noise_scale * float(np.abs(concentration).max())
            run = _Run(setting, priors, scale, curves[rows], seed, threads, kept)
            parts.append((rows, run.sample(passes)))
    index = np.argsort(np.concatenate([rows for rows, _ in parts]))
    fields = Posterior.__dataclass_fields__
    return Posterior(*(np.concatenate([getattr(part, name) for _, part in parts])[index] for name in fields))


def _setting(
    model: Model, priors: Priors, times: Array, curves: Array, input_times: Array, concentration: Array, whole: bool
) -> _Setting:
    direct = Coordinates(Direct(model), priors.positive)
    grid = make_grid(times, input_times, concentration)
    if model.name == "2CXM":
        mean, sd = priors.mean[4], priors.sd[4]
        tables = table.build(times, input_times, concentration, (mean - _DELAY_REACH * sd, mean + _DELAY_REACH * sd))
        tabulated = Coordinates(exchange.forward, priors.positive)
        x = _prior_draws(priors, 256)
        curve = lambda coordinates, arrays: coordinates.features(arrays, [tf.constant(v) for v in x]).numpy()  # noqa: E731
        exact, found = curve(direct, grid), tables.basis @ curve(tabulated, tables)
        error = np.sqrt(((found - exact) ** 2).mean(axis=0)) / np.abs(exact).max(axis=0)
        noise = np.nanmean(np.abs(np.diff(curves, 2, axis=1)), axis=1) / 1.95 / np.nanmax(np.abs(curves), axis=1)
        if np.median(noise) > _ERROR_BELOW_NOISE * np.median(error):
            if whole:
                return _Setting(tabulated, tables, tables.basis)
            return _Setting(Coordinates(exchange.frames, priors.positive), tables, None)
    return _Setting(direct, grid, None)


def _prior_draws(priors: Priors, count: int) -> Array:
    """Evenly spread draws of the prior's coordinates, (p, count)."""
    from scipy.special import ndtri
    from scipy.stats import qmc

    uniform = qmc.Sobol(len(priors.mean), scramble=True, seed=0).random(count)
    return (priors.mean + priors.sd * ndtri(uniform)).T


class _Run:
    """All curves of one setting."""

    def __init__(
        self, setting: _Setting, priors: Priors, scale: float, curves: Array, seed: int, threads: int, kept: int
    ) -> None:
        self.setting, self.priors, self.curves = setting, priors, curves
        self.seed, self.threads, self.kept = seed, threads, kept
        self.scale = scale**2
        self.count = np.isfinite(curves).sum(axis=1).astype(np.float64)
        data = np.nan_to_num(curves)
        self.data = data if setting.basis is None else data @ setting.basis
        self.present = np.isfinite(curves)
        outside = (data**2).sum(axis=1) - (self.data**2).sum(axis=1)
        self.rest = np.maximum(outside, 0.0) if setting.basis is not None else np.zeros(len(data))
        self.dictionary = _prior_draws(priors, _DICTIONARY)
        self.tables = tf.nest.map_structure(_tensor, setting.tables)
        x = [_tensor(v) for v in self.dictionary]
        self.dictionary_features = setting.model.features(self.tables, x).numpy().astype(np.float64)

    def sample(self, passes: Sequence[Pass]) -> Posterior:
        """First pass for all, further ones for what fails."""
        result: dict[str, Any] = {}
        todo = np.arange(len(self.curves))
        for turn, how in enumerate(passes):
            found = self._pass(todo, how, turn, result)
            for name, values in found.items():
                if name not in result:
                    result[name] = np.zeros((len(self.curves), *values.shape[1:]), dtype=values.dtype)
                result[name][todo] = values
            todo = todo[~found["good"][: len(todo)]]
            if not len(todo):
                break
        return Posterior(**{name: result[name] for name in Posterior.__dataclass_fields__})

    def _pass(self, rows: NDArray[np.intp], how: Pass, turn: int, before: dict[str, Any]) -> dict[str, Any]:
        size = BLOCK if len(rows) > SMALL_BLOCK else SMALL_BLOCK
        blocks = [rows[i : i + size] for i in range(0, len(rows), size)]
        one = functools.partial(self._block, size=size, how=how, turn=turn, before=before)
        with ThreadPoolExecutor(max_workers=max(self.threads, 1)) as pool:
            found = list(pool.map(one, blocks))
        return {name: np.concatenate([part[name] for part in found]) for name in found[0]}

    def _block(self, rows: NDArray[np.intp], size: int, how: Pass, turn: int, before: dict[str, Any]) -> dict[str, Any]:
        padded = np.concatenate([rows, np.full(size - len(rows), rows[0])])
        problem, model = self._problem(padded), self.setting.model
        seeds = [tf.constant([self.seed % 2**31, 100 * turn + k], tf.int32) for k in range(how.rounds + 1)]
        if turn == 0:
            centres, mean, lower = self._first_centres(padded, problem)
        else:
            # What the chains found so far, badly mixed as they may be, says more than any approximation.
            draws = self._coordinates(before["draws"][padded])
            every = np.linspace(0, draws.shape[1] - 1, approximation.PIECES).astype(int)
            centres = [_tensor(draws[:, every, i].T) for i in range(draws.shape[2])]
            mean, lower = _moments(draws)
        for key in seeds[:-1]:
            mixture = _around(model, problem, centres, mean, lower)
            moments = _weigh(model, problem, mixture, how.importance_draws, key)
            centres, mean, lower = moments.starts, moments.mean, moments.lower
        mixture = _around(model, problem, centres, mean, lower)
        found = chains.run(model, problem, mixture, moments, CHAINS, how.draws, how.acceptance, seeds[-1])
        return {name: value[: len(rows)] for name, value in self._judge(padded, problem, found, turn).items()}

    def _problem(self, rows: NDArray[np.intp]) -> Problem:
        tile = lambda v: np.tile(v[:, None], (1, len(rows)))  # noqa: E731
        present = self.present[rows].T if self.setting.basis is None else np.ones((1, 1))
        return Problem(
            self.tables,
            *map(
                _tensor,
                (
                    self.data[rows].T, present, self.rest[rows], self.count[rows], tile(self.priors.mean),
                    tile(self.priors.sd), self.priors.noise_shape, self.scale,
                ),
            ),
        )  # fmt: skip

    def _first_centres(self, rows: NDArray[np.intp], problem: Problem) -> tuple[list[Any], list[Any], list[list[Any]]]:
        """Modes climbed to from the best of the dictionary, and draws of the tempered posterior."""
        y, present = self.data[rows], self.present[rows].astype(np.float64)
        features = self.dictionary_features
        energy = present @ features**2 if self.setting.basis is None else (features**2).sum(axis=0)
        squares = (y**2).sum(axis=1)[:, None] + energy - 2.0 * y @ features + self.rest[rows][:, None]
        exponent = self.priors.noise_shape + 0.5 * self.count[rows][:, None]
        level = -exponent * np.log(self.scale + 0.5 * np.maximum(squares, 0.0))
        x = self.dictionary
        # Starts differ in the first and the last parameter, flow and delay, which trade most against each other.
        group = 2 * (x[-1] > np.median(x[-1])) + (x[0] > np.median(x[0]))
        best = np.stack([np.flatnonzero(group == g)[level[:, group == g].argmax(axis=1)] for g in range(_STARTS)])
        modes = _climb(self.setting.model, problem, [_tensor(v[best]) for v in x])
        tempered = _temper(level, approximation.PIECES - _STARTS)
        centres = [tf.concat([m, _tensor(v[tempered])], axis=0) for m, v in zip(modes, x, strict=True)]
        zero = tf.zeros_like(problem.sd[0])
        lower = [[problem.sd[i] if i == j else zero for j in range(i + 1)] for i in range(len(x))]
        return centres, list(tf.unstack(problem.mean)), lower

    def _coordinates(self, parameters: FloatArray) -> FloatArray:
        return np.where(np.array(self.priors.positive), np.log(np.maximum(parameters, 1e-30)), parameters)

    def _judge(self, rows: NDArray[np.intp], problem: Problem, found: chains.Chains, turn: int) -> dict[str, Any]:
        x = tf.stack(found.x, axis=-1)
        ess, rhat = (a.numpy() for a in _diagnose(x))
        flat = tf.reshape(x, [-1, *x.shape[2:]])
        every = np.linspace(0, flat.shape[0] - 1, self.kept).astype(int)
        thin = tf.gather(flat, every)
        squares, fitted = _fit(self.setting.model, problem, [thin[..., i] for i in range(thin.shape[-1])])
        fitted = fitted.numpy().T.astype(np.float64)
        fitted = fitted if self.setting.basis is None else fitted @ self.setting.basis.T
        # Given a curve, the noise's variance is inverse-gamma.
        rng = np.random.default_rng([self.seed, turn, int(rows[0])])
        shape = self.priors.noise_shape + 0.5 * self.count[rows][:, None]
        unit = rng.standard_gamma(np.broadcast_to(shape, (len(rows), self.kept)))
        noise = np.sqrt((self.scale + 0.5 * squares.numpy().T) / unit)
        draws = thin.numpy().transpose(1, 0, 2)
        draws = np.where(np.array(self.priors.positive), np.exp(draws), draws).astype(np.float32)
        bfmi, divergences = found.bfmi.numpy(), found.divergences.numpy()
        good = (rhat < MAX_RHAT).all(axis=1) & (ess > MIN_ESS).all(axis=1)
        good &= (bfmi > MIN_BFMI) & (divergences < MAX_DIVERGENCES)
        return {
            "draws": draws, "noise": noise.astype(np.float32), "fitted": fitted, "rhat": rhat, "ess": ess, "bfmi": bfmi,
            "divergences": divergences, "passes": np.full(len(rows), turn + 1), "good": good,
        }  # fmt: skip


@functools.partial(tf.function, autograph=False)
def _climb(model: Coordinates, problem: Problem, starts: Any) -> Any:
    return approximation.find_modes(model, problem, starts)


@functools.partial(tf.function, autograph=False)
def _around(model: Coordinates, problem: Problem, centres: Any, mean: Any, lower: Any) -> approximation.Mixture:
    return approximation.around(model, problem, centres, mean, lower)


@functools.partial(tf.function, jit_compile=True, autograph=False)
def _weigh(model: Coordinates, problem: Problem, mixture: Any, draws: int, seed: Any) -> approximation.Moments:
    return approximation.weigh(model, problem, mixture, draws, seed)


@functools.partial(tf.function, jit_compile=True, autograph=False)
def _fit(model: Coordinates, problem: Problem, x: Any) -> tuple[Any, Any]:
    """Sum of squared residuals (draws, v) and mean features (r, v)."""
    shape = x[0].shape
    found = tf.reshape(model.features(problem.tables, [tf.reshape(v, [-1]) for v in x]), [-1, *shape])
    residual = (problem.data[:, None, :] - found) * problem.present[:, None, :]
    return problem.rest + tf.reduce_sum(residual * residual, axis=0), tf.reduce_mean(found, axis=1)


@functools.partial(tf.function, autograph=False)
def _diagnose(x: Any) -> tuple[Any, Any]:
    """Effective sample size and split R-hat (v, p) of draws (n, chains, v, p).

    Vehtari et al. 2021, doi:10.1214/20-BA1221 (without rank normalisation); TFP gives the square of R-hat.
    """
    ess = tfp.mcmc.effective_sample_size(x, cross_chain_dims=1, filter_beyond_positive_pairs=True)
    rhat = tfp.mcmc.potential_scale_reduction(x, independent_chain_ndims=1, split_chains=True)
    return ess, tf.sqrt(rhat)


def _temper(level: Array, count: int) -> NDArray[np.intp]:
    """Systematic draws (count, v) from the powers of likelihoods (v, k) whose effective number is about 60."""
    level = level - level.max(axis=1, keepdims=True)
    low, high = np.zeros(len(level)), np.ones(len(level))
    for _ in range(12):
        power = 0.5 * (low + high)
        weight = np.exp(power[:, None] * level)
        size = weight.sum(axis=1) ** 2 / (weight**2).sum(axis=1)
        low, high = np.where(size > _TEMPERED_SIZE, power, low), np.where(size > _TEMPERED_SIZE, high, power)
    weight = np.exp(low[:, None] * level)
    running = np.cumsum(weight, axis=1) / weight.sum(axis=1, keepdims=True)
    at = (np.arange(count) + 0.5) / count
    return np.stack([np.minimum(np.searchsorted(row, at), level.shape[1] - 1) for row in running], axis=1)


def _moments(draws: FloatArray) -> tuple[list[Any], list[list[Any]]]:
    """Mean and covariance factor, entry by entry, of draws (v, n, p)."""
    mean = draws.mean(axis=1)
    centred = draws - mean[:, None]
    covariance = np.einsum("vni,vnj->vij", centred, centred) / draws.shape[1]
    lower = np.linalg.cholesky(covariance + 1e-6 * np.eye(draws.shape[2]))
    p = draws.shape[2]
    return [_tensor(m) for m in mean.T], [[_tensor(lower[:, i, j]) for j in range(i + 1)] for i in range(p)]


def _tensor(value: Any) -> Any:
    array = np.asarray(value)
    return tf.constant(array if array.dtype.kind == "i" else array.astype(np.float32))
