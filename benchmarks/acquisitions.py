"""Segment MBF of the whole app against the phantom's truth, by the way of acquisition.

The same people are scanned in every way: dual sequence with FLASH and with bSSFP, dual bolus, single bolus of half and
of full dose, an image every third beat with its slices spread over them, and 3 T. Signals decay by T2* in all of them.
``qperf-app`` runs on each dataset with the true masks and insertion points handed in (``--hand-in``), and the mean MBF
of each AHA segment is compared with that of the true map over the same segment of the true mask. Segments of scans
whose flow the app calls relative are left out, and counted.

Datasets and outputs lie in a folder for each way and are used again, so that a run that was broken off goes on.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.phantom_runs import HAND_INS, make_phantom, run_app, segment_column, true_means
from benchmarks.records import Column, Row, Table, argument_parser, publish
from benchmarks.scores import covered
from qperf_app.bids.images import read_json, sidecar_path, write_json
from qperf_app.bids.names import parse_entities
from qperf_app.plugins.records import RELATIVE_UNITS
from qperf_app.plugins.results import interval_column
from qperf_app.report.agreement import agreement

#: Options of ``qperf phantom`` by the way of acquisition.
ACQUISITIONS: Mapping[str, Sequence[str]] = {
    "dual sequence, FLASH": (),
    "dual sequence, bSSFP": ("--readout", "bSSFP"),
    "dual bolus": ("--acquisition", "dual-bolus", "--dose", "0.1"),
    "single bolus, 0.05 mmol/kg": ("--acquisition", "single"),
    "single bolus, 0.1 mmol/kg": ("--acquisition", "single", "--dose", "0.1"),
    "image every third beat": ("--beats-per-image", "3", "--slice-order", "over-beats"),
    "3 T": ("--field", "3"),
}
#: Volumes such that every scan lasts about a minute.
_FRAMES, _PROTON_DENSITY = 60, 3
_MBF = "mL/min/g"
#: Bounds of the 90 % interval of MBF.
_LOW, _HIGH = interval_column("MBF", "q05"), interval_column("MBF", "q95")


@dataclass
class Found:
    """Flow that one plugin found by one way of acquisition; arrays grow by a value for each segment."""

    scans: set[str] = field(default_factory=set)
    doubtful: set[str] = field(default_factory=set)
    relative: set[str] = field(default_factory=set)
    true: list[float] = field(default_factory=list)
    measured: list[float] = field(default_factory=list)
    low: list[float] = field(default_factory=list)
    high: list[float] = field(default_factory=list)


def main() -> None:
    """Publish the table."""
    parser = argument_parser(__doc__)
    parser.add_argument("work", type=Path, help="folder for the datasets and the outputs; re-used")
    parser.add_argument("--participants", type=int, default=20)
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--acquisitions", nargs="+", choices=ACQUISITIONS, default=list(ACQUISITIONS))
    parser.add_argument("--hand-in", choices=HAND_INS, default="masks")
    parser.add_argument("--kinetics", nargs="+", default=["nlls", "cnn", "hmc"])
    parser.add_argument("--matrix", type=int, default=128, help="voxels along a slice's edge")
    parser.add_argument("--nprocs", type=int, default=2)
    args = parser.parse_args()
    publish([table(args)], args)


def table(args: argparse.Namespace) -> Table:
    """A row for each way of acquisition and plugin."""
    rows: list[Row] = []
    for name in args.acquisitions:
        raw, out, code = scan_and_run(name, args)
        scans = 2 * args.participants
        found = read_flow(raw, out) if code in (0, 1) else {}
        rows += [scored(name, scans, plugin, found.get(plugin, Found())) for plugin in args.kinetics]
    weights = ("kinetics",) if "cnn" in args.kinetics else ()
    return Table("acquisitions", "Flow of AHA segments by the way of acquisition", COLUMNS, tuple(rows), NOTE, weights)


def scan_and_run(name: str, args: argparse.Namespace) -> tuple[Path, Path, int]:
    """Make a way's dataset and run the app on it, as far as that has not been done; its exit code last."""
    work = args.work / "".join(letter if letter.isalnum() else "-" for letter in name)
    options = list(ACQUISITIONS[name])
    every = int(options[options.index("--beats-per-image") + 1]) if "--beats-per-image" in options else 1
    frames = (_FRAMES - _PROTON_DENSITY) // every + _PROTON_DENSITY
    common = ["--t2star", "--frames", str(frames), "--matrix", str(args.matrix)]
    raw = make_phantom(work / "raw", args.participants, args.seed, args.nprocs, [*common, *options])
    out, done = work / f"out-{args.hand_in}", work / f"{args.hand_in}.json"
    chosen = ["--kinetics", *args.kinetics, "--nprocs", str(args.nprocs)]
    if not (done.is_file() and read_json(done)["options"] == chosen):
        code = run_app(raw, work, args.hand_in, out, chosen, check=False)
        write_json(done, {"options": chosen, "code": code})
    return raw, out, int(read_json(done)["code"])


