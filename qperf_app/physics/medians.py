"""Medians of many short curves."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def median_over_time(curves: NDArray[np.floating]) -> NDArray[Any]:
    """Median of each curve (..., t), none of whose samples is NaN: to the bit what ``numpy.median`` gives.

    To put some dozen samples in order takes a fraction of the time of dividing them at their middle.
    """
    ordered = np.sort(curves, axis=-1)
    n = curves.shape[-1]
    if n % 2:
        return np.asarray(ordered[..., n // 2])
    return np.asarray(ordered[..., n // 2 - 1 : n // 2 + 1].mean(axis=-1))
