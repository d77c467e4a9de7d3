"""Segment MBF of the whole app against the phantom's truth, with the true masks handed in or found by the app.

Makes a phantom dataset, hands in the truth's masks and insertion points (``--hand-in masks``), those and the true
displacement (``masks+motion``), the true concentration and input function as well, or nothing (``none``), runs ``qperf-
app`` on it, checks every derivative with the official validator, and compares the mean MBF of each AHA segment with the
mean of the true map over the same segment of the true mask. With ``--hand-in masks none`` a second table compares the
segments that the app found itself with those of the masks handed in; ``--finders`` names plugins for blood pools and
myocardium to be compared.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.phantom_runs import FINDERS, HAND_INS, make_phantom, run_app, true_means
from benchmarks.records import Column, Row, Table, argument_parser, publish
from benchmarks.scores import QUARTILES, quartiles
from qperf_app.bids.names import parse_entities
from qperf_app.bids.tables import read_numbers, read_table
from qperf_app.bids.validate import validate
from qperf_app.report.agreement import agreement

#: MBF by task and plugin of kinetics, and within them by scan and segment.
Segments = dict[tuple[str, str], dict[tuple[str, int], float]]
#: True or reference values and measured ones, of the same segments.
Pairs = tuple[list[float], list[float]]


class Run(NamedTuple):
    """True and measured flow of the segments of one run, and errors that the validator found in its outputs."""

    true: Segments
    found: Segments
    errors: int


def main() -> None:
    """Publish the tables."""
    parser = argument_parser(__doc__)
    parser.add_argument("work", type=Path, help="folder for the dataset and the outputs; re-used")
    parser.add_argument("--participants", type=int, default=20)
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--hand-in", nargs="+", choices=HAND_INS, default=["masks", "masks+motion", "none"])
    parser.add_argument("--motion-correction", nargs="+", default=["progressive"], help="plugins to compare")
    parser.add_argument(
        "--finders", nargs="+", choices=FINDERS, default=["ensemble"], help="where nothing is handed in"
    )
    parser.add_argument("--kinetics", nargs="+", default=["nlls", "fermi"])
    parser.add_argument("--nprocs", type=int, default=2)
    parser.add_argument("--reuse", action="store_true", help="only compare the outputs that are there already")
    args = parser.parse_args()
    runs = dict(measure(args))
    found = ["blood-pool", "myocardium"] if "none" in args.hand_in and "resunet" in args.finders else []
    weights = tuple(sorted([*found, *(["kinetics"] if "cnn" in args.kinetics else [])]))
    publish(tables(runs, weights), args)


def measure(args: argparse.Namespace) -> Iterator[tuple[tuple[str, str], Run]]:
    """Run the app in every way that is asked for; by what was handed in or finds the masks, and motion correction."""
    raw = make_phantom(args.work / "raw", args.participants, args.seed, args.nprocs)
    for kind, motion, finder in itertools.product(args.hand_in, args.motion_correction, args.finders):
        if HAND_INS[kind] and finder != args.finders[0]:
            continue
        label = kind if HAND_INS[kind] else f"{kind}, {finder}"
        out = args.work / f"out-{label.replace(', ', '-')}-{motion}"
        if not (args.reuse and out.is_dir()):
            pools, wall = FINDERS[finder]
            chosen = ["--motion-correction", motion, "--kinetics", *args.kinetics, "--nprocs", str(args.nprocs)]
            run_app(raw, args.work, kind, out, [*chosen, "--blood-pool", pools, "--myocardium", wall])
        errors = sum(issue.severity == "error" for issue in validate(out))
        yield (label, motion), Run(*read_segments(raw, out), errors)


def tables(runs: Mapping[tuple[str, str], Run], weights: tuple[str, ...]) -> Iterator[Table]:
    """Flow against the truth, in all segments and those of all plugins, and of found masks against those handed in."""
    yield truth_table(runs, weights)
    if max(len({plugin for _, plugin in run.found}) for run in runs.values()) > 1:
        yield common_table(runs, weights)
    handed = {motion: run.found for (label, motion), run in runs.items() if label == "masks"}
    by_itself = {key: run.found for key, run in runs.items() if key[0].startswith("none") and key[1] in handed}
    if by_itself:
        yield found_table(handed, by_itself, weights)


def truth_table(runs: Mapping[tuple[str, str], Run], weights: tuple[str, ...]) -> Table:
    """Measured flow against the truth."""
    rows = [
        (*key, *of_pair, *scores(pairs), run.errors)
        for key, run in runs.items()
        for of_pair, pairs in paired(run.true, run.found).items()
    ]
    title, last = (
        "Flow of AHA segments against the phantom's truth",
        Column("validator errors", format="d", shown=False),
    )
    return Table("segments-truth", title, (*LABELS, *SCORES, last), tuple(rows), weights=weights)


def common_table(runs: Mapping[tuple[str, str], Run], weights: tuple[str, ...]) -> Table:
    """The same in segments to which every plugin gives a value, and how many each gives to others."""
    rows: list[Row] = []
    for key, run in runs.items():
        pairs = paired(run.true, run.found)
        for (task, plugin), (true, values) in pairs.items():
            everywhere = np.isfinite([v for (t, _), (_, v) in pairs.items() if t == task]).all(axis=0)
            common = np.where(everywhere, values, np.nan).tolist()
            others = int((np.isfinite(values) & ~everywhere).sum())
            rows.append((*key, task, plugin, *scores((true, common)), others))
    title, last = "Segments to which every plugin gives a value", Column("others that it gives", format="d")
    return Table("segments-common", title, (*LABELS, *SCORES, last), tuple(rows), weights=weights)


def found_table(
    handed: Mapping[str, Segments], by_itself: Mapping[tuple[str, str], Segments], weights: tuple[str, ...]
) -> Table:
    """Segments that the app found itself against those of the masks handed in, by motion correction."""
    rows = [
        (*key, *of_pair, *scores(pairs), int(np.isfinite(pairs[0]).sum()))
        for key, values in by_itself.items()
        for of_pair, pairs in paired(handed[key[1]], values).items()
    ]
    title = "Segments that the app found itself against those of the masks handed in"
    last = Column("of the masks handed in", format="d")
    return Table("segments-found", title, (*LABELS, *SCORES, last), tuple(rows), weights=weights)


def read_segments(raw: Path, out: Path) -> tuple[Segments, Segments]:
    """True and measured MBF of every segment of the truth; segments of few estimated voxels are kept."""
    true: Segments = {}
    found: Segments = {}
    for table in sorted(out.rglob("*_seg-AHA17_desc-*_segments.tsv")):
        entities = parse_entities(table.name)
        prefix = table.name.split("_seg-")[0]
        truth = true_means(raw / "derivatives" / "truth", prefix)
        rows = read_table(table)
        measured = dict(zip((int(r["index"]) for r in rows), read_numbers(table, rows, "MBF"), strict=True))
        key = entities["task"], entities["desc"]
        true.setdefault(key, {}).update({(prefix, k): value for k, value in truth.items()})
        found.setdefault(key, {}).update({(prefix, k): measured.get(k, np.nan) for k in truth})
    return true, found


def paired(first: Segments, second: Segments) -> dict[tuple[str, str], Pairs]:
    """Values of both for every segment of the first, by task and plugin, and by plugin for both tasks."""
    pairs: dict[tuple[str, str], Pairs] = {}
    for key, values in sorted(first.items()):
        other: Mapping[tuple[str, int], float] = second.get(key, {})
        pairs[key] = list(values.values()), [other.get(segment, np.nan) for segment in values]
    for plugin in sorted({plugin for _, plugin in pairs}):
        tasks = [values for (_, name), values in pairs.items() if name == plugin]
        pairs["both", plugin] = ([v for a, _ in tasks for v in a], [v for _, b in tasks for v in b])
    return pairs


LABELS = (Column("handed in"), Column("motion correction"), Column("task"), Column("plugin"))
#: Columns of :func:`scores`; the bias is that of Bland and Altman, with its 95 % limits.
SCORES = (
    Column("segments", format="d"),
    Column("mean MBF", "mL/min/g", ".2f"),
    Column("bias", "mL/min/g", "+.3f", shown=False),
    Column("bias", "%", "+.1f"),
    Column("limits of agreement", "mL/min/g", "{:+.2f} to {:+.2f}"),
    Column("ratio, median (quartiles)", format=QUARTILES),
    Column("ICC", format=".3f"),
    Column("r", format=".3f", shown=False),
)


def scores(pairs: Pairs) -> Row:
    """How well the second values agree with the first."""
    found = agreement(*pairs)
    bias = found.bias, 100 * found.relative_bias, (found.lower, found.upper)
    ratio = quartiles(np.divide(pairs[1], pairs[0]))
    return found.n, found.mean, *bias, ratio, found.icc, found.correlation


if __name__ == "__main__":
    main()
