"""How still the heart lies in a slice, frame by frame, with nothing known of the truth and nothing of the method.

A heart that lies still shows few patterns, whatever contrast does to it: the blood of either side, the muscle, and all
that stays. A frame is then a mixture of the leading patterns of other frames, which it had no part in; what moved can't
be mixed from them. It is left as variance that nothing explains, and points along the edges of the mixture to where the
heart went. Patterns of aligned frames are few: Huizinga et al., Med Image Anal 2016;29:65-78.

Frames are smoothed first. Reading them between pixels then takes no more of their noise or detail away than is gone
already, so that a series that was interpolated can be compared with one that was not; and each is scaled to the same
energy, so that the brightest ones don't decide.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qperf_app.geometry.masks import rectangle_around
from qperf_app.methods.heart import dilated, first_pass_score, first_pass_width, heart_centre, left_ventricle
from qperf_app.methods.smoothing import gaussian

#: Smoothing in the plane, mm, and at least a pixel: cubic splines read such images without loss.
SMOOTHING = 3.0
#: Patterns that contrast shows: right blood, left blood, and muscle with all that fills as late.
PATTERNS = 2
#: Every frame is predicted by patterns of the others but for each one so many frames away from it.
_FOLDS = 8
#: Fewer frames have no patterns to speak of.
LEAST_FRAMES = 2 * _FOLDS
#: The heart is looked for on pixels of up to this size, mm, and its left ventricle on such.
_COARSE, _FINE = 6.0, 4.0
#: Smoothing of that look, mm, and running median of so many frames, at most, as ``chained`` has it.
_LOOK = 4.0, 5
#: Muscle around the blood, and something of what borders on it, mm.
_WALL = 14.0
#: A shift of more than this, mm, is beyond where edges are straight: it says that a frame lies far off, or is noise.
_FAR = 6.0
#: Standard error, mm, below which one shift is known as well as another.
_ALIKE = 1.0


@dataclass(frozen=True)
class Steadiness:
    """What does not fit in each frame (t,) of a slice.

    ``unexplained`` is the part of a frame's variance over the region that the patterns of other frames leave. ``shift``
    (mm) would take most of it away, known to ``error`` (mm) if what is left then is noise. ``contrast`` is a frame's
    standard deviation over the region: read from one place, all frames agree, and show nothing.
    """

    unexplained: NDArray[np.float64]
    shift: NDArray[np.float64]
    error: NDArray[np.float64]
    contrast: NDArray[np.float64]

    @property
    def motion(self) -> float:
        """Root mean square of the shifts, mm, none of which counts for more than 6, and each as well as it is known.

        Few and blurred edges, as large pixels have, and noise make shifts of a frame that lies still.
        """
        return float(np.sqrt(np.average(np.minimum(self.shift, _FAR) ** 2, weights=1 / (self.error**2 + _ALIKE**2))))


def smoothed(frames: NDArray[np.floating], spacing: NDArray[np.float64]) -> NDArray[np.float32]:
    """Frames (x, y, t) of ``spacing`` (2,) mm as they are compared."""
    known = np.nan_to_num(np.asarray(frames, np.float32), posinf=0.0, neginf=0.0)
    return gaussian(known, (*_sigma(spacing), 0.0), mode="nearest")


def heart_regions(
    slices: Sequence[NDArray[np.float32]], spacing: NDArray[np.float64], interval: float
) -> list[NDArray[np.bool_]]:
    """The left ventricle's blood with the muscle around it, (x, y) in every slice.

    Parameters
    ----------
    slices : sequence of (x, y, t) arrays
        Dynamic frames of each slice, smoothed, uncorrected: no correction chooses where it is judged.
    spacing : (2,) array
        mm.
    interval : float
        Usual time between frames, s.

    Returns
    -------
    list of (x, y) bool arrays
        Empty where nothing rises and falls as blood does.
    """
    nowhere: NDArray[np.bool_] = np.zeros(slices[0].shape[:2], bool)
    look = [_thinned(frames, spacing, _COARSE) for frames in slices]
    coarse = look[0][1]
    width = first_pass_width([each for each, _ in look], coarse, interval) / interval
    centre = heart_centre([first_pass_score(each, coarse, width, *_LOOK) for each, _ in look], coarse)
    if centre is None:
        return [nowhere] * len(slices)
    regions = []
    for frames in slices:
        fine, pixel = _thinned(frames, spacing, _FINE)
        found = left_ventricle(fine, pixel, width, centre * coarse / pixel)
        if found is None:
            regions.append(nowhere)
            continue
        rows, columns = np.rint(pixel / spacing).astype(int)
        at = np.ix_(np.arange(nowhere.shape[0]) // rows, np.arange(nowhere.shape[1]) // columns)
        regions.append(dilated(found.likeliest[at], _WALL, spacing))
    return regions


def _thinned(
    frames: NDArray[np.float32], spacing: NDArray[np.float64], largest: float
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Every so many pixels of smoothed frames, no farther than ``largest`` mm from each other, and their spacing."""
    steps = np.maximum(largest // spacing, 1).astype(int)
    return frames[:: steps[0], :: steps[1]], spacing * steps


def read_moved(frames: NDArray[np.float32], displacement: NDArray[np.float64]) -> NDArray[np.float32]:
    """Smoothed frames (x, y, t) read at p + displacement[p] (x, y, t, 2), pixels; edges repeat outside."""
    from scipy.ndimage import map_coordinates, spline_filter

    grid, moved = np.indices(frames.shape[:2], dtype=float), np.empty_like(frames)
    for t in range(frames.shape[2]):
        spline = spline_filter(frames[..., t], order=3, mode="nearest", output=np.float32)
        where = grid + np.moveaxis(displacement[:, :, t], -1, 0)
        moved[..., t] = map_coordinates(spline, where, order=3, mode="nearest", prefilter=False)
    return moved


def steadiness_of(
    frames: NDArray[np.float32], region: NDArray[np.bool_], spacing: NDArray[np.float64]
) -> Steadiness | None:
    """Judge smoothed frames (x, y, t) within a region; None where there are too few, or a frame shows nothing there."""
    values = frames[region].astype(np.float64)
    values = values - values.mean(axis=0, keepdims=True)
    size = np.sqrt((values**2).sum(axis=0))
    if values.shape[1] < LEAST_FRAMES or not size.all():
        return None
    slopes = np.gradient(frames, axis=(0, 1))
    along, across = (slope[region] / size / edge for slope, edge in zip(slopes, spacing, strict=True))
    values = values / size
    mixture = _mixtures(values.T @ values)
    missed = values - values @ mixture
    along, across = along @ mixture, across @ mixture
    xx, xy, yy = (along**2).sum(axis=0), (along * across).sum(axis=0), (across**2).sum(axis=0)
    x, y = (along * missed).sum(axis=0), (across * missed).sum(axis=0)
    determinant = np.maximum(xx * yy - xy**2, np.finfo(float).tiny)
    x, y = (yy * x - xy * y) / determinant, (xx * y - xy * x) / determinant
    contrast = size / np.sqrt(region.sum())
    left = ((missed - along * x - across * y) ** 2).mean(axis=0)
    # What a pixel adds to either shift.
    pulls = (yy * along - xy * across) / determinant, (xx * across - xy * along) / determinant
    error = np.sqrt(left * sum(_variance_of_sums(pull, region, spacing) for pull in pulls))
    return Steadiness((missed**2).sum(axis=0), np.hypot(x, y), error, contrast)


def _variance_of_sums(
    weights: NDArray[np.float64], region: NDArray[np.bool_], spacing: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Variance (t,) of sums with ``weights`` (n, t) over the region, of noise of variance 1 as smoothing leaves it."""
    sigma = _sigma(spacing)
    box = rectangle_around(region, int(np.ceil(4 * sigma.max())))
    spread = np.zeros((*region[box].shape, weights.shape[1]))
    spread[region[box]] = weights
    # Smoothed noise correlates as a Gaussian, wider by the square root of two and 1 at its top.
    spread = 4 * np.pi * sigma.prod() * gaussian(spread, (*np.sqrt(2) * sigma, 0.0), mode="constant")
    return np.asarray((weights * spread[region[box]]).sum(axis=0))


def _mixtures(products: NDArray[np.float64]) -> NDArray[np.float64]:
    """How to mix each frame (columns) from others (rows), by the inner products (t, t) of the frames.

    A frame is projected on the leading patterns of the other folds' frames, each of which is a mixture of them.
    """
    frames = np.arange(len(products))
    mixture = np.zeros_like(products)
    for fold in range(_FOLDS):
        own, others = frames[frames % _FOLDS == fold], frames[frames % _FOLDS != fold]
        energy, vectors = np.linalg.eigh(products[np.ix_(others, others)])
        energy, vectors = np.maximum(energy[-PATTERNS:], np.finfo(float).eps), vectors[:, -PATTERNS:]
        mixture[np.ix_(others, own)] = (vectors / energy) @ (vectors.T @ products[np.ix_(others, own)])
    return mixture


def _sigma(spacing: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.maximum(SMOOTHING / spacing, 1.0)
