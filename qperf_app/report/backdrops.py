"""The anatomy that a scan's maps lie on, embedded once and viewed alike wherever maps of the scan are shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qperf_app.plugins.results import ScanResult
from qperf_app.report import svg
from qperf_app.report.display import View, heart_extent, view_of
from qperf_app.report.elements import Drawing
from qperf_app.report.motion import brightest_volume
from qperf_app.report.outlines import edges_of
from qperf_app.report.pictures import data_uri, encode, encode_palette, grey, png_uri, window
from qperf_app.report.scans import Anatomy, blood_peak
from qperf_app.report.studies import Study

#: mm of surroundings that a map shows around the myocardium, and pixels along the edge of the anatomy below it.
_MARGIN, _EDGE = 14.0, 400


@dataclass(frozen=True)
class Backdrop:
    """Grey pictures of a scan's slices: how they are viewed, what they are called, and which have a map.

    ``images`` are grey levels (rows, columns) by slice; ``key`` starts the ids of the page's ``definitions``, which the
    tiles refer to. ``volume`` is the number of the pictures' volume in the series, from 1; None without a series.
    """

    key: str
    view: View
    slices: tuple[str, ...]
    images: Mapping[int, NDArray[np.uint8]]
    volume: int | None = None

    @property
    def shown(self) -> tuple[int, ...]:
        """Slices that have a map."""
        return tuple(self.images)

    @property
    def definitions(self) -> tuple[str, ...]:
        """The pictures, and letters and length bar, as definitions of the page."""
        pictures = (_defined(f"{self.key}-{z}", image, self.slices[z]) for z, image in self.images.items())
        return (*pictures, f'<g id="{self.key}-edges">{"".join(edges_of(self.view))}</g>')

    def tile(
        self, z: int, steps: NDArray[np.uint8], palette: NDArray[np.uint8], alt: str, edges: bool = False
    ) -> Drawing:
        """Lay colours over the slice: steps (x, y) into the palette, 0 where the anatomy shows.

        The letters of the edges and the length bar come on request.
        """
        height, width = self.view.size
        voxels, (x, y, across, down) = self.view.voxels(steps)
        place = f'x="{x:.2f}" y="{y:.2f}" width="{across:.2f}" height="{down:.2f}"'
        parts = [
            f'<use href="#{self.key}-{z}" class="dimmed"/>',
            f'<image class="voxels" {place} preserveAspectRatio="none" '
            f'href="{png_uri(encode_palette(voxels, palette, transparent=True))}"/>',
            *([f'<use href="#{self.key}-edges"/>'] if edges else []),
        ]
        return svg.drawing(parts, width, height, alt, "image")


def backdrops_of(studies: Sequence[Study], anatomies: Mapping[str, Anatomy | None]) -> dict[str, Backdrop]:
    """Backdrop of every scan of the studies, by its label; those of a study show squares of one size."""
    found: dict[str, Backdrop] = {}
    for study in studies:
        side = max(_side_of(scan) for scan in study.scans)
        for scan in study.scans:
            found[scan.label] = _backdrop(f"scan-{len(found)}-map", scan, anatomies[scan.label], side)
    return found


def region_of(scan: ScanResult) -> NDArray[np.bool_]:
    """Voxels that were to be estimated: the myocardium, or wherever there is a value where no mask is known."""
    if scan.myocardium is not None and scan.myocardium.mask.any():
        return scan.myocardium.mask.astype(bool)
    known: NDArray[np.bool_] = np.any([np.isfinite(m.data) for m in scan.maps], axis=0)
    return known


def _side_of(scan: ScanResult) -> float:
    """Edge, mm, of the square that shows the scan's region."""
    region = region_of(scan)
    return heart_extent(_affine(scan), region) + 2 * _MARGIN if region.any() else 0.0


def _backdrop(key: str, scan: ScanResult, anatomy: Anatomy | None, side: float) -> Backdrop:
    """The scan's region where the myocardium is brightest."""
    region = region_of(scan)
    shape = region.shape
    view = view_of(_affine(scan), shape, region, _MARGIN, _EDGE, side)
    shown = tuple(z for z in range(shape[2]) if region[:, :, z].any()) or tuple(range(shape[2]))
    if anatomy is None or anatomy.after.data.shape[:3] != shape:
        image: NDArray[np.floating] = np.zeros(shape)
        volume = None
        slices = tuple(f"Slice {z + 1}" for z in range(shape[2]))
    else:
        since = blood_peak(anatomy.after, anatomy.masks.get("lv"))
        at = brightest_volume(anatomy.after, region, since)
        image, slices, volume = anatomy.after.data[..., at], anatomy.slices, anatomy.leading + at + 1
    rendered = {z: view.render(image[:, :, z]) for z in shown}
    return Backdrop(key, view, slices, {z: grey(values, window(values)) for z, values in rendered.items()}, volume)


def _defined(name: str, image: NDArray[np.uint8], alt: str) -> str:
    height, width = image.shape[:2]
    return f'<image id="{name}" width="{width}" height="{height}" href="{data_uri(encode(image, alt, 80))}"/>'


def _affine(scan: ScanResult) -> np.ndarray:
    series = scan.corrected or scan.series
    return np.eye(4) if series is None else series.affine
