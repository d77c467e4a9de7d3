"""How many volumes of a series come before the contrast agent: the one definition of its baseline."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

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

    From the steepest rise the curve is followed back until it is level with what precedes it, to within noise. The
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
    noise = _noise(values)
    padded = np.pad(values, 1, mode="edge")
    smooth = (padded[:-2] + 2.0 * padded[1:-1] + padded[2:]) / 4.0
    steepest = int(np.argmax(np.diff(smooth)))
    frames = steepest + 1
    height = values[steepest:].max() - np.median(values[:frames])
    if height <= _DETECTABLE * noise or height <= 0:
        return len(values)
    while frames > 1:
        level = np.median(values[:frames])
        margin = max(_NOISE_MARGIN * noise, _HEIGHT_MARGIN * (values[steepest:].max() - level))
        if values[frames - 1] <= level + margin:
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
    """
    from scipy.ndimage import uniform_filter

    window = max(1, min(_RISE_FRAMES, data.shape[-1] // 2))
    # float32 halves the memory of a large series and is exact enough to rank and average by.
    blurred = uniform_filter(np.asarray(data, np.float32), (*_BLUR, 1, 1)).reshape(-1, data.shape[-1])
    before = sum(blurred[:, k : k - 2 * window + 1 or None] for k in range(window))
    after = sum(blurred[:, k : k - 2 * window + 1 or None] for k in range(window, 2 * window))
    rise = (after - before).max(axis=1)
    rise[~np.isfinite(rise)] = -np.inf
    count = max(1, round(fraction * np.isfinite(rise).sum()))
    return blurred[np.argpartition(rise, -count)[-count:]].mean(axis=0, dtype=np.float64)


def _noise(values: NDArray[np.float64]) -> float:
    """Standard deviation of white noise on a smooth curve; 6 is the sum of squares of the weights 1, -2, 1."""
    return float(1.4826 * np.median(np.abs(np.diff(values, 2))) / np.sqrt(6.0))
