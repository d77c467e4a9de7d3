"""Place every frame of a slice so that it agrees with all its neighbours in time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qperf_motion.similarity import Surfaces, peak


@dataclass(frozen=True)
class Placement:
    """Shift (t, 2) of every frame, pixels; the mean similarity there (t,); and that with no shift at all (t,)."""

    shift: NDArray[np.float64]
    value: NDArray[np.float64]
    value_unshifted: NDArray[np.float64]


def neighbour_pairs(n: int, lags: Sequence[int]) -> list[tuple[int, int]]:
    """Pairs of frames that are compared."""
    return [(i, i + lag) for lag in lags for i in range(n - lag)]


def place_frames(n: int, pairs: Sequence[tuple[int, int]], surfaces: Surfaces, sweeps: int = 10) -> Placement:
    """Chain the frames outwards from the middle one, then let each find its place among its neighbours again.

    Comparing with several neighbours keeps the chain from drifting; the sweeps spread what is left over all frames.
    The reference is the median place, so that a corrected series lies where the heart mostly was.
    """
    neighbours: list[list[tuple[int, NDArray[np.floating]]]] = [[] for _ in range(n)]
    for (i, j), surface in zip(pairs, surfaces, strict=True):
        neighbours[j].append((i, surface))
        neighbours[i].append((j, surface[::-1, ::-1]))
    shift = np.full((n, 2), np.nan)
    middle = n // 2
    shift[middle] = 0.0
    for t in sorted(range(n), key=lambda t: abs(t - middle))[1:]:
        shift[t] = _best_place(t, shift, neighbours[t], fallback=shift[t - 1 if t > middle else t + 1])
    for _ in range(sweeps):
        before = shift.copy()
        for t in range(n):
            shift[t] = _best_place(t, shift, neighbours[t], fallback=shift[t])
        if np.abs(shift - before).max() < 0.02:
            break
    shift -= np.median(shift, axis=0)
    still = np.zeros_like(shift)
    return Placement(shift, _agreement(shift, neighbours), _agreement(still, neighbours))


def _best_place(
    t: int,
    shift: NDArray[np.float64],
    neighbours: Sequence[tuple[int, NDArray[np.floating]]],
    fallback: NDArray[np.float64],
) -> NDArray[np.float64]:
    from scipy import ndimage

    placed = [(other, surface) for other, surface in neighbours if np.isfinite(shift[other, 0])]
    if not placed:
        return fallback
    # All surfaces on one grid of absolute shifts, centred on a whole pixel among the neighbours' places.
    centre = np.round(np.mean([shift[other] for other, _ in placed], axis=0))
    total = sum(
        ndimage.shift(surface, shift[other] - centre, order=1, mode="constant", cval=float(surface.min()))
        for other, surface in placed
    )
    return centre + peak(np.asarray(total))


def _agreement(
    shift: NDArray[np.float64], neighbours: Sequence[Sequence[tuple[int, NDArray[np.floating]]]]
) -> NDArray[np.float64]:
    from scipy import ndimage

    values = np.zeros(len(shift))
    for t, compared in enumerate(neighbours):
        found = []
        for other, surface in compared:
            reach = surface.shape[0] // 2
            at = shift[t] - shift[other] + reach
            found.append(float(ndimage.map_coordinates(surface, at[:, None], order=1, mode="nearest")[0]))
        values[t] = np.mean(found) if found else 0.0
    return values
