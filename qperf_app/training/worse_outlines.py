"""Outlines made worse on purpose, step by step: an estimate of an outline's Dice is learnt from them, and checked."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Array = NDArray[np.float64]

#: Range of an outline's shift, mm; of its scale; of a border's move, mm.
SHIFT, SCALE, MOVE = (1.0, 30.0), (0.55, 1.8), (1.5, 9.0)


def worse_walls(
    wall: Mask, left: Mask, right: Mask, peak: Array, spacing: Array, rng: np.random.Generator
) -> Iterator[tuple[str, Mask]]:
    """A wall as it is, and made worse in each way.

    Parameters
    ----------
    wall, left, right : (x, y) bool arrays
        Truth: myocardium, the blood in it, and the right ventricle's.
    peak : (x, y) array
        What each voxel gains at most: bright fat and blood are taken for the ventricle.
    spacing : (2,) array
        mm.
    rng : Generator

    Yields
    ------
    str
        What was done.
    (x, y) bool array
        The outline; never empty.
    """
    heart = wall | left
    depth = _depth(heart, spacing)
    thickness = max(float(depth[wall].max()), 3.0)
    made: dict[str, Callable[[], Mask]] = {
        "as drawn": lambda: wall,
        "shifted": lambda: _shifted(wall, rng.uniform(*SHIFT), spacing, rng),
        "scaled": lambda: _scaled(wall, heart, rng.uniform(*SCALE)),
        "cavity swallowed": lambda: heart & ~(_depth(left, spacing) > rng.uniform(*MOVE)),
        "wall in the cavity": lambda: left & ~(_depth(left, spacing) > rng.uniform(*MOVE)),
        "wall taken for cavity": lambda: _grown(heart, rng.uniform(0.6, 1.2) * thickness, spacing) & ~heart,
        "too wide": lambda: _grown(heart, rng.uniform(*MOVE), spacing) & ~left,
        "too narrow": lambda: (depth > rng.uniform(0.2, 0.8) * thickness) & ~left,
        "one side wrong": lambda: _one_side(wall, heart, left, spacing, rng),
        "wavy": lambda: _wavy(heart, left, spacing, rng),
        "right ventricle": lambda: _grown(right, thickness, spacing) & ~right,
        "something bright": lambda: _on_bright(peak, heart, right, thickness, spacing, rng),
        "anywhere": lambda: _elsewhere(wall, spacing, rng),
    }
    for kind, make in made.items():
        if kind == "right ventricle" and right.sum() < 8:
            continue
        outline = make()
        if outline.sum() >= 8:
            yield kind, outline


def worse_pools(
    left: Mask, right: Mask, wall: Mask, peak: Array, spacing: Array, rng: np.random.Generator
) -> Iterator[tuple[str, Mask]]:
    """A left ventricle's blood as it is, and made worse; as :func:`worse_walls`."""
    depth = _depth(left, spacing)
    made: dict[str, Callable[[], Mask]] = {
        "as drawn": lambda: left,
        "shifted": lambda: _shifted(left, rng.uniform(*SHIFT), spacing, rng),
        "with its wall": lambda: _grown(left, rng.uniform(*MOVE), spacing),
        "a part of it": lambda: depth > rng.uniform(0.2, 0.8) * depth.max(),
        "half of it": lambda: left & _half(left, spacing, rng),
        "with the right ventricle": lambda: left | right | (_grown(left, 12.0, spacing) & _grown(right, 12.0, spacing)),
        "right ventricle": lambda: right,
        "wall": lambda: wall & _half(wall, spacing, rng),
        "something bright": lambda: _bright(peak, left | wall, right, spacing, rng),
        "anywhere": lambda: _elsewhere(left, spacing, rng),
    }
    for kind, make in made.items():
        outline = make()
        if outline.sum() >= 4:
            yield kind, outline


def _depth(mask: Mask, spacing: Array) -> Array:
    from scipy.ndimage import distance_transform_edt

    # What lies beyond the image's edge is outside.
    return np.asarray(distance_transform_edt(np.pad(mask, 1), sampling=spacing)[1:-1, 1:-1])


def _grown(mask: Mask, by: float, spacing: Array) -> Mask:
    from scipy.ndimage import distance_transform_edt

    return np.asarray(distance_transform_edt(~mask, sampling=spacing) <= by)


def _moved(mask: Mask, by: Array) -> Mask:
    """A mask moved by whole voxels (2,); what leaves the image is lost."""
    result = np.zeros_like(mask)
    places = np.argwhere(mask) + np.rint(by).astype(int)
    places = places[((places >= 0) & (places < mask.shape)).all(axis=1)]
    result[tuple(places.T)] = True
    return result


