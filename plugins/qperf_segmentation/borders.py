"""The two closed borders of the wall: the best pair of radii on every ray, by dynamic programming."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
#: Steps of the inner and the outer border from a ray to the next, by the sum of their squares.
_MOVES = (
    ((0, 0),),
    ((-1, 0), (0, -1), (0, 1), (1, 0)),
    ((-1, -1), (-1, 1), (1, -1), (1, 1)),
)


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
    # Of every turn the scores, with room for a step beyond them: by the inner border, and by the thickness.
    scores = np.full((3 * n_rays, reward.shape[1] + 2, reward.shape[2] + 4), -np.inf)
    scores[0, 1:-1, 2:-2] = reward[0]
    for turn in range(1, 3 * n_rays):
        reached = [_moved(scores[turn - 1], moves) - stiffness * steps for steps, moves in enumerate(_MOVES)]
        scores[turn, 1:-1, 2:-2] = np.maximum.reduce(reached) + reward[turn % n_rays]
    inner = np.zeros(3 * n_rays, dtype=np.intp)
    thickness = np.zeros_like(inner)
    a, t = (int(i) for i in np.unravel_index(scores[-1, 1:-1, 2:-2].argmax(), reward.shape[1:]))
    for turn in range(3 * n_rays - 1, -1, -1):
        inner[turn], thickness[turn] = a, t
        before = [(a - i, t - (o - i), stiffness * k) for k, moves in enumerate(_MOVES) for i, o in moves]
        a, t, _ = max(before, key=lambda state: scores[turn - 1, state[0] + 1, state[1] + 2] - state[2])
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


def _moved(score: Array, moves: Sequence[tuple[int, int]]) -> Array:
    """Largest score, with room around, that any of the moves leads from to each state."""
    n, m = score.shape[0] - 2, score.shape[1] - 4
    best: Array = np.maximum.reduce([score[1 - i : 1 - i + n, 2 - o + i : 2 - o + i + m] for i, o in moves])
    return best
