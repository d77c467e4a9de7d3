"""What an outline of the left ventricle looks like in its series: curves of cavity, wall and surroundings, and shape.

Measures for one slice, in numbers that know neither units nor scanner: signal in parts of the cavity's own peak, time
in widths of the first pass (:func:`~qperf_app.methods.heart.first_pass_width`), lengths in mm. Blood of the cavity
rises first and falls again; muscle is late, less and even; what lies outside is neither. An outline that lies wrong
mixes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from qperf_app.geometry.masks import largest_piece
from qperf_app.methods.bolus_timing import half_rise_time
from qperf_app.methods.heart import first_pass_width, squared_distance
from qperf_app.methods.noise import white_noise_sd
from qperf_app.methods.smoothing import gaussian
from qperf_app.physics.medians import median_over_time
from qperf_app.plugins import Series

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

#: Smoothing in the plane, mm, and in time, frames: single voxels are noisy.
_SMOOTHING, _FRAMES = 1.5, 0.8
#: The level before contrast ends so long before the cavity's half rise, widths; frames that make one.
_FOOT, _LEAST_BEFORE = 0.5, 2
#: The first pass ends, and the level after it is measured, so long after the half rise, widths.
_PASS, _AFTER = 2.0, (1.4, 2.4)
#: Where a pool of the other ventricle is looked for: distance from the cavity's middle, mm; least height, as a part of
#: the cavity's; arrival before and after the cavity's half rise, widths.
_REACH, _HEIGHT, _EARLIER, _LATER = 60.0, 0.4, (-1.9, -0.15), (0.15, 1.9)
#: Rim of a border on either side, and the tissue that surrounds a wall, mm; at least a voxel.
_RIM, _AROUND = 3.0, 6.0
#: Tissue around a cavity, mm from it, that is its wall: arrival, widths after the cavity's, and height.
_WALL, _WALL_ARRIVAL, _WALL_HEIGHT = (2.5, 9.0), (0.06, 1.1), (0.06, 0.8)
#: Coefficient of variation of its thickness that a healthy wall has round a slice, the septum against the side.
_UNEVEN = 0.25
#: Directions about the middle; rays that measure thickness.
_SECTORS, _RAYS = 12, 36
#: Fewer voxels are no pool and no wall.
_LEAST_VOXELS = 4


@dataclass(frozen=True)
class SeenSlice:
    """One slice of a motion-corrected series.

    Parameters
    ----------
    signal : (x, y, t) float array
        Dynamic volumes, a little smoothed.
    times : (t,) float array
        Widths of the first pass.
    spacing : (2,) float array
        Edge lengths of a voxel, mm.
    brightest : float
        Rise of the slice's brightest blood: 99th percentile of the voxels' ranges.
    """

    signal: Array
    times: Array
    spacing: Array
    brightest: float

    def near(self, mask: Mask, region: Mask) -> tuple[SeenSlice, Mask, Mask]:
        """The slice, a mask and a region of it cut to what lies in reach of them: nothing else is looked at."""
        places = np.argwhere(region)
        middle, reach = places.mean(axis=0), _REACH / self.spacing + 1
        margin = 2 * max(_AROUND, 2.0 * float(self.spacing.max())) / self.spacing
        low = np.floor(np.minimum(middle - reach, places.min(axis=0) - margin)).astype(int)
        high = np.ceil(np.maximum(middle + reach, places.max(axis=0) + margin)).astype(int) + 1
        cut = tuple(slice(max(a, 0), b) for a, b in zip(low, high, strict=True))
        return replace(self, signal=self.signal[cut]), mask[cut], region[cut]

    @property
    def voxel_area(self) -> float:
        """mm^2."""
        return float(np.prod(self.spacing))


def seen_slices(series: Series) -> list[SeenSlice]:
    """The slices of a motion-corrected series, in its order; none of a series without a bolus' worth of volumes."""
    dynamic = series.dynamic()
    data = np.nan_to_num(np.asarray(dynamic.data, np.float64), posinf=0.0, neginf=0.0)
    times = np.asarray(dynamic.times, np.float64)
    if len(times) < 8 or (np.diff(times) <= 0).any():
        return []
    spacing = series.voxel_size[:2]
    slices = list(np.moveaxis(data, 2, 0))
    width = first_pass_width(slices, spacing, float(np.median(np.diff(times))))
    sigma = (*np.where(spacing < 2 * _SMOOTHING, _SMOOTHING / spacing, 0.0), _FRAMES)
    seen = []
    for one in slices:
        smooth = gaussian(one, sigma, mode="nearest")
        brightest = float(np.percentile(smooth.max(axis=-1) - median_over_time(smooth), 99))
        seen.append(SeenSlice(smooth, times / width, spacing, brightest))
    return seen


