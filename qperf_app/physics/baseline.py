"""How many volumes of a series come before the contrast agent: the one definition of its baseline."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qperf_app.physics.noise import white_noise_sd

#: A curve whose peak stands less than this many noise standard deviations above its start has no bolus.
_DETECTABLE = 6.0
#: The bolus begins where the curve leaves its baseline by this many noise standard deviations ...
_NOISE_MARGIN = 3.0
#: ... or by this fraction of its height, whichever is more.
_HEIGHT_MARGIN = 0.03
#: Frames before and after a rise, and in-plane voxels, that are averaged to tell the bolus from motion.
_RISE_FRAMES, _BLUR = 4, (5, 5)


def baseline_frames(curve: ArrayLike) -> int:
    """Count the leading frames that hold no contrast agent yet.

    From the first great rise the curve is followed back until it is level with what precedes it, to within noise. The
    noise is estimated from second differences, so the bolus itself doesn't count as noise.

    Parameters
    ----------
    curve : (t,) array
        Signal or concentration of a region that the bolus passes, proton-density frames left out, any unit.

    Returns
    -------
    int
        1 to t; t where no bolus can be told from noise.

    Raises
    ------
    ValueError
        Where the curve has fewer than three frames or a value that isn't finite.
    """
    values = np.asarray(curve, np.float64)
    if values.ndim != 1 or len(values) < 3:
        raise ValueError(f"a curve of at least 3 frames is needed to find the baseline, not shape {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError("the curve that the baseline is sought in has values that are not finite")
    noise, steady = float(white_noise_sd(values)), _without_outliers(values)
    steepest = _first_great_rise(steady)
    frames, top = steepest + 1, steady[steepest:].max()
    height = top - np.median(values[:frames])
    if height <= _DETECTABLE * noise or height <= 0:
        return len(values)
    while frames > 1:
        level = np.median(values[:frames])
        if values[frames - 1] <= level + max(_NOISE_MARGIN * noise, _HEIGHT_MARGIN * (top - level)):
            break
        frames -= 1
    return frames


def bolus_curve(data: NDArray[np.floating], fraction: float = 0.01) -> NDArray[np.float64]:
    """Mean curve of the voxels that the bolus passes, found by their largest lasting rise.

    The rise is that of the mean of four frames over the four before, after a small in-plane blur: edges that breathing
    moves to and fro vary more than blood does, but don't last.

    Parameters
    ----------
    data : (x, y, z, t) array
        Series without proton-density volumes.
    fraction : float
        Part of the voxels to average, at least one.

    Returns
    -------
    (t,) array
        In the unit of the data; voxels with values that aren't finite are left out.

    Raises
    ------
    ValueError
        Where every voxel has a value that isn't finite.
    """
    from scipy.ndimage import uniform_filter

    window = max(1, min(_RISE_FRAMES, data.shape[-1] // 2))
    finite = np.isfinite(data).all(axis=-1)
    if not finite.any():
        raise ValueError("no voxel has a curve without gaps to find the baseline by")
    # float32 halves the memory of a large series and is exact enough to rank and average by.
    known = (data if finite.all() else np.where(finite[..., None], data, 0.0)).astype(np.float32, copy=False)
    blurred = uniform_filter(known, (*_BLUR, 1, 1)).reshape(-1, data.shape[-1])
    means = blurred[:, : 1 - window or None].copy()
    for k in range(1, window):
        means += blurred[:, k : k - window + 1 or None]
    rise = (means[:, window:] - means[:, :-window]).max(axis=1)
    rise[~finite.reshape(-1)] = -np.inf
    count = max(1, round(fraction * finite.sum()))
    return np.asarray(blurred[np.argpartition(rise, -count)[-count:]].mean(axis=0, dtype=np.float64))


def _without_outliers(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Median of three: takes out a frame that went wrong, and leaves a rise as it is."""
    padded = np.pad(values, 1, mode="edge")
    return np.median(np.lib.stride_tricks.sliding_window_view(padded, 3), axis=-1)


def _first_great_rise(values: NDArray[np.float64]) -> int:
    """Last frame before the first great rise of four frames' mean over the four before.

    Great is half of the greatest at least: a heart that lies elsewhere from some frame on may rise as much as a bolus.
    """
    padded = np.pad(values, _RISE_FRAMES - 1, mode="edge")
    means = np.convolve(padded, np.full(_RISE_FRAMES, 1 / _RISE_FRAMES), "valid")
    rise = means[_RISE_FRAMES:] - means[:-_RISE_FRAMES]
    first = int(np.argmax(rise >= 0.5 * rise.max()))
    falling = np.flatnonzero(np.diff(rise[first:]) <= 0)
    return first + int(falling[0]) if len(falling) else len(rise) - 1
