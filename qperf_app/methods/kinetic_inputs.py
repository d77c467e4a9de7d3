"""What every fit starts from: checked curves and an input function on an even grid."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from qperf_app.physics.input_function import InputFeatures, find_features, smooth_input
from qperf_app.plugins.quality import QualityCode
from qperf_app.plugins.records import InputFunction, TissueCurves

Array = NDArray[np.float64]

#: Volumes that a fit needs at least: five parameters and something to judge them by.
MIN_FRAMES = 8


def frames_kept(volumes: int, first: int, left_out: Iterable[int]) -> int:
    """How many of a series' volumes, of which the dynamic ones begin with ``first``, are not left out."""
    return volumes - first - len({frame for frame in left_out if frame >= first})


#: Largest spacing of the input function's grid, s: its second-order error is then far below that of the noise.
SPACING = 0.25
#: Part of a curve's frames that must be finite.
LEAST_FINITE = 0.8


def check(curves: TissueCurves, aif: InputFunction) -> InputFeatures:
    """Return the input function's features.

    Raises
    ------
    ValueError
        Where units differ, volumes are too few, the input function is not finite or shows no bolus
        (:class:`~qperf_app.physics.input_function.NoBolusError`).
    """
    if curves.units != aif.units:
        raise ValueError(
            f"the tissue curves are in {curves.units!r}, the input function in {aif.units!r}: "
            "flow needs both in one unit"
        )
    if len(curves.times) < MIN_FRAMES:
        raise ValueError(f"{len(curves.times)} volumes; a kinetic fit needs at least {MIN_FRAMES}")
    if not np.isfinite(aif.concentration).all():
        count = int((~np.isfinite(aif.concentration)).sum())
        raise ValueError(f"the input function is not finite at {count} of its {len(aif.times)} samples")
    return find_features(aif.times, aif.concentration)


def even_input(times: Array, concentration: Array, until: float) -> tuple[Array, Array]:
    """Input function on an even grid that reaches ``until`` (s), its last value held past its end."""
    t, c = np.asarray(times, dtype=float), np.asarray(concentration, dtype=float)
    if until > t[-1]:
        t, c = np.append(t, until), np.append(c, c[-1])
    return smooth_input(t, c, min(SPACING, float(np.median(np.diff(t)))))


def usable_curves(concentration: Array) -> NDArray[np.bool_]:
    """Curves (n, t) with enough finite frames to fit: at least four in five, and as many as a fit needs."""
    finite = np.isfinite(concentration).sum(axis=1)
    return np.asarray(finite >= max(MIN_FRAMES, LEAST_FINITE * concentration.shape[1]))


def changing_curves(concentration: Array) -> NDArray[np.bool_]:
    """Curves (n, t) that are not constant; False where nothing is finite."""
    low = np.nanmin(concentration, axis=1, initial=np.inf)
    return np.asarray(np.nanmax(concentration, axis=1, initial=-np.inf) > low)


def screen(concentration: Array) -> tuple[NDArray[np.bool_], NDArray[np.uint8]]:
    """Curves (n, t) that have a posterior to speak of, and the codes (n,) of the others."""
    finite = usable_curves(concentration)
    code = np.where(finite, QualityCode.NO_ENHANCEMENT, QualityCode.NOT_FINITE).astype(np.uint8)
    return finite & changing_curves(concentration), code
