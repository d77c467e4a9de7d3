"""The group level: one table of all segments, and how methods and repetitions agree, from the participants' files."""

from __future__ import annotations

import itertools
import math
import statistics
from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from qperf_app.bids.errors import DatasetError
from qperf_app.bids.segment_tables import read_segments
from qperf_app.checks.wording import counted
from qperf_app.geometry.segments import TERRITORIES
from qperf_app.plugins import RELATIVE_UNITS, SegmentRow
from qperf_app.plugins.steps import SEGMENT_VALUES
from qperf_app.report.agreement import Agreement, agreement
from qperf_app.workflow.reviewed import ReviewedScan
from qperf_app.workflow.selection import Selection, published_scans
from qperf_app.workflow.status import ParticipantStatus, ScanRecord
from qperf_app.workflow.strata import STRATA, strata_of

_WHO = ("participant_id", "session_id", "task", "scan", "plugin", "layer")
SEGMENT_COLUMNS = (*_WHO, "acquisition", *STRATA, "index", "name", "n_voxels", "n_estimated", "doubtful", "relative")
_WHAT = ("comparison", "reference", "other", "task", "quantity", "part", "by", "stratum")
_AGREEMENT = ("n", "mean", "bias", "lower", "upper", "icc", "icc_lower", "icc_upper", "correlation", "cv")
AGREEMENT_COLUMNS = (*_WHAT, *_AGREEMENT)
#: What repetitions are compared in: layers of segments, and medians over the segments of a territory and of the heart.
LAYER_PARTS = {"transmural": "segments", "endo": "segments, endo", "epi": "segments, epi"}
_TERRITORY, _HEART = "territories", "heart"
_OF_STRATA = (LAYER_PARTS["transmural"], _HEART)


@dataclass(frozen=True)
class GroupRow:
    """One segment of one scan and plugin.

    ``doubtful``: the scan's flow by this plugin can't be right, or a reader found the scan not usable; ``why`` says so.
    ``acquisition``: how its input function was acquired. ``strata``: where and how the scan was acquired, by the names
    of :data:`~qperf_app.workflow.strata.STRATA`.
    """

    participant: str
    entities: Mapping[str, str]
    scan: str
    plugin: str
    row: SegmentRow
    units: Mapping[str, str]
    doubtful: bool = False
    acquisition: str = ""
    why: str = ""
    strata: Mapping[str, str] = field(default_factory=dict)

    @property
    def relative(self) -> bool:
        """Whether its flow is known but for a factor of its scan's own: no other scan's can be held against it."""
        return self.units.get("MBF") == RELATIVE_UNITS

    @property
    def summarised(self) -> bool:
        """Whether its flow takes part in what is said of several scans."""
        return not (self.doubtful or self.relative)


@dataclass(frozen=True)
class Comparison:
    """Agreement of two plugins, or of two repetitions, over all segments, or other parts of hearts, they share.

    Of the scans of one ``stratum`` alone, where that is named, such as a scanner; ``by`` says what it is.
    """

    kind: str
    reference: str
    other: str
    task: str
    quantity: str
    pairs: tuple[list[float], list[float]]
    result: Agreement
    part: str = LAYER_PARTS["transmural"]
    by: str = ""
    stratum: str = ""


@dataclass(frozen=True)
class Heart:
    """Median over the segments of a scan by one plugin, and where and how it was acquired."""

    scan: str
    task: str
    plugin: str
    flow: float
    strata: Mapping[str, str]


#: Scans of a task that tell what is usual.
LEAST_FOR_FENCES = 8


def read_group(out_dir: Path, bids_dir: Path, selection: Selection, without: Container[str] = ()) -> list[GroupRow]:
    """Read the segment tables of all selected scans, but for those of some participants.

    Raises
    ------
    SelectionError
        When the selection names what isn't there.
    DatasetError
        When OUT_DIR holds no participant's results, or a file of one can't be read.
    """
    scans = published_scans(out_dir, selection, without)
    strata = strata_of(scans, bids_dir, out_dir)
    rows = [
        replace(row, strata=strata[label, row.scan])
        for label, chosen in scans.items()
        for row in _participant_rows(out_dir, label, chosen)
    ]
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
            why = "; ".join(record.outcome.doubts)
            of_scan = (participant, scan.entities, scan.label, plugin)
            rows += [GroupRow(*of_scan, row, table.units, bool(why), scan.acquisition, why) for row in table.rows]
    return rows


