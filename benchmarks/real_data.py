"""The whole app on the real measurement data, through the command line.

Lays the data out as BIDS datasets, runs ``qperf-app`` with its defaults on each, and prints tables: for every
free-breathing series the overlap of the drawn masks before and after the written displacement, and of the app's own
masks with the drawn ones; for the concentration series the flow map against the authors'; for the input-function
series the blood pools against the drawn ones.

Run from the root of the repository: ``python -m benchmarks.real_data DATA WORK``.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from benchmarks.masks import Mask, pairwise_dice, read_image, read_mask
from benchmarks.records import Column, Row, Table, argument_parser, publish
from benchmarks.scores import correlation
from qperf_app.bids.names import derivative_name, folder_of, parse_entities
from qperf_app.bids.tables import read_table
from qperf_app.geometry.masks import dice
from qperf_app.geometry.warp import warp
from qperf_app.plugins.records import value_keys
from tests import realdata

#: Dice with the drawn cavity from which a left pool counts as found.
LEFT_FOUND = 0.3


def main() -> None:
    """Publish the tables."""
    parser = argument_parser(__doc__)
    parser.add_argument("data", type=Path, help="folder of the measurement data")
    parser.add_argument("work", type=Path, help="folder for datasets and outputs; re-used")
    parser.add_argument("--only", nargs="+", choices=sorted(REPORTS), default=list(REPORTS))
    parser.add_argument("--nprocs", type=int, default=2)
    args = parser.parse_args()
    for name in args.only:
        raw, out = args.work / name, args.work / f"{name}-out"
        if not raw.exists():
            realdata.BUILDERS[name](args.data, raw)
        code = run_app(raw, out, args.work / "nodes" / name, args.nprocs)
        if code:
            print(f"{name}: qperf-app ended with {code}", file=sys.stderr)
        publish(REPORTS[name](raw, out), args)


def run_app(raw: Path, out: Path, work: Path, nprocs: int) -> int:
    """Run the app with its defaults, handing in whatever the dataset has to hand in."""
    command = [sys.executable, "-m", "qperf_app.cli.app", str(raw), str(out), "participant", "-w", str(work)]
    given = [raw / "derivatives" / name for name in ("authors", "ring")]
    entries = [f"{path.name}={path}" for path in given if path.is_dir()]
    return subprocess.run([*command, "--nprocs", str(nprocs), *(["-d", *entries] if entries else [])]).returncode


def report_mlperf(raw: Path, out: Path) -> list[Table]:
    """Every free-breathing series, and all of them."""
    rows = []
    for drawn_path in sorted((raw / "derivatives" / "drawn").rglob("*_desc-drawn_dseg.nii.gz")):
        prefix = drawn_path.name.removesuffix("_desc-drawn_dseg.nii.gz")
        drawn = read_image(drawn_path).get_fdata().round().astype(np.uint8)
        folder = out / folder_of(prefix)
        xfm = read_image(folder / derivative_name(prefix, "xfm"))
        moved = warp(drawn, xfm.affine, xfm.get_fdata(dtype=np.float32))
        lv, myocardium = (
            dice(read_mask(folder / derivative_name(prefix, role)), vote(moved == label))
            for role, label in (("lv", 2), ("myocardium", 1))
        )
        participant = prefix.split("_")[0]
        state = json.loads((out / participant / f"{participant}_status.json").read_text())["state"]
        rows.append((prefix, state, pairwise_dice(drawn == 1), pairwise_dice(moved == 1), lv, myocardium))
    names = ("frame to frame, uncorrected", "corrected", "LV pool", "myocardium")
    scores = tuple(Column(name, format=".3f") for name in names)
    values = np.array([row[2:] for row in rows])
    ends = ("median", np.median(values, axis=0)), ("5th percentile", np.percentile(values, 5, axis=0))
    found = int((values[:, 2] > LEFT_FOUND).sum())
    return [
        Table(
            "real-free-breathing",
            f"Dice of {len(rows)} free-breathing series with masks drawn on them",
            (Column("over the series"), *scores),
            tuple((name, *map(float, row)) for name, row in ends),
            f"LV found in {found} of {len(rows)} (Dice with the drawn cavity over {LEFT_FOUND}).",
        ),
        Table(
            "real-free-breathing-series",
            "The same, series by series",
            (Column("series"), Column("state"), *scores),
            tuple(rows),
        ),
    ]


def report_rest(raw: Path, out: Path) -> list[Table]:
    """Flow of each plugin against the authors' map, over the handed-in ring."""
    drawn, folder = raw / "derivatives" / "drawn" / "sub-01" / "perf", out / "sub-01" / "perf"
    authors = read_image(next(drawn.glob("*_dcemap.nii.gz"))).get_fdata()
    ring = read_mask(folder / derivative_name("sub-01_task-rest", "myocardium"))
    named = [(parse_entities(path.name), path) for path in sorted(folder.glob("*_param-MBF_*dcemap.nii.gz"))]
    found = {(entities["desc"], entities.get("stat")): path for entities, path in named}
    rows = []
    for plugin, key in value_keys(found).items():
        flow = read_image(found[key]).get_fdata()
        both = np.isfinite(flow) & np.isfinite(authors) & (authors > 0)
        a, b = authors[both], flow[both]
        slope = float((a * b).sum() / (a * a).sum())
        estimated = 100 * float(np.isfinite(flow).sum() / max(1, ring.sum()))
        rows.append((f"`{plugin}`", correlation(a, b), slope, float(a.mean()), float(b.mean()), estimated))
    columns = (
        Column("plugin"),
        Column("r", format=".3f"),
        Column("scale, ours over theirs", format=".2f"),
        Column("authors' mean", "mL/min/g", ".2f"),
        Column("our mean MBF", "mL/min/g", ".2f"),
        Column("voxels estimated", "%", ".1f"),
    )
    title = "A resting slice in concentration against its authors' flow map"
    return [Table("real-resting-slice", title, columns, tuple(rows), weights=("kinetics",))]


