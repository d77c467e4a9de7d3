"""What a segmentation must pass besides: blood pools and myocardium of the example heart are where they are."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from qperf_app.geometry.masks import dice
from qperf_app.plugins import BloodPoolPlugin, BloodPools, Myocardium, MyocardiumPlugin
from qperf_app.testing.conformance import PluginConformance, Runs
from qperf_app.testing.examples import example_landmarks, example_masks
from qperf_app.testing.inputs import step_of

Mask = NDArray[np.bool_]


class BloodPoolConformance(PluginConformance):
    """Checks of a blood-pool method. ``dice_lv`` and ``dice_rv`` are the least overlap with the true pools."""

    step: ClassVar[str] = step_of(BloodPoolPlugin).name
    dice_lv: ClassVar[float] = 0.8
    dice_rv: ClassVar[float] = 0.6

    def test_finds_a_heart_that_is_plainly_there(self, runs: Runs) -> None:
        """Not found is an answer for a series without a heart, not for one that shows it plainly."""
        pools: BloodPools = runs.plain
        assert pools.found, f"not found ({pools.reason!r}), where bolus and both ventricles are plainly there"

    def test_left_pool_overlaps_the_truth(self, runs: Runs) -> None:
        """The left pool is the cavity of the left ventricle."""
        found, true = runs.plain.lv[:, :, 0], example_masks()["lv"]
        assert dice(found, true) >= self.dice_lv, _overlap("left pool", found, true, self.dice_lv)

    def test_right_pool_overlaps_the_truth(self, runs: Runs) -> None:
        """The right pool is the cavity of the right ventricle: the septum is found from it."""
        found, true = runs.plain.rv[:, :, 0], example_masks()["rv"]
        assert dice(found, true) >= self.dice_rv, _overlap("right pool", found, true, self.dice_rv)

    def test_input_function_lies_in_the_left_pool(self, runs: Runs) -> None:
        """The input function is averaged over ``aif``: a voxel outside of the ventricle spoils every flow."""
        pools: BloodPools = runs.plain
        assert pools.aif.any(), "no voxel for the input function"
        beyond = int((pools.aif & ~pools.lv).sum())
        assert beyond == 0, f"{beyond} of {pools.aif.sum()} voxels of the input function lie outside of its left pool"
        outside = int((pools.aif[:, :, 0] & ~example_masks()["lv"]).sum())
        assert outside == 0, f"{outside} of {pools.aif.sum()} voxels of the input function lie outside of the true one"

    def test_finds_nothing_where_there_is_no_bolus(self, runs: Runs) -> None:
        """Where no contrast agent arrives there is no input function, and everything after it must not run."""
        pools: BloodPools = runs.nothing
        assert not pools.found, f"a left pool of {pools.lv.sum()} voxels is found in a series without a bolus"
        assert not (pools.lv.any() or pools.rv.any() or pools.aif.any()), "not found, and yet the masks are not empty"


class MyocardiumConformance(PluginConformance):
    """Checks of a segmentation of the myocardium.

    ``dice`` is the least overlap with the true one, ``cavity`` the greatest share of the cavity that may count as
    myocardium, ``distance`` (mm) how far a landmark may lie from the true insertion point.
    """

    step: ClassVar[str] = step_of(MyocardiumPlugin).name
    dice: ClassVar[float] = 0.75
    cavity: ClassVar[float] = 0.25
    distance: ClassVar[float] = 8.0

    def test_overlaps_the_truth(self, runs: Runs) -> None:
        """Flow is averaged over this mask."""
        found, true = runs.plain.mask[:, :, 0], example_masks()["myocardium"]
        assert dice(found, true) >= self.dice, _overlap("myocardium", found, true, self.dice)

    def test_is_not_the_whole_image(self, runs: Runs) -> None:
        """The myocardium is a ring, at most twice as large as the true one."""
        mask, true = runs.plain.mask, int(example_masks()["myocardium"].sum())
        assert mask.sum() <= 2 * true, f"{mask.sum()} of {mask.size} voxels are myocardium; in truth {true} are"

    def test_leaves_the_cavity_out(self, runs: Runs) -> None:
        """Blood in the mask enhances like the input function and reads as enormous flow."""
        share = float(runs.plain.mask[:, :, 0][example_masks()["lv"]].mean())
        assert share <= self.cavity, f"{share:.0%} of the cavity counts as myocardium (at most {self.cavity:.0%})"

    def test_landmarks_lie_at_the_insertion_points(self, runs: Runs) -> None:
        """AHA segments are counted from the points where the right ventricle joins the septum."""
        result: Myocardium = runs.plain
        true = {landmark.name: landmark for landmark in example_landmarks()}
        for landmark in result.landmarks:
            away = float(np.linalg.norm(np.subtract(landmark.position, true[landmark.name].position)))
            assert away <= self.distance, (
                f"{landmark.name} lies {away:.1f} mm from the true insertion point (at most {self.distance})"
            )
        named = [landmark.name for landmark in result.landmarks]
        assert len(set(named)) == len(named), f"one slice has landmarks {named}"

    def test_is_empty_with_a_warning_where_there_is_nothing(self, runs: Runs) -> None:
        """Without a bolus and without blood pools there is nothing to outline; the reader of the report is told."""
        result: Myocardium = runs.nothing
        assert not result.mask.any(), f"{result.mask.sum()} voxels of myocardium in a series without a bolus"
        assert any(w.strip() for w in result.warnings), "the mask is empty and no warning says why"


def _overlap(what: str, found: Mask, true: Mask, least: float) -> str:
    return (
        f"the {what} overlaps the true one with a Dice of {dice(found, true):.2f} (at least {least}): {found.sum()} "
        f"voxels, in truth {true.sum()}, {(found & true).sum()} of them the same"
    )
