"""Relative enhancement, for series whose sequence values nobody knows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from qperf_app.physics.baseline import baseline_frames, bolus_curve
from qperf_app.plugins import (
    RELATIVE_UNITS,
    SIGNAL_UNITS,
    ConcentrationPlugin,
    ConcentrationSeries,
    RunContext,
    Series,
)
from qperf_concentration.sequence import option_problems, units_problems


@dataclass(frozen=True)
class LinearOptions:
    """Options of ``linear``."""

    t1_ratio: float = field(
        default=1.54,
        metadata={
            "help": "native T1 of blood over that of myocardium (1.545 at 1.5 T, 1.538 at 3 T)",
            "range": (0.1, 10.0),
        },
    )
    baseline_frames: int | None = field(
        default=None,
        metadata={
            "help": "volumes before the contrast agent; found from the data where not given",
            "range": (1, math.inf),
        },
    )


class RelativeEnhancement(ConcentrationPlugin):
    """Signal over its own baseline, in the same relative unit for blood and tissue.

    The signal of a saturation-recovery image is proportional to R1 while TD R1 and the flip angle are small, so that
    (S - S0) / S0 = T1 r1 C to first order: coil sensitivity and proton density cancel, the native T1 remains.
    Multiplying the myocardium's enhancement by T1(blood) / T1(myocardium) leaves the one factor T1(blood) r1 in blood
    and tissue alike, which cancels in a flow. Where the signal of blood saturates, flow comes out too high.
    """

    name = "linear"
    version = "1.0"
    summary = "Relative enhancement over the baseline; flow is then relative wherever the blood signal saturates."
    citations = ("Jerosch-Herold M. J Cardiovasc Magn Reson 2010;12:57. doi:10.1186/1532-429X-12-57",)
    Options = LinearOptions

    def problems(self, metadata: Mapping[str, Any], shape: tuple[int, int, int, int]) -> Sequence[str]:
        """Only signal enhances; and the options must make sense for the length of the series."""
        problems = units_problems(metadata, SIGNAL_UNITS, "linear converts signal of Units")
        count = metadata.get("ProtonDensityVolumeCount", 0)
        if not isinstance(count, int) or not 0 <= count < shape[3]:
            problems.append(f"ProtonDensityVolumeCount is {count!r} in a series of {shape[3]} volumes")
        return [*problems, *option_problems(self.options.baseline_frames, shape[3])]

    def convert(
        self, series: Series, tissue: Literal["blood", "myocardium"], context: RunContext
    ) -> ConcentrationSeries:
        """Return the enhancement over the mean of the baseline; voxels with no signal there are invalid."""
        for problem in self.problems(series.metadata, series.data.shape):
            raise ValueError(problem)
        data = series.dynamic().data
        frames = self.options.baseline_frames or baseline_frames(bolus_curve(data))
        baseline = data[..., :frames].mean(axis=-1, keepdims=True, dtype=np.float64)
        scale = 1.0 if tissue == "blood" else self.options.t1_ratio
        with np.errstate(divide="ignore", invalid="ignore"):
            enhancement = scale * (data - baseline) / baseline
        invalid = ~np.isfinite(enhancement) | (baseline <= 0)
        return ConcentrationSeries(np.where(invalid, np.nan, enhancement), RELATIVE_UNITS, invalid)
