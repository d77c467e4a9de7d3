"""Exponential of many small matrices at once, on NumPy arrays and TensorFlow tensors, compiled and differentiable.

``scipy.linalg.expm`` knows no gradient, and ``tf.linalg.expm`` solves linear systems matrix by matrix; products alone
compile to vector code.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

#: Where the matrices' size is not known when the graph is made: enough for rates that 2^30 times outpace a step.
MOST_SQUARINGS = 30
# Degree 16 leaves 1 / 17! = 3e-15 for matrices of norm 1, with six products (Paterson and Stockmeyer 1973,
# doi:10.1137/0202007).
_DEGREE, _CHUNK = 16, 4


def squarings_for(norm: float) -> int:
    """How often a matrix of this norm must be halved to come to 1."""
    return max(0, math.ceil(math.log2(norm))) if norm > 0.0 else 0


def expm1(xp: Any, matrix: Any, squarings: int | None = None) -> Any:
    """Matrix exponential less the identity, (..., m, m).

    By Taylor series and repeated squaring (Higham 2005, doi:10.1137/04061101X). What is squared is D = exp(A) - I, by
    D -> 2 D + D^2: the identity would swallow the digits of a D that is small, so that halving too often costs no
    accuracy, also not in float32.

    Parameters
    ----------
    xp : operations of :mod:`qperf_app.physics.backend`
    matrix : (..., m, m) array
    squarings : int, optional
        Halvings; from the matrices' largest norm where that is known, and :data:`MOST_SQUARINGS` in a graph.
    """
    if squarings is None:
        norm = xp.value(xp.largest_row_sum(matrix))
        squarings = MOST_SQUARINGS if norm is None else squarings_for(float(norm))
    small = matrix * 0.5**squarings
    powers = [small]
    for _ in range(_CHUNK - 1):
        powers.append(xp.matmul(powers[-1], small))
    identity = xp.like(np.eye(matrix.shape[-1]), matrix)
    result = powers[_CHUNK - 1] * (1.0 / math.factorial(_DEGREE))
    for start in range(_DEGREE - _CHUNK, -1, -_CHUNK):
        # The constant term is left out: this is exp less the identity.
        result = result + (identity * (1.0 / math.factorial(start)) if start else 0.0)
        result = result + sum(powers[j - 1] * (1.0 / math.factorial(start + j)) for j in range(1, _CHUNK))
        if start:
            result = xp.matmul(powers[_CHUNK - 1], result)
    for _ in range(squarings):
        result = 2.0 * result + xp.matmul(result, result)
    return result
