"""What corrected outlines of one's own patients buy the next ones: the loop of ``qperf review`` and ``qperf train``.

The free-breathing series are laid out as a dataset. The drawn masks of some patients, as if a reader had corrected
them in ``qperf review``, go to ``qperf train myocardium --dataset``, from the weights ``cine``; the walls of other
patients of the same hospital are then outlined with the weights before and after. Such weights are a measurement: they
are not shipped.

Run from the root of the repository: ``python -m benchmarks.corrected_cases DATA WORK``.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.masks import Mask
from benchmarks.records import Column, Row, Table, argument_parser, publish
from benchmarks.segmentation_real import CONTEXT, Case, mlperf_cases
from qperf_app.bids.images import write_image
from qperf_app.bids.names import derivative_name, folder_of
from qperf_app.bids.records import write_corrected
from qperf_app.geometry.masks import dice
from qperf_segmentation import ClassicalMyocardium
from qperf_segmentation.ensemble import EnsembleBloodPool
from qperf_segmentation.resunet_myocardium import ResUNetMyocardium, WallNetworkOptions
from tests import realdata

#: Drawn walls that were learnt from, and patients who have them.
CORRECTED = 10


def main() -> None:
    """Publish the tables."""
    parser = argument_parser(__doc__)
    parser.add_argument("data", type=Path, help="folder of the measurement data")
    parser.add_argument("work", type=Path, help="folder for the dataset and the training; re-used")
    parser.add_argument(
        "--corrected", nargs="+", default=["01", "02", "03"], help="patients whose walls are learnt from"
    )
    parser.add_argument("--others", nargs="+", default=["04", "05", "06"], help="patients whose walls are measured")
    parser.add_argument("--motion", default="progressive", help="plugin that aligns the series")
    parser.add_argument("--cases", type=int, default=300, help="simulated cases beside the corrected ones")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--start-from", default="cine", help="weights to start from")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    raw, masks, tuned = (args.work / name for name in ("raw", "masks", "tuned"))
    if not raw.exists():
        realdata.build_mlperf(args.data, raw)
    if not masks.exists():
        hand_in(list(mlperf_cases(args.data, args.motion, args.corrected))[:CORRECTED], masks)
    start = WallNetworkOptions(weights=args.start_from)
    if not (tuned / "myocardium.npz").exists():
        command = [sys.executable, "-m", "qperf_app.cli.tools", "train", "myocardium", tuned, "--dataset", raw, masks]
        numbers = {"cases": args.cases, "held-out": 40, "filters": 24, "rate": 0.0002, "epochs": args.epochs}
        options = [word for name, value in numbers.items() for word in (f"--{name}", str(value))]
        weights = ["--start-from", ResUNetMyocardium(start).weights, "--seed", str(args.seed)]
        subprocess.run([*map(str, command), *options, *map(str, weights), "--resume"], check=True)
    others = mlperf_cases(args.data, args.motion, args.others)
    publish(tables(others, start, WallNetworkOptions(weights=str(tuned / "myocardium.npz"))), args)


def hand_in(cases: list[Case], masks: Path) -> None:
    """Write the drawn walls as the masks of a derivative dataset, with the series that they lie on."""
    for case in cases:
        assert case.wall is not None
        subject, task, level = case.name.split()
        prefix = f"sub-{subject}_task-{task}_acq-{level}"
        folder = masks / folder_of(prefix)
        folder.mkdir(parents=True, exist_ok=True)
        write_corrected(folder, prefix, case.series, [])
        path = folder / derivative_name(prefix, "myocardium")
        write_image(path, case.wall, case.series.affine, {"Type": "ROI", "Description": "Drawn wall"})
    description = '{"Name": "Drawn walls", "BIDSVersion": "1.10.0", "DatasetType": "derivative"}'
    (masks / "dataset_description.json").write_text(description)


def tables(others: Iterator[Case], before: WallNetworkOptions, after: WallNetworkOptions) -> Iterator[Table]:
    """Dice of each wall of the other patients, with the weights before and after."""
    plugins = {
        "`classical`": ClassicalMyocardium(),
        "`resunet`, before": ResUNetMyocardium(before),
        "`resunet`, after": ResUNetMyocardium(after),
    }
    rows: list[Row] = []
    for case in others:
        assert case.wall is not None
        pools = EnsembleBloodPool().find(case.series, CONTEXT)
        walls: list[Mask] = [each.segment(case.series, pools, None, CONTEXT).mask for each in plugins.values()]
        rows.append((case.name, *(dice(wall, case.wall) for wall in walls)))
    title = f"Walls of other patients of the same hospital, after {CORRECTED} corrected ones"
    columns = (Column("series"), *(Column(name, format=".2f") for name in plugins))
    yield Table("corrected-cases-series", f"{title}, series by series", columns, tuple(rows))
    scores = np.array([row[1:] for row in rows], float)
    totals: list[Row] = [
        (name, len(rows), float(np.median(of)), float(of.mean()), float(of.min()))
        for name, of in zip(plugins, scores.T, strict=True)
    ]
    each = (Column(name, format=".3f") for name in ("wall Dice, median", "mean", "least"))
    yield Table("corrected-cases", title, (Column("plugin"), Column("series", format="d"), *each), tuple(totals))


if __name__ == "__main__":
    main()
