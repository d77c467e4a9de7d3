"""Whether a scan has flow, and whether it may be a heart's, by itself and beside that at rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from qperf_app.bids.images import read_image
from qperf_app.bids.segment_tables import read_segments
from qperf_app.checks.flow import has_enough_flow, implausible_reserve, without_enhancement
from qperf_app.plugins import SegmentTable
from qperf_app.plugins.results import is_interval
from qperf_app.plugins.steps import KINETICS, SEGMENT_VALUES
from qperf_app.workflow.status import ScanRecord, StepRecord


def flows_of(table: SegmentTable) -> list[float]:
    """MBF of each segment over the whole wall, or the table's first quantity where it has none."""
    quantities = [name for name in table.units if not is_interval(name)]
    quantity = "MBF" if "MBF" in quantities else next(iter(quantities), "")
    return [float(row.values.get(quantity, np.nan)) for row in table.rows if row.layer == "transmural"]


def judged(scan: ScanRecord, out_dir: Path) -> ScanRecord:
    """The record with what its results say: whether there is flow, why it is doubtful, whether the wall enhances.

    Flow is that of the method that leads, the first one.
    """
    records = scan.of_step(SEGMENT_VALUES.name)
    doubtful = tuple(f"{record.key.plugin}: {text}" for record in records for text in record.outcome.doubts)
    leading = records[0] if records else None
    table = _table(leading, out_dir) if leading else None
    told = _outline(scan.find(KINETICS.name, leading.key.plugin), out_dir) if leading else ""
    return replace(
        scan,
        has_flow=table is not None and has_enough_flow(flows_of(table)),
        doubtful=doubtful,
        warnings=(*scan.warnings, *((told,) if told else ())),
    )


def with_reserve(scans: Sequence[ScanRecord], out_dir: Path) -> tuple[ScanRecord, ...]:
    """The records, with a warning in that under stress where flow falls below that at rest of its session.

    Flow is compared by the method that leads in both, that at rest of the same run if there is one.
    """
    return tuple(_against_rest(scan, scans, out_dir) for scan in scans)


def _against_rest(scan: ScanRecord, scans: Sequence[ScanRecord], out_dir: Path) -> ScanRecord:
    # An earlier run may have left the warning in the record.
    warnings = tuple(text for text in scan.warnings if not text.startswith(_RESERVE))
    rests = [s for s in scans if s.entities.get("task") == "rest" and _shared(s) == _shared(scan)]
    rests.sort(key=lambda s: s.entities.get("run") != scan.entities.get("run"))
    if scan.entities.get("task") == "stress" and rests:
        reason = implausible_reserve(*(_by_segment(each, out_dir) for each in (rests[0], scan)))
        warnings += (f"{_RESERVE}{rests[0].label}: {reason}",) if reason else ()
    return replace(scan, warnings=warnings)


_RESERVE = "Against "


def _shared(scan: ScanRecord) -> dict[str, str]:
    """Entities that rest and stress of a session have in common."""
    return {key: label for key, label in scan.entities.items() if key not in ("task", "run")}


def _by_segment(scan: ScanRecord, out_dir: Path) -> dict[int, float]:
    """MBF of each segment over the whole wall, by the method that leads; empty where it is relative."""
    records = scan.of_step(SEGMENT_VALUES.name)
    table = _table(records[0], out_dir) if records else None
    if table is None or table.units.get("MBF") != "mL/min/g":
        return {}
    return {row.segment: float(row.values.get("MBF", np.nan)) for row in table.rows if row.layer == "transmural"}


def _table(record: StepRecord, out_dir: Path) -> SegmentTable | None:
    """The segments over the whole wall, where they are published."""
    path = record.paths.get("transmural")
    if path is None or not (out_dir / path).is_file():
        return None
    return read_segments(record.key.plugin, "", {"transmural": out_dir / path})


def _outline(record: StepRecord | None, out_dir: Path) -> str:
    """What the quality map of a method says of the outline."""
    path = record.paths.get("qc") if record else None
    if path is None or not (out_dir / path).is_file():
        return ""
    return without_enhancement(read_image(out_dir / path, np.uint8)[0])
