"""The dozen array operations that the models need, for NumPy arrays and TensorFlow tensors alike.

The models are written once. :func:`common_arrays` looks at what it is given and returns the operations that fit:
TensorFlow's where any argument is a tensor (the caller has imported it then), NumPy's otherwise. Everything here
compiles under XLA and is differentiable. The array-API standard would be the natural choice, but TensorFlow does not
implement it, and ``tensorflow.experimental.numpy`` promotes Python floats to float64.
"""

from __future__ import annotations

import functools
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Inner size of matrices up to which TensorFlow's products are written out.
_SMALL = 8

Array = NDArray[Any]
#: A NumPy array, a TensorFlow tensor or a number.
ArrayLike = Any


class NumpyOps:
    """Operations on NumPy arrays."""

    exp = staticmethod(np.exp)
    expm1 = staticmethod(np.expm1)
    log1p = staticmethod(np.log1p)
    sqrt = staticmethod(np.sqrt)
    abs = staticmethod(np.abs)
    where = staticmethod(np.where)
    maximum = staticmethod(np.maximum)
    minimum = staticmethod(np.minimum)
    stack = staticmethod(np.stack)

    @staticmethod
    def like(values: Array, other: Array) -> Array:
        """NumPy values as an array of another's kind and type."""
        return np.asarray(values, dtype=other.dtype)

    matmul = staticmethod(np.matmul)
    floor = staticmethod(np.floor)

    dense = staticmethod(np.matmul)

    @staticmethod
    def total(values: Array) -> Array:
        """Sum over the last axis."""
        return np.asarray(values.sum(axis=-1))

    @staticmethod
    def in_pairs(matrices: Array) -> Array:
        """Matrices (..., a, 2 b) read row by row as pairs, (..., a b, 2)."""
        return matrices.reshape(*matrices.shape[:-2], -1, 2)

    @staticmethod
    def contract_pairs(pairs: Array, basis: Array) -> Array:
        """Sum of (..., k, 2) times (k, 2, n) over both axes."""
        return np.tensordot(pairs, basis, 2)

    @staticmethod
    def value(number: Array) -> float | None:
        """The number itself; None where it is only known when the graph runs."""
        return float(number)

    @staticmethod
    def largest_row_sum(matrices: Array) -> Array:
        """Largest sum of absolute values over a row of any of the matrices."""
        return np.asarray(np.abs(matrices).sum(axis=-1).max(initial=0.0))

    @staticmethod
    def join(parts: Any, axis: int) -> Array:
        """Put arrays one behind the other; their other axes are broadcast."""
        axis %= parts[0].ndim
        batch = np.broadcast_shapes(*(p.shape[:axis] for p in parts))
        return np.concatenate([np.broadcast_to(p, (*batch, *p.shape[axis:])) for p in parts], axis=axis)

    @staticmethod
    def append_zero(values: Array) -> Array:
        """Append a zero along the last axis."""
        return np.concatenate([values, np.zeros_like(values[..., :1])], axis=-1)

    @staticmethod
    def prepend_zero(values: Array) -> Array:
        """Put a zero before the first value of the last axis."""
        return np.concatenate([np.zeros_like(values[..., :1]), values], axis=-1)

    @staticmethod
    def interval(knots: Array, points: Array) -> NDArray[np.intp]:
        """Index of the last knot at or before each point, 0 for points before the first knot."""
        return np.maximum(np.searchsorted(knots, points, side="right") - 1, 0)

    @staticmethod
    def take(values: Array, index: Array) -> Array:
        """Values (..., t) at indices (..., n) along the last axis; the leading axes broadcast."""
        if values.ndim == 1:
            return np.asarray(values[index])
        batch = np.broadcast_shapes(values.shape[:-1], index.shape[:-1])
        return np.take_along_axis(
            np.broadcast_to(values, (*batch, values.shape[-1])), np.broadcast_to(index, (*batch, index.shape[-1])), -1
        )

    @staticmethod
    def linear_recurrence(decay: Array, increment: Array) -> Array:
        """Solve x[0] = 0, x[k+1] = decay[k] x[k] + increment[k] along the last axis: (..., n) -> (..., n + 1)."""
        shape = np.broadcast_shapes(decay.shape, increment.shape)
        # Time first: every step then reads and writes contiguous memory.
        result = np.zeros((shape[-1] + 1, *shape[:-1]), dtype=np.result_type(decay, increment))
        result[1:] = np.moveaxis(increment, -1, 0) if increment.ndim == len(shape) else increment.T
        factors = np.ascontiguousarray(np.moveaxis(decay, -1, 0))
        factors = np.broadcast_to(factors, (shape[-1], *factors.shape[1:]))
        for k in range(1, shape[-1]):
            result[k + 1] += factors[k] * result[k]
        return np.moveaxis(result, 0, -1)

    @staticmethod
    def common_width(widths: Array) -> Array:
        """Widths of intervals (n,), as (1,) where they are all the same: work per width is then done once."""
        return widths[:1] if np.ptp(widths) <= 1e-9 * widths[0] else widths

    @staticmethod
    def contract(matrix: Array, vector: Array) -> Array:
        """Sum of (..., i, j) times (..., j) over j."""
        return np.asarray(np.einsum("...ij,...j->...i", matrix, vector))


