"""Segment MBF of the whole app against the phantom's truth, with the true masks handed in or found by the app.

Makes a phantom dataset, hands in the truth's masks and insertion points (``--hand-in masks``), those and the true
displacement (``masks+motion``), or nothing (``none``), runs ``qperf-app`` on it, checks every derivative with the
official validator, and compares the mean MBF of each AHA segment with the mean of the true map over the same segment
of the true mask.
"""

from __future__ import annotations

import argparse
import itertools
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np

from qperf_app.bids.names import ROLES, folder_of, parse_entities
from qperf_app.bids.records import read_mask
from qperf_app.bids.tables import read_landmarks, read_numbers, read_table
from qperf_app.bids.validate import validate
from qperf_app.geometry.segments import label_segments
from qperf_app.report.agreement import Agreement, agreement

HAND_INS = {
    "masks": ("lv", "rv", "myocardium", "landmarks"),
    "masks+motion": ("lv", "rv", "myocardium", "landmarks", "xfm"),
    "none": (),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path, help="folder for the dataset and the outputs; re-used")
    parser.add_argument("--participants", type=int, default=20)
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--hand-in", nargs="+", choices=HAND_INS, default=list(HAND_INS))
    parser.add_argument("--motion-correction", nargs="+", default=["progressive"], help="plugins to compare")
    parser.add_argument("--kinetics", nargs="+", default=["nlls", "fermi"])
    parser.add_argument("--nprocs", type=int, default=2)
    parser.add_argument("--reuse", action="store_true", help="only compare the outputs that are there already")
    parser.add_argument("--out", type=Path, help="write the tables to this file as well")
    args = parser.parse_args()
    raw = make_phantom(args.work / "raw", args.participants, args.seed, args.nprocs)
    columns = (
        "handed in", "motion correction", "task", "plugin", "segments", "mean MBF", "bias", "bias, %", "limits",
        "ratio to truth", "ICC", "r", "validator errors",
    )  # fmt: skip
    lines = [_line(columns), _line(["---"] * len(columns))]
    for kind, motion in itertools.product(args.hand_in, args.motion_correction):
        out = args.work / f"out-{kind}-{motion}"
        if not (args.reuse and out.is_dir()):
            chosen = ["--motion-correction", motion, "--kinetics", *args.kinetics, "--nprocs", str(args.nprocs)]
            run_app(raw, args.work, kind, out, chosen)
        errors = sum(issue.severity == "error" for issue in validate(out))
        for task, plugin, pairs in compare(raw, out):
            lines.append(_row((kind, motion, task, plugin), pairs, errors))
    text = "\n".join(lines) + "\n"
    print(text)
    if args.out:
        args.out.write_text(text, encoding="utf-8")


def make_phantom(raw: Path, participants: int, seed: int, nprocs: int) -> Path:
    """Write the dataset, unless it is there."""
    if not raw.exists():
        options = ["--participants", str(participants), "--seed", str(seed), "--nprocs", str(nprocs)]
        subprocess.run([sys.executable, "-m", "qperf_app.cli.tools", "phantom", str(raw), *options], check=True)
    return raw


def run_app(raw: Path, work: Path, kind: str, out: Path, options: Sequence[str]) -> None:
    """Run the app with some of the truth handed in."""
    command = [sys.executable, "-m", "qperf_app.cli.app", str(raw), str(out), "participant", "-w", str(work / "nodes")]
    if HAND_INS[kind]:
        command += ["-d", f"truth={hand_in(raw / 'derivatives' / 'truth', work / kind, HAND_INS[kind])}"]
    subprocess.run([*command, *options, "--skip-bids-validation"], check=True)


def hand_in(truth: Path, target: Path, roles: Iterable[str]) -> Path:
    """Copy the truth's files of some roles, nothing else."""
    for role in roles:
        for source in truth.rglob(f"*_{ROLES[role]}"):
            place = target / folder_of(source.name)
            place.mkdir(parents=True, exist_ok=True)
            for path in source.parent.glob(f"{source.name.split('.')[0]}.*"):
                shutil.copyfile(path, place / path.name)
    shutil.copyfile(truth / "dataset_description.json", target / "dataset_description.json")
    return target


def compare(raw: Path, out: Path) -> list[tuple[str, str, tuple[list[float], list[float]]]]:
    """True and measured MBF of every segment, by task and plugin; segments of few estimated voxels are kept."""
    pairs: dict[tuple[str, str], tuple[list[float], list[float]]] = {}
    for table in sorted(out.rglob("*_seg-AHA17_desc-*_segments.tsv")):
        entities = parse_entities(table.name)
        prefix = table.name.split("_seg-")[0]
        truth = true_means(raw / "derivatives" / "truth", prefix)
        rows = read_table(table)
        measured = dict(zip((int(r["index"]) for r in rows), read_numbers(table, rows, "MBF"), strict=True))
        true, found = pairs.setdefault((entities["task"], entities["desc"]), ([], []))
        for segment, value in truth.items():
            true.append(value)
            found.append(measured.get(segment, np.nan))
    for plugin in sorted({plugin for _, plugin in pairs}):
        tasks = [values for (_, name), values in sorted(pairs.items()) if name == plugin]
        pairs["both", plugin] = ([v for true, _ in tasks for v in true], [v for _, found in tasks for v in found])
    return [(task, plugin, values) for (task, plugin), values in pairs.items()]


def true_means(truth: Path, prefix: str) -> dict[int, float]:
    """Mean true MBF of each segment of the true mask."""
    folder = truth / folder_of(prefix)
    mask_path = folder / f"{prefix}_{ROLES['myocardium']}"
    landmarks = read_landmarks(folder / f"{prefix}_{ROLES['landmarks']}")
    labels = label_segments(read_mask(mask_path), nib.load(mask_path).affine, landmarks).labels
    flow = nib.load(next(folder.glob(f"{prefix}_model-*_param-MBF_desc-truth_dcemap.nii.gz"))).get_fdata()
    return {int(k): float(np.nanmean(flow[labels == k])) for k in np.unique(labels) if k}


def _row(labels: tuple[str, ...], pairs: tuple[list[float], list[float]], errors: int) -> str:
    found: Agreement = agreement(*pairs)
    low, middle, high = np.nanpercentile(np.divide(pairs[1], pairs[0]), (25, 50, 75))
    bias = (f"{found.bias:+.3f}", f"{100 * found.relative_bias:+.1f}", f"{found.lower:+.2f} to {found.upper:+.2f}")
    agreeing = (f"{middle:.2f} ({low:.2f} to {high:.2f})", f"{found.icc:.3f}", f"{found.correlation:.3f}", str(errors))
    return _line((*labels, str(found.n), f"{found.mean:.2f}", *bias, *agreeing))


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