def read_flow(raw: Path, out: Path) -> dict[str, Found]:
    """Flow of every segment of the truth in the scans that were done, by plugin."""
    found: dict[str, Found] = {}
    for path in sorted(out.rglob("*_seg-AHA17_desc-*_segments.tsv")):
        each = found.setdefault(parse_entities(path.name)["desc"], Found())
        prefix = path.name.split("_seg-")[0]
        sidecar = read_json(sidecar_path(path))
        each.scans.add(prefix)
        if sidecar.get("Doubtful"):
            each.doubtful.add(prefix)
        if sidecar["MBF"]["Units"] != _MBF or _relative_input(path.parent, prefix):
            each.relative.add(prefix)
            continue
        columns = {name: segment_column(path, name) for name in ("MBF", _LOW, _HIGH)}
        for segment, value in true_means(raw / "derivatives" / "truth", prefix).items():
            each.true.append(value)
            for values, name in ((each.measured, "MBF"), (each.low, _LOW), (each.high, _HIGH)):
                values.append(columns[name].get(segment, np.nan))
    return found


def _relative_input(folder: Path, prefix: str) -> bool:
    """Whether the input function that flow rests on is known but for a factor."""
    tables = [folder / f"{prefix}_desc-{role}_timeseries.json" for role in ("aifjoint", "aif")]
    last = next((table for table in tables if table.is_file()), None)
    return last is not None and read_json(last)["concentration"].get("Units") == RELATIVE_UNITS


def scored(name: str, scans: int, plugin: str, found: Found) -> Row:
    """Row of one way of acquisition and plugin."""
    counts = scans - len(found.scans), len(found.doubtful), len(found.relative)
    score = agreement(found.true, found.measured)
    low, high, true = (np.array(values) for values in (found.low, found.high, found.true))
    known = np.isfinite(low) & np.isfinite(high)
    interval: Row = (None, None)
    if known.any():
        width = float(np.median((high - low)[known] / np.array(found.measured)[known]))
        interval = covered(low, high, true), 100 * width
    return name, f"`{plugin}`", scans, *counts, score.n, 100 * score.relative_bias, score.icc, *interval


COLUMNS = (
    Column("acquisition"),
    Column("plugin"),
    Column("scans", format="d"),
    Column("without flow", format="d"),
    Column("doubtful", format="d"),
    Column("relative", format="d"),
    Column("segments", format="d"),
    Column("bias", "%", "+.1f"),
    Column("ICC", format=".3f"),
    Column("90 % intervals cover the truth", "%", ".0f"),
    Column("width of the intervals, median", "% of the flow", ".0f"),
)
NOTE = (
    "Rest and stress together. Segments of doubtful scans are counted in, those of scans without flow or with relative "
    "flow are not."
)


if __name__ == "__main__":
    main()
