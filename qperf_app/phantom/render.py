"""From shapes to images: what each voxel sees of each tissue, painted from the back to the front.

Every structure covers part of a voxel (:func:`qperf_app.phantom.shapes.coverage`); painting it mixes its value with
what is behind it by that part. The values are signals of one frame, or curves of all frames where nothing moves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from qperf_app.phantom import heart as anatomy
from qperf_app.phantom import torso as chest
from qperf_app.phantom.acquisition import Grid
from qperf_app.phantom.heart import HeartShape
from qperf_app.phantom.motion import Deformation
from qperf_app.phantom.participant import TEXTURE_VOXEL, Participant
from qperf_app.phantom.perfusion import CELLS, cell_index
from qperf_app.phantom.shapes import Array, coverage, smoothstep
from qperf_app.phantom.tissue import TISSUES

# Places through the thickness of a slice at which the heart is looked at, in units of the thickness.
_LAYERS = (-1.0 / 3.0, 0.0, 1.0 / 3.0)
#: Names of the labels that :meth:`Renderer.labels` gives, in its order.
LABELS = ("myocardium", "LV", "RV")


@dataclass(frozen=True)
class Values:
    """Value of each tissue, a number or (t,) array, and of each cell of the wall, (cells,) or (cells, t)."""

    tissues: Mapping[str, NDArray[np.float32]]
    cells: NDArray[np.float32]
    muscle: NDArray[np.float32]


# Spacing, mm, at which the displacement is worked out.
_FIELD_SPACING = 6.0


def _between(nodes: Array, axis: int, size: int, step: int) -> Array:
    """Values at ``size`` places along an axis, linear between nodes ``step`` places apart."""
    lower, part = np.divmod(np.arange(size), step)
    upper = np.minimum(lower + 1, nodes.shape[axis] - 1)
    weight = (part / np.float32(step)).astype(np.float32).reshape(-1, *[1] * (nodes.ndim - axis - 1))
    low, high = nodes.take(lower, axis), nodes.take(upper, axis)
    values: Array = low + weight * (high - low)
    return values


def _paint(image: Array, part: Array, value: Array) -> None:
    """Mix a value into an image (..., [t]) by the part (...) of each voxel that it covers, in place."""
    if image.ndim > part.ndim:
        part = part[..., None]
    image += part * (value - image)


@dataclass(frozen=True)
class HeartView:
    """Coverage of the heart's structures at some points, in painting order, and the cells of the wall among them."""

    layers: list[tuple[str, Array]]
    wall: NDArray[np.intp]
    cells: NDArray[np.intp]
    labels: tuple[Array, Array, Array]


def view_heart(shape: HeartShape, hx: Array, hy: Array, hw: Array, fat: Array, width: float) -> HeartView:
    """What of each voxel at heart coordinates (mm) the structures cover; ``fat`` scales the fat's thickness."""
    at = anatomy.centred(shape, hx, hy, hw)
    outer, inner = anatomy.outer_wall(shape, at), anatomy.cavity(shape, at)
    right = anatomy.right_ventricle(shape, at)
    below_valves = coverage(shape.base - hw, width)
    covered_outer, covered_inner = coverage(outer, width) * below_valves, coverage(inner, width) * below_valves
    covered_right = coverage(right, width) * below_valves
    papillary = coverage(anatomy.papillary_muscles(shape, at), width) * covered_inner
    trabeculae = coverage(anatomy.trabeculae(shape, at), width) * covered_right
    near_base = hw < shape.base + 30.0
    heart_fat = coverage(np.minimum(outer, right - shape.rv_wall) - shape.fat * fat, width)
    layers: list[tuple[str, Array]] = [("heart-fat", heart_fat * coverage(shape.base - 12.0 - hw, width))]
    if near_base.any():
        layers += [
            ("right", coverage(anatomy.right_vessels(shape, at), width)),
            ("left", coverage(anatomy.left_vessels(shape, at), width)),
        ]
    layers += [
        ("myocardium", coverage(right - shape.rv_wall, width) * below_valves),
        ("right", covered_right),
        ("myocardium", trabeculae),
        ("wall", covered_outer),
        ("left", covered_inner),
        ("myocardium", papillary),
    ]
    # Partly covered voxels at the wall's surfaces belong to the nearest cell.
    wall = np.flatnonzero((covered_outer > 0.0) & (covered_inner < 1.0))
    depth = np.clip(inner.flat[wall] / np.maximum(inner.flat[wall] - outer.flat[wall], 0.1), 0.0, 1.0)
    level = (hw.flat[wall] - shape.base) * (1.0 / (shape.length + 0.7 * shape.wall - shape.base))
    cells = cell_index(at.x.flat[wall], at.y.flat[wall], depth, level)
    left = covered_inner - papillary
    labels = (covered_outer - covered_inner, left, (covered_right - trabeculae) * (1.0 - covered_outer))
    return HeartView(layers, wall, cells, labels)


