"""Smooth signed-distance functions, negative inside, in mm; what a structure covers of a voxel follows from them.

Distances are exact for tubes and of first order at the surface for ellipsoids, which is all that partial volumes need
(Quilez, "Ellipsoid SDF", https://iquilezles.org/articles/ellipsoids). Coordinates come as separate arrays of any
one shape; float32 stays float32.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]

_TINY = np.float32(1e-6)


def coverage(distance: Array, width: float) -> Array:
    """Part of a voxel of edge ``width`` (mm) that lies inside a surface at a signed ``distance`` from its centre."""
    part: Array = np.clip(0.5 - distance / width, 0.0, 1.0)
    return part


def ellipsoid(coordinates: Sequence[Array], semi_axes: Sequence[float]) -> Array:
    """Distance to an axis-parallel ellipsoid (or ellipse) about the origin, of first order near its surface."""
    scaled = sum((c * (1.0 / a)) ** 2 for c, a in zip(coordinates, semi_axes, strict=True))
    steep = sum((c * (1.0 / a**2)) ** 2 for c, a in zip(coordinates, semi_axes, strict=True))
    radius = np.sqrt(scaled)
    return radius * (radius - 1.0) / (np.sqrt(steep) + _TINY)


def capsule(coordinates: Sequence[Array], start: Sequence[float], end: Sequence[float], radius: float) -> Array:
    """Distance to a tube with round ends from ``start`` to ``end``."""
    axis = [float(e - s) for s, e in zip(start, end, strict=True)]
    length = max(sum(a * a for a in axis), 1e-6)
    offset = [c - float(s) for c, s in zip(coordinates, start, strict=True)]
    along = np.clip(sum(o * (a / length) for o, a in zip(offset, axis, strict=True)), 0.0, 1.0)
    return np.sqrt(sum((o - along * a) ** 2 for o, a in zip(offset, axis, strict=True))) - radius


def smoothstep(value: Array, low: float, high: float) -> Array:
    """Rise from 0 at ``low`` to 1 at ``high`` with continuous slope."""
    x: Array = np.clip((value - low) * (1.0 / (high - low)), 0.0, 1.0)
    return x * x * (3.0 - 2.0 * x)


def truncated_normal(
    rng: np.random.Generator, mean: float, spread: float, low: float | None = None, high: float | None = None
) -> float:
    """One normal draw, clipped to [low, high] (default: three standard deviations)."""
    low = mean - 3.0 * spread if low is None else low
    high = mean + 3.0 * spread if high is None else high
    return float(np.clip(rng.normal(mean, spread), low, high))
