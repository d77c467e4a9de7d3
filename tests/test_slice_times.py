"""Slices that are read at times of their own: each is fitted on its clock; the input function has that of its slice."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from qperf_app.geometry import canonical_order
from qperf_app.physics.models import two_compartment_exchange
from qperf_app.plugins import KineticMaps, ParameterMap, RunContext, Series, TissueConstants, TissueCurves
from qperf_app.plugins.manager import load_plugins, make
from qperf_app.testing.examples import AFFINE, example_aif, example_curves
from qperf_app.workflow.slice_clocks import fit_by_clock, merged, slice_offset


def counting(curves: TissueCurves) -> KineticMaps:
    """The first time of each curve as its map, its sum as its curve."""
    first = np.full(len(curves.concentration), curves.times[0])
    flows = ParameterMap("MBF", "mL/min/g", first)
    return KineticMaps("none", (flows,), np.zeros(len(first), np.uint8), {}, fitted=curves.concentration)


def test_curves_of_one_clock_go_to_the_plugin_as_they_are() -> None:
    curves, seen = example_curves(), []
    fit_by_clock(curves, np.zeros(12), lambda c: (seen.append(c), counting(c))[1])
    assert len(seen) == 1 and seen[0] is curves


def test_each_curve_keeps_its_place_and_gets_its_clock() -> None:
    curves = example_curves()
    offsets = np.tile([0.2, 0.0, 0.1], 4)
    found = fit_by_clock(curves, offsets, counting)
    np.testing.assert_allclose(found.values["MBF"], offsets)
    np.testing.assert_array_equal(found.fitted, curves.concentration)


def test_a_map_that_a_part_lacks_is_empty_there() -> None:
    one, other = (
        KineticMaps("m", (ParameterMap(q, "1", np.array([v])),), np.array([c], np.uint8), {c: "why"})
        for q, v, c in (("ve", 0.2, 3), ("vp", 0.1, 4))
    )
    found = merged([one, other], [np.array([1]), np.array([0])])
    np.testing.assert_array_equal(found.values["ve"], [np.nan, 0.2])
    np.testing.assert_array_equal(found.qc, [4, 3])
    assert set(found.qc_legend) == {3, 4} and found.fitted is None


def test_a_late_slice_has_its_delay_on_its_clock() -> None:
    """A slice read 0.7 s behind the input function: on the volume's clock its bolus comes too early."""
    aif = example_aif(60)
    late, n = 0.7, 2
    fine = np.linspace(-0.0, aif.times[-1] + late, 2000)
    truth = np.interp(fine, aif.times, aif.concentration)
    tissue = two_compartment_exchange(
        fine, truth / 0.58, np.full(n, 1.5), np.full(n, 1.0), np.full(n, 0.06), np.full(n, 0.16), np.zeros(n)
    )
    # What a slice shows that is read later is what comes later.
    seen = np.stack([np.interp(aif.times + late, fine, curve) for curve in tissue])
    curves = TissueCurves(seen, aif.times, np.zeros((n, 3), np.intp), AFFINE)
    plugin = make(load_plugins().get("kinetics", "nlls"), {})

    def fit(part: TissueCurves) -> KineticMaps:
        return plugin.fit(part, aif, TissueConstants(), RunContext())

    right, wrong = (fit_by_clock(curves, np.full(n, o), fit).values for o in (late, 0.0))
    np.testing.assert_allclose(right["Ta"], 0.0, atol=0.1)
    np.testing.assert_allclose(wrong["Ta"], -late, atol=0.1)
    np.testing.assert_allclose(right["MBF"], 1.5 / 0.58 / 1.05, rtol=0.1)


def series(timing: list[float], **fields: object) -> Series:
    data = np.zeros((4, 5, len(timing), 6))
    return Series(data, np.arange(6.0), AFFINE, {"SliceTiming": timing, **fields})


def test_times_follow_the_slices_however_they_are_stored() -> None:
    plain = series([0.0, 0.2, 0.1])
    np.testing.assert_allclose(plain.slice_times, [0.0, 0.2, 0.1])
    np.testing.assert_allclose(series([0.1, 0.2, 0.0], SliceEncodingDirection="k-").slice_times, [0.0, 0.2, 0.1])
    flipped = plain.affine @ np.diag([1.0, 1.0, -1.0, 1.0])
    order = canonical_order(flipped)
    turned = replace(plain, affine=flipped).reordered(order)
    back = turned.reordered(order.inverse)
    np.testing.assert_allclose(back.slice_times, plain.slice_times)
    assert sorted(turned.slice_times.tolist()) == [0.0, 0.1, 0.2]


def test_the_voxels_clock_is_that_of_their_slices() -> None:
    voxels = np.zeros((4, 5, 3), bool)
    voxels[0, 0, 1] = True
    assert slice_offset(series([0.0, 0.2, 0.1]), voxels) == pytest.approx(0.2)
    voxels[1, 0, 2] = True
    assert slice_offset(series([0.0, 0.2, 0.1]), voxels) == pytest.approx(0.15)
    without = Series(np.zeros((4, 5, 3, 6)), np.arange(6.0), AFFINE)
    assert slice_offset(without, voxels) == 0.0