@dataclass
class Renderer:
    """Renders one person in one grid.

    Parameters
    ----------
    participant : Participant
    shape : HeartShape
        The heart in the phase of the beat that the series is read in.
    deformation : Deformation
    grid : Grid
    """

    participant: Participant
    shape: HeartShape
    deformation: Deformation
    grid: Grid
    _points: NDArray[np.float32] = field(init=False)
    _inside: NDArray[np.intp] = field(init=False)
    _box: tuple[slice, slice] = field(init=False)
    _layered: NDArray[np.float32] = field(init=False)
    _static: dict[str, Array] = field(init=False)
    _chest_wall: tuple[tuple[str, Array], ...] = field(init=False)

    def __post_init__(self) -> None:
        world = self.grid.world()
        torso, width = self.participant.torso, self.grid.voxel
        x, y, z = (world[..., c] for c in range(3))
        cage = chest.rib_cage(torso, x, y)
        # As far as a moving wall lets the chest's inside be seen.
        self._inside = np.flatnonzero(
            cage < width + self.deformation.wall * np.abs(self.deformation.trace.breath).max()
        )
        self._points = world.reshape(-1, 3)[self._inside]
        self._box = self._heart_box(world)
        steps = np.array(_LAYERS, np.float32)[:, None] * (self.grid.thickness * self.grid.normal).astype(np.float32)
        self._layered = world[self._box][..., None, :] + steps
        px, py = self._points[:, 0], self._points[:, 1]
        self._static = {
            "mediastinum": coverage(chest.mediastinum(torso, self.participant.centre, px, py), width),
            "spine": coverage(chest.spine(torso, px, py), width),
            "aorta": coverage(chest.descending_aorta(torso, px, py), width),
            "texture": self._texture(world),
        }
        self._chest_wall = self._wall_at(x, y, z)

    def _wall_at(self, x: Array, y: Array, z: Array) -> tuple[tuple[str, Array], ...]:
        """Tissues of the chest wall from the inside to the outside, and what they cover at world points."""
        torso, width = self.participant.torso, self.grid.voxel
        cage = chest.rib_cage(torso, x, y)
        return (
            ("muscle", 1.0 - coverage(cage, width)),
            ("marrow", coverage(chest.ribs(torso, y, z, cage), width)),
            ("fat", 1.0 - coverage(cage - torso.wall, width)),
            ("air", 1.0 - coverage(cage - torso.wall - torso.fat, width)),
        )

    def _heart_box(self, world: NDArray[np.float32]) -> tuple[slice, slice]:
        """In-plane part of the grid that holds the heart in every frame."""
        trace, outer = self.deformation.trace, self.shape.outer_radius
        hx, hy, _ = self.deformation.heart(world[..., 0], world[..., 1], world[..., 2], frame=None)
        margin = 16.0 + np.abs(trace.breath).max() * float(np.linalg.norm(trace.direction))
        inside = (hx > -2.6 * outer - margin) & (hx < 1.1 * outer + margin) & (np.abs(hy) < 1.35 * outer + margin)
        i, j = np.flatnonzero(inside.any(axis=(1, 2))), np.flatnonzero(inside.any(axis=(0, 2)))
        return np.s_[i[0] : i[-1] + 1, j[0] : j[-1] + 1]

    def _texture(self, points: NDArray[np.float32], scale: float = 1.0) -> NDArray[np.float32]:
        """Periodic random field of unit variance at world points (..., 3)."""
        from scipy.ndimage import map_coordinates

        where = np.moveaxis(points, -1, 0) * np.float32(scale / TEXTURE_VOXEL)
        values: NDArray[np.float32] = map_coordinates(self.participant.texture, where, order=1, mode="grid-wrap")
        return values

    def _organs(self, frame: int | None, value: Callable[[str, Array], Array], texture: bool) -> Array:
        """Image of the points inside the chest, without the heart."""
        torso, width, points = self.participant.torso, self.grid.voxel, self._points
        if frame is not None:
            points = np.stack(self.deformation.organs(*points.T, frame=frame), axis=-1)
        x, y, z = points.T
        noise = self._texture(points)
        grain = noise if texture else np.zeros_like(noise)
        below = chest.diaphragm(torso, x, y, z)
        image = np.array(np.broadcast_to(value("lung", grain), np.shape(value("lung", grain))))
        _paint(
            image,
            chest.lung_vessels(self._texture(points, 0.7), x, 0.5 * self.participant.centre[0]),
            value("lung-vessel", grain),
        )
        _paint(image, self._static["mediastinum"], value("fat", grain))
        for name, distance in (
            ("fat", below),
            ("stomach", chest.stomach(torso, x, y, z, below)),
            ("spleen", chest.spleen(torso, x, y, z, below)),
            ("liver", chest.liver(torso, x, z, below)),
        ):
            _paint(image, coverage(distance, width), value(name, grain))
        _paint(image, self._static["spine"], value("marrow", grain))
        _paint(image, self._static["aorta"], value("aorta", grain))
        return image

    def view(self, frame: int | None) -> HeartView:
        """The heart as a frame shows it; None is the reference frame."""
        hx, hy, hw = self.deformation.heart(*np.moveaxis(self._layered, -1, 0), frame=frame)
        # Most of the fat lies below the heart and in its grooves.
        fat = 0.55 - 0.45 * np.tanh(hy * np.float32(1.0 / 40.0))
        return view_heart(self.shape, hx, hy, hw, fat, self.grid.voxel)

    def image(self, frame: int | None, view: HeartView, values: Values, texture: bool = True) -> NDArray[np.float32]:
        """Image (x, y, z) of a frame with its view, or (x, y, z, t) where the values are curves."""
        curves = values.cells.ndim > 1
        tail = values.cells.shape[1:]

        def value(name: str, grain: Array) -> Array:
            factor = 1.0 + np.float32(TISSUES[name].texture) * grain if texture else np.ones_like(grain)
            base = values.tissues[name]
            return factor[..., None] * base if curves else factor * base

        flat = np.zeros((int(np.prod(self.grid.shape)), *tail), np.float32)
        flat[self._inside] = self._organs(frame, value, texture)
        image = flat.reshape(*self.grid.shape, *tail)
        image[self._box] = self._heart(image[self._box], view, values)
        grain, wall = self._static["texture"], self._chest_wall
        if frame is not None and self.deformation.wall:
            x, y, z = (self.grid.world()[..., c] for c in range(3))
            wall = self._wall_at(x, self.deformation.chest_wall(y, frame=frame), z)
        for name, part in wall:
            _paint(image, part, value(name, grain))
        return image

    def _heart(self, behind: Array, view: HeartView, values: Values) -> Array:
        image = np.repeat(behind[:, :, :, None], len(_LAYERS), axis=3)
        for name, part in view.layers:
            if name == "wall":
                flat, covered = image.reshape(-1, *image.shape[4:]), part.reshape(-1)[view.wall]
                painted = flat[view.wall]
                _paint(painted, covered, values.cells[view.cells])
                flat[view.wall] = painted
            else:
                _paint(image, part, values.muscle if name == "myocardium" else values.tissues[name])
        mean: Array = image.mean(axis=3)
        return mean

    def labels(self, view: HeartView) -> NDArray[np.float32]:
        """Part of each voxel, (3, x, y, z), that is wall of the left ventricle, its blood, and the right one's."""
        result = np.zeros((3, *self.grid.shape), np.float32)
        for channel, part in zip(result, view.labels, strict=True):
            channel[self._box] = part.mean(axis=3)
        return result

    def displacement(self) -> NDArray[np.float32]:
        """Displacement (x, y, z, t, 3) of the heart's tissue, world mm, and 0 outside the chest."""
        world = self.grid.world()
        fade = 1.0 - smoothstep(chest.rib_cage(self.participant.torso, world[..., 0], world[..., 1]), 0.0, 15.0)
        # The field is smooth: every few millimetres are enough, linear in between to some hundredths of a millimetre.
        step = max(1, round(_FIELD_SPACING / self.grid.voxel))
        nodes = [step * np.arange((n - 2 + step) // step + 1) for n in self.grid.shape[:2]]
        points = self.grid.at(*np.meshgrid(*nodes, np.arange(self.grid.shape[2]), indexing="ij"))
        field = self.deformation.in_plane_displacement(np.moveaxis(points, -1, 0), self.grid.normal)
        for axis in (1, 2):
            field = _between(field, axis, self.grid.shape[axis - 1], step)
        return np.moveaxis(field, 0, -1) * fade[..., None, None]

    def levels(self) -> NDArray[np.bool_]:
        """Levels of the wall's cells, (CELLS[2],), that come into view in any frame."""
        trace, deformation = self.deformation.trace, self.deformation
        _, _, hw = deformation.heart(*np.moveaxis(self._layered, -1, 0), frame=None)
        through = np.abs(trace.breath).max() * abs(float(trace.direction @ deformation.axes[2])) + 1.0
        bottom, top = self.shape.base, self.shape.length + 0.7 * self.shape.wall
        edges = bottom + (top - bottom) * np.arange(CELLS[2] + 1) / CELLS[2]
        seen = np.zeros(CELLS[2], bool)
        for k in range(self.grid.shape[2]):
            seen |= (edges[1:] > hw[:, :, k].min() - through) & (edges[:-1] < hw[:, :, k].max() + through)
        return seen

    def cells(self, view: HeartView) -> NDArray[np.intp]:
        """Cell (x, y, z) of the wall at each voxel's centre, -1 elsewhere."""
        found = np.full(self._layered.shape[:-1], -1, np.intp)
        found.reshape(-1)[view.wall] = view.cells
        result = np.full(self.grid.shape, -1, np.intp)
        result[self._box] = found[..., len(_LAYERS) // 2]
        return result