def without_unusable(rows: Iterable[GroupRow], reviewed: Iterable[ReviewedScan]) -> list[GroupRow]:
    """Rows with the scans marked as doubtful that a reader found not usable."""
    unusable = {(each.participant, each.scan) for each in reviewed if each.decision == "not usable"}
    said = "a reader found it not usable"
    return [
        replace(g, doubtful=True, why="; ".join(filter(None, (said, g.why))))
        if (g.participant, g.scan) in unusable
        else g
        for g in rows
    ]


def segment_cells(rows: Iterable[GroupRow]) -> tuple[tuple[str, ...], list[tuple[Any, ...]], dict[str, str]]:
    """Columns, rows and units of ``group_segments.tsv``."""
    rows = list(rows)
    # A column has one unit: that of what is absolute, where anything is.
    units = {q: unit for entry in sorted(rows, key=lambda g: not g.relative) for q, unit in entry.units.items()}
    quantities = sorted(units, key=lambda q: (q != "MBF", q))
    cells = [
        (
            f"sub-{g.participant}", f"ses-{g.entities['ses']}" if "ses" in g.entities else None, g.entities.get("task"),
            g.scan, g.plugin, g.row.layer, g.acquisition or None, *(g.strata.get(name) for name in STRATA),
            g.row.segment, g.row.name, g.row.n_voxels,
            g.row.n_estimated, *("yes" if said else "no" for said in (g.doubtful, g.relative)),
            *(g.row.values.get(q) for q in quantities),
        )
        for g in rows
    ]  # fmt: skip
    return (*SEGMENT_COLUMNS, *quantities), cells, units


def compare(rows: Sequence[GroupRow], quantity: str = "MBF") -> list[Comparison]:
    """Agreement of every pair of plugins on the same segments, and of repeated runs of the same plugin.

    Doubtful and relative flow takes no part.
    """
    kept = [g for g in rows if quantity in g.row.values and g.summarised]
    tasks = sorted({g.entities.get("task", "") for g in kept})
    found = []
    for task in tasks:
        here = [g for g in kept if g.entities.get("task", "") == task]
        transmural = [g for g in here if g.row.layer == "transmural"]
        plugins = list(dict.fromkeys(g.plugin for g in here))
        for first, second in itertools.combinations(plugins, 2):
            values = {p: _by(transmural, quantity, lambda g: (g.participant, g.scan), p) for p in (first, second)}
            pairs, whose = _paired(values[first], values[second])
            found.append(Comparison("plugins", first, second, task, quantity, pairs, agreement(*pairs, whose)))
        for plugin in plugins:
            found += _repetitions([g for g in here if g.plugin == plugin], plugin, task, quantity)
    return found


def compare_by_stratum(rows: Sequence[GroupRow]) -> list[Comparison]:
    """The comparisons of each site, scanner and sequence by itself, where there are several.

    Segments over the whole wall, and whole hearts: what is less is told by the comparison of all.
    """
    found = []
    for by, values in strata_among(rows).items():
        for stratum in values:
            of_stratum = compare([g for g in rows if g.strata.get(by) == stratum])
            found += [replace(c, by=by, stratum=stratum) for c in of_stratum if c.part in _OF_STRATA]
    return found


def strata_among(rows: Iterable[GroupRow]) -> dict[str, list[str]]:
    """The sites, scanners and sequences of scans whose flow is summarised, of each there are several of."""
    kept = [g.strata for g in rows if g.summarised]
    values = {by: sorted({of[by] for of in kept if by in of}) for by in STRATA}
    return {by: names for by, names in values.items() if len(names) > 1}


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
            pairs, whose = _paired(values[first, part], values[second, part])
            found.append(Comparison("repetition", *names, task, quantity, pairs, agreement(*pairs, whose), part))
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


def _paired(
    first: Mapping[Any, float], second: Mapping[Any, float]
) -> tuple[tuple[list[float], list[float]], list[str]]:
    """Values that both have, and the participant of each."""
    shared = [key for key in first if key in second]
    return ([first[key] for key in shared], [second[key] for key in shared]), [str(key[0][0]) for key in shared]


def agreement_cells(comparisons: Iterable[Comparison]) -> list[tuple[Any, ...]]:
    """Rows of ``group_agreement.tsv``."""
    return [
        (c.kind, c.reference, c.other, c.task, c.quantity, c.part, c.by or None, c.stratum or None,
         c.result.n, c.result.mean, c.result.bias,
         c.result.lower, c.result.upper, c.result.icc, c.result.icc_lower, c.result.icc_upper,
         c.result.correlation, c.result.cv)
        for c in comparisons
    ]  # fmt: skip


