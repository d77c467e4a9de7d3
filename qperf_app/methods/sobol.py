"""Sobol's sequence: points that fill a cube more evenly than random ones do.

The same numbers as those of SciPy's ``qmc.Sobol``, whose package takes half a second to import: most of what a fit
needs at all.

Source: direction numbers of Joe and Kuo 2008 (SIAM J Sci Comput 30:2635); scrambling by a random lower triangular
matrix and a shift, Matousek 1998 (J Complexity 14:527).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_BITS = 30
#: Of each dimension after the first: its primitive polynomial's coefficients, without the first and the last, and the
#: first direction numbers.
_DIRECTIONS = (
    (0, (1,)),
    (1, (1, 3)),
    (1, (1, 3, 1)),
    (2, (1, 1, 1)),
    (1, (1, 1, 3, 3)),
    (4, (1, 3, 5, 13)),
    (2, (1, 1, 5, 5, 17)),
)  # fmt: skip


def sobol(count: int, dimensions: int, seed: int | None = None) -> NDArray[np.float64]:
    """Points (count, dimensions) in the unit cube, at most eight dimensions.

    Parameters
    ----------
    count : int
        A power of 2, for the points to be balanced.
    dimensions : int
    seed : int, optional
        Of the scrambling; without one the first point is the origin.
    """
    directions = np.stack([_direction_numbers(k) for k in range(dimensions)])
    start = np.zeros(dimensions, np.uint64)
    if seed is not None:
        rng, places = np.random.default_rng(seed), np.arange(_BITS, dtype=np.uint64)
        start = rng.integers(2, size=(dimensions, _BITS), dtype=np.uint32) @ (np.uint64(1) << places)
        below = np.tril(rng.integers(2, size=(dimensions, _BITS, _BITS), dtype=np.uint32), -1)
        # Bits from the highest to the lowest, as the matrices count them.
        bits = directions[:, :, None] >> places[::-1] & np.uint64(1)
        mixed = np.einsum("drb,dkb->dkr", below + np.eye(_BITS, dtype=np.uint64), bits) & np.uint64(1)
        directions = mixed @ (np.uint64(1) << places[::-1])
    order = np.arange(count, dtype=np.uint64)
    gray, points = order ^ (order >> np.uint64(1)), np.repeat(start[None], count, axis=0)
    for k in range(_BITS):
        points ^= (gray >> np.uint64(k) & np.uint64(1))[:, None] * directions[:, k]
    return np.asarray(points * 2.0**-_BITS, np.float64)


def _direction_numbers(dimension: int) -> NDArray[np.uint64]:
    """Direction numbers (bits,) of a dimension, the first one with its highest bit set."""
    polynomial, first = _DIRECTIONS[dimension - 1] if dimension else (0, ())
    degree, numbers = len(first), list(first) or [1] * _BITS
    for k in range(len(numbers), _BITS):
        new = numbers[k - degree] ^ (numbers[k - degree] << degree)
        for j in range(1, degree):
            new ^= (polynomial >> (degree - 1 - j) & 1) * numbers[k - j] << j
        numbers.append(new)
    return np.array([number << (_BITS - 1 - k) for k, number in enumerate(numbers)], np.uint64)
