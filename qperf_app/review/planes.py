"""The series of a scan as they are shown: voxels (x, y, z) on a screen of rows and columns, and back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qperf_app.bids import records
from qperf_app.bids.errors import DatasetError
from qperf_app.bids.names import parse_entities, prefix
from qperf_app.geometry import Grid
from qperf_app.geometry.grids import voxel_to_world, world_to_voxel
from qperf_app.plugins import Series
from qperf_app.plugins.steps import MOTION_CORRECTION
from qperf_app.report.display import Layout, layout_of
from qperf_app.workflow.status import ScanRecord


@dataclass(frozen=True)
class Plane:
    """A motion-corrected series of a scan, laid out as the report lays it out.

    Screen arrays are (slice, row, column), screen points (column, row) with pixel centres at whole numbers.
    """

    prefix: str
    series: Series
    layout: Layout

    @property
    def grid(self) -> Grid:
        """Where its voxels lie."""
        return Grid.of(self.series.data.shape, self.series.affine)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Slices, rows and columns."""
        x, y, z = self.series.data.shape[:3]
        return (z, y, x) if self.layout.rows_are_y else (z, x, y)

    def to_screen(self, volume: NDArray[Any]) -> NDArray[Any]:
        """(x, y, z) to (slice, row, column)."""
        return np.moveaxis(self.layout.image(volume), 2, 0)

    def from_screen(self, stack: NDArray[Any]) -> NDArray[Any]:
        """(slice, row, column) to (x, y, z)."""
        image = np.moveaxis(stack, 0, 2)
        image = image[:: -1 if self.layout.flip_rows else 1, :: -1 if self.layout.flip_columns else 1]
        return np.ascontiguousarray(np.swapaxes(image, 0, 1) if self.layout.rows_are_y else image)

    def point_to_screen(self, position: tuple[float, float, float]) -> tuple[float, float]:
        """World mm to (column, row)."""
        voxel = world_to_voxel(self.series.affine, position)
        row, column = self.layout.points(voxel[None, :2], self.series.data.shape)[0]
        return float(column), float(row)

    def point_to_world(self, column: float, row: float, index: int) -> tuple[float, float, float]:
        """(column, row) in a slice to world mm."""
        _, rows, columns = self.shape
        row = rows - 1 - row if self.layout.flip_rows else row
        column = columns - 1 - column if self.layout.flip_columns else column
        x, y = (column, row) if self.layout.rows_are_y else (row, column)
        world = voxel_to_world(self.series.affine, (x, y, index))
        return float(world[0]), float(world[1]), float(world[2])

    def film(self) -> tuple[bytes, float, float]:
        """All frames as 16-bit little-endian integers (slice, t, row, column); signal of a step, and of 0."""
        data = np.nan_to_num(self.series.data)
        low, high = float(data.min()), float(data.max())
        step = (high - low) / 65535.0 or 1.0
        stored = np.rint((data - low) / step).astype("<u2")
        return np.moveaxis(self.layout.image(stored), (2, 3), (0, 1)).tobytes(), step, low

    def window(self) -> tuple[float, float]:
        """Signal that is shown black, and white."""
        low, high = np.nanpercentile(self.series.dynamic().data, [1.0, 99.8])
        return float(low), float(max(high, low + 1e-6))


def planes_of(scan: ScanRecord, out_dir: Path) -> dict[str, Plane]:
    """The tissue series and the one that the blood is found in, as far as they are published; often they are one.

    Raises
    ------
    DatasetError
        Where neither is published.
    """
    found: dict[str, Plane] = {}
    for name, series in (("tissue", ""), ("blood", "aif")):
        record = scan.find(MOTION_CORRECTION.name, series=series)  # type: ignore[arg-type]
        path = record.paths.get("preproc") if record else None
        if path and (out_dir / path).is_file():
            read = records.read_series(out_dir / path)
            found[name] = Plane(prefix(parse_entities(Path(path).name)), read, layout_of(read.affine))
    if not found:
        raise DatasetError(f"{scan.label}: no corrected series is published: there is nothing to look at")
    return found
