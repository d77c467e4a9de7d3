"""Warping by the contract's displacement, resampling between grids, AHA segments and layers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates
from scipy.spatial.transform import Rotation

from qperf_app.geometry import (
    SEGMENT_NAMES,
    label_layers,
    label_segments,
    resample,
    slice_levels,
    voxel_displacement,
    voxel_to_world,
    warp,
    world_displacement,
    world_to_voxel,
)
from qperf_app.plugins import Landmark

#: A short axis as scanners store it, in RAS+: columns to the patient's left and back, rows down and to the left,
#: slices towards the apex; 2 x 2 x 8 mm.
TO_APEX = np.array([0.65, -0.6, -0.47]) * [-1, -1, 1]
TO_APEX = TO_APEX / np.linalg.norm(TO_APEX)
UP = np.array([0.0, 0.0, 1.0]) - TO_APEX[2] * TO_APEX
UP = UP / np.linalg.norm(UP)
RIGHT_OF_PICTURE = np.cross(-TO_APEX, UP)


def short_axis(voxel=(2.0, 2.0, 8.0), origin=(30.0, 20.0, 40.0)):
    """Affine with the first index to the right of the picture, the second downwards, slices base to apex."""
    affine = np.eye(4)
    affine[:3, :3] = np.column_stack([RIGHT_OF_PICTURE, -UP, TO_APEX]) * voxel
    affine[:3, 3] = origin
    return affine


def ring(size=64, centre=(31.0, 30.0), inner=9.0, outer=15.0):
    """Annulus (x, y) in voxels."""
    x, y = np.indices((size, size), dtype=float)
    distance = np.hypot(x - centre[0], y - centre[1])
    return (distance >= inner) & (distance <= outer)


def stack(n_slices, solid_last=False, **kwargs):
    """Myocardium (x, y, z)."""
    slices = [ring(**kwargs) for _ in range(n_slices)]
    if solid_last:
        slices[-1] = ring(inner=0.0, outer=8.0)
    return np.stack(slices, axis=-1)


def insertions(affine, n_slices, anterior_degrees=150.0, septum=120.0, centre=(31.0, 30.0), names=("A", "I")):
    """Insertion points of every slice.

    Degrees are counted as on the picture: 0 to the right, 90 up; the septum lies on the left.
    """
    points = []
    for name, angle in (
        ("RVInsertionAnterior", anterior_degrees),
        ("RVInsertionInferior", anterior_degrees + septum),
    ):
        if name[11] in names:
            offset = 15.0 * np.array([np.cos(np.deg2rad(angle)), -np.sin(np.deg2rad(angle))])
            points += [
                Landmark(name, z, tuple(voxel_to_world(affine, [*(np.array(centre) + offset), z])))
                for z in range(n_slices)
            ]
    return points


def at(labels, degrees, z, centre=(31, 30), radius=12):
    """Label at an angle on the picture."""
    x = round(centre[0] + radius * np.cos(np.deg2rad(degrees)))
    y = round(centre[1] - radius * np.sin(np.deg2rad(degrees)))
    return labels[x, y, z]


# ---------------------------------------------------------------------------------------------------------- warping


def smooth_series(shape=(24, 20, 2, 3), seed=0):
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(np.random.default_rng(seed).normal(size=shape), (3, 3, 0, 0)) * 100


@pytest.mark.parametrize("order", [0, 1, 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_no_displacement_changes_nothing(order, dtype):
    data = smooth_series().astype(dtype)
    result = warp(data, short_axis(), np.zeros((*data.shape, 3), np.float32), order=order)
    assert result.dtype == dtype
    np.testing.assert_allclose(result, data, atol=1e-4 if dtype == np.float32 else 1e-12)


@pytest.mark.parametrize("order", [0, 1, 3])
def test_the_corrected_voxel_is_read_from_p_plus_displacement(order):
    """A heart that moved by (3, -2) voxels is fetched back by a displacement of (3, -2) voxels, in mm of the world."""
    still, affine = smooth_series(), short_axis()
    moved = np.roll(still, (3, -2), axis=(0, 1))
    displacement = np.broadcast_to(world_displacement(affine, np.array([3.0, -2.0, 0.0])), (*still.shape, 3))
    corrected = warp(moved, affine, displacement, order=order)
    np.testing.assert_allclose(corrected[4:-4, 4:-4], still[4:-4, 4:-4], atol=1e-9 if order != 3 else 1e-2)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([1, 3]))
def test_a_plane_of_values_is_read_exactly(seed, order):
    """f(p) = a . p is its own interpolation, whatever the affine and the displacement."""
    rng = np.random.default_rng(seed)
    affine = np.eye(4)
    affine[:3, :3] = Rotation.random(random_state=seed).as_matrix() * rng.uniform(0.5, 3, 3)
    shape = (26, 25, 2, 2)
    slope = rng.normal(size=3)
    slope -= affine[:3, 2] * (slope @ affine[:3, 2]) / (affine[:3, 2] @ affine[:3, 2])
    points = voxel_to_world(affine, np.moveaxis(np.indices(shape[:3]), 0, -1))
    data = np.repeat((points @ slope)[..., None], shape[3], axis=-1)
    displacement = world_displacement(affine, rng.uniform(-2, 2, (*shape, 3)) * [1, 1, 0])
    expected = (points[..., None, :] + displacement) @ slope
    result = warp(data, affine, displacement, order=order)
    inside = np.s_[9:-9, 9:-9] if order == 3 else np.s_[2:-2, 2:-2]
    np.testing.assert_allclose(result[inside], expected[inside], atol=1e-9 if order == 1 else 1e-3)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_linear_reading_is_that_of_scipy(dtype):
    data, affine = smooth_series((23, 40, 2, 70)).astype(dtype), short_axis()
    shift = np.random.default_rng(1).uniform(-30, 30, (*data.shape, 3)) * [1, 1, 0]
    displacement = world_displacement(affine, shift).astype(np.float32)
    read = warp(data, affine, displacement)
    where = np.moveaxis(voxel_displacement(affine, displacement)[..., :2], -1, 0)
    where += np.indices(data.shape[:2], float)[:, :, :, None, None]
    for z, t in np.ndindex(data.shape[2:]):
        image = data[:, :, z, t].astype(np.float64)
        expected = map_coordinates(image, where[..., z, t], order=1, mode="nearest")
        # Coordinates may differ in their last bit, by the order in which a product of matrices is summed.
        np.testing.assert_allclose(read[:, :, z, t], expected.astype(dtype), rtol=0, atol=500 * np.finfo(dtype).eps)


def test_slices_are_planes_of_their_own_unless_said_otherwise():
    data = np.arange(3.0)[None, None, :, None] * np.ones((5, 5, 3, 1))
    through = np.zeros((*data.shape, 3))
    through[..., 2] = 8.0
    affine = np.diag([2.0, 2.0, 8.0, 1.0])
    np.testing.assert_array_equal(warp(data, affine, through), data)
    np.testing.assert_allclose(warp(data, affine, through, in_plane=False)[..., 0], np.minimum(data[..., 0] + 1, 2))


def test_outside_is_the_nearest_edge_or_what_is_asked_for():
    data = np.arange(6.0)[:, None, None, None] * np.ones((6, 5, 1, 1))
    displacement = np.zeros((*data.shape, 3))
    displacement[..., 0] = 4.0
    affine = np.diag([2.0, 2.0, 8.0, 1.0])
    assert warp(data, affine, displacement)[:, 2, 0, 0].tolist() == [2, 3, 4, 5, 5, 5]
    filled = warp(data, affine, displacement, fill=np.nan)[:, 2, 0, 0]
    np.testing.assert_array_equal(filled, [2, 3, 4, 5, np.nan, np.nan])


def test_a_mask_stays_a_mask_and_serves_every_frame():
    mask = stack(2)
    displacement = np.zeros((*mask.shape, 3, 3))
    displacement[..., 1, :] = world_displacement(short_axis(), np.array([2.0, 0.0, 0.0]))
    warped = warp(mask, short_axis(), displacement)
    assert warped.dtype == bool and warped.shape == (*mask.shape, 3)
    np.testing.assert_array_equal(warped[..., 0], mask)
    np.testing.assert_array_equal(warped[:-2, :, :, 1], mask[2:])
    labels = warp(mask.astype(np.uint8) * 7, short_axis(), displacement, order=3)
    assert labels.dtype == np.uint8 and set(np.unique(labels)) == {0, 7}


@pytest.mark.parametrize(
    ("shape", "displacement", "order", "phrase"),
    [
        ((5, 5, 2, 3), (5, 5, 2, 3), 1, "must be"),
        ((5, 5, 2, 3), (5, 5, 2, 4, 3), 1, "does not fit"),
        ((5, 5, 2, 3), (5, 5, 2, 3, 3), 2, "order"),
    ],
)
def test_what_does_not_fit_is_refused(shape, displacement, order, phrase):
    with pytest.raises(ValueError, match=phrase):
        warp(np.zeros(shape), np.eye(4), np.zeros(displacement), order=order)


def test_displacement_converts_there_and_back():
    shift = np.random.default_rng(0).normal(size=(4, 3, 2, 2, 3))
    np.testing.assert_allclose(voxel_displacement(short_axis(), world_displacement(short_axis(), shift)), shift)


# ------------------------------------------------------------------------------------------------------------ grids


def test_voxels_and_world_are_inverse():
    voxels = np.random.default_rng(0).uniform(0, 60, (50, 3))
    np.testing.assert_allclose(world_to_voxel(short_axis(), voxel_to_world(short_axis(), voxels)), voxels)


def test_the_same_grid_returns_the_same_mask():
    mask = stack(3)
    np.testing.assert_array_equal(resample(mask, short_axis(), short_axis(), mask.shape), mask)


def test_one_slice_of_an_input_function_series_serves_the_stack():
    """A blood pool of 5 mm pixels in one slice, on three tissue slices of 2 mm: same place, same area."""
    coarse, fine = short_axis((5.0, 5.0, 8.0)), short_axis()
    fine[:3, 3] += 8.0 * TO_APEX * -1
    pool = ring(40, (15.0, 14.0), 0.0, 4.0)[:, :, None]
    result = resample(pool, coarse, fine, (96, 96, 3))
    for z in range(3):
        np.testing.assert_array_equal(result[:, :, z], result[:, :, 0])
        assert result[:, :, z].sum() * 4 == pytest.approx(pool.sum() * 25, rel=0.08)
        centre = voxel_to_world(fine, [*np.argwhere(result[:, :, z]).mean(axis=0), z])
        offset = centre - voxel_to_world(coarse, [15.0, 14.0, 0.0])
        np.testing.assert_allclose(offset - (offset @ TO_APEX) * TO_APEX, 0.0, atol=0.6)
    alone = resample(pool, coarse, fine, (96, 96, 3), project=False)
    assert [bool(alone[:, :, z].any()) for z in range(3)] == [False, True, False]


def test_outside_the_field_of_view_is_empty():
    far = short_axis(origin=(500.0, 20.0, 40.0))
    assert not resample(np.ones((10, 10, 1), bool), short_axis(), far, (10, 10, 1)).any()


def test_floats_are_interpolated_and_labels_are_not():
    rows = np.arange(8.0)[:, None, None] * np.ones((8, 8, 1))
    half = np.diag([0.5, 0.5, 1.0, 1.0])
    assert resample(rows, np.eye(4), half, (14, 14, 1))[5, 4, 0] == 2.5
    labels = resample((rows * 10).astype(np.int16), np.eye(4), half, (14, 14, 1))
    assert labels.dtype == np.int16 and set(np.unique(labels)) <= set(range(0, 80, 10))
    with pytest.raises(ValueError, match="volume"):
        resample(np.zeros((3, 3)), np.eye(4), np.eye(4), (3, 3, 1))


# --------------------------------------------------------------------------------------------------------- segments


def test_names_are_those_of_the_standard():
    assert list(SEGMENT_NAMES) == list(range(1, 18))
    assert len(set(SEGMENT_NAMES.values())) == 17


@pytest.mark.parametrize("names", [("A", "I"), ("A",)])
def test_standard_view_septum_left_anterior_up(names):
    """What a reader sees: the septum on the left of the picture, the lateral wall on the right, anterior on top.

    With the anterior point alone, the image's orientation tells the way round.
    """
    affine = short_axis()
    result = label_segments(stack(3), affine, insertions(affine, 3, 120.0, names=names))
    assert result.levels == ("basal", "mid", "apical") and result.warnings == ()
    on_picture = {90: "anterior", 150: "anteroseptal", 210: "inferoseptal", 270: "inferior"}
    on_picture |= {330: "inferolateral", 30: "anterolateral"}
    for z, level in enumerate(("basal", "mid")):
        for degrees, wall in on_picture.items():
            assert SEGMENT_NAMES[at(result.labels, degrees, z)] == f"{level} {wall}"
    for degrees, wall in {90: "anterior", 180: "septal", 270: "inferior", 0: "lateral"}.items():
        assert SEGMENT_NAMES[at(result.labels, degrees, 2)] == f"apical {wall}"


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10**6),
    st.floats(0, 360),
    st.floats(70, 170),
    st.tuples(st.booleans(), st.booleans(), st.booleans()),
    st.booleans(),
)
def test_every_voxel_has_one_segment_however_the_heart_lies_and_is_stored(seed, anterior, septum, flips, swap):
    """Turn the world at will, store the image mirrored or transposed: labels stay with the tissue."""
    reference = short_axis()
    mask = stack(2)
    expected = label_segments(mask, reference, insertions(reference, 2, anterior, septum)).labels
    assert set(np.unique(expected)) == {0, *range(1, 13)}
    np.testing.assert_array_equal(expected > 0, mask)

    rigid = np.eye(4)
    rigid[:3, :3] = Rotation.random(random_state=seed).as_matrix()
    affine = rigid @ reference
    points = insertions(affine, 2, anterior, septum)
    stored, labels = mask, expected
    for axis, flip in enumerate(flips):
        if flip:
            turned = np.eye(4)
            turned[axis, axis], turned[axis, 3] = -1, stored.shape[axis] - 1
            stored, labels, affine = np.flip(stored, axis), np.flip(labels, axis), affine @ turned
            if axis == 2:
                points = [Landmark(p.name, 1 - p.slice, p.position) for p in points]
    if swap:
        stored, labels, affine = np.swapaxes(stored, 0, 1), np.swapaxes(labels, 0, 1), affine[:, [1, 0, 2, 3]]
    levels = ("mid", "basal") if flips[2] else ("basal", "mid")
    found = label_segments(stored, affine, points, levels=levels).labels
    # A voxel exactly on the border of two sectors may fall to either by rounding.
    assert (found != labels).mean() < 1e-3 and ((found > 0) == stored).all()


def test_sectors_take_sixty_degrees_whatever_the_angle_between_the_insertions():
    affine = short_axis()
    for septum in (80.0, 120.0, 160.0):
        labels = label_segments(stack(1, outer=28.0), affine, insertions(affine, 1, 150.0, septum)).labels
        counts = np.bincount(labels[labels > 0], minlength=13)[7:13]
        np.testing.assert_allclose(counts / counts.mean(), 1.0, atol=0.03)
        assert at(labels, 156.0, 0) == 8 and at(labels, 144.0, 0) == 7 and at(labels, 264.0, 0) == 9


def test_slice_stored_apex_first_is_recognised_by_the_orientation():
    affine = short_axis()
    affine[:3, 2] *= -1
    result = label_segments(stack(3), affine, insertions(affine, 3))
    assert result.levels == ("apical", "mid", "basal") and result.warnings == ()


@pytest.mark.parametrize(
    ("n_slices", "solid_last", "levels"),
    [
        (1, False, ("mid",)),
        (2, False, ("basal", "mid")),
        (3, False, ("basal", "mid", "apical")),
        (3, True, ("basal", "mid", "apical")),
        (4, True, ("basal", "mid", "apical", "apex")),
        (4, False, ("basal", "mid", "mid", "apical")),
        (9, False, ("basal",) * 3 + ("mid",) * 3 + ("apical",) * 3),
        (10, True, ("basal",) * 3 + ("mid",) * 3 + ("apical",) * 3 + ("apex",)),
    ],
)
def test_levels(n_slices, solid_last, levels):
    mask = stack(n_slices, solid_last)
    assert slice_levels(mask, short_axis()).levels == levels
    labels = label_segments(mask, short_axis(), insertions(short_axis(), n_slices)).labels
    assert (17 in labels) == ("apex" in levels)
    np.testing.assert_array_equal(labels > 0, mask)


def test_a_slice_without_myocardium_keeps_its_place_in_a_short_stack_only():
    three, five = stack(3), stack(5)
    three[:, :, 2] = five[:, :, 0] = five[:, :, 4] = False
    assert slice_levels(three, short_axis()).levels == ("basal", "mid", "apical")
    assert slice_levels(five, short_axis()).levels == (None, "basal", "mid", "apical", None)
    assert slice_levels(np.zeros((8, 8, 5), bool), short_axis()).levels == (None,) * 5


def test_unknown_orientation_counts_slices_as_stored_and_says_so():
    affine = np.diag([2.0, 2.0, 8.0, 1.0])
    result = label_segments(stack(3), affine, insertions(affine, 3))
    assert result.levels == ("basal", "mid", "apical") and "orientation" in result.warnings[0]
    alone = label_segments(stack(1), affine, insertions(affine, 1, names=("A",)))
    assert not alone.labels.any()
    assert "which way round" in alone.warnings[0] and "no segments" in alone.warnings[1]


def test_a_slice_without_landmarks_borrows_the_nearest_and_none_at_all_leaves_it_empty():
    affine, mask = short_axis(), stack(3)
    points = insertions(affine, 3)
    result = label_segments(mask, affine, [p for p in points if p.slice == 1])
    np.testing.assert_array_equal(result.labels, label_segments(mask, affine, points).labels)
    assert [w.split(":")[0] for w in result.warnings] == [
        "slice 1 has no usable RV insertion point",
        "slice 3 has no usable RV insertion point",
    ]
    empty = label_segments(mask, affine, [])
    assert not empty.labels.any() and "no segments" in empty.warnings[0]
    assert not label_segments(np.zeros_like(mask), affine, []).labels.any()


def test_landmarks_and_levels_that_do_not_fit_are_refused():
    affine = short_axis()
    with pytest.raises(ValueError, match="RVInsertionAnterior lies in slice 2 of 2"):
        label_segments(stack(2), affine, insertions(affine, 3))
    with pytest.raises(ValueError, match="1 levels for 2 slices"):
        label_segments(stack(2), affine, insertions(affine, 2), levels=("mid",))


# ----------------------------------------------------------------------------------------------------------- layers


def test_layers_part_in_the_middle_of_the_wall():
    mask = ring(96, (47.0, 46.0), 18.0, 34.0)[:, :, None]
    layers = label_layers(mask, np.diag([1.0, 1.0, 8.0, 1.0]))
    np.testing.assert_array_equal(layers > 0, mask)
    x, y = np.indices(mask.shape[:2])
    distance = np.hypot(x - 47, y - 46)[:, :, None]
    assert distance[layers == 1].max() < 27.5 and distance[layers == 2].min() > 24.5


def test_layers_measure_in_millimetres():
    """The same ring in the world, stored with pixels twice as long as wide: the same areas."""
    x, y = np.indices((120, 60), dtype=float)
    distance = np.hypot(x - 60, 2 * (y - 30))
    mask = ((distance >= 20) & (distance <= 44))[:, :, None]
    layers = label_layers(mask, np.diag([1.0, 2.0, 8.0, 1.0]))
    expected = (32**2 - 20**2) / (44**2 - 20**2)
    assert (layers == 1).sum() / mask.sum() == pytest.approx(expected, abs=0.04)


@pytest.mark.parametrize("thickness", [2, 3, 4, 5])
def test_neither_layer_is_favoured_in_a_thin_wall(thickness):
    """Perfusion images show a wall of two to four voxels: the middle one of three belongs to both."""
    mask = ring(64, (31.0, 30.0), 10.0, 10.0 + thickness)[:, :, None]
    layers = label_layers(mask, np.eye(4))
    middle = 10.0 + thickness / 2
    expected = (middle**2 - 10.0**2) / ((10.0 + thickness) ** 2 - 10.0**2)
    assert (layers == 1).sum() / mask.sum() == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize("gap", [0, 3, 8])
def test_a_gap_in_the_wall_leaves_the_layers_alone(gap):
    whole = ring(96, (47.0, 46.0), 16.0, 30.0)[:, :, None]
    mask = whole.copy()
    mask[60:, 46 : 46 + gap] = False
    affine = np.diag([1.0, 1.0, 8.0, 1.0])
    layers, reference = label_layers(mask, affine), label_layers(whole, affine)
    far = mask.copy()
    far[40:] = False
    np.testing.assert_array_equal(layers[far], reference[far])
    assert ((layers > 0) == mask).all()


def test_a_solid_slice_and_a_wall_at_the_edge_have_layers_too():
    solid = ring(40, (20.0, 20.0), 0.0, 9.0)[:, :, None]
    layers = label_layers(solid, np.eye(4))
    assert layers[20, 20, 0] == 1 and layers[20, 12, 0] == 2 and ((layers > 0) == solid).all()
    edge = ring(22, (10.5, 10.5), 5.0, 13.0)[:, :, None]
    assert set(np.unique(label_layers(edge, np.eye(4))[edge])) == {1, 2}


@pytest.mark.parametrize("points", [[(5, 5)], [(5, 5), (5, 6)], [(2, 3), (2, 4), (2, 5), (2, 6)]])
def test_a_handful_of_voxels_is_no_failure(points):
    mask = np.zeros((12, 12, 1), bool)
    for point in points:
        mask[(*point, 0)] = True
    affine = short_axis()
    labels = label_segments(mask, affine, insertions(affine, 1, centre=(4.0, 4.0))).labels
    np.testing.assert_array_equal(labels > 0, mask)
    np.testing.assert_array_equal(label_layers(mask, affine) > 0, mask)


def test_warp_agrees_with_a_plain_loop():
    data, affine = smooth_series((16, 15, 2, 2)), short_axis()
    displacement = np.random.default_rng(4).normal(0, 3, (*data.shape, 3))
    result = warp(data, affine, displacement)
    shift = displacement @ np.linalg.inv(affine[:3, :3]).T
    for x, y, z, t in [(3, 4, 0, 0), (8, 7, 1, 1), (15, 0, 0, 1), (0, 14, 1, 0)]:
        where = np.array([[x + shift[x, y, z, t, 0]], [y + shift[x, y, z, t, 1]]])
        expected = map_coordinates(data[:, :, z, t], where, order=1, mode="nearest")
        assert result[x, y, z, t] == pytest.approx(expected[0])
