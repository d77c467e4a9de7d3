"""Geometry of series and masks in world coordinates."""

from qperf_app.geometry.grids import resample, voxel_to_world, world_to_voxel
from qperf_app.geometry.levels import Level, slice_levels
from qperf_app.geometry.orientation import Reorientation, canonical_order
from qperf_app.geometry.placement import Grid, grid_difference, reorientation
from qperf_app.geometry.segments import SEGMENT_NAMES, Segmentation, label_layers, label_segments, wall_depth
from qperf_app.geometry.warp import longest, voxel_displacement, warp, world_displacement

__all__ = [
    "SEGMENT_NAMES",
    "Grid",
    "Level",
    "Reorientation",
    "Segmentation",
    "canonical_order",
    "grid_difference",
    "label_layers",
    "label_segments",
    "longest",
    "reorientation",
    "resample",
    "slice_levels",
    "voxel_displacement",
    "voxel_to_world",
    "wall_depth",
    "warp",
    "world_displacement",
    "world_to_voxel",
]
