"""The network's answer in NumPy: what Keras computes, without the seconds and the gigabyte that TensorFlow takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from qperf_segmentation.networks.architecture import Architecture

Array = NDArray[np.float32]
#: What Keras adds to the variance in a batch normalisation.
_EPSILON = 1e-3


class ForwardNetwork:
    """A network of :func:`~qperf_segmentation.networks.architecture.build` with its weights.

    Parameters
    ----------
    architecture : Architecture
    arrays : sequence of arrays
        In Keras' order: kernel and bias of each convolution; scale, offset, mean and variance of each normalisation.

    Raises
    ------
    ValueError
        Where the arrays are not those of the architecture.
    """

    def __init__(self, architecture: Architecture, arrays: Sequence[NDArray[np.floating]]) -> None:
        expected = list(shapes(architecture))
        found = [array.shape for array in arrays]
        if found != expected:
            first = next((k for k, (a, b) in enumerate(zip(found, expected, strict=False)) if a != b), len(expected))
            raise ValueError(f"{len(found)} arrays instead of {len(expected)}, array {first} is another one")
        self._architecture = architecture
        self._arrays = [np.asarray(array, np.float32) for array in arrays]

    def __call__(self, images: Array) -> Array:
        """Logits (batch, x, y, classes + points) of images (batch, x, y, frames)."""
        # One after another: what a layer takes and gives stays in the processor's cache.
        return np.stack([self._logits(np.asarray(image, np.float32)) for image in images])

    def _logits(self, image: Array) -> Array:
        arrays = iter(self._arrays)

        def convolution(x: Array, stride: int = 1) -> Array:
            return convolved(x, next(arrays), next(arrays), stride)

        def normalised(x: Array) -> Array:
            """Normalisation and ReLU."""
            scale, offset, mean, variance = (next(arrays) for _ in range(4))
            factor = scale / np.sqrt(variance + np.float32(_EPSILON))
            return np.asarray(np.maximum(x * factor + (offset - mean * factor), 0.0))

        def module(x: Array) -> Array:
            y = convolution(normalised(x))
            return x + convolution(normalised(y))

        fine = module(convolution(np.maximum(convolution(image), 0.0)))
        middle = module(convolution(fine, stride=2))
        x = convolution(middle, stride=2)
        for _ in range(self._architecture.modules - 4):
            x = module(x)
        for skip in (middle, fine):
            x = module(convolution(np.concatenate([enlarged(x), skip], axis=-1)))
        return convolution(normalised(x))


def shapes(architecture: Architecture) -> Iterator[tuple[int, ...]]:
    """Shapes of a network's arrays in Keras' order."""
    n, wide = architecture.filters, 3 * architecture.frames // 2

    def convolution(channels: int, filters: int = n, size: int = 3) -> Iterator[tuple[int, ...]]:
        yield from ((size, size, channels, filters), (filters,))

    def module() -> Iterator[tuple[int, ...]]:
        for _ in range(2):
            yield from ((n,),) * 4
            yield from convolution(n)

    yield from convolution(architecture.frames, wide, 1)
    yield from convolution(wide)
    yield from module()
    yield from convolution(n)
    yield from module()
    yield from convolution(n)
    for _ in range(architecture.modules - 4):
        yield from module()
    for _ in range(2):
        yield from convolution(2 * n, n, 1)
        yield from module()
    yield from ((n,),) * 4
    yield from convolution(n, architecture.classes + architecture.points, 1)


def convolved(x: Array, kernel: Array, bias: Array, stride: int = 1) -> Array:
    """Convolution of (x, y, channels) with zeros about it, as TensorFlow's ``same``; even sizes where a stride is 2."""
    size = kernel.shape[0]
    if size == 1:
        return np.asarray(x @ kernel[0, 0] + bias)
    before, after = (1, 1) if stride == 1 else (0, 1)
    padded = np.pad(x, ((before, after), (before, after), (0, 0)))
    shape = x.shape[0] // stride, x.shape[1] // stride
    ends = [stride * (n - 1) + 1 for n in shape]
    parts = [padded[i : i + ends[0] : stride, j : j + ends[1] : stride] for i in range(size) for j in range(size)]
    columns = np.concatenate(parts, axis=-1).reshape(shape[0] * shape[1], -1)
    return np.asarray((columns @ kernel.reshape(columns.shape[1], -1) + bias).reshape(*shape, -1))


def enlarged(x: Array) -> Array:
    """Twice the size of (x, y, channels), linear between the pixels' centres."""
    near, far = np.float32(0.75), np.float32(0.25)
    for axis in (0, 1):
        first, last = np.take(x, [0], axis), np.take(x, [-1], axis)
        before = np.concatenate([first, np.take(x, range(x.shape[axis] - 1), axis)], axis)
        after = np.concatenate([np.take(x, range(1, x.shape[axis]), axis), last], axis)
        pairs = np.stack([near * x + far * before, near * x + far * after], axis + 1)
        x = np.asarray(pairs, np.float32).reshape(*x.shape[:axis], 2 * x.shape[axis], *x.shape[axis + 1 :])
    return x
