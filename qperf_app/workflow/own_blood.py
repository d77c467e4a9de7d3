"""The concentration of a series' brightest blood, against which an input function that is handed in is held."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qperf_app.checks.curves import brightest_blood
from qperf_app.plugins import CONCENTRATION_UNITS, InputFunction, RunContext, Series
from qperf_app.plugins.manager import load_plugins, make
from qperf_app.plugins.steps import CONCENTRATION
from qperf_app.plugins.steps.spec import slot_of
from qperf_app.workflow.scans import SeriesInput


def brightest_blood_curve(series: SeriesInput, data: NDArray[np.floating]) -> InputFunction | None:
    """Mean concentration of the blood that enhances most; None where the metadata don't say how it is converted.

    Parameters
    ----------
    series : SeriesInput
        With ``VolumeTiming``.
    data : (x, y, z, t) array
        Its values.
    """
    choose = slot_of(CONCENTRATION).choose
    assert choose is not None
    (name,), _ = choose([series.metadata])
    plugin = make(load_plugins().get(CONCENTRATION.name, name))
    unusable = any(field not in series.metadata for field in plugin.requires)
    if unusable or plugin.problems(series.metadata, data.shape):
        return None
    count = int(series.metadata.get("ProtonDensityVolumeCount", 0))
    mean = data[brightest_blood(data[..., count:])].mean(axis=0, dtype=np.float64)
    times = np.asarray(series.metadata["VolumeTiming"], np.float64)
    pool = Series(mean[None, None, None, :], times, np.eye(4), series.metadata)
    converted = plugin.convert(pool, "blood", RunContext())
    if converted.units != CONCENTRATION_UNITS:
        return None
    return InputFunction(times[count:], np.asarray(converted.data[0, 0, 0], np.float64))