class TensorFlowOps:
    """The same operations on TensorFlow tensors."""

    def __init__(self, tf: Any) -> None:
        self._tf = tf
        self.exp, self.sqrt, self.abs, self.where = tf.exp, tf.sqrt, tf.abs, tf.where
        self.expm1, self.log1p = tf.math.expm1, tf.math.log1p
        self.maximum, self.minimum, self.stack = tf.maximum, tf.minimum, tf.stack
        self.floor, self.dense = tf.floor, tf.matmul

    def like(self, values: Any, other: Any) -> Any:
        """See :meth:`NumpyOps.like`."""
        return self._tf.constant(np.asarray(values, dtype=other.dtype.as_numpy_dtype))

    def matmul(self, left: Any, right: Any) -> Any:
        """See :func:`numpy.matmul`. Small products are written out: ten times faster, compiled."""
        if left.shape[-1] <= _SMALL:
            return self._tf.reduce_sum(left[..., :, :, None] * right[..., None, :, :], axis=-2)
        return self._tf.matmul(left, right)

    def total(self, values: Any) -> Any:
        """See :meth:`NumpyOps.total`."""
        return self._tf.reduce_sum(values, axis=-1)

    def in_pairs(self, matrices: Any) -> Any:
        """See :meth:`NumpyOps.in_pairs`."""
        count = matrices.shape[-2] * matrices.shape[-1] // 2
        return self._tf.reshape(matrices, self._tf.concat([self._tf.shape(matrices)[:-2], [count, 2]], 0))

    def contract_pairs(self, pairs: Any, basis: Any) -> Any:
        """See :meth:`NumpyOps.contract_pairs`."""
        return self._tf.tensordot(pairs, basis, 2)

    def value(self, number: Any) -> float | None:
        """See :meth:`NumpyOps.value`."""
        known = self._tf.get_static_value(number)
        return None if known is None else float(known)

    def largest_row_sum(self, matrices: Any) -> Any:
        """See :meth:`NumpyOps.largest_row_sum`."""
        return self._tf.reduce_max(self._tf.reduce_sum(self._tf.abs(matrices), axis=-1))

    def join(self, parts: Any, axis: int) -> Any:
        """See :meth:`NumpyOps.join`."""
        tf = self._tf
        axis %= parts[0].shape.rank
        batch = functools.reduce(tf.broadcast_dynamic_shape, (tf.shape(p)[:axis] for p in parts))
        return tf.concat([tf.broadcast_to(p, tf.concat([batch, tf.shape(p)[axis:]], 0)) for p in parts], axis=axis)

    def append_zero(self, values: Any) -> Any:
        """See :meth:`NumpyOps.append_zero`."""
        return self._tf.concat([values, self._tf.zeros_like(values[..., :1])], axis=-1)

    def prepend_zero(self, values: Any) -> Any:
        """See :meth:`NumpyOps.prepend_zero`."""
        return self._tf.concat([self._tf.zeros_like(values[..., :1]), values], axis=-1)

    def interval(self, knots: Any, points: Any) -> Any:
        """See :meth:`NumpyOps.interval`. No gradient passes: between knots the index does not change."""
        tf = self._tf
        flat = tf.searchsorted(knots, tf.reshape(tf.stop_gradient(points), [-1]), side="right")
        return tf.maximum(tf.reshape(flat, tf.shape(points)) - 1, 0)

    def take(self, values: Any, index: Any) -> Any:
        """See :meth:`NumpyOps.take`."""
        tf = self._tf
        if values.shape.rank == 1:
            return tf.gather(values, index)
        batch = tf.broadcast_dynamic_shape(tf.shape(values)[:-1], tf.shape(index)[:-1])
        values = tf.broadcast_to(values, tf.concat([batch, tf.shape(values)[-1:]], 0))
        index = tf.broadcast_to(index, tf.concat([batch, tf.shape(index)[-1:]], 0))
        return tf.gather(values, index, batch_dims=values.shape.rank - 1)

    def linear_recurrence(self, decay: Any, increment: Any) -> Any:
        """See :meth:`NumpyOps.linear_recurrence`.

        By doubling (Hillis and Steele 1986, doi:10.1145/7902.7903): log2(n) whole-array steps that XLA fuses, where a
        loop over n would be n small kernels. Only products of decays arise, so nothing overflows.
        """
        tf = self._tf
        shape = tf.broadcast_dynamic_shape(tf.shape(decay), tf.shape(increment))
        decay, total = tf.broadcast_to(decay, shape), tf.broadcast_to(increment, shape)
        n, shift = increment.shape[-1], 1
        while shift < n:
            total = tf.concat([total[..., :shift], total[..., shift:] + decay[..., shift:] * total[..., :-shift]], -1)
            # The first ``shift`` decays have met the initial zero already; what they hold no longer matters.
            decay = tf.concat([decay[..., :shift], decay[..., shift:] * decay[..., :-shift]], -1)
            shift *= 2
        return tf.concat([tf.zeros_like(total[..., :1]), total], axis=-1)

    def common_width(self, widths: Any) -> Any:
        """See :meth:`NumpyOps.common_width`; a compiled graph can't branch on values and keeps them all."""
        return widths

    def contract(self, matrix: Any, vector: Any) -> Any:
        """See :meth:`NumpyOps.contract`."""
        return self._tf.reduce_sum(matrix * vector[..., None, :], axis=-1)


