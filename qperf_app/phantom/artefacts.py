"""What goes wrong in real images: shading, ghosts, fold-over, banding, flicker, lost frames, empty borders."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qperf_app.phantom.draws import Draws

Images = NDArray[np.float32]


def random_field(shape: tuple[int, ...], scale: float, rng: np.random.Generator) -> Images:
    """Smooth random field of unit variance; ``scale`` is its correlation length in voxels (in plane)."""
    from scipy.ndimage import gaussian_filter, zoom

    coarse = [max(int(np.ceil(n / scale * 2)) + 2, 4) for n in shape[:2]]
    field = gaussian_filter(rng.standard_normal(coarse), 0.7)
    field = zoom(field, [n / c for n, c in zip(shape[:2], coarse, strict=True)], order=1)[: shape[0], : shape[1]]
    field = field / max(float(field.std()), 1e-6)
    return np.broadcast_to(field.reshape(*shape[:2], *[1] * (len(shape) - 2)), shape).astype(np.float32)


def blurred(image: Images, sigma: float) -> Images:
    """Images (x, y, z, t) under a Gaussian of ``sigma`` voxels in the plane."""
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(image, [sigma, sigma, 0.0, 0.0]) if sigma > 0.1 else image


def disturb(image: Images, n_weighted: int, draw: Draws) -> Images:
    """Add artefacts to images (x, y, z, t), each with some probability."""
    rng = draw.rng
    result = image
    if rng.random() < 0.5:
        result = result * np.float32(1.0) * (1.0 + rng.normal(0.0, rng.uniform(0.0, 0.05), result.shape[-1]))
    if rng.random() < 0.35:
        result = result * np.exp(0.25 * random_field(image.shape[:3], rng.uniform(2.0, 6.0), rng))[..., None]
    if rng.random() < 0.3:
        result = _ghosts(result, rng)
    if rng.random() < 0.25:
        result = _folded(result, rng)
    if rng.random() < 0.2:
        result = _banded(result, rng)
    if rng.random() < 0.15:
        result = _spoiled(result, n_weighted, rng)
    if rng.random() < 0.2:
        result = _cropped(result, rng)
    return np.asarray(result, np.float32)


def _ghosts(image: Images, rng: np.random.Generator) -> Images:
    """A copy of the picture moved along the phase direction, of a strength that changes from frame to frame."""
    axis, share = int(rng.integers(2)), rng.uniform(0.02, 0.18)
    strength = np.asarray(share * rng.random(image.shape[-1]), np.float32)
    return image + np.roll(image, image.shape[axis] // int(rng.integers(2, 5)), axis) * strength


def _folded(image: Images, rng: np.random.Generator) -> Images:
    """What lies outside of the field of view comes in on the other side."""
    axis = int(rng.integers(2))
    width = int(rng.integers(3, image.shape[axis] // 4))
    result = image.copy()
    edge, other = [slice(None)] * 4, [slice(None)] * 4
    edge[axis], other[axis] = slice(0, width), slice(-width, None)
    if rng.random() < 0.5:
        edge, other = other, edge
    result[tuple(edge)] += np.float32(rng.uniform(0.3, 1.0)) * image[tuple(other)]
    return result


def _banded(image: Images, rng: np.random.Generator) -> Images:
    """Dark and bright stripes across the picture, as of an unbalanced steady state."""
    x, y = np.meshgrid(*(np.arange(n) for n in image.shape[:2]), indexing="ij")
    angle, length = rng.uniform(0, np.pi), rng.uniform(0.3, 1.2) * image.shape[0]
    wave = np.sin(2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / length + rng.uniform(0, 2 * np.pi))
    stripes: Images = (1.0 + rng.uniform(0.05, 0.3) * wave).astype(np.float32)[:, :, None, None]
    return image * stripes


def _spoiled(image: Images, n_weighted: int, rng: np.random.Generator) -> Images:
    """A few frames too bright or too dark."""
    result = image.copy()
    for t in rng.integers(n_weighted, image.shape[-1], int(rng.integers(1, 4))):
        result[..., t] *= np.float32(rng.uniform(0.4, 1.8))
    return result


def _cropped(image: Images, rng: np.random.Generator) -> Images:
    """Empty borders, where the scanner's field of view was smaller."""
    result = np.zeros_like(image)
    low = [int(rng.integers(0, max(n // 8, 1))) for n in image.shape[:2]]
    high = [n - int(rng.integers(0, max(n // 8, 1))) for n in image.shape[:2]]
    inside = np.s_[low[0] : high[0], low[1] : high[1]]
    result[inside] = image[inside]
    return result
