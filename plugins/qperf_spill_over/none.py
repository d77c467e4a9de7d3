"""No correction: a voxel of the wall is muscle."""

from __future__ import annotations

from qperf_app.plugins import (
    BloodPools,
    Converter,
    InputFunction,
    Myocardium,
    RunContext,
    Series,
    SpillOver,
    SpillOverPlugin,
    TissueConstants,
)


class NoSpillOver(SpillOverPlugin):
    """Takes every voxel of the wall for muscle alone."""

    name = "none"
    version = "1.0"
    summary = "No correction: a voxel of the wall is taken for muscle alone."

    def separate(
        self,
        series: Series,
        myocardium: Myocardium,
        pools: BloodPools | None,
        aif: InputFunction,
        constants: TissueConstants,
        convert: Converter,
        context: RunContext,
    ) -> SpillOver:
        """Leave the voxels as they are."""
        return SpillOver()
