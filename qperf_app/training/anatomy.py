"""Real short-axis anatomy: a cine image with its drawn cavity, told apart into tissues.

A balanced cine image shows blood bright, muscle grey, lung dark and fat bright. Where the cavity is drawn, the level of
blood and of muscle is known, the wall is what is grey around it, and the right ventricle what is bright beside it. What
lies farther away is named by brightness and place, no better than training needs: every draw of a case gives grey
regions another organ's curve.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]
Mask = NDArray[np.bool_]

#: Kinds of tissue in an image; ``CHEST`` is what is grey near the skin, ``ORGAN`` what is grey elsewhere, ``WALL`` the
#: left ventricle's muscle, ``MUSCLE`` the heart's other muscle.
AIR, LUNG, VESSEL, CHEST, ORGAN, FAT, HEART_FAT, MUSCLE, RIGHT, LEFT, WALL = range(11)
#: Rays about the cavity's centre.
RAYS = 96
#: Usual edge of a pixel, mm: the images have 256 x 256 of a field of view of some 330 mm, and don't say it themselves.
PIXEL = 1.3
#: The wall's outer border is looked for so far outside of the cavity, pixels, in steps of this.
_REACH, _STEP = 19.0, 0.5
#: Most that the wall's thickness changes from ray to ray, steps.
_BEND = 2


class UnclearAnatomyError(ValueError):
    """An image that can't be told apart; says why."""


@dataclass(frozen=True)
class Anatomy:
    """A slice of a person.

    Parameters
    ----------
    name : str
        Of the image's file.
    kinds : (x, y) uint8 array
        Kind of tissue of each pixel.
    texture : (x, y) float32 array
        Its brightness over the usual one of its kind.
    cavity, right : (x, y) bool array
        Left and right cavity, with what muscle there is within.
    centre : (2,) array
        Middle of the left cavity, pixels.
    inner, outer : (RAYS,) arrays
        Radius of the wall's borders, pixels, on rays that start along x and turn towards y.
    insertions : (2, 2) array or None
        Where the right ventricle's wall meets the left one's, anterior first, pixels.
    """

    name: str
    kinds: NDArray[np.uint8]
    texture: Image
    cavity: Mask
    right: Mask
    centre: NDArray[np.float64]
    inner: NDArray[np.float64]
    outer: NDArray[np.float64]
    insertions: NDArray[np.float64] | None


def tell_apart(image: Image, cavity: Mask, name: str = "") -> Anatomy:
    """Tell the tissues of a cine image apart.

    Parameters
    ----------
    image : (x, y) array
        Balanced steady-state cine, any scale.
    cavity : (x, y) bool array
        Left cavity as drawn, papillary muscles within.

    Raises
    ------
    UnclearAnatomyError
        Where blood is hardly brighter than muscle, or the wall has no border.
    """
    from scipy import ndimage

    cavity = ndimage.binary_fill_holes(cavity)
    if cavity.sum() < 60:
        raise UnclearAnatomyError(f"{name}: the cavity has {cavity.sum()} pixels")
    smooth = ndimage.gaussian_filter(image, 0.7)
    centre = np.argwhere(cavity).mean(axis=0)
    core = ndimage.binary_erosion(cavity) if cavity.sum() > 200 else cavity
    blood = float(np.percentile(smooth[core], 70))
    inner, outer, muscle = _wall(smooth, cavity, centre, blood, name)
    radius, angle = _polar(image.shape, centre)
    heart = (radius <= _on_rays(outer, angle)) | cavity
    wall = heart & ~cavity
    right, insertions = _right_ventricle(smooth, heart, centre, outer, muscle, blood, name)
    kinds = _kinds(smooth, wall, cavity, right, muscle, blood)
    return Anatomy(name, kinds, _texture(image, kinds), cavity, right, centre, inner, outer, insertions)


