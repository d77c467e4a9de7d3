"""Scenes on real anatomy: a cine image told apart, turned, stretched and bent, as what each tissue gives every voxel.

The scene is of the same kind as the phantom's, so that bolus, sequence, breathing and artefacts come to both alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qperf_app.phantom.acquisition import Grid
from qperf_app.phantom.scenes import LAYERS, ORGANS, SECTORS, SOURCES, Scene
from qperf_app.plugins import Landmark
from qperf_app.training import anatomy as kinds
from qperf_app.training.anatomy import RAYS, Anatomy
from qperf_app.training.case_ranges import CaseDraws

Plane = NDArray[np.float64]

#: Sources of the kinds that have one each; an organ's is drawn, and the wall's are by sector and layer.
_SOURCE = {
    kinds.LUNG: "lung",
    kinds.VESSEL: "aorta",
    kinds.CHEST: "muscle",
    kinds.FAT: "fat",
    kinds.HEART_FAT: "heart-fat",
    kinds.MUSCLE: "myocardium",
    kinds.RIGHT: "right",
    kinds.LEFT: "left",
}
#: What a grey region may be.
_ORGANS = ("liver", "liver", "muscle", "spleen", "stomach", "marrow")
#: Regions whose organs are drawn on their own.
_REGIONS = 4
#: Beyond the wall's border the picture is bent back to itself within this, pixels.
_FADE = 32.0
#: Breathing moves the heart this far beyond its border and everything else the other way, with a slope between, pixels.
_WITH, _SLOPE = 12.0, 24.0
#: Samples of a voxel along each axis, at most.
_SAMPLES = 3
_AIR = len(SOURCES)


@dataclass(frozen=True)
class _Shape:
    """The left ventricle as it is made: borders (RAYS,), pixels, of image and scene; width of an effusion."""

    inner: Plane
    outer: Plane
    new_inner: Plane
    new_outer: Plane
    effusion: float


def anatomy_scene(given: Anatomy, shape: tuple[int, int], pixel: float, off_centre: float, draw: CaseDraws) -> Scene:
    """Make a scene of one slice.

    Parameters
    ----------
    given : Anatomy
    shape : tuple of two ints
        Of the grid (x, y).
    pixel : float
        Its edge, mm.
    off_centre : float
        Spread of the left ventricle's place about the grid's middle, mm.
    draw : CaseDraws
    """
    rng = draw.rng
    size = draw.value("anatomy", "pixel")
    to_image = _turned_and_stretched(draw) / size
    offset = draw.normal(0.6 * off_centre, 1.5 * off_centre, size=2)
    ventricle = _remodelled(given, size, draw)
    organs = rng.choice(_ORGANS, _REGIONS), rng.uniform(-110.0, 110.0, (_REGIONS, 2))
    depth = draw.value("breathing", "depth")
    states = rng.normal(0.0, depth, 3), rng.normal(0.0, draw.ranges["breathing"]["left_over"], 3)
    direction = _unit(rng.normal([0.3, 1.0], 0.3))
    start = int(rng.integers(RAYS)) if given.insertions is None else int(_ray(given.insertions[0] - given.centre))
    n = int(np.clip(round(pixel / size), 1, _SAMPLES))
    place = _samples(shape, n, pixel) - offset
    at = place @ to_image.T
    still = _look(given, ventricle, at, np.zeros(2), np.zeros(2))
    labels = np.stack([_share(mask, shape, n) for mask in (still[1] == 2, still[1] == 1, still[2])])[..., None]
    parts = []
    for moved, left in zip(*states, strict=True):
        shift = direction * moved / size
        here, inside, _ = _look(given, ventricle, at, shift, left * shift)
        source = _sources(given, ventricle, here, inside, organs, start)
        texture = _texture(given, here)
        parts.append(_summed(source, texture, shape, n)[:, :, None])
    affine = _affine(shape, pixel)
    landmarks = _landmarks(given, ventricle, np.asarray(np.linalg.inv(to_image), np.float64), offset, affine)
    sensitivity = _sensitivity(place[::n, ::n], draw)[..., None]
    return Scene(np.stack(parts), labels, landmarks, sensitivity, Grid((*shape, 1), affine, 8.0))


def _unit(vector: Plane) -> Plane:
    return np.asarray(vector / np.linalg.norm(vector))


def _turned_and_stretched(draw: CaseDraws) -> Plane:
    """Matrix from the grid's axes to the image's: turned by any angle, mirrored or not, one axis stretched."""
    turn, along = draw.rng.uniform(-np.pi, np.pi, 2)
    stretch = draw.value("anatomy", "stretch")
    mirror = np.diag([1.0, draw.rng.choice([-1.0, 1.0])])
    return np.asarray(
        _rotation(along) @ np.diag([stretch**0.5, stretch**-0.5]) @ _rotation(-along) @ mirror @ _rotation(turn)
    )


def _rotation(angle: float) -> Plane:
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


def _remodelled(given: Anatomy, size: float, draw: CaseDraws) -> _Shape:
    """A ventricle larger or smaller, its wall thicker or thinner, than the image's; ``size`` of its pixels, mm."""
    outer = given.outer * draw.value("anatomy", "outer")
    limits = draw.ranges["anatomy"]
    thickness = (given.outer - given.inner) * draw.value("anatomy", "wall")
    thickness = np.clip(thickness, limits["thin"] / size, limits["thick"] / size)
    inner = np.maximum(outer - thickness, limits["cavity"] / size)
    outer = np.maximum(outer, inner + limits["thin"] / size)
    effusion = draw.value("anatomy", "effusion") / size if draw.happens("anatomy", "effusion_share") else 0.0
    return _Shape(given.inner, given.outer, inner, outer, effusion)


