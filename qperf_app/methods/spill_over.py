r"""Spill-over: how much of a voxel of the wall is blood, and what is left of its signal for the muscle.

The signal of a voxel is the mean over what lies in it,

.. math:: S(t) = (1 - f) S_\text{muscle}(t) + f S_\text{blood}(t),

with the blood's signal as the same series shows it in the cavity, saturated or not, proton-density volumes included.
Cardiac PET corrects for spill-over and partial volume in this way (Hutchins et al. 1990,
doi:10.1016/0735-1097(90)90237-J). Given f the muscle's signal follows, and from it the muscle's concentration. Which f
it is three things tell:

- the curve: muscle obeys a kinetic model (:class:`MuscleCurves`, :func:`log_likelihood`);
- the outline: blood lies near the border of a pool (:func:`log_border_prior`);
- the neighbours: an outline that errs does so along a part of the wall (:func:`posterior`).

Breathing lets the fraction vary from frame to frame (:mod:`~qperf_app.methods.moving_border`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qperf_app.methods.kinetic_inputs import even_input
from qperf_app.methods.noise import effective_sample_fraction, white_noise_sd
from qperf_app.methods.priors import read
from qperf_app.methods.running import running_median
from qperf_app.methods.sobol import sobol
from qperf_app.physics.models import MODELS

Array = NDArray[np.float64]

#: Fractions of blood that every curve is tried with, and those that are weighed: where blood is much brighter than
#: muscle a curve tells them to a hundredth, so that about the best one all are tried (:func:`about_the_best`).
COARSE: Array = np.linspace(0.0, 0.7, 15)
FRACTIONS: Array = np.linspace(0.0, 0.7, 71)
#: Muscle exchanges or is distributed, either with the same prior probability; so many draws of each.
_MODELS, _DRAWS = ("2CXM", "ATH"), 512
_PARAMETERS = ("Fp", "PS", "vp", "ve", "Ta")
#: Standard deviation of the logarithm of the factor by which muscle may differ from a draw.
_FACTOR_SD = 0.5
#: Residual that is taken for rounding and for what lies between the draws, as a part of a curve's energy.
_FLOOR = 1e-3
#: A jump is told from a running median over so many seconds, of so many frames at most, by so many times the noise and
#: so much of the curve's height: what the median takes off the peak of a bolus.
_STEADY, _MOST_FRAMES, _JUMP, _SHARP = 6.0, 5, 3.0, 0.05
#: Share of the prior of muscle that is learnt from the scan.
_LEARNT = 0.9
#: Voxels held against the draws together, for the processor's cache.
_AT_ONCE = 8
_TINY = 1e-30

#: Offsets of a border from the outline that are weighed, and their prior's standard deviation; standard deviation of a
#: voxel's own offset; and of the distance over which borders are alike: in voxels' edges.
_OFFSETS: Array = np.linspace(-2.0, 2.0, 17)
_OFFSET_SD, _OWN_SD, _ALIKE = 1.0, 0.4, 1.5
#: Standard deviation of the point spread across a border, in voxels' edges: a box of one voxel has 0.29, an acquired
#: resolution of 0.85 of it and an oblique wall add to it.
BLUR = 0.5


@dataclass(frozen=True)
class MuscleCurves:
    """What a curve of muscle looks like under one input function: draws of the kinetic models' priors.

    ``shapes`` (m, t) have unit energy; ``log_size`` (m,) is the logarithm of the root of the energy that they had.
    ``factor_sd`` is the standard deviation of the logarithm of the factor by which muscle may differ from a draw.
    """

    shapes: NDArray[np.float32]
    log_size: NDArray[np.float32]
    factor_sd: float = _FACTOR_SD

    @classmethod
    def of(
        cls, times: Array, input_times: Array, plasma: Array, priors: str = "", log_height_sd: float = 0.0
    ) -> MuscleCurves:
        """Draw curves at ``times`` (t,), s, for an input function (k,), mmol/L in plasma, at its own times.

        ``priors`` names a YAML file of priors (:mod:`qperf_app.methods.priors`); the built-in ones where it is empty.
        ``log_height_sd`` is the standard deviation of the logarithm of the input's height.
        """
        from scipy.special import ndtri

        # Finely enough for a weight; a fit takes half of this spacing or less.
        grid, cp = even_input(input_times, plasma, float(times[-1]))
        grid, cp = grid[::2], cp[::2]
        prior = read(priors, "2CXM", _PARAMETERS)
        uniform = sobol(_DRAWS, len(_PARAMETERS), seed=0)
        drawn = dict(zip(_PARAMETERS, prior.parameters(prior.mean + prior.sd * ndtri(uniform)).T, strict=True))
        curves = [MODELS[name](grid, cp, *(drawn[p.name] for p in MODELS[name].parameters)) for name in _MODELS]
        spread = float(np.hypot(_FACTOR_SD, log_height_sd))
        return cls.from_curves(_interpolated(grid, np.concatenate(curves), times), spread)

    @classmethod
    def from_curves(cls, curves: Array, factor_sd: float = _FACTOR_SD) -> MuscleCurves:
        """Take curves (m, t) as the draws; those of nothing are left out."""
        size = np.sqrt((curves**2).sum(axis=1))
        kept = size > 1e-6 * size.max()
        shapes = curves[kept] / size[kept, None]
        return cls(shapes.astype(np.float32), np.log(size[kept]).astype(np.float32), factor_sd)


def _interpolated(grid: Array, curves: Array, times: Array) -> Array:
    """Curves (m, g) on an even grid at other times (t,), linear in between."""
    position = np.clip((times - grid[0]) / (grid[1] - grid[0]), 0, len(grid) - 1.000001)
    before = position.astype(int)
    part = position - before
    found: Array = curves[:, before] * (1.0 - part) + curves[:, before + 1] * part
    return np.where(times < grid[0], 0.0, found)


def muscle_signal(signal: Array, fraction: Array, blood: Array) -> Array:
    """Signal (..., t) of muscle, given the fraction (..., t or 1) of blood, and the blood's signal (..., t)."""
    return np.asarray((signal - fraction * blood) / (1.0 - fraction))


