"""The group level: one table of all segments, and how methods and repetitions agree, from the participants' files."""

from __future__ import annotations

import itertools
import math
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from qperf_app.bids.errors import DatasetError
from qperf_app.bids.segment_tables import read_segments
from qperf_app.geometry.segments import TERRITORIES
from qperf_app.plugins import SegmentRow
from qperf_app.plugins.steps import SEGMENT_VALUES
from qperf_app.report.agreement import Agreement, agreement
from qperf_app.workflow.reviewed import ReviewedScan
from qperf_app.workflow.selection import Selection, published_scans
from qperf_app.workflow.status import ScanRecord

_WHO = ("participant_id", "session_id", "task", "scan", "plugin", "layer")
SEGMENT_COLUMNS = (*_WHO, "acquisition", "index", "name", "n_voxels", "n_estimated", "doubtful")
_WHAT = ("comparison", "reference", "other", "task", "quantity", "part")
AGREEMENT_COLUMNS = (*_WHAT, "n", "mean", "bias", "lower", "upper", "icc", "correlation", "cv")
#: What repetitions are compared in: layers of segments, and medians over the segments of a territory and of the heart.
LAYER_PARTS = {"transmural": "segments", "endo": "segments, endo", "epi": "segments, epi"}
_TERRITORY, _HEART = "territories", "heart"


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
    """Agreement of two plugins, or of two repetitions, over all segments, or other parts of hearts, they share."""

    kind: str
    reference: str
    other: str
    task: str
    quantity: str
    pairs: tuple[list[float], list[float]]
    result: Agreement
    part: str = LAYER_PARTS["transmural"]


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
    kept = [g for g in rows if quantity in g.row.values and not g.doubtful]
    tasks = sorted({g.entities.get("task", "") for g in kept})
    found = []
    for task in tasks:
        here = [g for g in kept if g.entities.get("task", "") == task]
        transmural = [g for g in here if g.row.layer == "transmural"]
        plugins = list(dict.fromkeys(g.plugin for g in here))
        for first, second in itertools.combinations(plugins, 2):
            values = {p: _by(transmural, quantity, lambda g: (g.participant, g.scan), p) for p in (first, second)}
            pairs = _paired(values[first], values[second])
            found.append(Comparison("plugins", first, second, task, quantity, pairs, agreement(*pairs)))
        for plugin in plugins:
            found += _repetitions([g for g in here if g.plugin == plugin], plugin, task, quantity)
    return found


def _by(
    rows: Iterable[GroupRow], quantity: str, scan: Callable[[GroupRow], Any], plugin: str
) -> dict[tuple[Any, int], float]:
    """Values of a plugin's segments by scan and segment."""
    return {(scan(g), g.row.segment): g.row.values[quantity] for g in rows if g.plugin == plugin}


def _repetitions(rows: Sequence[GroupRow], plugin: str, task: str, quantity: str) -> list[Comparison]:
    """Every pair of runs: segments, their layers, territories and whole hearts."""

    def rest_of(g: GroupRow) -> tuple[Any, ...]:
        return g.participant, tuple(sorted((k, v) for k, v in g.entities.items() if k != "run"))

    runs = sorted({g.entities["run"] for g in rows if "run" in g.entities})
    values: dict[tuple[str, str], dict[Any, float]] = {}
    for run, (layer, part) in itertools.product(runs, LAYER_PARTS.items()):
        chosen = [g for g in rows if g.entities.get("run") == run and g.row.layer == layer]
        values[run, part] = _by(chosen, quantity, rest_of, plugin)
        if layer == "transmural":
            values[run, _TERRITORY] = _medians(values[run, part], _territory)
            values[run, _HEART] = _medians(values[run, part], lambda _: _HEART)
    found = []
    for first, second in itertools.combinations(runs, 2):
        names = (f"{plugin} run-{first}", f"{plugin} run-{second}")
        for part in (*LAYER_PARTS.values(), _TERRITORY, _HEART):
            pairs = _paired(values[first, part], values[second, part])
            found.append(Comparison("repetition", *names, task, quantity, pairs, agreement(*pairs), part))
    return found


def _territory(segment: int) -> str:
    return next(name for name, members in TERRITORIES.items() if segment in members)


def _medians(values: Mapping[tuple[Any, int], float], group: Callable[[int], str]) -> dict[Any, float]:
    """Median over the segments of each group, by scan and group."""
    members: dict[Any, list[float]] = {}
    for (scan, segment), value in values.items():
        if math.isfinite(value):
            members.setdefault((scan, group(segment)), []).append(value)
    return {key: statistics.median(found) for key, found in members.items()}


def _paired(first: Mapping[Any, float], second: Mapping[Any, float]) -> tuple[list[float], list[float]]:
    shared = [key for key in first if key in second]
    return [first[key] for key in shared], [second[key] for key in shared]


def agreement_cells(comparisons: Iterable[Comparison]) -> list[tuple[Any, ...]]:
    """Rows of ``group_agreement.tsv``."""
    return [
        (c.kind, c.reference, c.other, c.task, c.quantity, c.part, c.result.n, c.result.mean, c.result.bias,
         c.result.lower, c.result.upper, c.result.icc, c.result.correlation, c.result.cv)
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
