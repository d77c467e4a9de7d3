"""Algebra of many small matrices, entry by entry: lists of lists whose entries are tensors over the voxels.

A model has few parameters and a slice a thousand voxels. Written out, every entry is one operation over all voxels,
which compiles to vector code; the batched routines work matrix by matrix.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

Vector = Sequence[Any]
Matrix = Sequence[Sequence[Any]]


def cholesky(matrix: Matrix) -> list[list[Any]]:
    """Lower factor L, rows of growing length, with L L' = matrix; pivots are kept above zero."""
    lower: list[list[Any]] = []
    for i in range(len(matrix)):
        row: list[Any] = []
        for j in range(i):
            row.append((matrix[i][j] - dot(row, lower[j][:j])) / lower[j][j])
        row.append(tf.sqrt(tf.maximum(matrix[i][i] - dot(row, row), 1e-12 * tf.abs(matrix[i][i]) + 1e-30)))
        lower.append(row)
    return lower


def solve_lower(lower: Matrix, right: Vector) -> list[Any]:
    """Solve L y = right."""
    result: list[Any] = []
    for i, row in enumerate(lower):
        result.append((right[i] - dot(row[:i], result)) / row[i])
    return result


def solve_upper(lower: Matrix, right: Vector) -> list[Any]:
    """Solve L' y = right."""
    n = len(lower)
    result: list[Any] = [None] * n
    for i in reversed(range(n)):
        below = sum((lower[j][i] * result[j] for j in range(i + 1, n)), start=tf.zeros_like(right[i]))
        result[i] = (right[i] - below) / lower[i][i]
    return result


def inverse(lower: Matrix) -> list[list[Any]]:
    """Inverse of L L'."""
    n, one = len(lower), tf.ones_like(lower[0][0])
    columns = [
        solve_upper(lower, solve_lower(lower, [one if i == j else 0.0 * one for i in range(n)])) for j in range(n)
    ]
    return [[columns[j][i] for j in range(n)] for i in range(n)]


def multiply_lower(lower: Matrix, right: Vector) -> list[Any]:
    """L y."""
    return [dot(row, right[: len(row)]) for row in lower]


def dot(left: Vector, right: Vector) -> Any:
    """Sum of products; 0 of nothing."""
    return sum((a * b for a, b in zip(left, right, strict=True)), start=0.0)
