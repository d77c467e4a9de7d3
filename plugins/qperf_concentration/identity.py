"""A series that is concentration already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from qperf_app.plugins import (
    CONCENTRATION_UNITS,
    ConcentrationPlugin,
    ConcentrationSeries,
    RunContext,
    Series,
)
from qperf_concentration.sequence import units_problems


class Identity(ConcentrationPlugin):
    """Passes on a series whose ``Units`` are mmol/L."""

    name = "identity"
    version = "1.0"
    summary = "Passes on a series that is gadolinium concentration already."
    requires = ("Units",)

    def problems(self, metadata: Mapping[str, Any], shape: tuple[int, int, int, int]) -> Sequence[str]:
        """Signal, or relative values, cannot be passed off as concentration."""
        return units_problems(metadata, CONCENTRATION_UNITS, "identity passes on")

    def convert(
        self, series: Series, tissue: Literal["blood", "myocardium"], context: RunContext
    ) -> ConcentrationSeries:
        """Return the dynamic volumes; values that aren't finite are marked invalid."""
        for problem in self.problems(series.metadata, series.data.shape):
            raise ValueError(problem)
        data = series.dynamic().data
        return ConcentrationSeries(data, CONCENTRATION_UNITS, ~np.isfinite(data))