@dataclass(frozen=True)
class _Course:
    """How the voxels of a slice enhance as seen from a pool: (x, y) maps in parts of the pool's peak."""

    rise: Array
    start: float
    curve: Array
    early: Array
    height: Array
    left: Array
    arrival: Array
    before: Mask

    @classmethod
    def about(cls, seen: SeenSlice, pool: Mask) -> _Course | None:
        """None where the pool's signal does not rise."""
        curve = seen.signal[_core(pool, seen.spacing)].mean(axis=0)
        start = half_rise_time(seen.times, curve)
        before = seen.times < start - _FOOT
        if before.sum() < _LEAST_BEFORE:
            before = np.arange(len(seen.times)) < _LEAST_BEFORE
        passing = (seen.times >= start) & (seen.times <= start + _PASS)
        curve = curve - np.median(curve[before])
        peak = float(curve[passing].max()) if passing.any() else 0.0
        if peak <= 0:
            return None
        rise = (seen.signal - median_over_time(seen.signal[..., before])[..., None]) / peak
        after = (seen.times >= start + _AFTER[0]) & (seen.times <= start + _AFTER[1])
        if not after.any():
            after = np.arange(len(seen.times)) >= len(seen.times) - 2
        window = (seen.times >= start + _EARLIER[0] - _FOOT) & (seen.times <= start + _PASS)
        at = min(int(np.searchsorted(seen.times, start)), len(seen.times) - 1)
        low = max(at - 1, 0)
        part = np.clip((start - seen.times[low]) / max(seen.times[at] - seen.times[low], 1e-9), 0.0, 1.0)
        early = rise[..., low] + part * (rise[..., at] - rise[..., low])
        level = float(curve[low] + part * (curve[at] - curve[low])) / peak
        return cls(
            rise=rise,
            start=start,
            curve=curve / peak,
            early=early / max(level, 0.1),
            height=rise[..., passing].max(axis=-1),
            left=rise[..., after].mean(axis=-1),
            arrival=_arrivals(rise[..., window], seen.times[window]) - start,
            before=before,
        )


def cavity_of(wall: Mask) -> Mask:
    """What a wall (x, y) encloses; in a wall with a gap, what its convex hull does."""
    from scipy.ndimage import binary_fill_holes
    from skimage.morphology import convex_hull_image

    inside = binary_fill_holes(wall) & ~wall
    if wall.any() and inside.sum() < _LEAST_VOXELS:
        inside = convex_hull_image(wall) & ~wall
    return largest_piece(inside)


def pool_features(seen: SeenSlice, pool: Mask) -> dict[str, float] | None:
    """What a pool (x, y) of the left ventricle looks like; None where it is too small, or no signal rises in it."""
    from scipy.ndimage import distance_transform_edt

    if pool.sum() < _LEAST_VOXELS:
        return None
    seen, pool, _ = seen.near(pool, pool)
    course = _Course.about(seen, pool)
    if course is None:
        return None
    outside = distance_transform_edt(~pool, sampling=seen.spacing)
    return _blood(seen, course, pool) | _beside_pool(seen, course, pool, outside)


