"""Motion correction ``none``: the series as it is."""

from __future__ import annotations

import numpy as np

from qperf_app.plugins import Motion, MotionCorrectionPlugin, Resources, RunContext, Series


class NoMotionCorrection(MotionCorrectionPlugin):
    """Leave every volume where it is, for breath-held or already corrected series.

    ``corrected`` is True throughout: False marks frames that a method failed on, and nothing failed here.
    """

    name = "none"
    version = "1.0"
    summary = "No motion correction, for breath-held or already corrected series."

    def correct(self, series: Series, context: RunContext) -> Motion:
        """Return zero displacement."""
        shape = series.data.shape
        return Motion(np.zeros((*shape, 3), np.float32), np.ones(shape[2:], bool))

    def resources(self, shape: tuple[int, int, int, int]) -> Resources:
        """Memory of the series and of its single-precision displacement field."""
        return Resources(memory_gb=0.2 + float(np.prod(shape)) * (8 + 3 * 4) / 2**30)
