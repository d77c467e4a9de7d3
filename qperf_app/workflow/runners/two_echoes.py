"""Of an input-function series of two echoes: the blood's signal as it was before it decayed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qperf_app.bids import records
from qperf_app.bids.images import read_image
from qperf_app.geometry.warp import warp
from qperf_app.physics.signal import two_echo_correction
from qperf_app.plugins import Series
from qperf_app.plugins.keys import Role
from qperf_app.workflow.tasks import SecondEcho


def second_echo_signal(
    echo: SecondEcho, motion: Mapping[Role, Path], voxels: NDArray[np.bool_]
) -> NDArray[np.float64] | None:
    """Mean signal (t,) of the second echo's voxels, moved as the first echo was; None where that is not known.

    Both echoes are read after one excitation: what moves the one moves the other.
    """
    if "xfm" not in motion:
        return None
    data, affine = read_image(Path(echo.path))
    corrected = warp(data, affine, records.read_motion(motion["xfm"]).displacement)
    mean: NDArray[np.float64] = corrected[voxels].mean(axis=0, dtype=np.float64)
    return mean


def correction_size(corrected: NDArray[np.floating], plain: NDArray[np.floating]) -> float:
    """Relative change of a curve's peak: of the mean over what lies above half of it, which noise hardly moves."""
    high = np.isfinite(corrected) & (plain > 0.5 * np.nanmax(plain))
    return float(corrected[high].mean() / plain[high].mean()) - 1.0


def without_decay(curve: Series) -> Series:
    """The same signal, taken as if it were read at echo time 0."""
    return replace(curve, metadata={name: value for name, value in curve.metadata.items() if name != "EchoTime"})


def at_echo_time_zero(curve: Series, second: NDArray[np.float64], echo_time: float) -> Series:
    """A curve (1, 1, 1, t) extrapolated to echo time 0 with its second echo."""
    signal, _ = two_echo_correction(curve.data[0, 0, 0], second, float(curve.metadata["EchoTime"]), echo_time)
    return without_decay(curve.with_data(signal[None, None, None, :]))