def wall_features(seen: SeenSlice, wall: Mask) -> dict[str, float] | None:
    """What a wall (x, y) and the cavity in it look like; None where there is no cavity, or no signal rises in it."""
    from scipy.ndimage import distance_transform_edt

    cavity = cavity_of(wall)
    if cavity.sum() < _LEAST_VOXELS or wall.sum() < _LEAST_VOXELS:
        return None
    seen, wall, heart = seen.near(wall, wall | cavity)
    cavity = heart & ~wall
    course = _Course.about(seen, cavity)
    if course is None:
        return None
    outside = distance_transform_edt(~heart, sampling=seen.spacing)
    return (
        _blood(seen, course, cavity)
        | _other_pools(seen, course, cavity, heart)
        | _muscle(seen, course, wall, cavity)
        | _around(seen, course, wall, heart, outside)
        | _shape(seen, wall, cavity)
    )


def _blood(seen: SeenSlice, course: _Course, pool: Mask) -> dict[str, float]:
    """The curve of the pool: bright, out of its noise, quiet before, falling after, one passage long, round."""
    scatter = float(white_noise_sd(course.curve))
    half = course.curve >= 0.5
    length = float(np.gradient(seen.times)[half & (np.abs(seen.times - course.start) < _PASS + 1.0)].sum())
    peak = seen.signal[_core(pool, seen.spacing)].mean(axis=0)
    return {
        "blood brightness": float(np.ptp(peak) / max(seen.brightest, 1e-9)),
        "blood contrast": float(np.log10(1.0 / max(scatter, 1e-3))),
        "blood unrest before": float(np.ptp(course.curve[course.before])),
        "blood wash-out": float(1.0 - np.mean(course.left[pool])),
        "blood passage": length,
        "blood least early": float(np.percentile(course.early[pool], 10)),
        "blood roundness": _roundness(pool, seen.spacing),
        "blood size": float(np.log(pool.sum() * seen.voxel_area)),
    }


def _beside_pool(seen: SeenSlice, course: _Course, pool: Mask, outside: Array) -> dict[str, float]:
    """Around a pool: no blood of its own next to it, muscle round it, the right ventricle's blood before it."""
    rim = (outside > 0) & (outside <= max(_RIM, seen.spacing.max()))
    sector = _sectors(pool, seen.spacing)
    near = (outside > _WALL[0]) & (outside < _WALL[1])
    muscle = near & _between(course.arrival, _WALL_ARRIVAL) & _between(course.height, _WALL_HEIGHT)
    share = _by_sector(muscle, near, sector)
    return {
        "blood beyond": float(np.mean(course.early[rim] > 0.5)),
        "blood beyond, worst": _upper(_by_sector((course.early > 0.5) & rim, rim, sector)),
        "muscle around": float(np.mean(share > 0.25)),
        **_other_pools(seen, course, pool, pool),
    }


def _other_pools(seen: SeenSlice, course: _Course, pool: Mask, heart: Mask) -> dict[str, float]:
    """Blood near the cavity that came before it, as the right ventricle's does, and after it, as none should."""
    centre = np.argwhere(pool).mean(axis=0)
    near = (squared_distance(pool.shape, centre, seen.spacing) < _REACH**2) & ~heart
    high = near & (np.nanmax(course.rise, axis=-1) > _HEIGHT)
    before = largest_piece(high & _between(course.arrival, _EARLIER))
    falls = course.height - course.left > 0.15
    after = largest_piece(high & _between(course.arrival, _LATER) & falls)
    area = np.array([before.sum(), after.sum()]) * seen.voxel_area
    return {
        "blood before": float(np.log1p(area[0] / 100.0)),
        "blood after": float(np.log1p(area[1] / 100.0)),
    }


