"""How a slice of a NIfTI grid is put on the screen: which way up, which part of it, how many pixels.

Arrays are (x, y) voxels; a screen is (rows, columns) with the first row at the top.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Where the right edge and the lower edge of a short-axis view point in the patient (RAS+): the heart's long axis runs
#: left, forward and down from base to apex, and the view is from the apex (Cerqueira et al., Circulation 2002;105:539).
#: The first leans to the left a little more than the heart's own axes do, so that an axial or a coronal grid comes out
#: in the radiological convention too.
SCREEN_RIGHT = np.array([-0.80, -0.60, 0.0])
SCREEN_DOWN = np.array([0.35, -0.35, -0.87])

_LETTERS = (("R", "L"), ("A", "P"), ("S", "I"))


@dataclass(frozen=True)
class Layout:
    """Transposition and flips that take (x, y) to (row, column), and the mm of a row and of a column."""

    rows_are_y: bool
    flip_rows: bool
    flip_columns: bool
    spacing: tuple[float, float]
    right: str
    down: str

    @property
    def left(self) -> str:
        """Direction in the patient of the left edge."""
        return _opposite(self.right)

    @property
    def up(self) -> str:
        """Direction in the patient of the upper edge."""
        return _opposite(self.down)

    def image(self, array: NDArray[Any]) -> NDArray[Any]:
        """Turn (x, y, ...) into (row, column, ...)."""
        image = np.swapaxes(array, 0, 1) if self.rows_are_y else array
        return image[:: -1 if self.flip_rows else 1, :: -1 if self.flip_columns else 1]

    def points(self, voxels: NDArray[np.number], shape: Sequence[int]) -> NDArray[np.float64]:
        """Turn (n, 2) voxel coordinates (x, y) on a slice of this shape into (n, 2) (row, column)."""
        points = np.array(voxels, dtype=float)
        rows, columns = (points[:, 1], points[:, 0]) if self.rows_are_y else (points[:, 0], points[:, 1])
        n_rows, n_columns = (shape[1], shape[0]) if self.rows_are_y else (shape[0], shape[1])
        return np.stack(
            [n_rows - 1 - rows if self.flip_rows else rows, n_columns - 1 - columns if self.flip_columns else columns],
            axis=1,
        )


def layout_of(affine: NDArray[np.floating]) -> Layout:
    """Choose, of the eight ways to lay a slice on the screen, the one nearest to the standard short-axis view."""
    axes = np.asarray(affine, float)[:3, :2]
    lengths = np.linalg.norm(axes, axis=0)
    units = axes / np.where(lengths > 0, lengths, 1.0)
    best, best_score = (True, False, False), -np.inf
    for rows_are_y, flip_rows, flip_columns in product((True, False), (False, True), (False, True)):
        down, right = _directions(units, rows_are_y, flip_rows, flip_columns)
        score = float(right @ SCREEN_RIGHT + down @ SCREEN_DOWN)
        if score > best_score + 1e-9:
            best, best_score = (rows_are_y, flip_rows, flip_columns), score
    down, right = _directions(units, *best)
    spacing = (lengths[1], lengths[0]) if best[0] else (lengths[0], lengths[1])
    return Layout(*best, (float(spacing[0]) or 1.0, float(spacing[1]) or 1.0), _letters(right), _letters(down))


def _directions(
    units: NDArray[np.floating], rows_are_y: bool, flip_rows: bool, flip_columns: bool
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    rows, columns = (units[:, 1], units[:, 0]) if rows_are_y else (units[:, 0], units[:, 1])
    return (-rows if flip_rows else rows), (-columns if flip_columns else columns)


def _letters(direction: NDArray[np.floating]) -> str:
    """Name a direction by its leading one or two anatomical axes, such as ``LP``."""
    order = np.argsort(-np.abs(direction))
    return "".join(_LETTERS[axis][int(direction[axis] < 0)] for axis in order if abs(direction[axis]) > 0.38)[:2]


def _opposite(letters: str) -> str:
    pairs = {a: b for pair in _LETTERS for a, b in (pair, pair[::-1])}
    return "".join(pairs[letter] for letter in letters)


@dataclass(frozen=True)
class View:
    """A rectangle of a slice at a size on the screen.

    ``box`` is (top, left, bottom, right) in screen pixels of the whole slice, ``size`` (height, width) of the picture.
    """

    layout: Layout
    shape: tuple[int, int]
    box: tuple[float, float, float, float]
    size: tuple[int, int]

    @property
    def pixels_per_mm(self) -> float:
        """Picture pixels to a mm."""
        return self.size[1] / ((self.box[3] - self.box[1]) * self.layout.spacing[1])

    def scaled(self, edge: int) -> View:
        """The same rectangle with so many pixels along its longer edge."""
        scale = edge / max(self.size)
        return replace(self, size=(max(1, round(self.size[0] * scale)), max(1, round(self.size[1] * scale))))

    def render(self, slice_values: NDArray[Any], smooth: bool = True) -> NDArray[np.float32]:
        """Cut the rectangle out of an (x, y) slice and bring it to the picture's size; NaN becomes 0 first."""
        from PIL import Image

        image = np.nan_to_num(np.ascontiguousarray(self.layout.image(slice_values), dtype=np.float32))
        top, left, bottom, right = self.box
        resample = Image.Resampling.BICUBIC if smooth else Image.Resampling.NEAREST
        resized = Image.fromarray(image).resize(self.size[::-1], resample, (left, top, right, bottom))
        return np.asarray(resized, np.float32)

    def render_grey(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Cut the rectangle out of an image of grey levels that is laid out already, and bring it to the size."""
        from PIL import Image

        top, left, bottom, right = self.box
        picture = Image.fromarray(np.ascontiguousarray(image))
        return np.asarray(picture.resize(self.size[::-1], Image.Resampling.BICUBIC, (left, top, right, bottom)))

    def voxels(self, slice_values: NDArray[Any]) -> tuple[NDArray[Any], tuple[float, float, float, float]]:
        """The laid-out voxels that the rectangle touches, and where they lie in the picture: x, y, width, height."""
        top, left, bottom, right = self.box
        rows = slice(int(np.floor(top)), int(np.ceil(bottom)))
        columns = slice(int(np.floor(left)), int(np.ceil(right)))
        down, across = self.size[0] / (bottom - top), self.size[1] / (right - left)
        place = (
            (columns.start - left) * across,
            (rows.start - top) * down,
            (columns.stop - columns.start) * across,
            (rows.stop - rows.start) * down,
        )
        return self.layout.image(slice_values)[rows, columns], place

    def points(self, voxels: NDArray[np.number]) -> NDArray[np.float64]:
        """Turn (n, 2) voxel coordinates into (n, 2) picture coordinates (x to the right, y down)."""
        points = self.layout.points(voxels, self.shape) + 0.5
        top, left, bottom, right = self.box
        y = (points[:, 0] - top) * self.size[0] / (bottom - top)
        x = (points[:, 1] - left) * self.size[1] / (right - left)
        return np.stack([x, y], axis=1)


def view_of(
    affine: NDArray[np.floating],
    shape: Sequence[int],
    mask: NDArray[np.bool_] | None,
    margin: float,
    edge: int,
    side: float | None = None,
) -> View:
    """Return the view of a square around a mask, or of the whole slice where there is none.

    Parameters
    ----------
    affine : (4, 4) array
    shape : (x, y, ...) of the grid
    mask : (x, y, z) bool array or None
        The square holds it in all slices.
    margin : float
        mm around it.
    edge : int
        Pixels along the longer edge of the picture.
    side : float, optional
        mm along the square's edge, at least; for views that shall be comparable.
    """
    layout = layout_of(affine)
    plane = (int(shape[0]), int(shape[1]))
    n_rows, n_columns = (plane[1], plane[0]) if layout.rows_are_y else plane
    box: tuple[float, float, float, float] = (0.0, 0.0, float(n_rows), float(n_columns))
    if mask is not None and mask.any():
        flat = layout.image(np.any(mask, axis=2, keepdims=True)[:, :, 0])
        extent = heart_extent(affine, mask) + 2 * margin
        box = _square(flat, layout.spacing, max(extent, side or 0.0))
    height, width = (box[2] - box[0]) * layout.spacing[0], (box[3] - box[1]) * layout.spacing[1]
    scale = edge / max(height, width)
    return View(layout, plane, box, (max(1, round(height * scale)), max(1, round(width * scale))))


def heart_extent(affine: NDArray[np.floating], mask: NDArray[np.bool_]) -> float:
    """Longer edge, mm, of the in-plane rectangle around a mask (x, y, z) that is not empty."""
    layout = layout_of(affine)
    flat = layout.image(np.any(mask, axis=2, keepdims=True)[:, :, 0])
    edges = [np.flatnonzero(flat.any(axis=1 - axis)) for axis in (0, 1)]
    return float(max((e[-1] - e[0] + 1) * s for e, s in zip(edges, layout.spacing, strict=True)))


def _square(flat: NDArray[np.bool_], spacing: tuple[float, float], side: float) -> tuple[float, float, float, float]:
    """Place a square of this many mm around the True pixels, moved and cut where it would leave the image."""
    bounds = []
    for axis in (0, 1):
        inside = np.flatnonzero(flat.any(axis=1 - axis))
        length = min(side / spacing[axis], flat.shape[axis])
        start = (inside[0] + inside[-1] + 1 - length) / 2
        start = float(np.clip(start, 0, flat.shape[axis] - length))
        bounds.append((start, start + length))
    return bounds[0][0], bounds[1][0], bounds[0][1], bounds[1][1]
