"""Whether a scan has flow, and whether it may be a heart's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from qperf_app.bids.segment_tables import read_segments
from qperf_app.checks.flow import has_enough_flow
from qperf_app.plugins import SegmentTable
from qperf_app.plugins.results import is_interval
from qperf_app.plugins.steps import SEGMENT_VALUES
from qperf_app.workflow.status import ScanRecord, StepRecord


def flows_of(table: SegmentTable) -> list[float]:
    """MBF of each segment over the whole wall, or the table's first quantity where it has none."""
    quantities = [name for name in table.units if not is_interval(name)]
    quantity = "MBF" if "MBF" in quantities else next(iter(quantities), "")
    return [float(row.values.get(quantity, np.nan)) for row in table.rows if row.layer == "transmural"]


def judged(scan: ScanRecord, out_dir: Path) -> ScanRecord:
    """The record with what its segments' tables say: whether there is flow, and why it is doubtful.

    Flow is that of the method that leads, the first one.
    """
    records = scan.of_step(SEGMENT_VALUES.name)
    doubtful = tuple(f"{record.key.plugin}: {text}" for record in records for text in record.outcome.doubts)
    return replace(scan, has_flow=bool(records) and _has_flow(records[0], out_dir), doubtful=doubtful)


def _has_flow(record: StepRecord, out_dir: Path) -> bool:
    path = record.paths.get("transmural")
    if path is None or not (out_dir / path).is_file():
        return False
    return has_enough_flow(flows_of(read_segments(record.key.plugin, "", {"transmural": out_dir / path})))