def frame_weights(signal: Array, interval: float) -> Array:
    """Weight of every frame of curves (n, t), ``interval`` s apart: low where a curve jumps.

    A breath moved blood in or out then, which no fraction that stays describes. The weight is that of
    Cauchy's distribution at the distance from the running median.
    """
    # A bolus takes some 8 s to pass the ventricle: a longer window would take its peak for a jump.
    frames = min(_MOST_FRAMES, int(_STEADY / interval))
    window = max(1, frames - 1 + frames % 2)
    away = signal - running_median(signal, window)
    scale = _JUMP * white_noise_sd(signal) + _SHARP * np.ptp(signal, axis=1) + _TINY
    return np.asarray(1.0 / (1.0 + (away / scale[:, None]) ** 2))


def log_scores(
    curves: Array, weight: Array, frames: Array, muscle: MuscleCurves, count: Array | None = None
) -> tuple[NDArray[np.float32], Array]:
    """Log likelihood of every fraction of blood and every draw of muscle, and how many frames are independent.

    Parameters
    ----------
    curves : (n, g, t) array
        Concentration of a voxel's muscle for each of g fractions of blood.
    weight : (n, g) array
        How much a unit of it changes the measured signal: (1 - f) times the slope of the muscle's signal. A residual of
        the curve times this is one of the signal, whose noise does not depend on f.
    frames : (n, t) array
        Weight of each frame (:func:`frame_weights`).
    muscle : MuscleCurves
    count : (n,) array, optional
        Of independent frames; by default that of the best of all residuals.

    Returns
    -------
    (n, g, m) array, (n,) array
        The noise's level is integrated out (its prior is flat in the logarithm); the factor by which muscle differs
        from a draw has its best value. Autocorrelated residuals count for less.
    """
    n, g, t = curves.shape
    flat = curves.reshape(n * g, t).astype(np.float32)
    shares = np.repeat(frames, g, axis=0).astype(np.float32)
    energy = (flat * flat * shares).sum(axis=1)
    size = np.sqrt(frames.astype(np.float32) @ (muscle.shapes**2).T)[:, None]
    product = ((flat * shares) @ muscle.shapes.T).reshape(n, g, -1)
    product /= size
    np.maximum(product, 1e-12, out=product)
    scale = (weight**2).astype(np.float32)
    squares = product * product
    np.subtract(energy.reshape(n, g, 1), squares, out=squares)
    squares *= scale[..., None]
    if count is None:
        # What the best of all leaves is what the noise looks like.
        best = squares.reshape(n, -1).argmin(axis=1)
        voxel, row, draw = np.arange(n), best // len(muscle.shapes), best % len(muscle.shapes)
        factor = product[voxel, row, draw] / size[voxel, 0, draw]
        residual = curves[voxel, row].astype(np.float32) - factor[:, None] * muscle.shapes[draw]
        count = frames.sum(axis=1) * effective_sample_fraction((residual * np.sqrt(frames)).astype(np.float64))
    floor = _FLOOR * (energy.reshape(n, g)[:, 0] * scale[:, 0]) + _TINY
    # In place from here on: such arrays cost more to make than to compute with.
    np.maximum(squares, 0.0, out=squares)
    squares += floor[:, None, None]
    score = np.log(squares, out=squares)
    score *= (-0.5 * count).astype(np.float32)[:, None, None]
    product /= size
    away = np.log(product, out=product)
    away -= muscle.log_size
    away /= muscle.factor_sd
    score -= 0.5 * away * away
    return score, count


