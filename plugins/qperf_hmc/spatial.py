"""The spatial prior: what is known of a voxel's neighbours tells of the voxel.

The prior is that of :mod:`qperf_app.methods.neighbours`. Each voxel's draws under its own prior stand for its
posterior. Gibbs sampling chooses among them given the neighbours' present choices, and how much each pair counts given
both (a Student-t density is a normal one whose precision is drawn from a gamma density). No curve has to be looked at
again, and it serves every model.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qperf_app.methods.neighbours import DEGREES_OF_FREEDOM, pairs_of

Array = NDArray[np.float64]
Index = NDArray[np.intp]

#: Sweeps that are dropped before the first is kept.
BURN_IN = 100


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
    colours = [np.flatnonzero(places[:, :2].sum(axis=1) % 2 == c) for c in (0, 1)]
    rng = np.random.default_rng(seed)
    state: Index = np.asarray(rng.integers(draws, size=n), dtype=np.intp)
    weight = np.ones(len(first))
    at = z[np.arange(n), state]
    result = np.empty((n, kept), dtype=np.intp)
    for sweep in range(BURN_IN + kept):
        for rows in colours:
            # Voxels of one colour have neighbours of the other only: they may move at once.
            precision = np.bincount(first, weight, n) + np.bincount(second, weight, n)
            pull = np.bincount(first, weight * at[second], n) + np.bincount(second, weight * at[first], n)
            level = z[rows] * (pull[rows, None] - 0.5 * precision[rows, None] * z[rows])
            state[rows] = (level + rng.gumbel(size=level.shape)).argmax(axis=1)
            at[rows] = z[rows, state[rows]]
        square = (at[first] - at[second]) ** 2
        weight = rng.gamma((DEGREES_OF_FREEDOM + 1.0) / 2.0, 2.0 / (DEGREES_OF_FREEDOM + square))
        if sweep >= BURN_IN:
            result[order, sweep - BURN_IN] = state
    return result
