"""What a motion correction must pass besides: a known motion of the example heart is undone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from qperf_app.plugins import Motion, MotionCorrectionPlugin
from qperf_app.testing.conformance import PluginConformance, Runs
from qperf_app.testing.examples import example_displacement, example_masks, example_series
from qperf_app.testing.inputs import step_of

Array = NDArray[np.float64]


class MotionCorrectionConformance(PluginConformance):
    """Checks of a motion correction.

    The example heart breathes by up to 6 mm and sways by up to 3 mm while the bolus passes; its voxels are 3 mm wide.
    ``tolerance`` (mm) is what may be left of that, as root mean square over the heart and the corrected frames, and
    ``worst`` what may be left in one frame. Which position is the common one is the method's own choice.
    """

    step: ClassVar[str] = step_of(MotionCorrectionPlugin).name
    tolerance: ClassVar[float] = 1.5
    worst: ClassVar[float] = 3.0

    @classmethod
    def given(cls, nothing: bool = False) -> Mapping[str, Any]:
        """The series moves."""
        return {} if nothing else {"series": example_series(displacement=example_displacement())}

    def test_undoes_a_shift_of_whole_voxels(self, runs: Runs) -> None:
        """A known shift is undone: not left, not doubled, not of the wrong sign, not in voxels instead of mm.

        The corrected voxel at p is read from p + displacement, so that the displacement is where the heart lies.
        """
        self._check_shift(runs.plain, example_displacement())

    def test_undoes_a_shift_of_parts_of_a_voxel(self, runs: Runs) -> None:
        """The same where the shift is no whole number of voxels: breathing knows no grid."""
        moved = example_displacement(whole_voxels=False)
        self._check_shift(runs(series=example_series(displacement=moved)), moved)

    def test_frames_reported_as_corrected_are(self, runs: Runs) -> None:
        """``corrected`` is what the report and later steps trust: a frame so marked lies where the others do."""
        corrected = runs.plain.corrected[0]
        assert corrected.mean() >= 0.75, f"{(~corrected).sum()} of {len(corrected)} frames are given up on"
        left = np.where(corrected, _left(runs.plain, example_displacement())[1], 0.0)
        assert left.max() <= self.worst, (
            f"frame {left.argmax()} is marked as corrected and lies {left.max():.1f} mm off (at most {self.worst})"
        )

    def test_a_still_series_stays_still(self, runs: Runs) -> None:
        """The passing bolus changes every frame; that is no motion."""
        length = np.linalg.norm(_in_heart(runs(series=example_series())), axis=-1)
        assert length.max() <= self.tolerance, (
            f"the heart is moved by {length.max():.1f} mm in a series in which nothing moves (at most {self.tolerance})"
        )

    def test_stays_within_the_field_of_view(self, runs: Runs) -> None:
        """Displacements are millimetres of a heart in a chest, none longer than twice the largest that there is."""
        largest = np.linalg.norm(runs.plain.displacement, axis=-1).max()
        there = np.linalg.norm(example_displacement(), axis=-1).max()
        assert largest <= 2 * there, f"a displacement of {largest:.0f} mm where the heart moves by {there:.1f} mm"

    def _check_shift(self, motion: Motion, true: Array) -> None:
        moving = motion.corrected[0]
        assert moving.any(), "no frame is corrected"
        found, share = _in_heart(motion).mean(axis=0)[moving], true[moving]
        found, share = found - found.mean(axis=0), share - share.mean(axis=0)
        times = float((found * share).sum() / (share**2).sum())
        assert abs(times - 1.0) <= 0.25, (
            f"the frames are moved by {times:.2f} times the true shift of up to {np.abs(true).max():.1f} mm "
            "(1 undoes it, 0 leaves it, 2 doubles it, below 0 is the wrong sign)"
        )
        offset, left = _left(motion, true)
        rms = float(np.sqrt((left[moving] ** 2).mean()))
        assert rms <= self.tolerance, f"motion of {rms:.1f} mm is left (root mean square; at most {self.tolerance})"
        largest = float(np.linalg.norm(true, axis=-1).max())
        assert offset <= largest, (
            f"the common position lies {offset:.1f} mm from the mean one, outside of where the heart ever is "
            f"({largest:.1f} mm)"
        )


def _in_heart(motion: Motion) -> Array:
    """Displacement of the heart's voxels, (n, t, 3) mm."""
    masks = example_masks()
    return np.asarray(motion.displacement[:, :, 0][masks["lv"] | masks["myocardium"]], np.float64)


def _left(motion: Motion, true: Array) -> tuple[float, Array]:
    """Distance of the common position from the mean one, and root-mean-square motion left in each frame (t,), mm."""
    error = _in_heart(motion) - true
    offset = error.mean(axis=0)[motion.corrected[0]].mean(axis=0) if motion.corrected.any() else np.zeros(3)
    left = np.sqrt(((error - offset) ** 2).sum(axis=-1).mean(axis=0))
    return float(np.linalg.norm(offset)), left