def doubtful_scans(rows: Iterable[GroupRow]) -> list[tuple[str, str, str]]:
    """Scan, plugin and why its flow is doubtful, of each that is."""
    return list(dict.fromkeys((f"sub-{g.participant} {g.scan}", g.plugin, g.why) for g in rows if g.doubtful))


def relative_in_words(rows: Iterable[GroupRow]) -> tuple[str, ...]:
    """How many scans have relative flow, which no other scan's is compared with; empty where none has."""
    scans = {(g.participant, g.scan): g.relative for g in rows}
    count = sum(scans.values())
    if not count:
        return ()
    have = f"{count} of {counted(len(scans), 'scan')} {'has' if count == 1 else 'have'}"
    return (f"{have} flow in relative units: in group_segments.tsv, and in no figure.",)


def scans_without_flow(
    rows: Iterable[GroupRow], scans: Mapping[str, Sequence[ScanRecord]], statuses: Mapping[str, ParticipantStatus]
) -> list[tuple[str, str, str]]:
    """Scan, nothing, and why no flow of it is in the figures, or of few segments only.

    Parameters
    ----------
    rows : iterable of GroupRow
    scans : mapping
        Selected scans by participant.
    statuses : mapping
        Of the participants that were meant; one without a scan was not come to.
    """
    known = {(g.participant, g.scan) for g in rows}
    told = []
    for label, status in statuses.items():
        if not status.scans:
            reason = next((problem.reason for problem in status.steps_failed), f"its last run is {status.state}")
            told.append((f"sub-{label}", "", f"no result: {reason}"))
        for scan in scans.get(label, ()):
            if (label, scan.label) not in known:
                told.append((f"sub-{label} {scan.label}", "", f"no flow: {_why_none(scan)}"))
            elif not scan.has_flow and not scan.doubtful:
                told.append((f"sub-{label} {scan.label}", "", "flow in fewer than half of the segments in view"))
    return told


def _why_none(scan: ScanRecord) -> str:
    ended = [record.outcome for record in scan.steps if record.outcome.state in ("failed", "not-found")]
    return ended[0].reason if ended else "no step gave any"


def hearts(rows: Iterable[GroupRow], quantity: str = "MBF") -> list[Heart]:
    """Median over the segments of every scan, by every plugin, whose flow is summarised."""
    members: dict[tuple[str, str, str], list[GroupRow]] = {}
    for g in rows:
        if g.row.layer == "transmural" and g.summarised and math.isfinite(g.row.values.get(quantity, math.nan)):
            members.setdefault((g.participant, g.scan, g.plugin), []).append(g)
    return [
        Heart(
            f"sub-{of[0].participant} {of[0].scan}",
            of[0].entities.get("task", ""),
            of[0].plugin,
            statistics.median(g.row.values[quantity] for g in of),
            of[0].strata,
        )
        for of in members.values()
    ]


def outliers(found: Sequence[Heart]) -> list[tuple[Heart, tuple[float, float]]]:
    """Scans that lie outside of the fences of their task and plugin, with the fences: to be looked at.

    Tukey's inner fences: one and a half interquartile ranges beyond the quartiles (Exploratory Data Analysis, 1977), on
    the logarithmic scale, since flow is lopsided. Of fewer than eight scans the quartiles say nothing.
    """
    told = []
    groups: dict[tuple[str, str], list[Heart]] = {}
    for heart in found:
        if heart.flow > 0:
            groups.setdefault((heart.task, heart.plugin), []).append(heart)
    for members in groups.values():
        if len(members) < LEAST_FOR_FENCES:
            continue
        first, _, third = statistics.quantiles((math.log(h.flow) for h in members), n=4, method="inclusive")
        beyond = 1.5 * (third - first)
        fences = math.exp(first - beyond), math.exp(third + beyond)
        told += [(heart, fences) for heart in members if not fences[0] <= heart.flow <= fences[1]]
    return told


def acquisitions(rows: Iterable[GroupRow]) -> dict[str, int]:
    """How many scans had their input function acquired in which way."""
    scans = {(g.participant, g.scan): g.acquisition for g in rows}
    return {kind: count for kind, count in sorted(Counter(scans.values()).items()) if kind}


def flows_by_method(rows: Sequence[GroupRow], quantity: str = "MBF") -> list[tuple[str, str, list[float]]]:
    """Task, plugin and values of every transmural segment whose flow is summarised."""
    found: dict[tuple[str, str], list[float]] = {}
    for g in rows:
        if g.row.layer == "transmural" and quantity in g.row.values and g.summarised:
            found.setdefault((g.entities.get("task", ""), g.plugin), []).append(g.row.values[quantity])
    return [(task, plugin, values) for (task, plugin), values in sorted(found.items())]
