"""Ask a network, and turn the answer on its grid into regions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from qperf_segmentation.networks.forward import ForwardNetwork

Mask = NDArray[np.bool_]
Array = NDArray[np.float32]

#: The ways a picture can be mirrored (axes of (x, y)) and, where it is square, its axes exchanged.
MIRRORED: tuple[tuple[int, ...], ...] = ((), (0,), (1,), (0, 1))


def ask(model: ForwardNetwork, images: Sequence[Array], turned: bool = False) -> Array:
    """Logits of the images and of their mirror images, put back: (ways, images, x, y, channels).

    ``turned`` adds the four ways with exchanged axes, for square grids.
    """
    ways = [(axes, swap) for swap in ((False, True) if turned else (False,)) for axes in MIRRORED]
    batch = np.stack([_turned(image, axes, swap) for axes, swap in ways for image in images])
    answer = model(batch.astype(np.float32))
    answer = answer.reshape(len(ways), len(images), *answer.shape[1:])
    return np.stack([[_back(a, *way) for a in row] for row, way in zip(answer, ways, strict=True)])


def _turned(image: Array, axes: tuple[int, ...], swap: bool) -> Array:
    flipped = np.flip(image, axes) if axes else image
    return np.swapaxes(flipped, 0, 1) if swap else flipped


def _back(answer: Array, axes: tuple[int, ...], swap: bool) -> Array:
    straight = np.swapaxes(answer, 0, 1) if swap else answer
    return np.flip(straight, axes) if axes else straight


def softmax(logits: Array) -> Array:
    """Shares of the classes along the last axis."""
    grown = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(grown / grown.sum(axis=-1, keepdims=True))


def one_blob(probability: Array, threshold: float, lowest: float) -> Mask:
    """The region of a structure that is one piece.

    The threshold is lowered from ``threshold`` until the pieces above it have grown together, but not below
    ``lowest``; where they are still apart, the piece that holds most probability at ``threshold`` is kept.
    """
    from scipy import ndimage

    for level in np.arange(threshold, lowest - 1e-6, -0.05):
        labels, count = ndimage.label(probability > level)
        if count == 0:
            continue
        weight = np.bincount(labels.ravel(), probability.ravel())
        weight[0] = 0.0
        main = int(weight.argmax())
        # A stray pixel or two don't make a second blob.
        if weight.sum() < 1.1 * weight[main]:
            return np.asarray(ndimage.binary_fill_holes(labels == main))
    labels, count = ndimage.label(probability > threshold)
    if not count:
        return np.zeros(probability.shape, bool)
    weight = np.bincount(labels.ravel(), probability.ravel())
    weight[0] = 0.0
    return np.asarray(ndimage.binary_fill_holes(labels == weight.argmax()))