def muscle_log_prior(
    curves: Array, weight: Array, frames: Array, muscle: MuscleCurves, inner: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Log prior (m,) of the draws of muscle: in the main their shares in what this muscle does (empirical Bayes).

    So that a late, slow curve is not left over where blood was taken out. It is learnt from the voxels ``inner`` (n,)
    that lie away from every border; ``curves`` (n, t) and ``weight`` (n,) are theirs without any blood.
    """
    from scipy.special import logsumexp

    prior = np.full(len(muscle.shapes), 1.0 / len(muscle.shapes))
    if inner.any():
        own = np.zeros_like(prior)
        chosen = np.flatnonzero(inner)
        for some in (chosen[k : k + _AT_ONCE * 8] for k in range(0, len(chosen), _AT_ONCE * 8)):
            score = log_scores(curves[some, None], weight[some, None], frames[some], muscle)[0][:, 0].astype(np.float64)
            own += np.exp(score - logsumexp(score, axis=1, keepdims=True)).sum(axis=0)
        prior = (1.0 - _LEARNT) * prior + _LEARNT * own / own.sum()
    return np.asarray(np.log(prior), np.float32)


def log_likelihood(
    curves: Array,
    weight: Array,
    frames: Array,
    muscle: MuscleCurves,
    log_prior: NDArray[np.float32],
    count: Array | None = None,
) -> tuple[Array, Array]:
    """Log likelihood (n, g) of every fraction of blood, over all that muscle may do, and independent frames (n,).

    ``log_prior`` (m,) is that of the draws (:func:`muscle_log_prior`); other arguments as of :func:`log_scores`.
    """
    found, counts = [], []
    for rows in (slice(k, k + _AT_ONCE) for k in range(0, len(curves), _AT_ONCE)):
        given = None if count is None else count[rows]
        score, used = log_scores(curves[rows], weight[rows], frames[rows], muscle, given)
        score += log_prior
        top = score.max(axis=2)
        score -= top[..., None]
        found.append(top + np.log(np.exp(score, out=score).sum(axis=2)))
        counts.append(used)
    return np.concatenate(found).astype(np.float64), np.concatenate(counts)


def about_the_best(log_likelihood: Array) -> NDArray[np.intp]:
    """Of each voxel the :data:`FRACTIONS` next to the best of :data:`COARSE`, as indices (n, f); those are left out.

    ``log_likelihood`` (n, g) is that of the coarse ones.
    """
    fine = (len(FRACTIONS) - 1) // (len(COARSE) - 1)
    between = np.array([k for k in range(1 - fine, fine) if k])
    best = np.clip(log_likelihood.argmax(axis=1), 1, len(COARSE) - 2)
    return np.asarray(fine * best[:, None] + between)


def refined(log_likelihood: Array, chosen: NDArray[np.intp], theirs: Array) -> Array:
    """Log likelihood (n, f) at :data:`FRACTIONS`, of that at :data:`COARSE` (n, g) and ``theirs`` (n, k) at ``chosen``.

    Linear in between.
    """
    step = COARSE[1] - COARSE[0]
    position = np.clip(FRACTIONS / step, 0.0, len(COARSE) - 1.0 - 1e-9)
    before = position.astype(int)
    part = position - before
    found = (1.0 - part) * log_likelihood[:, before] + part * log_likelihood[:, before + 1]
    np.put_along_axis(found, chosen, theirs, axis=1)
    return np.asarray(found)


def expected_curves(
    curves: Array, weight: Array, frames: Array, muscle: MuscleCurves, log_prior: NDArray[np.float32]
) -> Array:
    """What is expected of the muscle of voxels whose curves (n, t) are known but for noise: the posterior mean.

    ``weight`` (n,); other arguments as of :func:`log_likelihood`.
    """
    from scipy.special import softmax

    score = log_scores(curves[:, None], weight[:, None], frames, muscle)[0][:, 0] + log_prior
    factor = ((curves * frames) @ muscle.shapes.T) / np.maximum(frames @ (muscle.shapes**2).T, _TINY)
    return np.asarray((softmax(score.astype(np.float64), axis=1) * np.maximum(factor, 0.0)) @ muscle.shapes)


def log_border_prior(distance: Array, offset: Array, voxel: float) -> Array:
    """Log prior of :data:`FRACTIONS` for voxels at a distance from a pool's border.

    A voxel at depth d holds the share Phi(-d / blur) of blood. Its depth is the distance from the outline less the
    offset of the border, give or take an offset of its own.

    Parameters
    ----------
    distance : (n,) array
        From the voxel's centre to the outline of the pool, mm; infinite where there is no pool.
    offset : (k,) array
        By how much the pool reaches into the wall, mm.
    voxel : float
        Edge of a voxel, mm.

    Returns
    -------
    (n, k, g) array
    """
    from scipy.special import ndtr, ndtri

    blur, own = BLUR * voxel, _OWN_SD * voxel
    edges = 0.5 * (FRACTIONS[1:] + FRACTIONS[:-1])
    depth = distance[:, None, None] - offset[None, :, None]
    below = ndtr((blur * ndtri(edges) + depth) / own)
    cumulative = np.concatenate([np.zeros_like(below[..., :1]), below, np.ones_like(below[..., :1])], axis=-1)
    return np.log(np.maximum(np.diff(cumulative, axis=-1), 1e-12))


@dataclass(frozen=True)
class Pool:
    """What is told of one pool's blood in n voxels: the distance to its outline, mm, and the log likelihood (n, g).

    That of the fraction 0 is the same for all pools.
    """

    distance: Array
    log_likelihood: Array


@dataclass(frozen=True)
class Fractions:
    """Posterior mean and standard deviation of each pool's fraction, (pools, n)."""

    mean: Array
    sd: Array


def posterior(pools: Sequence[Pool], positions: Array, voxel: float) -> Fractions:
    """Fractions of each pool's blood in the voxels of one slice.

    A voxel has blood of one pool at most. The offset of a pool's border from its outline is the same for voxels that
    lie near each other, up to one of the voxel's own, and is summed over.

    Parameters
    ----------
    pools : sequence of Pool
    positions : (n, 2) array
        Of the voxels in the plane, mm.
    voxel : float
        Edge of a voxel, mm.
    """
    from scipy.special import logsumexp

    apart = ((positions[:, None] - positions[None]) ** 2).sum(axis=-1)
    alike = np.exp(-0.5 * apart / (_ALIKE * voxel) ** 2)
    offsets = _OFFSETS * voxel
    joint = []
    for pool in pools:
        log_prior = log_border_prior(pool.distance, offsets, voxel)
        each = logsumexp(pool.log_likelihood[:, None, :] + log_prior, axis=2)
        # Of a voxel that says nothing of any border every offset is as good.
        each = np.where(np.isfinite(each), each, 0.0)
        shared = alike @ each - 0.5 * (_OFFSETS / _OFFSET_SD) ** 2
        shared -= each
        shared -= logsumexp(shared, axis=1, keepdims=True)
        joint.append(logsumexp(shared[:, :, None] + log_prior, axis=1))
    none = sum(prior[:, 0] for prior in joint)
    scores = [none + pools[0].log_likelihood[:, 0]]
    for pool, prior in zip(pools, joint, strict=True):
        scores += list((none - prior[:, 0])[None] + (prior + pool.log_likelihood)[:, 1:].T)
    table = np.array(scores)
    weights = np.exp(table - logsumexp(table, axis=0))
    parts = weights[1:].reshape(len(pools), len(FRACTIONS) - 1, -1)
    mean = np.einsum("pgn,g->pn", parts, FRACTIONS[1:])
    square = np.einsum("pgn,g->pn", parts, FRACTIONS[1:] ** 2)
    return Fractions(mean, np.sqrt(np.maximum(square - mean**2, 0.0)))
