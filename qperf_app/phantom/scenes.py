"""A simulated chest taken apart into what each tissue gives every voxel, so that a series is a matrix product.

Painting is linear in the tissues' values. Painted once with unit values, a slice says how much each voxel sees of every
tissue; any bolus, sequence or perfusion is then one product with the tissues' signals. That is what training a network
on thousands of scans needs. The slice follows the heart as motion correction makes it, in a few breathing states.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from qperf_app.phantom.acquisition import Grid, coil_sensitivity
from qperf_app.phantom.heart import HeartShape
from qperf_app.phantom.landmarks import insertion_points
from qperf_app.phantom.motion import Deformation, MotionTrace
from qperf_app.phantom.participant import Participant
from qperf_app.phantom.perfusion import CELLS
from qperf_app.phantom.render import Renderer, Values
from qperf_app.phantom.tissue import TISSUES
from qperf_app.plugins import Landmark

#: Sectors around the ventricle and layers of the wall whose curves differ in a scene.
SECTORS, LAYERS = 12, 2
#: What a voxel may hold, in the order of a scene's last axis: organs and blood, the other heart muscle, the wall.
ORGANS = tuple(name for name in TISSUES if name != "air")
SOURCES = (*ORGANS, "myocardium", *(f"wall-{i}-{j}" for i in range(SECTORS) for j in range(LAYERS)))


@dataclass(frozen=True)
class Scene:
    """One or more slices of a person.

    Parameters
    ----------
    parts : (s, x, y, z, n) float32 array
        Signal of each voxel for a unit signal of each source in ``SOURCES``, in each of s breathing states.
    labels : (3, x, y, z) float32 array
        Part of each voxel that is wall, left blood and right blood, in the reference state.
    landmarks : tuple of Landmark
        Insertion points in the reference state.
    sensitivity : (x, y, z) float32 array
        Of the receive coils.
    grid : Grid
    """

    parts: NDArray[np.float32]
    labels: NDArray[np.float32]
    landmarks: tuple[Landmark, ...]
    sensitivity: NDArray[np.float32]
    grid: Grid


def render_scene(
    person: Participant, shape: HeartShape, trace: MotionTrace, grid: Grid, left_over: Sequence[float]
) -> Scene:
    """Take a person's slices apart.

    Parameters
    ----------
    person : Participant
    shape : HeartShape
        In the phase of the beat that is seen.
    trace : MotionTrace
        The states, one per entry; the labels belong to the state of rest.
    grid : Grid
    left_over : sequence of float
        Part of the heart's shift within the slice that motion correction left, for each state.
    """
    deformation = Deformation(trace, person.torso.dome, person.centre, person.axes)
    still = Renderer(person, shape, deformation, grid)
    middle = person.centre.astype(np.float32)[:, None]
    shifts = deformation.in_plane_displacement(middle, grid.normal)[:, 0].T
    values = _unit_values()
    parts = []
    for state, (shift, kept) in enumerate(zip(shifts, left_over, strict=True)):
        affine = grid.affine.copy()
        affine[:3, 3] += (1.0 - kept) * shift
        seen = Renderer(person, shape, deformation, replace(grid, affine=affine))
        parts.append(seen.image(state, seen.view(state), values))
    return Scene(
        np.stack(parts),
        still.labels(still.view(None)),
        insertion_points(shape, deformation, grid),
        coil_sensitivity(person.torso, person.centre, person.coil_exponent, grid.world()),
        grid,
    )


def wall_groups() -> NDArray[np.intp]:
    """Group of each of the wall's cells, (cells,): its sector and layer."""
    around, inward, _ = np.unravel_index(np.arange(int(np.prod(CELLS))), CELLS)
    return around * SECTORS // CELLS[0] * LAYERS + np.minimum(inward * LAYERS // CELLS[1], LAYERS - 1)


def _unit_values() -> Values:
    """One-hot values of all sources, in place of curves."""
    unit = np.eye(len(SOURCES), dtype=np.float32)
    tissues = {name: unit[SOURCES.index(name)] for name in ORGANS}
    tissues["air"] = np.zeros(len(SOURCES), np.float32)
    return Values(tissues, unit[len(ORGANS) + 1 + wall_groups()], unit[len(ORGANS)])
