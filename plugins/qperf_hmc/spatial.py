"""The spatial prior: what is known of a voxel's neighbours tells of the voxel.

The prior is that of :mod:`qperf_app.methods.neighbours`. Each voxel's draws under its own prior stand for its
posterior. Gibbs sampling chooses among them given the neighbours' present choices, and how much each pair counts given
both (a Student-t density is a normal one whose precision is drawn from a gamma density). No curve has to be looked at
again, and it serves every model.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qperf_app.methods.neighbours import DEGREES_OF_FREEDOM, pairs_of

Array = NDArray[np.float64]
Index = NDArray[np.intp]

#: Sweeps that are dropped before the first is kept.
BURN_IN = 100
# Draws that are tried one by one before all are weighed, and what keeps a precision from 0.
_TRIES, _LEAST_PRECISION = 16, 1e-30


class _Colour(NamedTuple):
    """Voxels of one colour of a chequered board: they have neighbours of the other only, and may move at once.

    ``rows`` (m,) are theirs, ``z`` (m, k) their draws, ``low`` and ``high`` (m,) the ends of them.
    """

    rows: Index
    z: Array
    low: Array
    high: Array

    @classmethod
    def of(cls, z: Array, rows: Index) -> _Colour:
        """Some of the rows of draws (n, k)."""
        own = z[rows]
        return cls(rows, own, own.min(axis=1), own.max(axis=1))

    def choose(self, pull: Array, precision: Array, rng: np.random.Generator) -> Index:
        """Choose a draw of each voxel in proportion to exp(pull z - precision z^2 / 2), both (m,).

        Any one, kept with that weight as a part of the largest there may be (rejection sampling); where several in turn
        are not kept, by the weights of all.
        """
        centre = pull / np.maximum(precision, _LEAST_PRECISION)
        least = (np.clip(centre, self.low, self.high) - centre) ** 2
        tried = rng.integers(self.z.shape[1], size=(len(self.z), _TRIES))
        off = (np.take_along_axis(self.z, tried, axis=1) - centre[:, None]) ** 2 - least[:, None]
        kept = 0.5 * precision[:, None] * off < rng.standard_exponential(tried.shape)
        chosen: Index = tried[np.arange(len(tried)), kept.argmax(axis=1)]
        rest = np.flatnonzero(~kept.any(axis=1))
        level = self.z[rest] * (pull[rest, None] - 0.5 * precision[rest, None] * self.z[rest])
        # The largest of log weights with Gumbel noise is a draw in proportion to the weights.
        chosen[rest] = (level + rng.gumbel(size=level.shape)).argmax(axis=1)
        return chosen


def couple(log_flow: NDArray[np.floating], voxels: Index, between: float, kept: int, seed: int) -> Index:
    """Choose among each voxel's draws, given its neighbours.

    Parameters
    ----------
    log_flow : (n, k) array
        Draws of the flow's logarithm.
    voxels : (n, 3) int array
        Where the voxels lie; the last axis counts slices.
    between : float
        Scale of the difference of neighbours.
    kept : int
        Sweeps to keep.

    Returns
    -------
    (n, kept) int array
        The draw of each voxel in each sweep.
    """
    # One order of the voxels for any that they are given in: random numbers go with the place.
    order = np.lexsort(voxels.T)
    z, places = (np.asarray(log_flow, dtype=np.float64) / between)[order], voxels[order]
    n, draws = z.shape
    first, second = pairs_of(places)
    colours = [_Colour.of(z, np.flatnonzero(places[:, :2].sum(axis=1) % 2 == c)) for c in (0, 1)]
    rng = np.random.default_rng(seed)
    state: Index = np.asarray(rng.integers(draws, size=n), dtype=np.intp)
    weight = np.ones(len(first))
    at = z[np.arange(n), state]
    result = np.empty((n, kept), dtype=np.intp)

    def of_pairs(for_first: Array, for_second: Array) -> Array:
        return np.asarray(np.bincount(first, for_first, n) + np.bincount(second, for_second, n), dtype=np.float64)

    for sweep in range(BURN_IN + kept):
        for colour in colours:
            precision, pull = of_pairs(weight, weight), of_pairs(weight * at[second], weight * at[first])
            chosen = colour.choose(pull[colour.rows], precision[colour.rows], rng)
            state[colour.rows], at[colour.rows] = chosen, z[colour.rows, chosen]
        square = (at[first] - at[second]) ** 2
        weight = rng.gamma((DEGREES_OF_FREEDOM + 1.0) / 2.0, 2.0 / (DEGREES_OF_FREEDOM + square))
        if sweep >= BURN_IN:
            result[order, sweep - BURN_IN] = state
    return result