@functools.lru_cache(maxsize=1)
def _tensorflow_ops() -> TensorFlowOps:
    return TensorFlowOps(sys.modules["tensorflow"])


def common_arrays(*values: ArrayLike) -> tuple[Any, ...]:
    """Convert the values to arrays of one kind and one floating type.

    Parameters
    ----------
    *values : number, array or tensor
        At least one. Python numbers take on the type of the rest.

    Returns
    -------
    tuple
        The operations (:class:`NumpyOps` or :class:`TensorFlowOps`), then each value as an array or tensor.
        float32 stays float32 where nothing wider is among the arrays (tensors: among the tensors).
    """
    tf: Any = sys.modules.get("tensorflow")
    is_tensor = getattr(tf, "is_tensor", None)
    if is_tensor is not None and any(is_tensor(value) for value in values):
        kinds = {value.dtype for value in values if is_tensor(value) and value.dtype.is_floating}
        dtype = max(kinds, key=lambda kind: kind.size, default=tf.float64)
        return (_tensorflow_ops(), *(_tensor(tf, value, dtype) for value in values))
    kinds = {np.asarray(value).dtype for value in values if isinstance(value, np.ndarray | np.generic)}
    floating = [kind for kind in kinds if kind.kind == "f"]
    common = np.result_type(*floating) if floating else np.dtype(np.float64)
    return (NumpyOps, *(np.asarray(value, dtype=common) for value in values))


def _tensor(tf: Any, value: ArrayLike, dtype: Any) -> Any:
    if tf.is_tensor(value):
        return tf.cast(value, dtype)
    return tf.constant(np.asarray(value, dtype=dtype.as_numpy_dtype))
