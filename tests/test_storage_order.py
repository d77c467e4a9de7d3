"""No result hangs on the order in which an image is stored, nor on whose it is."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qperf_app.cli.app import main
from qperf_app.geometry import Reorientation, canonical_order, resample, voxel_to_world, warp
from qperf_app.methods.input_voxels import choose_input_voxels
from qperf_app.phantom import PhantomConfig, simulate_scan
from qperf_app.plugins import RunContext, Series
from qperf_app.plugins.manager import load_plugins, make
from tests.datasets import write_json
from tests.test_segmentation import make_scene

#: In-plane axes exchanged or not, each of the three axes reversed or not.
ORDERS = [
    Reorientation(axes, flips)
    for axes in ((0, 1, 2), (1, 0, 2))
    for flips in itertools.product((False, True), repeat=3)
]
#: Every axis reversed, and the in-plane ones exchanged, at least once.
FEW = [ORDERS[1], ORDERS[6], ORDERS[8], ORDERS[15]]
CONTEXT = RunContext(seed=3, threads=2)


def oblique() -> np.ndarray:
    """Affine of a short axis, with columns that no world axis is parallel to."""
    affine = np.eye(4)
    affine[:3, :3] = np.array([[-0.69, -0.09, -0.72], [-0.58, 0.66, 0.48], [0.43, 0.75, -0.50]]) * [2.5, 2.5, 10.0]
    affine[:3, 3] = (60.0, -20.0, -35.0)
    return affine


@pytest.fixture(scope="module")
def still() -> Series:
    """Two noisy slices of a made-up heart that does not move."""
    return make_scene((56, 48), slices=2, noise=6.0, affine=oblique()).series


@pytest.fixture(scope="module")
def scan() -> dict[str, Series]:
    """A phantom scan that moves; its tissue series cut to two slices and 32 frames, so that it is quick."""
    made = simulate_scan(PhantomConfig(matrix=64), np.random.default_rng(4)).series
    tissue = made["tissue"]
    return {"aif": made["aif"], "tissue": replace(tissue, data=tissue.data[:, :, :2, :32], times=tissue.times[:32])}


def found_by(step: str, name: str, series: Series, *more: Any) -> Any:
    plugin = make(load_plugins().get(step, name))
    method = {"motion-correction": "correct", "blood-pool": "find", "myocardium": "segment"}[step]
    return getattr(plugin, method)(series, *more, CONTEXT)


# ------------------------------------------------------------------ the helper itself


@given(st.sampled_from(ORDERS), st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(1, 4)), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_voxels_keep_their_place_in_the_world(order: Reorientation, shape: tuple[int, int, int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    affine = oblique()
    affine[:3, 3] += rng.normal(0.0, 30.0, 3)
    image = rng.random(shape)
    moved, there = order.apply(image), order.apply_to_affine(affine, shape)
    assert moved.flags.c_contiguous
    np.testing.assert_array_equal(order.inverse.apply(moved), image)
    np.testing.assert_allclose(order.inverse.apply_to_affine(there, moved.shape), affine, atol=1e-9)
    before = {value: voxel_to_world(affine, index) for index, value in np.ndenumerate(image)}
    for index, value in np.ndenumerate(moved):
        np.testing.assert_allclose(voxel_to_world(there, index), before[value], atol=1e-9)
    for k in range(shape[2]):
        np.testing.assert_array_equal(
            np.sort(image[:, :, k], axis=None), np.sort(moved[:, :, order.slice_index(k, shape[2])], axis=None)
        )


@given(
    st.sampled_from(ORDERS),
    st.sampled_from([np.eye(3), np.diag([-1.0, -1.0, 1.0]), oblique()[:3, :3], None]),
    st.integers(0, 999),
)
@settings(max_examples=200, deadline=None)
def test_canonical_order_is_one_for_every_way_of_storage(
    order: Reorientation, directions: np.ndarray | None, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    affine = np.eye(4)
    affine[:3, :3] = np.linalg.qr(rng.normal(size=(3, 3)))[0] if directions is None else directions
    affine[:3, :3] *= rng.uniform(1.0, 9.0, 3)
    image = rng.random((4, 3, 2))
    # As read from a file, whose affine has single precision.
    stored, there = order.apply(image), order.apply_to_affine(affine, image.shape).astype(np.float32)
    first, second = canonical_order(affine), canonical_order(there)
    np.testing.assert_array_equal(first.apply(image), second.apply(stored))
    ends = first.apply_to_affine(affine, image.shape), second.apply_to_affine(there, stored.shape)
    np.testing.assert_allclose(*ends, atol=1e-4)
    assert canonical_order(ends[0]) == Reorientation((0, 1, 2), (False, False, False))


# ------------------------------------------------------------------ plugins


@pytest.mark.parametrize("order", ORDERS)
def test_blood_pools_by_clustering(still: Series, order: Reorientation) -> None:
    straight, other = (found_by("blood-pool", "kmeans", s) for s in (still, still.reordered(order)))
    assert straight.found and straight.rv.any()
    for name in ("lv", "rv", "aif"):
        np.testing.assert_array_equal(order.apply(getattr(straight, name)), getattr(other, name))


@pytest.mark.parametrize("order", FEW)
@pytest.mark.parametrize("own_pools", [False, True])
def test_myocardium_by_unmixing(still: Series, order: Reorientation, own_pools: bool) -> None:
    pools = found_by("blood-pool", "kmeans", still) if own_pools else None
    straight = found_by("myocardium", "classical", still, pools, None)
    moved = None if pools is None else pools.reordered(order)
    other = found_by("myocardium", "classical", still.reordered(order), moved, None)
    check_same_wall(straight, other, order)


def check_same_wall(straight: Any, other: Any, order: Reorientation) -> None:
    n_slices = straight.mask.shape[2]
    assert straight.mask.any()
    np.testing.assert_array_equal(order.apply(straight.mask), other.mask)
    points = {(p.name, order.slice_index(p.slice, n_slices)): p.position for p in straight.landmarks}
    assert points.keys() == {(p.name, p.slice) for p in other.landmarks}
    for point in other.landmarks:
        np.testing.assert_allclose(point.position, points[point.name, point.slice], atol=1e-6)
    renumbered = {f"slice {k}": f"slice {order.slice_index(k, n_slices)}" for k in range(n_slices)}
    said = [warning.partition(":") for warning in straight.warnings]
    assert sorted(renumbered.get(slice_, slice_) + colon + text for slice_, colon, text in said) == sorted(
        other.warnings
    )


@pytest.mark.parametrize("order", FEW[::3])
def test_networks(scan: dict[str, Series], order: Reorientation) -> None:
    for name in ("aif", "tissue"):
        straight, other = (found_by("blood-pool", "resunet", s) for s in (scan[name], scan[name].reordered(order)))
        assert straight.found
        for mask in ("lv", "rv", "aif"):
            np.testing.assert_array_equal(order.apply(getattr(straight, mask)), getattr(other, mask))
    pools = found_by("blood-pool", "resunet", scan["aif"])
    straight = found_by("myocardium", "resunet", scan["tissue"], pools, None)
    other = found_by("myocardium", "resunet", scan["tissue"].reordered(order), pools.reordered(ORDERS[10]), None)
    check_same_wall(straight, other, order)


@pytest.mark.parametrize("name", ["chained", "progressive"])
def test_motion_correction(scan: dict[str, Series], name: str) -> None:
    series = scan["tissue"]
    straight = found_by("motion-correction", name, series)
    assert straight.corrected.any() and np.abs(straight.displacement).max() > 1.0
    corrected = warp(series.data, series.affine, straight.displacement)
    for order in FEW[1::2]:
        stored = series.reordered(order)
        other = found_by("motion-correction", name, stored)
        np.testing.assert_array_equal(order.apply(straight.displacement), other.displacement)
        np.testing.assert_array_equal(order.apply_to_slices(straight.corrected), other.corrected)
        np.testing.assert_array_equal(order.apply(corrected), warp(stored.data, stored.affine, other.displacement))


@pytest.mark.parametrize(
    ("step", "name"), [("blood-pool", "kmeans"), ("myocardium", "classical"), ("motion-correction", "chained")]
)
def test_seed_and_order_in_memory_make_no_difference(still: Series, step: str, name: str) -> None:
    series = replace(still, data=still.data[..., :36], times=still.times[:36])
    more = (None, None) if step == "myocardium" else ()
    plugin = make(load_plugins().get(step, name))
    method = {"motion-correction": "correct", "blood-pool": "find", "myocardium": "segment"}[step]
    fortran = replace(series, data=np.asfortranarray(series.data))
    results = [getattr(plugin, method)(s, *more, RunContext(seed=n)) for n, s in enumerate((series, fortran))]
    for field in ("lv", "rv", "aif", "mask", "displacement"):
        if hasattr(results[0], field):
            np.testing.assert_array_equal(getattr(results[0], field), getattr(results[1], field))


def test_voxels_that_enhance_alike_are_chosen_by_their_curves() -> None:
    rng = np.random.default_rng(0)
    # Whole numbers, as scanners store them: many voxels tie.
    data = rng.integers(0, 4, (12, 12, 2, 20)) + 30 * (np.arange(20) > 9)
    pool = np.ones((12, 12, 2), bool)
    marked = choose_input_voxels(data, pool)
    assert 1 < marked.sum() < 30
    for order in ORDERS:
        other = choose_input_voxels(order.apply(data), order.apply(pool))
        np.testing.assert_array_equal(order.apply(marked), other)


def test_a_mask_halfway_between_voxels_falls_to_one_side() -> None:
    mask = np.random.default_rng(1).random((9, 8, 2)) < 0.5
    affine, fine = oblique(), oblique() @ np.diag([0.5, 0.5, 1.0, 1.0])
    fine[:3, 3] = voxel_to_world(affine, (-0.5, -0.5, 0.0))
    straight = resample(mask, affine, fine, (20, 18, 2))
    for order in ORDERS:
        there = order.apply_to_affine(affine, mask.shape)
        np.testing.assert_array_equal(resample(order.apply(mask), there, fine, (20, 18, 2)), straight)


# ------------------------------------------------------------------ through the app


def test_stored_otherwise_and_under_another_name(still: Series, tmp_path: Path) -> None:
    """The same images of two participants, one stored with exchanged and reversed axes: the same masks in the world."""
    order, raw, out = Reorientation((1, 0, 2), (False, True, True)), tmp_path / "raw", tmp_path / "out"
    write_json(raw / "dataset_description.json", {"Name": "two", "BIDSVersion": "1.10.0", "DatasetType": "raw"})
    still = replace(still, data=still.data[..., :40], times=still.times[:40])
    for label, series in (("A1", still), ("zz", still.reordered(order))):
        path = raw / f"sub-{label}" / "perf" / f"sub-{label}_task-rest_dce.nii.gz"
        path.parent.mkdir(parents=True)
        nib.save(nib.Nifti1Image(series.data, series.affine), path)
        metadata = {"VolumeTiming": series.times.tolist(), "Units": "arbitrary", "TaskName": "rest"}
        write_json(path.with_name(path.name.replace(".nii.gz", ".json")), metadata)
    command = [str(raw), str(out), "participant", "-w", str(tmp_path / "work"), "--skip-bids-validation"]
    choices = ["--motion-correction", "chained", "--blood-pool", "kmeans", "--myocardium", "classical"]
    assert main([*command, *choices, "--kinetics", "fermi", "--nprocs", "1"]) == 0
    for suffix in ("label-LV_mask", "label-RV_mask", "label-AIF_mask", "label-myocardium_mask", "desc-preproc_dce"):
        first, second = (
            nib.load(out / f"sub-{label}" / "perf" / f"sub-{label}_task-rest_{suffix}.nii.gz") for label in ("A1", "zz")
        )
        values = np.asarray(first.dataobj)
        assert values.any()
        np.testing.assert_array_equal(order.apply(values), np.asarray(second.dataobj), err_msg=suffix)
    states = [json.loads((out / f"sub-{label}" / f"sub-{label}_status.json").read_text()) for label in ("A1", "zz")]
    assert [status["state"] for status in states] == ["done", "done"]
