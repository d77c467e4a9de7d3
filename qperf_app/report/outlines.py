"""Contours of what was segmented, over the image in which the myocardium is brightest."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from qperf_app.geometry import world_to_voxel
from qperf_app.plugins.records import Landmark
from qperf_app.report import svg
from qperf_app.report.display import View
from qperf_app.report.elements import Key, LineStyle, PictureGrid, PictureRow
from qperf_app.report.pictures import GREEN, ORANGE, PURPLE, SKY, YELLOW, data_uri, encode, grey, window

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
    key: str,
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
    key : str
        Starts the ids of the images, which both rows show.
    """
    plain, drawn = [], []
    height, width = view.size
    for z, name in enumerate(slices):
        rendered = view.render(image[:, :, z])
        backdrop = data_uri(encode(grey(rendered, window(rendered)), name))
        picture = f'<image id="{key}-{z}" width="{width}" height="{height}" href="{backdrop}"/>'
        plain.append(svg.drawing([picture], width, height, f"{name}, {when}.", "image"))
        marks = [(mark.name, world_to_voxel(affine, mark.position)[:2]) for mark in landmarks if mark.slice == z]
        lines = _contours({k: m[:, :, z] for k, m in masks.items()}, marks, view)
        found = [STYLES[k][2] for k, mask in masks.items() if mask[:, :, z].any()]
        words = f"{name} with contours of {', '.join(found) or 'nothing'}."
        parts = [f'<use href="#{key}-{z}"/>', *lines, *edges_of(view)]
        drawn.append(svg.drawing(parts, width, height, words, "image"))
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


def _contours(
    masks: dict[str, NDArray[np.bool_]], marks: Sequence[tuple[str, NDArray[np.floating]]], view: View
) -> list[str]:
    """Lines and marks, each with a dark rim, so that it shows on bright and on dark tissue."""
    parts: list[str] = []
    for key, mask in masks.items():
        colour, style, _ = STYLES[key]
        if style == "dotted":
            points = view.points(np.argwhere(mask))
            parts += [svg.dots(points, "#000", 3.3), svg.dots(points, colour, 2.5, f"outline {key}")]
            continue
        for line in mask_outlines(mask, view):
            parts += [
                svg.path(line, kind="rim"),
                svg.path(line, colour, 2.5, "8 7" if style == "dashed" else "", f"outline {key}"),
            ]
    for mark, voxel in marks:
        x, y = view.points(voxel[None])[0]
        arms = ((7, 7), (7, -7)) if LANDMARK_NAMES[mark][0] == "cross" else ((9, 0), (0, 9))
        for kind, colour in (("rim", ""), ("", PURPLE)):
            parts += [svg.path([(x - a, y - b), (x + a, y + b)], colour, 3.0, kind=kind) for a, b in arms]
    return parts


def mask_outlines(mask: NDArray[np.bool_], view: View) -> list[NDArray[np.float64]]:
    """Return the outlines (n, 2) of a mask (x, y) in picture coordinates, midway between voxels in and out."""
    from skimage.measure import find_contours

    return [view.points(line - 1) for line in find_contours(np.pad(mask, 1).astype(np.float32), 0.5)]


def edges_of(view: View, millimetres: float = 20.0) -> list[str]:
    """Where the edges point to in the patient, and a bar of a known length in the lower right corner."""
    height, width = view.size
    layout, length = view.layout, millimetres * view.pixels_per_mm
    places = (
        (5, height / 2 + 5, layout.left, "start"),
        (width - 5, height / 2 + 5, layout.right, "end"),
        (width / 2, 17, layout.up, "middle"),
        (width / 2, height - 6, layout.down, "middle"),
    )
    bar = [(width - 9 - length, height - 9), (width - 9, height - 9)]
    return [
        *(svg.text(x, y, words, "edge", anchor) for x, y, words, anchor in places),
        svg.path(bar, kind="rim"),
        svg.path(bar, "#fff", 2.0, kind="bar"),
    ]


def _key(masks: dict[str, NDArray[np.bool_]], landmarks: Sequence[Landmark]) -> Key:
    lines = [STYLES[key] for key, mask in masks.items() if mask.any()]
    marks = [LANDMARK_NAMES[name] for name in LANDMARK_NAMES if any(mark.name == name for mark in landmarks)]
    return Key(tuple(lines) + tuple((PURPLE, style, words) for style, words in marks))
