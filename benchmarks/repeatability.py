"""How well flow repeats when the same heart is scanned twice, and how well it finds ischaemic segments.

Makes a phantom dataset with rescans (``qperf phantom --rescan``: the same heart, tissue and slices; other beats,
breathing, bolus and noise), runs ``qperf-app`` on it and the group level after it.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.phantom_runs import HAND_INS, make_phantom, run_app, segment_column, true_means
from benchmarks.records import Column, Row, Table, argument_parser, publish
from qperf_app.bids.names import LAYERS, parse_entities, segments_name
from qperf_app.bids.tables import read_numbers, read_table

Array = NDArray[np.float64]
#: True flow under stress below which a segment is ischaemic, mL/min/g: defects of the phantom have 0.3 to 1.6.
ISCHAEMIC = 1.75


def main() -> None:
    """Publish the tables."""
    parser = argument_parser(__doc__)
    parser.add_argument("work", type=Path, help="folder for the dataset and the outputs; re-used")
    parser.add_argument("--participants", type=int, default=6)
    parser.add_argument("--seed", type=int, default=515)
    parser.add_argument("--hand-in", choices=HAND_INS, default="none")
    parser.add_argument("--kinetics", nargs="+", default=["nlls", "cnn"])
    parser.add_argument("--nprocs", type=int, default=2)
    args = parser.parse_args()
    raw = make_phantom(args.work / "raw", args.participants, args.seed, args.nprocs, ["--rescan"])
    out = args.work / f"out-{args.hand_in}"
    if not (out / "group.html").exists():
        chosen = ["--kinetics", *args.kinetics, "--nprocs", str(args.nprocs)]
        run_app(raw, args.work, args.hand_in, out, chosen, check=False)
        command = [sys.executable, "-m", "qperf_app.cli.app", str(raw), str(out), "group"]
        subprocess.run(command, check=True)
    weights = ("kinetics",) if "cnn" in args.kinetics else ()
    publish([repeatability(out, weights), detection(args, raw, out, weights)], args)


def repeatability(out: Path, weights: Sequence[str]) -> Table:
    """What the group level says of repetitions."""
    path = out / "group_agreement.tsv"
    table = read_table(path)
    numbers = {name: read_numbers(path, table, name) for name in ("n", "bias", "lower", "upper", "icc", "cv")}
    rows: list[Row] = []
    for k, row in enumerate(table):
        if row["comparison"] != "repetition":
            continue
        bias, lower, upper, icc, cv = (float(numbers[name][k]) for name in ("bias", "lower", "upper", "icc", "cv"))
        plugin = row["reference"].split()[0]
        rows.append((row["task"], f"`{plugin}`", row["part"], int(numbers["n"][k]), 100 * cv, bias, lower, upper, icc))
    columns = (
        Column("task"),
        Column("kinetics"),
        Column("flow of"),
        Column("pairs", format="d"),
        Column("CV within subjects", "%", ".1f"),
        Column("bias", "mL/min/g", "+.2f"),
        Column("lower limit of agreement", "mL/min/g", "+.2f"),
        Column("upper", "mL/min/g", "+.2f"),
        Column("ICC", format=".2f"),
    )
    return Table(
        "repeatability", "Flow of the same hearts, scanned twice", columns, tuple(rows), weights=tuple(weights)
    )


def detection(args: argparse.Namespace, raw: Path, out: Path, weights: Sequence[str]) -> Table:
    """Area under the ROC curve for ischaemic segments, by stress flow, reserve and ratio of the layers."""
    rows: list[Row] = []
    for plugin in args.kinetics:
        found = np.array(list(_segments(raw / "derivatives" / "truth", out, plugin)), dtype=np.float64)
        ill = found[:, 0] < ISCHAEMIC
        for k, name in enumerate(("stress MBF", "reserve", "endo over epi under stress"), start=1):
            known = np.isfinite(found[:, k])
            counts = int((ill & known).sum()), int((~ill & known).sum())
            rows.append((f"`{plugin}`", name, *counts, area_under_roc(found[known, k], ill[known])))
    columns = (
        Column("kinetics"),
        Column("told by"),
        Column("ischaemic segments", format="d"),
        Column("others", format="d"),
        Column("area under the ROC curve", format=".3f"),
    )
    note = f"Ischaemic: true flow under stress below {ISCHAEMIC} mL/min/g."
    title = "Ischaemic segments told from others"
    return Table("detection", title, columns, tuple(rows), note, tuple(weights))


def _segments(truth: Path, out: Path, plugin: str) -> Iterator[tuple[float, float, float, float]]:
    """Of every segment under stress: true flow, measured flow, reserve, ratio of the layers."""
    for path in sorted(out.rglob(f"*_seg-{LAYERS['transmural']}_desc-{plugin}_segments.tsv")):
        if parse_entities(path.name)["task"] != "stress":
            continue
        prefix = path.name.split("_seg-")[0]
        stress, endo, epi = (segment_column(path.with_name(segments_name(prefix, plugin, layer))) for layer in LAYERS)
        at_rest = path.with_name(segments_name(prefix.replace("task-stress", "task-rest"), plugin, "transmural"))
        rest = segment_column(at_rest) if at_rest.exists() else {}
        for segment, true in true_means(truth, prefix).items():
            flow, inner, outer, before = (values.get(segment, np.nan) for values in (stress, endo, epi, rest))
            yield true, flow, flow / before, inner / outer


def area_under_roc(values: Array, ill: NDArray[np.bool_]) -> float | None:
    """Probability that one of the ill has the lower value (Mann-Whitney); None where there are none."""
    from scipy.stats import mannwhitneyu

    if not ill.any() or ill.all():
        return None
    count = float(ill.sum()) * float((~ill).sum())
    return 1.0 - float(mannwhitneyu(values[ill], values[~ill]).statistic) / count


if __name__ == "__main__":
    main()
