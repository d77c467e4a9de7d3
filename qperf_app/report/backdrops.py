"""The anatomy that a scan's maps lie on, viewed alike wherever maps of the scan are shown."""

from __future__ import annotations

import numpy as np

from qperf_app.plugins.results import ScanResult, VoxelMap
from qperf_app.report.display import heart_extent, view_of
from qperf_app.report.maps import Backdrop, region_of
from qperf_app.report.motion import brightest_volume
from qperf_app.report.scans import anatomy_of, blood_peak
from qperf_app.report.studies import scan_title

#: mm of surroundings that a map shows around the myocardium.
_MARGIN = 14.0


def task_of(scan: ScanResult) -> str:
    """Heading of a scan's pictures within its study."""
    return scan.entities.get("task", "").capitalize() or scan_title(scan)


def side_of(scan: ScanResult) -> float:
    """Edge, mm, of the square that shows the scan's region."""
    region = region_of(scan)
    return heart_extent(_affine(scan), region) + 2 * _MARGIN if region.any() else 0.0


def backdrop_of(scan: ScanResult, voxel_map: VoxelMap, side: float, edge: int) -> Backdrop:
    """Square of ``side`` mm and ``edge`` pixels around the scan's region, where the myocardium is brightest."""
    region, anatomy, shape = region_of(scan), anatomy_of(scan), voxel_map.data.shape
    view = view_of(_affine(scan), shape, region, _MARGIN, edge, side)
    shown = tuple(z for z in range(shape[2]) if region[:, :, z].any()) or tuple(range(shape[2]))
    if anatomy is None or anatomy.after.data.shape[:3] != shape:
        return Backdrop(np.zeros(shape), view, tuple(f"Slice {z + 1}" for z in range(shape[2])), shown)
    since = blood_peak(anatomy.after, anatomy.masks.get("lv"))
    image = anatomy.after.data[..., brightest_volume(anatomy.after, region, since)]
    return Backdrop(image, view, anatomy.slices, shown)


def _affine(scan: ScanResult) -> np.ndarray:
    series = scan.corrected or scan.series
    return np.eye(4) if series is None else series.affine