def _samples(shape: tuple[int, int], n: int, pixel: float) -> Plane:
    """Places of the samples, (n x, n y, 2), mm from the grid's middle."""
    axes = [(np.arange(n * edge) + 0.5) / n - edge / 2.0 for edge in shape]
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1) * pixel


def _ray(away: Plane) -> Plane:
    return np.asarray(np.arctan2(away[..., 1], away[..., 0]) % (2 * np.pi) * (RAYS / (2 * np.pi)))


def _on_rays(values: Plane, ray: Plane) -> Plane:
    """Values (RAYS,) between the rays."""
    lower = ray.astype(np.intp) % RAYS
    part = ray - np.floor(ray)
    return np.asarray(values[lower] * (1 - part) + values[(lower + 1) % RAYS] * part)


def _look(
    given: Anatomy, ventricle: _Shape, at: Plane, shift: Plane, left_over: Plane
) -> tuple[Plane, NDArray[np.uint8], NDArray[np.bool_]]:
    """Where in the image samples are read, (x, y, 2); in the left ventricle 1 its cavity, 2 its wall; right cavity.

    ``at`` are the samples' places from the ventricle's middle, pixels. Motion correction has the heart stay, but for
    ``left_over``, and what is far from it move by ``shift`` instead.
    """
    reach = np.hypot(at[..., 0], at[..., 1])
    with_heart = 1.0 - np.clip((reach - ventricle.outer.max() - _WITH) / _SLOPE, 0.0, 1.0)[..., None]
    at = at + with_heart * left_over - (1.0 - with_heart) * (shift - left_over)
    reach, ray = np.hypot(at[..., 0], at[..., 1]), _ray(at)
    inner, outer, new_inner, new_outer = (
        _on_rays(values, ray) for values in (ventricle.inner, ventricle.outer, ventricle.new_inner, ventricle.new_outer)
    )
    far = np.maximum(outer, new_outer) + _FADE
    into = outer + ventricle.effusion
    begun = new_outer + ventricle.effusion
    read = np.select(
        [reach < new_inner, reach < new_outer, reach < begun, reach < far + ventricle.effusion],
        [
            reach * inner / new_inner,
            inner + (reach - new_inner) * (outer - inner) / (new_outer - new_inner),
            into,
            outer + (reach - begun) * (far + ventricle.effusion - outer) / (far + ventricle.effusion - begun),
        ],
        reach,
    )
    here = at * (read / np.maximum(reach, 1e-6))[..., None] + given.centre
    inside = np.select([reach < new_inner, reach < new_outer, reach < begun], [1, 2, 3], 0).astype(np.uint8)
    right = _nearest(given.right, here, False) & (inside == 0)
    return here, inside, right


def _nearest(values: NDArray[np.generic], here: Plane, outside: int | bool) -> NDArray[np.generic]:
    index = np.rint(here).astype(np.intp)
    shape = values.shape
    there = (index >= 0).all(axis=-1) & (index[..., 0] < shape[0]) & (index[..., 1] < shape[1])
    found = values[np.clip(index[..., 0], 0, shape[0] - 1), np.clip(index[..., 1], 0, shape[1] - 1)]
    return np.where(there, found, outside).astype(values.dtype)


