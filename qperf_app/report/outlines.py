"""Contours of what was segmented, over the image in which the myocardium is brightest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qperf_app.geometry import world_to_voxel
from qperf_app.plugins.records import Landmark
from qperf_app.plugins.results import Picture
from qperf_app.report.display import View
from qperf_app.report.elements import Key, LineStyle, PictureGrid, PictureRow
from qperf_app.report.pictures import (
    GREEN,
    ORANGE,
    PURPLE,
    SKY,
    YELLOW,
    draw_dots,
    draw_line,
    encode,
    encode_exactly,
    grey,
    rgb,
    window,
    write,
)

if TYPE_CHECKING:
    from PIL.Image import Image

#: Name of a mask: colour and line style of its contour, and words for the legend.
STYLES: dict[str, tuple[str, LineStyle, str]] = {
    "myocardium": (YELLOW, "solid", "myocardium"),
    "lv": (ORANGE, "solid", "left-ventricular blood"),
    "rv": (SKY, "dashed", "right-ventricular blood"),
    "aif": (GREEN, "dotted", "voxels of the input function"),
}
LANDMARK_NAMES: dict[str, tuple[LineStyle, str]] = {
    "RVInsertionAnterior": ("cross", "anterior RV insertion"),
    "RVInsertionInferior": ("plus", "inferior RV insertion"),
}


def contour_grid(
    image: NDArray[np.floating],
    masks: dict[str, NDArray[np.bool_]],
    landmarks: Sequence[Landmark],
    affine: NDArray[np.floating],
    view: View,
    slices: Sequence[str],
    when: str,
) -> tuple[PictureGrid, Key]:
    """Show every slice plain and with its contours, and the legend of the lines that occur.

    Parameters
    ----------
    image : (x, y, z) array
    masks : dict
        (x, y, z) bool arrays on the image's grid by the names of :data:`STYLES`.
    landmarks : sequence of Landmark
        Their world position decides where they are drawn, their slice on which picture.
    affine : (4, 4) array
        Of the image.
    view : View
    slices : sequence of str
        Names of the slices.
    when : str
        Which volume the image is, for the caption.
    """
    plain, drawn = [], []
    for z, name in enumerate(slices):
        backdrop = rgb(grey(view.render(image[:, :, z]), window(view.render(image[:, :, z]))))
        marks = [(mark.name, world_to_voxel(affine, mark.position)[:2]) for mark in landmarks if mark.slice == z]
        plain.append(encode(backdrop, f"{name}, {when}."))
        drawn.append(_with_contours(backdrop, {k: m[:, :, z] for k, m in masks.items()}, marks, view, name))
    rows = (PictureRow("Image", tuple(plain)), PictureRow("With contours", tuple(drawn)))
    caption = f"{when[:1].upper()}{when[1:]}. {orientation_in_words(view)} The bar is 20 mm long."
    return PictureGrid(tuple(slices), rows, caption, size="large"), _key(masks, landmarks)


def orientation_in_words(view: View) -> str:
    """State the display convention."""
    layout = view.layout
    return (
        "Radiological short-axis display by the image's own orientation: "
        f"left edge {layout.left}, right edge {layout.right}, top {layout.up}, bottom {layout.down} of the patient."
    )


def _with_contours(
    backdrop: NDArray[np.uint8],
    masks: dict[str, NDArray[np.bool_]],
    marks: Sequence[tuple[str, NDArray[np.floating]]],
    view: View,
    name: str,
) -> Picture:
    from PIL import Image as PillowImage

    picture = PillowImage.fromarray(backdrop)
    width = max(2.0, view.size[1] / 170)
    for key, mask in masks.items():
        colour, style, _ = STYLES[key]
        if style == "dotted":
            draw_dots(picture, view.points(np.argwhere(mask)), colour, width)
            continue
        for line in mask_outlines(mask, view):
            draw_line(picture, line, colour, width, style)
    for mark, voxel in marks:
        _draw_mark(picture, view.points(voxel[None])[0], LANDMARK_NAMES[mark][0], width)
    add_length_bar(picture, view)
    add_edges(picture, view)
    found = [STYLES[key][2] for key, mask in masks.items() if mask.any()]
    return encode_exactly(picture, f"{name} with contours of {', '.join(found) or 'nothing'}.")


def mask_outlines(mask: NDArray[np.bool_], view: View) -> list[NDArray[np.float64]]:
    """Return the outlines (n, 2) of a mask (x, y) in picture coordinates, midway between voxels in and out."""
    from skimage.measure import find_contours

    return [view.points(line - 1) for line in find_contours(np.pad(mask, 1).astype(np.float32), 0.5)]


def _draw_mark(picture: Image, at: NDArray[np.floating], shape: str, width: float) -> None:
    size = 4.0 * width
    arms = ((1, 1), (1, -1)) if shape == "cross" else ((1, 0), (0, 1))
    for arm in np.array(arms, float) * size:
        draw_line(picture, np.stack([at - arm, at + arm]), PURPLE, width)


def add_length_bar(picture: Image, view: View, millimetres: float = 20.0) -> None:
    """Draw a bar of a known length into the lower right corner."""
    length, (height, width) = millimetres * view.pixels_per_mm, view.size
    y = height - 9.0
    draw_line(picture, np.array([[width - 9.0 - length, y], [width - 9.0, y]]), "#ffffff", 2)


def add_edges(picture: Image, view: View) -> None:
    """Write where the edges point to in the patient."""
    height, width = view.size
    layout, size = view.layout, max(11, width / 24)
    for at, text, anchor in (
        ((4, height / 2), layout.left, "lm"),
        ((width - 4, height / 2), layout.right, "rm"),
        ((width / 2, 3), layout.up, "ma"),
        ((width / 2, height - 3), layout.down, "ms"),
    ):
        write(picture, at, text, size, anchor)


def _key(masks: dict[str, NDArray[np.bool_]], landmarks: Sequence[Landmark]) -> Key:
    lines = [STYLES[key] for key, mask in masks.items() if mask.any()]
    marks = [LANDMARK_NAMES[name] for name in LANDMARK_NAMES if any(mark.name == name for mark in landmarks)]
    return Key(tuple(lines) + tuple((PURPLE, style, words) for style, words in marks))
