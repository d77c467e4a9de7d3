"""What a spill-over method must pass besides: a known mixture is told apart, and muscle alone is left alone."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from qperf_app.plugins import Series, SpillOver, SpillOverPlugin
from qperf_app.testing.conformance import PluginConformance, Runs
from qperf_app.testing.examples import (
    example_concentration,
    example_conversion,
    example_masks,
    example_series,
    mixed_series,
)
from qperf_app.testing.inputs import step_of

Array = NDArray[np.float64]


class SpillOverConformance(PluginConformance):
    """Checks of a spill-over method.

    ``fraction_error`` is how far, as root mean square over the wall, its fractions may lie from those of a mixture.
    """

    step: ClassVar[str] = step_of(SpillOverPlugin).name
    fraction_error: ClassVar[float] = 0.1

    def test_leaves_muscle_alone(self, runs: Runs) -> None:
        """Where no voxel holds blood, the curves of the wall are those of its concentration."""
        error = _error(runs.plain, example_series())
        assert error <= 0.1, f"curves of muscle alone are off by {error:.0%} of their peak"

    def test_finds_the_fractions_of_a_mixture(self, runs: Runs) -> None:
        """Left ventricular blood in the inner layer of the example heart, 10 and 40 %, to within ``fraction_error``."""
        series, true = mixed_series()
        found, wall = runs(series=series).fractions.get("LV"), example_masks()["myocardium"][:, :, None]
        assert found is not None, "it finds no left ventricular blood"
        error = float(np.sqrt(((found - true)[wall] ** 2).mean()))
        assert error <= self.fraction_error, f"fractions are off by {error:.3f}, as root mean square"

    def test_takes_blood_out_of_a_mixture(self, runs: Runs) -> None:
        """The curves of the muscle in it are nearer to those without blood than to those of the mixture."""
        series, _ = mixed_series()
        error = _error(runs(series=series), series)
        assert error <= 0.15, f"curves of the muscle in a mixture are off by {error:.0%} of their peak"


def _error(found: SpillOver, series: Series) -> float:
    """Root mean square over the wall and time of what differs from the true curve, over its peak."""
    wall = example_masks()["myocardium"]
    muscle = example_conversion(series) if found.muscle is None else found.muscle
    true, curves = example_concentration()[wall, 0], muscle.data[wall, 0]
    return float(np.sqrt(np.nanmean((curves - true) ** 2)) / true.max())
