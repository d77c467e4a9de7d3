"""Leave the series as it is."""

from __future__ import annotations

import numpy as np

from qperf_app.plugins import Motion, MotionCorrectionPlugin, RunContext, Series


class NoMotionCorrection(MotionCorrectionPlugin):
    """No displacement anywhere; every frame counts as corrected, since none failed."""

    name = "none"
    version = "1.0"
    summary = "leaves the series as it is"

    def correct(self, series: Series, context: RunContext) -> Motion:
        """Return zeros."""
        shape = series.data.shape
        return Motion(np.zeros((*shape, 3), dtype=np.float32), np.ones(shape[2:], dtype=bool))
