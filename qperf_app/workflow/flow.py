"""Which method leads, whether a scan has flow, and whether it may be a heart's, by itself and beside that at rest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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


def led(scans: Sequence[ScanRecord], asked: Iterable[str], out_dir: Path) -> tuple[ScanRecord, ...]:
    """The records, the method that leads before the others: what shows one method shows the first.

    Of a session it is the first one that gives flow in as many scans as any does, so that rest and stress are read by
    one method. Where that isn't the one asked for first, a warning says so.

    Parameters
    ----------
    scans : sequence of ScanRecord
    asked : iterable of str
        The run's kinetics plugins in the order in which they were asked for; those of earlier runs come after them.
    out_dir : Path
    """
    methods = list(dict.fromkeys([*asked, *(method for scan in scans for method in _tried(scan))]))
    with_flow = {m: [s.label for s in scans if has_enough_flow(_flows_by(s, m, out_dir))] for m in methods}
    return tuple(_led(scan, [s for s in scans if _shared(s) == _shared(scan)], with_flow) for scan in scans)


#: Begins the warning that another method than the first one leads.
_LEADS = "Flow is shown by "


def _led(scan: ScanRecord, session: Sequence[ScanRecord], labels: Mapping[str, Sequence[str]]) -> ScanRecord:
    """``labels``: of each method, in the order in which they were asked for, the scans that have flow by it."""
    methods = list(labels)
    with_flow = {m: [s.label for s in session if s.label in labels[m]] for m in methods}
    leading = max(methods, key=lambda method: len(with_flow[method]), default="")
    # An earlier run may have left the warning in the record.
    warnings = tuple(text for text in scan.warnings if not text.startswith(_LEADS))
    if leading != (first := next(iter(methods), "")):
        without = [s for s in session if s.label in with_flow[leading] and s.label not in with_flow[first]]
        warnings += (f"{_LEADS}{leading}: {first}, which comes first, {_why_without(first, without)}.",)
    elif leading not in (own := _tried(scan)) and own:
        elsewhere = ", ".join(s.label for s in session if leading in _tried(s))
        told = f"{leading}, which leads in {elsewhere}, was not run here; rest and stress are compared by one method"
        warnings += (f"{_LEADS}{own[0]}: {told}.",)
    order = [leading, *(method for method in methods if method != leading)]
    return replace(scan, steps=_in_order(_in_order(scan.steps, KINETICS.name, order), SEGMENT_VALUES.name, order),
                   warnings=warnings)  # fmt: skip


def _tried(scan: ScanRecord) -> list[str]:
    """The methods that were run on a scan."""
    return [r.key.plugin for r in scan.steps if r.key.step in (KINETICS.name, SEGMENT_VALUES.name)]


def _why_without(method: str, scans: Iterable[ScanRecord]) -> str:
    """Why scans have no flow by a method."""
    tried: dict[bool, list[str]] = {}
    for scan in scans:
        tried.setdefault(method in _tried(scan), []).append(scan.label)
    words = {True: "gives it in fewer than half of the segments of", False: "was not run on"}
    return " and ".join(f"{words[was]} {', '.join(labels)}" for was, labels in tried.items())


def _flows_by(scan: ScanRecord, method: str, out_dir: Path) -> list[float]:
    """Flow of the segments of a scan by a method; empty where there is none."""
    record = scan.find(SEGMENT_VALUES.name, method)
    table = _table(record, out_dir) if record else None
    return flows_of(table) if table else []


def _in_order(steps: tuple[StepRecord, ...], step: str, methods: Sequence[str]) -> tuple[StepRecord, ...]:
    """The records, those of one step in the order of the methods, in the places that these have."""
    of_step = iter(sorted((r for r in steps if r.key.step == step), key=lambda r: methods.index(r.key.plugin)))
    return tuple(next(of_step) if record.key.step == step else record for record in steps)


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
        # Of a scan that this run left as it was it has been said before.
        warnings=tuple(dict.fromkeys((*scan.warnings, *((told,) if told else ())))),
    )


def with_reserve(scans: Sequence[ScanRecord], out_dir: Path) -> tuple[ScanRecord, ...]:
    """The records, with a warning in that under stress where flow falls below that at rest of its session.

    Flow is compared by the method that leads under stress, with that at rest of the same run if there is one.
    """
    return tuple(_against_rest(scan, scans, out_dir) for scan in scans)


def _against_rest(scan: ScanRecord, scans: Sequence[ScanRecord], out_dir: Path) -> ScanRecord:
    # An earlier run may have left the warning in the record.
    warnings = tuple(text for text in scan.warnings if not text.startswith(_RESERVE))
    rests = [s for s in scans if s.entities.get("task") == "rest" and _shared(s) == _shared(scan)]
    rests.sort(key=lambda s: s.entities.get("run") != scan.entities.get("run"))
    if scan.entities.get("task") == "stress" and rests:
        method = next((record.key.plugin for record in scan.of_step(SEGMENT_VALUES.name)), "")
        reason = implausible_reserve(*(_by_segment(each, method, out_dir) for each in (rests[0], scan)))
        warnings += (f"{_RESERVE}{rests[0].label}: {reason}",) if reason else ()
    return replace(scan, warnings=warnings)


_RESERVE = "Against "


def _shared(scan: ScanRecord) -> dict[str, str]:
    """Entities that rest and stress of a session have in common."""
    return {key: label for key, label in scan.entities.items() if key not in ("task", "run")}


def _by_segment(scan: ScanRecord, method: str, out_dir: Path) -> dict[int, float]:
    """MBF of each segment over the whole wall, by a method; empty where there is none, or it is relative."""
    record = scan.find(SEGMENT_VALUES.name, method)
    table = _table(record, out_dir) if record else None
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
