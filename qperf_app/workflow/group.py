"""The group level: one table of all segments, and how methods and repetitions agree, from the participants' files."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from qperf_app.bids.errors import DatasetError
from qperf_app.bids.segment_tables import read_segments
from qperf_app.plugins import SegmentRow
from qperf_app.plugins.steps import SEGMENT_VALUES
from qperf_app.report.agreement import Agreement, agreement
from qperf_app.workflow.reviewed import ReviewedScan
from qperf_app.workflow.selection import Selection, published_scans
from qperf_app.workflow.status import ScanRecord

_WHO = ("participant_id", "session_id", "task", "scan", "plugin", "layer")
SEGMENT_COLUMNS = (*_WHO, "acquisition", "index", "name", "n_voxels", "n_estimated", "doubtful")
_WHAT = ("comparison", "reference", "other", "task", "quantity")
AGREEMENT_COLUMNS = (*_WHAT, "n", "mean", "bias", "lower", "upper", "icc", "correlation")


@dataclass(frozen=True)
class GroupRow:
    """One segment of one scan and plugin.

    ``doubtful``: the scan's flow by this plugin can't be right, or a reader found the scan not usable. ``acquisition``:
    how its input function was acquired.
    """

    participant: str
    entities: Mapping[str, str]
    scan: str
    plugin: str
    row: SegmentRow
    units: Mapping[str, str]
    doubtful: bool = False
    acquisition: str = ""


@dataclass(frozen=True)
class Comparison:
    """Agreement of two plugins, or of two repetitions, over all segments they share."""

    kind: str
    reference: str
    other: str
    task: str
    quantity: str
    pairs: tuple[list[float], list[float]]
    result: Agreement


def read_group(out_dir: Path, selection: Selection) -> list[GroupRow]:
    """Read the segment tables of all selected scans.

    Raises
    ------
    SelectionError
        When the selection names what isn't there.
    DatasetError
        When OUT_DIR holds no participant's results, or a file of one can't be read.
    """
    scans = published_scans(out_dir, selection)
    rows = [row for label, chosen in scans.items() for row in _participant_rows(out_dir, label, chosen)]
    if not rows:
        raise DatasetError(f"{out_dir}: no participant's segments to put together; run the participant level first")
    return rows


def _participant_rows(out_dir: Path, participant: str, scans: Iterable[ScanRecord]) -> list[GroupRow]:
    rows = []
    for scan in scans:
        for record in scan.of_step(SEGMENT_VALUES.name):
            plugin = record.key.plugin
            files = {role: out_dir / path for role, path in record.paths.items()}
            table = read_segments(plugin, "", files)
            doubtful = bool(record.outcome.doubts)
            rows += [
                GroupRow(participant, scan.entities, scan.label, plugin, row, table.units, doubtful, scan.acquisition)
                for row in table.rows
            ]
    return rows


def without_unusable(rows: Iterable[GroupRow], reviewed: Iterable[ReviewedScan]) -> list[GroupRow]:
    """Rows with the scans marked as doubtful that a reader found not usable."""
    unusable = {(each.participant, each.scan) for each in reviewed if each.decision == "not usable"}
    return [replace(g, doubtful=True) if (g.participant, g.scan) in unusable else g for g in rows]


def segment_cells(rows: Iterable[GroupRow]) -> tuple[tuple[str, ...], list[tuple[Any, ...]], dict[str, str]]:
    """Columns, rows and units of ``group_segments.tsv``."""
    rows = list(rows)
    units = {quantity: unit for entry in rows for quantity, unit in entry.units.items()}
    quantities = sorted(units, key=lambda q: (q != "MBF", q))
    cells = [
        (
            f"sub-{g.participant}", f"ses-{g.entities['ses']}" if "ses" in g.entities else None, g.entities.get("task"),
            g.scan, g.plugin, g.row.layer, g.acquisition or None, g.row.segment, g.row.name, g.row.n_voxels,
            g.row.n_estimated, "yes" if g.doubtful else "no",
            *(g.row.values.get(q) for q in quantities),
        )
        for g in rows
    ]  # fmt: skip
    return (*SEGMENT_COLUMNS, *quantities), cells, units


def compare(rows: Sequence[GroupRow], quantity: str = "MBF") -> list[Comparison]:
    """Agreement of every pair of plugins on the same segments, and of repeated runs of the same plugin.

    Doubtful flow takes no part.
    """
    transmural = [g for g in rows if g.row.layer == "transmural" and quantity in g.row.values and not g.doubtful]
    tasks = sorted({g.entities.get("task", "") for g in transmural})
    found = []
    for task in tasks:
        here = [g for g in transmural if g.entities.get("task", "") == task]
        plugins = list(dict.fromkeys(g.plugin for g in here))
        for first, second in itertools.combinations(plugins, 2):
            pairs = _pairs(
                here, lambda g: g.plugin, lambda g: (g.participant, g.scan, g.row.segment), first, second, quantity
            )
            found.append(Comparison("plugins", first, second, task, quantity, pairs, agreement(*pairs)))
        for plugin in plugins:
            found += _repetitions([g for g in here if g.plugin == plugin], plugin, task, quantity)
    return found


def _repetitions(rows: Sequence[GroupRow], plugin: str, task: str, quantity: str) -> list[Comparison]:
    def others(g: GroupRow) -> tuple[Any, ...]:
        kept = tuple(sorted((k, v) for k, v in g.entities.items() if k != "run"))
        return g.participant, kept, g.row.segment

    runs = sorted({g.entities["run"] for g in rows if "run" in g.entities})
    found = []
    for first, second in itertools.combinations(runs, 2):
        pairs = _pairs(rows, lambda g: g.entities.get("run"), others, first, second, quantity)
        names = (f"{plugin} run-{first}", f"{plugin} run-{second}")
        found.append(Comparison("repetition", *names, task, quantity, pairs, agreement(*pairs)))
    return found


def _pairs(
    rows: Sequence[GroupRow], side: Any, key: Any, first: str, second: str, quantity: str
) -> tuple[list[float], list[float]]:
    values: dict[str, dict[Any, float]] = {first: {}, second: {}}
    for g in rows:
        if side(g) in values:
            values[side(g)][key(g)] = g.row.values[quantity]
    shared = [k for k in values[first] if k in values[second]]
    return [values[first][k] for k in shared], [values[second][k] for k in shared]


def agreement_cells(comparisons: Iterable[Comparison]) -> list[tuple[Any, ...]]:
    """Rows of ``group_agreement.tsv``."""
    return [
        (c.kind, c.reference, c.other, c.task, c.quantity, c.result.n, c.result.mean, c.result.bias, c.result.lower,
         c.result.upper, c.result.icc, c.result.correlation)
        for c in comparisons
    ]  # fmt: skip


def doubtful_scans(rows: Iterable[GroupRow]) -> list[str]:
    """Scans and plugins whose flow is doubtful, in words."""
    return list(dict.fromkeys(f"sub-{g.participant} {g.scan} ({g.plugin})" for g in rows if g.doubtful))


def acquisitions(rows: Iterable[GroupRow]) -> dict[str, int]:
    """How many scans had their input function acquired in which way."""
    scans = {(g.participant, g.scan): g.acquisition for g in rows}
    return {kind: count for kind, count in sorted(Counter(scans.values()).items()) if kind}


def flows_by_method(rows: Sequence[GroupRow], quantity: str = "MBF") -> list[tuple[str, str, list[float]]]:
    """Task, plugin and values of every transmural segment whose flow is not doubtful."""
    found: dict[tuple[str, str], list[float]] = {}
    for g in rows:
        if g.row.layer == "transmural" and quantity in g.row.values and not g.doubtful:
            found.setdefault((g.entities.get("task", ""), g.plugin), []).append(g.row.values[quantity])
    return [(task, plugin, values) for (task, plugin), values in sorted(found.items())]