def _shifted(mask: Mask, by: float, spacing: Array, rng: np.random.Generator) -> Mask:
    angle = rng.uniform(0, 2 * np.pi)
    return _moved(mask, by * np.array([np.cos(angle), np.sin(angle)]) / spacing)


def _scaled(mask: Mask, heart: Mask, factor: float) -> Mask:
    from scipy.ndimage import map_coordinates

    centre = np.argwhere(heart).mean(axis=0)[:, None, None]
    at = centre + (np.indices(mask.shape) - centre) / factor
    return np.asarray(map_coordinates(mask.astype(np.float32), at, order=1) > 0.5)


def _half(mask: Mask, spacing: Array, rng: np.random.Generator) -> Mask:
    """The side of the image on one hand of a region's middle."""
    angle = rng.uniform(0, 2 * np.pi)
    offset = (np.moveaxis(np.indices(mask.shape), 0, -1) - np.argwhere(mask).mean(axis=0)) * spacing
    return np.asarray(offset @ np.array([np.cos(angle), np.sin(angle)]) > 0)


def _one_side(wall: Mask, heart: Mask, left: Mask, spacing: Array, rng: np.random.Generator) -> Mask:
    """A side of the wall missing, too wide, or with the cavity in it."""
    side, by = _half(heart, spacing, rng), rng.uniform(2.0, 12.0)
    changed = (
        np.zeros_like(wall),
        _grown(heart, by, spacing) & ~left,
        heart & ~(_depth(left, spacing) > by),
    )[int(rng.integers(3))]
    return np.where(side, changed, wall)


def _wavy(heart: Mask, left: Mask, spacing: Array, rng: np.random.Generator) -> Mask:
    """Borders that wander."""
    outer, inner = (_signed(mask, spacing) + _wave(heart, spacing, rng) for mask in (heart, left))
    return np.asarray((outer > 0) & ~(inner > 0))


def _signed(mask: Mask, spacing: Array) -> Array:
    """Distance to a border, mm, positive inside."""
    return _depth(mask, spacing) - _depth(~mask, spacing)


def _wave(heart: Mask, spacing: Array, rng: np.random.Generator) -> Array:
    """A smooth function of direction, mm."""
    offset = (np.moveaxis(np.indices(heart.shape), 0, -1) - np.argwhere(heart).mean(axis=0)) * spacing
    angle = np.arctan2(offset[..., 1], offset[..., 0])
    size = rng.uniform(0.5, 5.0)
    return np.asarray(sum(size * rng.normal() * np.cos(k * angle + rng.uniform(0, 2 * np.pi)) / k for k in (1, 2, 3)))


def _bright(peak: Array, heart: Mask, right: Mask, spacing: Array, rng: np.random.Generator) -> Mask:
    """A blob of what gains most outside of the left heart: fat, liver, a vessel, an artefact, right blood."""
    from scipy.ndimage import gaussian_filter

    blurred = gaussian_filter(np.where(_grown(heart, 4.0, spacing), 0.0, np.maximum(peak, 0.0)), 4.0 / spacing)
    weight = np.maximum(blurred - np.quantile(blurred, 0.9), 0.0).ravel()
    if not weight.sum():
        return np.zeros_like(heart)
    middle = np.array(np.unravel_index(rng.choice(len(weight), p=weight / weight.sum()), heart.shape))
    offset = (np.moveaxis(np.indices(heart.shape), 0, -1) - middle) * spacing
    return np.asarray(np.hypot(*np.moveaxis(offset, -1, 0)) < rng.uniform(6.0, 20.0))


def _on_bright(
    peak: Array, heart: Mask, right: Mask, thickness: float, spacing: Array, rng: np.random.Generator
) -> Mask:
    blob = _bright(peak, heart, right, spacing, rng)
    return _grown(blob, thickness * rng.uniform(0.6, 1.3), spacing) & ~blob if blob.any() else blob


def _elsewhere(mask: Mask, spacing: Array, rng: np.random.Generator) -> Mask:
    """The outline in another place of the image, at least 15 mm away."""
    size = np.array(mask.shape)
    for _ in range(20):
        by = rng.uniform(0.1, 0.9, 2) * size - np.argwhere(mask).mean(axis=0)
        if np.linalg.norm(by * spacing) > 15.0:
            return _moved(mask, by)
    return np.zeros_like(mask)
