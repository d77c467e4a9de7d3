"""The whole app on the real measurement data, through the command line.

Lays the data out as BIDS datasets, runs ``qperf-app`` with its defaults on each, and prints tables: for every
free-breathing series the overlap of the drawn masks before and after the written displacement, and of the app's own
masks with the drawn ones; for the concentration series the flow map against the authors'; for the input-function
series the blood pools against the drawn ones.

Run from the root of the repository: ``python -m benchmarks.real_data DATA WORK``.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from qperf_app.bids.names import derivative_name, folder_of, parse_entities
from qperf_app.bids.tables import read_table
from qperf_app.geometry.warp import warp
from qperf_app.plugins.records import value_keys
from tests import realdata

Mask = NDArray[np.bool_]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of the measurement data")
    parser.add_argument("work", type=Path, help="folder for datasets and outputs; re-used")
    parser.add_argument("--only", nargs="+", choices=sorted(REPORTS), default=list(REPORTS))
    parser.add_argument("--nprocs", type=int, default=2)
    parser.add_argument("--out", type=Path, help="write the tables to this file as well")
    args = parser.parse_args()
    sections = []
    for name in args.only:
        raw, out = args.work / name, args.work / f"{name}-out"
        if not raw.exists():
            realdata.BUILDERS[name](args.data, raw)
        code = run_app(raw, out, args.work / "nodes" / name, args.nprocs)
        sections += [f"### `{name}`: exit code {code}", "", *REPORTS[name](raw, out), ""]
    text = "\n".join(sections)
    print(text)
    if args.out:
        args.out.write_text(text, encoding="utf-8")


def run_app(raw: Path, out: Path, work: Path, nprocs: int) -> int:
    """Run the app with its defaults, handing in whatever the dataset has to hand in."""
    command = [sys.executable, "-m", "qperf_app.cli.app", str(raw), str(out), "participant", "-w", str(work)]
    given = [raw / "derivatives" / name for name in ("authors", "ring")]
    entries = [f"{path.name}={path}" for path in given if path.is_dir()]
    return subprocess.run([*command, "--nprocs", str(nprocs), *(["-d", *entries] if entries else [])]).returncode


def report_mlperf(raw: Path, out: Path) -> list[str]:
    """One row for each free-breathing series."""
    rows, values = [], []
    for drawn_path in sorted((raw / "derivatives" / "drawn").rglob("*_desc-drawn_dseg.nii.gz")):
        prefix = drawn_path.name.removesuffix("_desc-drawn_dseg.nii.gz")
        drawn = nib.load(drawn_path).get_fdata().round().astype(np.uint8)
        folder = out / folder_of(prefix)
        xfm = nib.load(folder / derivative_name(prefix, "xfm"))
        moved = warp(drawn, xfm.affine, xfm.get_fdata(dtype=np.float32))
        before, after = pairwise_dice(drawn == 1), pairwise_dice(moved == 1)
        lv, myocardium = (
            dice(mask(folder / derivative_name(prefix, role)), vote(moved == label))
            for role, label in (("lv", 2), ("myocardium", 1))
        )
        values.append((before, after, lv, myocardium))
        state = json.loads((out / prefix.split("_")[0] / f"{prefix.split('_')[0]}_status.json").read_text())["state"]
        rows.append((prefix, state, *(f"{v:.3f}" for v in values[-1])))
    medians = np.median(values, axis=0)
    fifth = np.percentile(values, 5, axis=0)
    rows.append(("**median**", "", *(f"**{v:.3f}**" for v in medians)))
    rows.append(("5th percentile", "", *(f"{v:.3f}" for v in fifth)))
    found = sum(lv > 0.3 for _, _, lv, _ in values)
    head = ("series", "state", "myocardium frame to frame, uncorrected", "corrected", "LV pool", "myocardium found")
    return [*table(head, rows), "", f"LV found in {found} of {len(values)} (Dice with the drawn cavity over 0.3)."]


def report_rest(raw: Path, out: Path) -> list[str]:
    """Flow of each plugin against the authors' map, over the handed-in ring."""
    folder = raw / "derivatives" / "drawn" / "sub-01" / "perf"
    authors = nib.load(next(folder.glob("*_dcemap.nii.gz"))).get_fdata()
    ring = mask(out / "sub-01" / "perf" / derivative_name("sub-01_task-rest", "myocardium"))
    rows = []
    paths = sorted((out / "sub-01" / "perf").glob("*_param-MBF_*dcemap.nii.gz"))
    named = [(parse_entities(path.name), path) for path in paths]
    found = {(entities["desc"], entities.get("stat")): path for entities, path in named}
    for plugin, key in value_keys(found).items():
        flow = nib.load(found[key]).get_fdata()
        both = np.isfinite(flow) & np.isfinite(authors) & (authors > 0)
        a, b = authors[both], flow[both]
        slope = float((a * b).sum() / (a * a).sum())
        r = float(np.corrcoef(a, b)[0, 1])
        estimated = np.isfinite(flow).sum() / max(1, ring.sum())
        numbers = (f"{r:.3f}", f"{slope:.2f}", f"{a.mean():.2f}", f"{b.mean():.2f}", f"{estimated:.1%}")
        rows.append((plugin, *numbers))
    return table(("plugin", "r", "scale (ours / authors')", "authors' mean", "our mean MBF", "estimated voxels"), rows)