def _polar(shape: tuple[int, ...], centre: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Distance from the centre, pixels, and angle from x towards y, in rays."""
    x, y = np.ogrid[: shape[0], : shape[1]]
    dx, dy = x - centre[0], y - centre[1]
    return np.hypot(dx, dy), np.arctan2(dy, dx) % (2 * np.pi) * (RAYS / (2 * np.pi))


def _on_rays(values: NDArray[np.float64], angle: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values (RAYS,) between the rays."""
    return np.asarray(np.interp(angle, np.arange(RAYS + 1), np.append(values, values[0])))


def _ray_samples(image: Image, centre: NDArray[np.float64], radii: NDArray[np.float64]) -> NDArray[np.float64]:
    """Image at radii (RAYS, n) on the rays."""
    from scipy.ndimage import map_coordinates

    angle = np.arange(RAYS)[:, None] * (2 * np.pi / RAYS)
    at = centre[0] + radii * np.cos(angle), centre[1] + radii * np.sin(angle)
    return np.asarray(map_coordinates(image, at, order=1, mode="nearest"), np.float64)


def _wall(
    image: Image, cavity: Mask, centre: NDArray[np.float64], blood: float, name: str
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Inner and outer radius of the wall (RAYS,), pixels, and the level of its muscle there.

    Along each ray the wall is what looks like the muscle next to the cavity, and its border where something else
    begins, brighter (blood, fat) or darker (lung). The closed border of least cost over all rays is found by dynamic
    programming.
    """
    from scipy.ndimage import gaussian_filter1d

    steps = np.arange(0.0, 90.0, 0.5)
    inside = _ray_samples(cavity.astype(np.float32), centre, np.broadcast_to(steps, (RAYS, len(steps)))) > 0.5
    inner = gaussian_filter1d(steps[len(steps) - 1 - inside[:, ::-1].argmax(axis=1)] + 0.25, 1.0, mode="wrap")
    depth = np.arange(0.0, _REACH + 4.0, _STEP)
    profile = _ray_samples(image, centre, inner[:, None] + depth)
    ring = profile[:, (depth >= 1.5) & (depth <= 4.5)]
    # The darker half of the ring: where the wall is thin, blood or fat already lie in it.
    usual = float(np.percentile(ring, 40))
    around = np.median(np.concatenate([ring[(np.arange(RAYS) + k) % RAYS] for k in range(-6, 7)], axis=1), axis=1)
    if blood < 1.4 * usual:
        raise UnclearAnatomyError(f"{name}: blood is hardly brighter than muscle ({blood:.0f}, {usual:.0f})")
    muscle = gaussian_filter1d(np.clip(around, 0.6 * usual, min(1.5 * usual, 0.5 * (usual + blood))), 4.0, mode="wrap")
    # Lung is less dark than blood is bright; either is half-way there at 1.
    brighter = 0.22 * (blood - muscle)
    darker = np.minimum(brighter, 0.3 * muscle)
    off = profile - muscle[:, None]
    away = np.minimum(np.where(off > 0, off / brighter[:, None], -off / darker[:, None]), 3.0)
    # The cavity's own border blurs into the first pixel.
    away[:, depth < 1.5] = 0.0
    within = np.cumsum(away**2, axis=1) * _STEP
    width = round(2.5 / _STEP)
    padded = np.concatenate([np.zeros((RAYS, 1)), np.cumsum(away, axis=1)], axis=1)
    n = round(_REACH / _STEP)
    beyond = (padded[:, width : width + n] - padded[:, :n]) / width
    # A wall is some 9 mm thick in health, from 4 mm where it is scarred to 25 mm.
    usually = 0.5 * (np.log(np.maximum(depth[:n], 0.5) * PIXEL / 10.0) / 0.5) ** 2
    cost = within[:, :n] - 3.0 * beyond + usually
    cost[:, depth[:n] * PIXEL < 3.0] = 1e3
    border = _closed_path(cost)
    supported = float((beyond[np.arange(RAYS), border] > 0.9).mean())
    like = float(np.mean([away[i, 3 : max(b, 4)].mean() for i, b in enumerate(border)]))
    if supported < 0.6 or like > 1.1:
        raise UnclearAnatomyError(f"{name}: the wall has no clear border ({supported:.2f}, {like:.2f})")
    thickness = gaussian_filter1d(depth[border], 1.5, mode="wrap")
    thin, thick = np.percentile(thickness, [10, 90])
    if thick > 3.0 * thin:
        raise UnclearAnatomyError(f"{name}: the wall is from {thin * PIXEL:.0f} to {thick * PIXEL:.0f} mm thick")
    return inner, inner + thickness, muscle


def _closed_path(cost: NDArray[np.float64]) -> NDArray[np.intp]:
    """Column for each row, the first and last being neighbours, of the least total cost with little bending."""

    def path(start: int | None) -> NDArray[np.intp]:
        total = cost[0].copy()
        if start is not None:
            total[:] = np.inf
            total[start] = cost[0, start]
        came = np.zeros(cost.shape, np.intp)
        for i in range(1, len(cost)):
            options = np.full((2 * _BEND + 1, cost.shape[1]), np.inf)
            for row, shift in enumerate(range(-_BEND, _BEND + 1)):
                bent = 0.25 * shift * shift
                if shift < 0:
                    options[row, -shift:] = total[:shift] + bent
                elif shift > 0:
                    options[row, :-shift] = total[shift:] + bent
                else:
                    options[row] = total
            best = options.argmin(axis=0)
            came[i] = np.arange(cost.shape[1]) + best - _BEND
            total = options.min(axis=0) + cost[i]
        if start is not None:
            closing = np.abs(np.arange(cost.shape[1]) - start)
            total = np.where(closing <= _BEND, total, np.inf)
        at = np.empty(len(cost), np.intp)
        at[-1] = int(total.argmin())
        for i in range(len(cost) - 1, 0, -1):
            at[i - 1] = came[i, at[i]]
        return at

    # Where an open path passes half-way round it is no longer aware of its ends.
    half = len(cost) // 2
    cost = np.roll(cost, -half, axis=0)
    middle = path(None)[half]
    cost = np.roll(cost, -half, axis=0)
    return path(int(middle))


def _right_ventricle(
    image: Image,
    heart: Mask,
    centre: NDArray[np.float64],
    outer: NDArray[np.float64],
    muscle: NDArray[np.float64],
    blood: float,
    name: str,
) -> tuple[Mask, NDArray[np.float64] | None]:
    """Right cavity, and the two points at which its wall begins; empty and None where the slice has none.

    What is as bright as blood, thick as no fat is, and touches the wall over an arc on its right side.
    """
    from scipy import ndimage

    level = float(np.median(muscle)) + 0.45 * (blood - float(np.median(muscle)))
    bright = (image > level) & (image < 1.7 * blood) & ~ndimage.binary_dilation(heart)
    opened = _opened(bright, 3.0)
    labels, count = ndimage.label(opened)
    radius, angle = _polar(image.shape, centre)
    beyond = radius - _on_rays(outer, angle)
    nothing = np.zeros(image.shape, bool)
    best, found, arc = 0.0, nothing, np.zeros(RAYS, bool)
    for k in range(1, count + 1):
        piece = labels == k
        far = float(beyond[piece].max())
        near = np.zeros(RAYS, bool)
        near[np.unique(np.rint(angle[piece & (beyond < 6.0)]).astype(int) % RAYS)] = True
        side = np.argwhere(piece).mean(axis=0) - centre
        leftward = -side[0] / max(float(np.hypot(*side)), 1e-6)
        # No ventricle reaches so far from the other, nor lies to the left of it.
        if not (120 <= piece.sum() <= 5000 and far < 65.0 and leftward > -0.1 and 8 <= near.sum() <= 50):
            continue
        solid = _solidity(piece, heart)
        # Fat that stands in for it is brighter than blood, and what leaks into liver or chest wall darker.
        alike = 0.7 < float(np.median(image[piece])) / blood < 1.35
        score = near.sum() * solid * (0.5 + 0.5 * leftward)
        if alike and solid > 0.55 and score > best:
            best, found, arc = score, piece, near
    beside = (beyond > 2.0) & (beyond < 12.0) & (np.cos(angle * (2 * np.pi / RAYS)) < -0.5)
    if not found.any():
        # Near the apex there is none; elsewhere what is not known for one would pass for fat.
        if (doubt := float((image > level)[beside].mean())) > 0.3:
            raise UnclearAnatomyError(f"{name}: what lies beside the septum can't be told ({doubt:.2f})")
        return nothing, None
    grown = ndimage.binary_dilation(found, structure=_disc(2)) & bright
    right = ndimage.binary_fill_holes(ndimage.binary_closing(grown, structure=_disc(3))) & ~heart
    if (solid := _solidity(right, heart)) < 0.78:
        raise UnclearAnatomyError(f"{name}: the right ventricle has no clear border ({solid:.2f})")
    ends = _arc_ends(arc)
    if ends is None:
        return right, None
    turn = np.array(ends) * (2 * np.pi / RAYS)
    reach = outer[np.array(ends) % RAYS]
    points = centre + reach[:, None] * np.stack([np.cos(turn), np.sin(turn)], axis=1)
    # The anterior one lies higher in the picture.
    return right, points[np.argsort(points[:, 1])]


def _arc_ends(arc: Mask) -> tuple[int, int] | None:
    """First and last ray of the longest run of an arc (RAYS,), gaps of up to three rays closed; the wall's own
    thickness is added at both ends."""
    from scipy.ndimage import binary_closing

    closed = binary_closing(np.tile(arc, 3), iterations=2)[RAYS : 2 * RAYS]
    if closed.all() or not closed.any():
        return None
    start = int(np.flatnonzero(~closed)[0])
    turned = np.roll(closed, -start)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], turned.astype(int), [0]])))
    first, last = max(zip(edges[::2], edges[1::2], strict=True), key=lambda run: run[1] - run[0])
    return int(first + start - 1), int(last + start)


def _opened(mask: Mask, radius: float) -> Mask:
    """What discs of a radius that fit into the mask cover."""
    from scipy.ndimage import distance_transform_edt

    return np.asarray(distance_transform_edt(distance_transform_edt(mask) <= radius) <= radius) & mask


def _solidity(piece: Mask, heart: Mask) -> float:
    """Part of its convex hull that a piece fills, but for the left ventricle, which a crescent lies about."""
    from skimage.morphology import convex_hull_image

    return float(piece.sum() / max((convex_hull_image(piece) & ~heart).sum(), 1))


def _disc(radius: int) -> Mask:
    x, y = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    return np.asarray(x * x + y * y <= radius * radius + 0.5)


def _kinds(
    image: Image, wall: Mask, cavity: Mask, right: Mask, muscle: NDArray[np.float64], blood: float
) -> NDArray[np.uint8]:
    """Kind of each pixel: the heart's as found; around it by brightness, thickness and place."""
    from scipy import ndimage

    grey = float(np.median(muscle))
    middle = 0.5 * (grey + blood)
    dark = image < 0.55 * grey
    inside = _body(dark)
    deep = ndimage.distance_transform_edt(inside) > 22.0
    kinds = np.where(deep, ORGAN, CHEST).astype(np.uint8)
    kinds[dark] = np.where(inside, LUNG, AIR)[dark]
    bright = image > middle
    kinds[bright] = FAT
    heart = wall | cavity | right
    near = ndimage.distance_transform_edt(~heart)
    kinds[bright & (near < 12.0)] = HEART_FAT
    # A round piece of blood's brightness in the dark is a vessel: the aorta, veins, the lung's vessels.
    labels, count = ndimage.label(bright & inside & ~heart)
    if count:
        number = np.arange(1, count + 1)
        size = ndimage.sum_labels(bright, labels, number)
        top = ndimage.maximum(ndimage.distance_transform_edt(labels > 0), labels, number)
        level = ndimage.mean(image, labels, number)
        round_enough = (np.pi * top**2 > 0.5 * size) & (size > 8) & (size < 900) & (level < 1.6 * blood)
        kinds[np.isin(labels, number[round_enough])] = VESSEL
    kinds[ndimage.binary_dilation(right, structure=_disc(2)) & ~right & (kinds != AIR) & ~bright] = MUSCLE
    for region, kind in ((right, RIGHT), (cavity, LEFT)):
        kinds[region] = kind
        # Papillary muscles and trabeculae.
        kinds[region & ndimage.binary_erosion(region) & (image < grey + 0.3 * (blood - grey))] = MUSCLE
    kinds[wall] = WALL
    return kinds


def _body(dark: Mask) -> Mask:
    """What lies inside of the skin: what tissue surrounds, at a coarse look."""
    from scipy import ndimage

    tissue = ndimage.binary_opening(~dark, iterations=1)
    # A closing by 15 pixels, by distances: that by a disc takes a hundred times as long.
    near = np.pad(ndimage.distance_transform_edt(~tissue) <= 15.0, 20)
    return np.asarray(ndimage.binary_fill_holes(ndimage.distance_transform_edt(near) > 15.0)[20:-20, 20:-20])


def _texture(image: Image, kinds: NDArray[np.uint8]) -> Image:
    """Brightness over the usual one of the same kind nearby, within half and twice; of air, over that of muscle."""
    from scipy.ndimage import uniform_filter

    texture = np.zeros(image.shape, np.float32)
    for kind in range(WALL + 1):
        there = kinds == kind
        if there.any():
            level: Image | np.floating = np.median(image[there])
            if kind not in (FAT, LUNG, AIR):
                # Coils and flow change the level slowly; fat keeps its brightness at the skin.
                weight = uniform_filter(there.astype(np.float32), 31)
                level = (uniform_filter(np.where(there, image, 0.0), 31) / np.maximum(weight, 1e-6))[there]
            texture[there] = image[there] / np.maximum(level, 1e-3)
    return np.clip(texture, 0.3, 2.5)
