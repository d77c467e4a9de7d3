"""How well flow repeats when the same heart is scanned twice, and how well it finds ischaemic segments.

Makes a phantom dataset with rescans (``qperf phantom --rescan``: the same heart, tissue and slices; other beats,
breathing, bolus and noise), runs ``qperf-app`` on it and the group level after it.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.detection import detection
from benchmarks.phantom_runs import HAND_INS, make_phantom, run_app
from benchmarks.records import Column, Row, Table, argument_parser, publish
from qperf_app.bids.tables import read_numbers, read_table

Array = NDArray[np.float64]


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
    truth, found = raw / "derivatives" / "truth", {(args.hand_in, "two-pool"): out}
    publish([repeatability(out, weights), detection(truth, found, args.kinetics, weights)], args)


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


if __name__ == "__main__":
    main()