def report_aif(raw: Path, out: Path) -> list[Table]:
    """Blood pools against those drawn."""
    rows: list[Row] = []
    for path in sorted((raw / "derivatives" / "drawn").rglob("*_desc-drawn_dseg.nii.gz")):
        prefix = path.name.removesuffix("_desc-drawn_dseg.nii.gz")
        drawn, folder = read_image(path).get_fdata(), out / folder_of(prefix)
        pools = (read_mask(folder / derivative_name(prefix, role)) for role in ("lv", "rv"))
        rows.append((prefix, *(dice(pool, drawn == label) for label, pool in enumerate(pools, 1))))
    columns = (Column("series"), Column("LV Dice", format=".3f"), Column("RV Dice", format=".3f"))
    return [Table("real-input-function", "Blood pools of input-function series alone", columns, tuple(rows))]


def report_pisa(raw: Path, out: Path) -> list[Table]:
    """Masks against those drawn, and the segment values."""
    drawn = read_image(next((raw / "derivatives" / "drawn").rglob("*_desc-drawn_dseg.nii.gz"))).get_fdata()
    folder = out / "sub-01" / "perf"
    roles = enumerate(("lv", "rv", "myocardium"), 1)
    rows = [(r, dice(read_mask(folder / derivative_name("sub-01_task-rest", r)), drawn == k)) for k, r in roles]
    segments = folder / "sub-01_task-rest_seg-AHA17_desc-nlls_segments.tsv"
    count = len(read_table(segments)) if segments.is_file() else 0
    columns, title = (Column("mask"), Column("Dice", format=".3f")), "A breath-held single-bolus series at 1.5 T"
    return [Table("real-breath-held", title, columns, tuple(rows), f"{count} segments with values.")]


def vote(masks: Mask) -> Mask:
    """What at least half of the drawn frames mark."""
    drawn = masks[..., masks.any(axis=(0, 1, 2))]
    return np.asarray(drawn.mean(axis=-1) >= 0.5)


#: Reports by data set.
REPORTS: dict[str, Callable[[Path, Path], Sequence[Table]]] = {
    "mlperf": report_mlperf,
    "qperf_rest": report_rest,
    "qperf_aif": report_aif,
    "pisa": report_pisa,
}

if __name__ == "__main__":
    main()
