"""The group level: tables and report from the participants' results."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from qperf_app.bids.dataset import exclusive, replace_files
from qperf_app.bids.segment_tables import FIXED_COLUMNS, column_in_words
from qperf_app.bids.sidecars import describe
from qperf_app.bids.tables import write_table
from qperf_app.checks.wording import counted
from qperf_app.cli.errors import DONE, UsageError
from qperf_app.cli.inputs import read_selection
from qperf_app.cli.progress import named, say
from qperf_app.workflow.group import (
    AGREEMENT_COLUMNS,
    Comparison,
    GroupRow,
    acquisitions,
    agreement_cells,
    compare,
    compare_by_stratum,
    doubtful_scans,
    flows_by_method,
    hearts,
    outliers,
    read_group,
    relative_in_words,
    scans_without_flow,
    segment_cells,
    strata_among,
    without_unusable,
)
from qperf_app.workflow.reviewed import in_words, reviewed_scans
from qperf_app.workflow.selection import (
    counted_twice,
    folders_without_status,
    no_longer_there,
    not_computed,
    published_scans,
    selected_statuses,
    unreadable,
)
from qperf_app.workflow.settings import settings_apart
from qperf_app.workflow.status import unfinished
from qperf_app.workflow.strata import STRATA

#: Whose a row of the segments is.
_WHO = {
    "participant_id": "Participant",
    "session_id": "Session; n/a where there is none",
    "task": "rest or stress",
    "scan": "Entities that name the scan",
    "plugin": "Kinetics plugin",
    "layer": "transmural: the whole wall; endo: its inner half; epi: its outer half",
}
#: What the group level writes.
FILES = ("group.html", "group_segments.tsv", "group_agreement.tsv")
#: Scans that are named in a line of the terminal.
_MOST_NAMED = 10


def run_group(args: argparse.Namespace, argv: Sequence[str]) -> int:
    """Run the group level; returns the exit code."""
    out_dir = args.out_dir.resolve()
    if not out_dir.is_dir():
        raise UsageError(f"OUT_DIR {args.out_dir} is not a folder; run the participant level first")
    if args.reports_only or args.boilerplate_only:
        raise UsageError("--reports-only and --boilerplate-only belong to the participant level")
    selection = read_selection(args)
    broken = unreadable(out_dir, selection)
    for label, why in broken.items():
        say(f"warning: not counted, since its status file can't be read: sub-{label}: {why}")
    rows = read_group(out_dir, args.bids_dir.resolve(), selection, broken)
    scans = published_scans(out_dir, selection, broken)
    reviewed = reviewed_scans(out_dir, scans)
    rows = without_unusable(rows, reviewed)
    for told in unfinished(out_dir, dict.fromkeys(row.participant for row in rows)):
        say(f"warning: {told}")
    lacking = scans_without_flow(rows, scans, selected_statuses(out_dir, selection, broken))
    if lacking:
        some = named([scan for scan, _, _ in lacking], _MOST_NAMED)
        say(f"warning: no flow, or of few segments only, of {some}: the page says why")
    unknown = folders_without_status(out_dir, selection)
    if unknown:
        say(f"warning: not counted, since no status file says what is there: {named(unknown, _MOST_NAMED)}")
    awaited = not_computed(args.bids_dir.resolve(), out_dir, selection)
    if awaited:
        say(f"warning: not counted, since nothing of them was computed: {named(awaited, _MOST_NAMED)}")
    gone = no_longer_there(args.bids_dir.resolve(), scans)
    if gone:
        say(f"warning: counted, though no longer in BIDS_DIR: {named(gone, _MOST_NAMED)}")
    twice = counted_twice(scans)
    if twice:
        told = "counted beside another reconstruction of the same acquisition (--bids-filter-file can choose)"
        say(f"warning: {told}: {named(twice, _MOST_NAMED)}")
    apart = settings_apart(out_dir, scans)
    for told in apart:
        say(f"warning: {told}")
    if args.dry_run:
        for name in FILES:
            say(f"would write: {args.out_dir / name}")
        return DONE
    from qperf_app.report.group import Compared, render_group

    comparisons = [*compare(rows), *compare_by_stratum(rows)]
    participants = len({row.participant for row in rows})
    compared = [
        Compared(
            f"{c.task}: {c.reference} and {c.other}, {c.part}",
            f"{c.other} - {c.reference}",
            *c.pairs,
            c.result,
            c.by,
            c.stratum,
        )
        for c in comparisons
    ]
    reviews = in_words(reviewed, sum(len(of_one) for of_one in scans.values()))
    relative = relative_in_words(rows)
    for told in (*relative, *reviews):
        say(told)
    page = render_group(
        flows_by_method(rows),
        compared,
        participants,
        [
            *lacking,
            *((label, "", "not counted: its folder has no status file") for label in unknown),
            *((f"sub-{label}", "", f"not counted: its status can't be read: {why}") for label, why in broken.items()),
            *((label, "", "not counted: in the dataset, and not computed") for label in awaited),
            *((label, "", "no longer in the dataset; its results are counted") for label in gone),
            *_suspects(rows),
        ],
        apart,
        acquisitions(rows),
        (*relative, *reviews),
        _strata(rows),
    )
    with exclusive(out_dir, "group"), replace_files(out_dir) as staging:
        _write_tables(staging, rows, comparisons)
        (staging / "group.html").write_text(page, encoding="utf-8")
    say(f"{counted(participants, 'participant')}, {counted(len(rows), 'row')} of segments")
    for name in FILES:
        say(f"group: {args.out_dir / name}")
    return DONE


def _suspects(rows: Sequence[GroupRow]) -> list[tuple[str, str, str]]:
    """Scan, method and why it should be looked at."""
    doubtful = [
        (scan, plugin, f"doubtful, and left out of this page: {why}") for scan, plugin, why in doubtful_scans(rows)
    ]
    far = [
        (
            heart.scan,
            heart.plugin,
            f"its MBF, {heart.flow:.2f} mL/min/g, is far from that of the others ({low:.2f} to {high:.2f})",
        )
        for heart, (low, high) in outliers(hearts(rows))
    ]
    return doubtful + far


def _strata(rows: Sequence[GroupRow]) -> dict[str, dict[str, list[tuple[str, list[float]]]]]:
    """Flow of the scans by site, scanner and sequence, of each task and method."""
    found: dict[str, dict[str, list[tuple[str, list[float]]]]] = {}
    scans = hearts(rows)
    for by, names in strata_among(rows).items():
        for task, plugin in sorted({(heart.task, heart.plugin) for heart in scans}):
            of = [heart for heart in scans if (heart.task, heart.plugin) == (task, plugin)]
            lines = [(name, [heart.flow for heart in of if heart.strata.get(by) == name]) for name in names]
            found.setdefault(by, {})[f"{task}, {plugin}"] = lines
    return found


def _write_tables(out: Path, rows: Sequence[GroupRow], comparisons: Sequence[Comparison]) -> None:
    sources = sorted({f"bids::sub-{row.participant}" for row in rows})
    columns, cells, units = segment_cells(rows)
    described: dict[str, Mapping[str, str]] = {
        **{name: {"Description": told} for name, told in _WHO.items()},
        **FIXED_COLUMNS,
        "acquisition": {
            "Description": "How the input function was acquired: dual sequence, dual bolus, or single bolus, where it "
            "comes from the tissue series itself"
        },
        **{name: {"Description": f"{told}; n/a where the metadata don't say"} for name, told in STRATA.items()},
        "doubtful": {"Description": "yes: the scan's flow by this plugin can't be a heart's; left out of the summary"},
        "relative": {
            "Description": "yes: flow, PS and volumes are known but for a factor, whatever unit the column has; they "
            "may be compared within the scan alone, and are left out of the summary"
        },
    }
    described |= {
        quantity: {"Description": column_in_words(quantity, unit), "Units": unit} for quantity, unit in units.items()
    }
    sidecar = {**describe("AHA segments of all participants", "n/a", sources), **described}
    write_table(out / "group_segments.tsv", columns, cells, sidecar)
    explained = {
        "comparison": {"Description": "plugins: two plugins on the same segments; repetition: two runs of one plugin"},
        "reference": {"Description": "What the other is held against: a plugin, or one with its run"},
        "other": {"Description": "A plugin, or one with its run"},
        "task": {"Description": "rest or stress"},
        "quantity": {"Description": "What is compared: flow that is absolute and not doubtful"},
        "n": {"Description": "Pairs", "Format": "integer"},
        "mean": {"Description": "Mean of the reference", "Units": "mL/min/g"},
        "bias": {"Description": "Mean of other - reference", "Units": "mL/min/g"},
        "lower": {"Description": "Lower 95 % limit of agreement", "Units": "mL/min/g"},
        "upper": {"Description": "Upper 95 % limit of agreement", "Units": "mL/min/g"},
        "icc": {"Description": "Intraclass correlation ICC(A,1)"},
        **{
            f"icc_{end}": {
                "Description": f"{end.capitalize()} end of its 95 % interval, participants drawn with replacement; n/a "
                "for fewer than five"
            }
            for end in ("lower", "upper")
        },
        "correlation": {"Description": "Pearson correlation"},
        "part": {"Description": "Segments, their layers, or medians over the segments of a territory or of the heart"},
        "by": {"Description": "What the scans are divided by; n/a: all of them together"},
        "stratum": {"Description": "The site, scanner or sequence that the pairs are of"},
        "cv": {"Description": "Within-subject coefficient of variation, 1"},
    }
    sidecar = {**describe("Agreement of plugins and of repetitions over segments", "n/a", sources), **explained}
    write_table(out / "group_agreement.tsv", AGREEMENT_COLUMNS, agreement_cells(comparisons), sidecar)
