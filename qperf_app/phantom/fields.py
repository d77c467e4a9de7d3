"""Smooth fields of the scanner: B1 over the chest, and the noise that parallel imaging amplifies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qperf_app.phantom.acquisition import Grid

_WAVES = 3


@dataclass(frozen=True)
class TransmitField:
    """Flip angle over its nominal value, as a sum of standing waves.

    Parameters
    ----------
    variation : float
        Standard deviation.
    waves : (w, 3) array
        Wave vectors, rad/mm. Wavelengths are about those of a 3 T field in the body, 26 to 60 cm.
    phases : (w,) array
        rad.
    """

    variation: float
    waves: NDArray[np.float64]
    phases: NDArray[np.float64]

    def at(self, points: NDArray[np.float32]) -> NDArray[np.float64]:
        """B1 at world points (..., 3)."""
        angles = [sum(k * points[..., i] for i, k in enumerate(wave)) for wave in self.waves]
        waves = sum(np.cos(angle + phase) for angle, phase in zip(angles, self.phases, strict=True))
        field: NDArray[np.float64] = 1.0 + self.variation * np.sqrt(2.0 / _WAVES) * waves
        return field


def sample_transmit_field(variation: float, rng: np.random.Generator) -> TransmitField:
    """Draw a field; ``variation`` 0 is 1 everywhere."""
    directions = rng.standard_normal((_WAVES, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    lengths = rng.uniform(260.0, 600.0, (_WAVES, 1))
    return TransmitField(variation, 2.0 * np.pi * directions / lengths, rng.uniform(0.0, 2.0 * np.pi, _WAVES))


def interpolation(values: NDArray[np.float64], count: int = 4) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Nodes (n,) over the range of values, and Lagrange weights (..., n) of a function known there.

    Where all values are the same, that is the only node.
    """
    low, high = float(values.min()), float(values.max())
    if high == low:
        return np.array([low]), np.ones((*values.shape, 1), np.float32)
    # Chebyshev's nodes keep the error even.
    nodes = 0.5 * (low + high) - 0.5 * (high - low) * np.cos(np.pi * (np.arange(count) + 0.5) / count)
    weights = np.stack([
        np.prod([(values - other) / (node - other) for other in nodes if other != node], axis=0) for node in nodes
    ], axis=-1)  # fmt: skip
    return nodes, weights.astype(np.float32)


def noise_amplification(grid: Grid, largest: float, rng: np.random.Generator) -> NDArray[np.float32] | None:
    """g-factor (x, y, z) of parallel imaging along y: 1 at the coils, up to ``largest`` far from them; None for 1.

    Where aliased pixels see the coils alike, in the middle of the field of view, the noise grows most (Pruessmann et
    al., Magn Reson Med 1999;42:952).
    """
    shift = rng.uniform(-0.1, 0.1, 2)
    if largest == 1.0:
        return None
    x, y = ((np.arange(n) + 0.5) / n - 0.5 - s for n, s in zip(grid.shape[:2], shift, strict=True))
    middle = np.exp(-((x[:, None] / 0.3) ** 2) - (y[None, :] / 0.22) ** 2)
    factor = 1.0 + (largest - 1.0) * middle / middle.max()
    return np.broadcast_to(factor[..., None], grid.shape).astype(np.float32)