def _sources(
    given: Anatomy,
    ventricle: _Shape,
    here: Plane,
    inside: NDArray[np.uint8],
    organs: tuple[NDArray[np.str_], Plane],
    start: int,
) -> NDArray[np.intp]:
    """Index of each sample's source; that of air is one beyond."""
    kind = _nearest(given.kinds, here, kinds.AIR)
    table = np.full(kinds.WALL + 1, _AIR)
    for one, name in _SOURCE.items():
        table[one] = SOURCES.index(name)
    source = table[kind]
    names, middles = organs
    away = here - given.centre
    grey = kind == kinds.ORGAN
    region = np.argmin([((away[grey] - middle) ** 2).sum(axis=-1) for middle in middles], axis=0)
    source[grey] = np.array([SOURCES.index(name) for name in names])[region]
    # The borders are those of the rays; muscle within a cavity stays muscle.
    fallen = (inside == 1) & ~np.isin(kind, (kinds.LEFT, kinds.MUSCLE))
    source[fallen] = SOURCES.index("left")
    ray = _ray(away)
    inner, outer = (_on_rays(values, ray) for values in (ventricle.inner, ventricle.outer))
    depth = (np.hypot(away[..., 0], away[..., 1]) - inner) / np.maximum(outer - inner, 1e-6)
    sector = ((ray - start) % RAYS * SECTORS / RAYS).astype(np.intp) % SECTORS
    layer = np.clip((depth * LAYERS).astype(np.intp), 0, LAYERS - 1)
    wall = inside == 2
    source[wall] = (len(ORGANS) + 1 + sector * LAYERS + layer)[wall]
    source[inside == 3] = SOURCES.index("stomach")
    # What the bent picture still shows of wall or cavity outside of them lies beside the border.
    stray = (inside == 0) & np.isin(kind, (kinds.WALL, kinds.LEFT))
    source[stray] = SOURCES.index("heart-fat")
    return np.asarray(source)


def _texture(given: Anatomy, here: Plane) -> NDArray[np.float32]:
    from scipy.ndimage import map_coordinates

    at = here[..., 0], here[..., 1]
    return np.asarray(map_coordinates(given.texture, at, order=1, mode="constant"), np.float32)


def _share(mask: NDArray[np.bool_], shape: tuple[int, int], n: int) -> NDArray[np.float32]:
    """Part of each voxel's samples that are in a mask."""
    return np.asarray(mask.reshape(shape[0], n, shape[1], n).mean(axis=(1, 3)), np.float32)


def _summed(
    source: NDArray[np.intp], texture: NDArray[np.float32], shape: tuple[int, int], n: int
) -> NDArray[np.float32]:
    """Mean brightness of each source in every voxel, (x, y, sources)."""
    count = _AIR + 1
    x, y = np.ogrid[: shape[0] * n, : shape[1] * n]
    voxel = (x // n) * shape[1] + y // n
    total = np.bincount((voxel * count + source).ravel(), texture.ravel(), minlength=shape[0] * shape[1] * count)
    return np.asarray(total.reshape(*shape, count)[..., :_AIR] / n**2, np.float32)


def _affine(shape: tuple[int, int], pixel: float) -> Plane:
    """Of a grid about the world's origin, its slice across the axes' usual way."""
    affine = np.diag([pixel, pixel, 10.0, 1.0])
    affine[:3, 3] = -affine[:3, :2] @ ((np.array(shape) - 1) / 2.0)
    return affine


def _landmarks(given: Anatomy, ventricle: _Shape, to_grid: Plane, offset: Plane, affine: Plane) -> tuple[Landmark, ...]:
    """Insertion points, on the outer border as it is made."""
    if given.insertions is None:
        return ()
    away = given.insertions - given.centre
    reach = _on_rays(ventricle.new_outer, _ray(away))
    at = (away / np.linalg.norm(away, axis=1, keepdims=True) * reach[:, None]) @ to_grid.T + offset
    height = float(affine[2, 3])
    # The grid lies about the origin of the world.
    return (
        Landmark("RVInsertionAnterior", 0, (float(at[0, 0]), float(at[0, 1]), height)),
        Landmark("RVInsertionInferior", 0, (float(at[1, 0]), float(at[1, 1]), height)),
    )


def _sensitivity(place: Plane, draw: CaseDraws) -> NDArray[np.float32]:
    """Of two coils on opposite sides, as a loop's falls off along its axis, 1 in the heart; ``place`` mm from it."""
    turn = draw.rng.uniform(-np.pi, np.pi)
    squared = np.zeros(place.shape[:2])
    middle = 0.0
    for side, weight in ((1.0, 1.0), (-1.0, 0.5)):
        away = side * draw.value("anatomy", "coil_distance") * np.array([np.cos(turn), np.sin(turn)])
        squared += weight * (1.0 + ((place - away) ** 2).sum(axis=-1) / 55.0**2) ** -3
        middle += weight * (1.0 + (away**2).sum() / 55.0**2) ** -3
    # A scanner's pre-scan leaves some of it, as in the phantom.
    return np.asarray((squared / middle) ** draw.value("anatomy", "coil_exponent"), np.float32)