def _muscle(seen: SeenSlice, course: _Course, wall: Mask, cavity: Mask) -> dict[str, float]:
    """The wall: late, less than blood, one curve all round; a clear border to the cavity everywhere."""
    from scipy.ndimage import distance_transform_edt

    sector = _sectors(cavity, seen.spacing)
    rim = max(_RIM, float(seen.spacing.max()))
    inner = wall & (distance_transform_edt(~cavity, sampling=seen.spacing) <= rim)
    edge = cavity & (distance_transform_edt(cavity, sampling=seen.spacing) <= rim)
    height = course.height[wall]
    middle = float(np.median(height))
    typical = np.median(course.rise[wall], axis=0)
    likeness = _likeness(course.rise[wall], typical)
    by_sector = _mean_by(likeness, sector[wall])
    heights = _mean_by(height, sector[wall])
    step = _mean_by(course.early[edge], sector[edge]) - _mean_by(course.early[inner], sector[inner])
    start = half_rise_time(seen.times, typical)
    return {
        "wall early": float(np.median(course.early[wall])),
        "wall early, inner": float(np.mean(course.early[inner] > 0.5)) if inner.any() else 1.0,
        "wall early, tenth": float(np.percentile(course.early[wall], 90)),
        "wall height": middle,
        "wall dim": float(np.mean(height < 0.3 * middle)),
        "wall likeness": float(np.mean(likeness)),
        "wall likeness, worst": _lower(by_sector),
        "wall unevenness": float(np.nanstd(heights) / max(abs(middle), 0.05)),
        "wall delay": float(start - course.start),
        "inner border": float(np.nanmean(step)) if np.isfinite(step).any() else -1.0,
    }


def _around(seen: SeenSlice, course: _Course, wall: Mask, heart: Mask, outside: Array) -> dict[str, float]:
    """What lies outside of the wall: something else than muscle, and on one side the right ventricle's blood."""
    ring = (outside > 0.5 * seen.spacing.max()) & (outside <= max(_AROUND, 2.0 * float(seen.spacing.max())))
    sector = _sectors(heart, seen.spacing)
    middle, early = float(np.median(course.height[wall])), float(np.median(course.early[wall]))
    typical = np.median(course.rise[wall], axis=0)
    like = np.zeros_like(ring)
    like[ring] = (
        (np.abs(course.height[ring] - middle) < 0.35 * abs(middle))
        & (np.abs(course.early[ring] - early) < 0.25)
        & (_likeness(course.rise[ring], typical) > 0.8)
    )
    right = ring & _between(course.arrival, _EARLIER) & (np.max(course.rise, axis=-1) > _HEIGHT)
    muscle = _by_sector(like, ring, sector)
    return {
        "muscle outside": float(np.mean(muscle)),
        "muscle outside, worst": _upper(muscle),
        "right blood beside": float(np.mean(_by_sector(right, ring, sector) > 0.2)),
        "ring cut by the image": float(1.0 - min(1.0, ring.sum() * seen.voxel_area / _ring_area(heart, seen))),
    }


def _ring_area(heart: Mask, seen: SeenSlice) -> float:
    """Area, mm^2, that the surroundings of a heart have where no image's edge cuts them, about."""
    radius = np.sqrt(heart.sum() * seen.voxel_area / np.pi)
    low, high = 0.5 * seen.spacing.max(), max(_AROUND, 2.0 * float(seen.spacing.max()))
    return float(np.pi * ((radius + high) ** 2 - (radius + low) ** 2))


def _shape(seen: SeenSlice, wall: Mask, cavity: Mask) -> dict[str, float]:
    """Thickness and its evenness, size, proportion of the cavity."""
    heart = wall | cavity
    centre = np.argwhere(cavity).mean(axis=0)
    thickness = _thickness(wall, centre, seen.spacing)
    mean = max(float(thickness.mean()), 1e-3)
    return {
        "thickness": float(thickness.mean()),
        "thickness, unevenness": max(float(thickness.std() / mean) - _UNEVEN, 0.0),
        "radius": float(np.sqrt(heart.sum() * seen.voxel_area / np.pi)),
        "cavity share": float(cavity.sum() / heart.sum()),
    }


