"""The two closed borders of the wall: the best pair of radii on every ray, by dynamic programming."""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def closed_borders(
    inside: Array, between: Array, thickness_cost: Array, stiffness: float, min_thickness: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Find the inner and outer border of a ring with the largest sum of rewards.

    Parameters
    ----------
    inside, between : (ray, radius) arrays
        Reward of a sample for lying within the inner border, and between the borders.
    thickness_cost : (thickness,) array
        Cost, for each ray, of a wall this many samples thick; its length limits the thickness.
    stiffness : float
        Cost of a step of one sample by either border from a ray to the next; larger steps are not possible.
    min_thickness : int
        Least thickness in samples.

    Returns
    -------
    inner, outer : (ray,) int arrays
        Samples below ``inner`` lie in the cavity, those from ``inner`` up to but not including ``outer`` in the wall.

    Notes
    -----
    Viterbi's algorithm over states (inner, thickness). The rays are gone round three times and the middle turn is
    kept, which closes the borders but for rare ties.
    """
    n_rays = len(inside)
    reward = _state_rewards(inside, between, thickness_cost, min_thickness)
    score = reward[0]
    moves = list(product((-1, 0, 1), (-1, 0, 1)))
    choices = np.zeros((3 * n_rays, *score.shape), dtype=np.int8)
    for turn in range(1, 3 * n_rays):
        reached = np.stack([_shifted(score, a, e - a) - stiffness * (a * a + e * e) for a, e in moves])
        choices[turn] = reached.argmax(axis=0)
        score = reached.max(axis=0) + reward[turn % n_rays]
    inner = np.zeros(3 * n_rays, dtype=np.intp)
    thickness = np.zeros_like(inner)
    a, t = (int(i) for i in np.unravel_index(score.argmax(), score.shape))
    for turn in range(3 * n_rays - 1, -1, -1):
        inner[turn], thickness[turn] = a, t
        step_a, step_e = moves[choices[turn, a, t]]
        a, t = a - step_a, t - (step_e - step_a)
    middle = slice(n_rays, 2 * n_rays)
    return inner[middle], inner[middle] + thickness[middle]


def _state_rewards(inside: Array, between: Array, thickness_cost: Array, min_thickness: int) -> Array:
    """Reward (ray, inner, thickness) of each state; -inf where the ring leaves the samples."""
    n_rays, n_radii = inside.shape
    cavity = np.concatenate([np.zeros((n_rays, 1)), np.cumsum(inside, axis=1)], axis=1)
    wall = np.concatenate([np.zeros((n_rays, 1)), np.cumsum(between, axis=1)], axis=1)
    a = np.arange(n_radii)[:, None]
    t = np.arange(len(thickness_cost))[None, :]
    outer = np.minimum(a + t, n_radii)
    reward = cavity[:, a] + wall[:, outer] - wall[:, a] - thickness_cost[t]
    reward[:, (a + t > n_radii) | (t < min_thickness) | (a < 1)] = -np.inf
    return np.asarray(reward)


def _shifted(score: Array, down: int, across: int) -> Array:
    """``score[a - down, t - across]`` at (a, t); -inf from outside."""
    result = np.full_like(score, -np.inf)
    to, source = [], []
    for size, shift in zip(score.shape, (down, across), strict=True):
        to.append(slice(max(shift, 0), size + min(shift, 0)))
        source.append(slice(max(-shift, 0), size + min(-shift, 0)))
    result[tuple(to)] = score[tuple(source)]
    return result