def report_aif(raw: Path, out: Path) -> list[str]:
    """Blood pools against those drawn."""
    rows = []
    for path in sorted((raw / "derivatives" / "drawn").rglob("*_desc-drawn_dseg.nii.gz")):
        prefix = path.name.removesuffix("_desc-drawn_dseg.nii.gz")
        drawn = nib.load(path).get_fdata()
        folder = out / folder_of(prefix)
        scores = [dice(mask(folder / derivative_name(prefix, role)), drawn == k) for role, k in (("lv", 1), ("rv", 2))]
        rows.append((prefix, *(f"{score:.3f}" for score in scores)))
    return table(("series", "LV Dice", "RV Dice"), rows)


def report_pisa(raw: Path, out: Path) -> list[str]:
    """Masks against those drawn, and the segment values."""
    drawn = nib.load(next((raw / "derivatives" / "drawn").rglob("*_desc-drawn_dseg.nii.gz"))).get_fdata()
    folder = out / "sub-01" / "perf"
    pairs = (("lv", 1), ("rv", 2), ("myocardium", 3))
    found = {role: mask(folder / derivative_name("sub-01_task-rest", role)) for role, _ in pairs}
    rows = [(role, f"{dice(found[role], drawn == k):.3f}") for role, k in pairs]
    segments = folder / "sub-01_task-rest_seg-AHA17_desc-nlls_segments.tsv"
    count = len(read_table(segments)) if segments.is_file() else 0
    return [*table(("mask", "Dice"), rows), "", f"{count} segments with values."]


def pairwise_dice(masks: Mask) -> float:
    """Mean Dice between all pairs of frames (x, y, z, t) that have something drawn."""
    frames = [masks[..., t] for t in range(masks.shape[-1]) if masks[..., t].any()]
    return float(np.mean([dice(a, b) for a, b in itertools.combinations(frames, 2)]))


def vote(masks: Mask) -> Mask:
    """What at least half of the drawn frames mark."""
    drawn = masks[..., masks.any(axis=(0, 1, 2))]
    return drawn.mean(axis=-1) >= 0.5


def dice(a: Mask, b: Mask) -> float:
    """Dice overlap; 0 where one is missing."""
    total = a.sum() + b.sum()
    return float(2 * (a & b).sum() / total) if total else 0.0


def mask(path: Path) -> Mask:
    """Read a mask; a single False where the app found none."""
    return nib.load(path).get_fdata() > 0 if path.is_file() else np.zeros(1, dtype=bool)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a markdown table."""
    return ["| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows)]


REPORTS: dict[str, Callable[[Path, Path], list[str]]] = {
    "mlperf": report_mlperf,
    "qperf_rest": report_rest,
    "qperf_aif": report_aif,
    "pisa": report_pisa,
}

if __name__ == "__main__":
    main()