def _thickness(wall: Mask, centre: Array, spacing: Array) -> Array:
    """Length of wall, mm, on each ray from a centre, voxels."""
    from scipy.ndimage import map_coordinates

    angle = np.arange(_RAYS) * (2 * np.pi / _RAYS)
    radius = np.arange(0.25, 80.0, 0.5)
    place = np.stack([np.cos(angle), np.sin(angle)])[..., None] * radius
    at = centre[:, None, None] + place / spacing[:, None, None]
    return np.asarray((map_coordinates(wall.astype(np.float32), at, order=1) > 0.5).sum(axis=1) * 0.5)


def _core(pool: Mask, spacing: Array) -> Mask:
    """A pool without its border's partial volume, where it is large enough."""
    from scipy.ndimage import distance_transform_edt

    depth = distance_transform_edt(pool, sampling=spacing)
    core = depth > 0.4 * depth.max()
    return core if core.sum() >= _LEAST_VOXELS else pool


def _arrivals(rise: Array, times: Array) -> Array:
    """When voxels (..., t) first have half of their maximum."""
    half = 0.5 * rise.max(axis=-1, keepdims=True)
    first = (rise >= half).argmax(axis=-1)
    before = np.maximum(first - 1, 0)
    high, low = (np.take_along_axis(rise, k[..., None], -1)[..., 0] for k in (first, before))
    part = np.clip((half[..., 0] - low) / np.where(high > low, high - low, 1.0), 0.0, 1.0)
    return np.asarray(times[before] + part * (times[first] - times[before]))


def _likeness(curves: Array, typical: Array) -> Array:
    """Correlation of curves (n, t) with one."""
    a = curves - curves.mean(axis=-1, keepdims=True)
    b = typical - typical.mean()
    return np.asarray(a @ b / np.maximum(np.linalg.norm(a, axis=-1) * np.linalg.norm(b), 1e-12))


def _sectors(region: Mask, spacing: Array) -> NDArray[np.intp]:
    """Direction of every voxel from the middle of a region, as a number."""
    offset = (np.moveaxis(np.indices(region.shape), 0, -1) - np.argwhere(region).mean(axis=0)) * spacing
    turn = np.arctan2(offset[..., 1], offset[..., 0]) / (2 * np.pi) + 0.5
    return np.asarray(np.minimum((turn * _SECTORS).astype(np.intp), _SECTORS - 1))


def _by_sector(marked: Mask, among: Mask, sector: NDArray[np.intp]) -> Array:
    """Share of the voxels ``among`` which are marked, by direction; 0 where there are none."""
    some, every = (np.bincount(sector[m], minlength=_SECTORS) for m in (marked & among, among))
    return np.asarray(some / np.maximum(every, 1))


def _mean_by(values: Array, sector: NDArray[np.intp]) -> Array:
    """Mean by direction; NaN where there is nothing."""
    total, every = np.bincount(sector, values, _SECTORS), np.bincount(sector, minlength=_SECTORS)
    return np.where(every > 0, total / np.maximum(every, 1), np.nan)


def _lower(values: Array) -> float:
    """The second lowest of the directions, so that one alone decides nothing; a direction without any is the lowest."""
    return float(np.sort(np.nan_to_num(values, nan=-1.0))[1])


def _upper(values: Array) -> float:
    return float(np.sort(values)[-2])


def _between(values: Array, limits: tuple[float, float]) -> Mask:
    return np.asarray((values > limits[0]) & (values < limits[1]))


def _roundness(region: Mask, spacing: Array) -> float:
    """Share of a region inside the disc of its own area about its centre."""
    points = np.argwhere(region) * spacing
    distance = np.linalg.norm(points - points.mean(axis=0), axis=1)
    radius = np.sqrt(len(points) * np.prod(spacing) / np.pi) + 0.5 * spacing.mean()
    return float(np.mean(distance <= radius))


#: Features by name.
Features = Mapping[str, float]
