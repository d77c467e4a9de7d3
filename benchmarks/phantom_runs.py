"""Runs of the whole app on phantom datasets, with some of the truth handed in, and the true flow of segments."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.masks import read_image
from qperf_app.bids.names import ROLES, folder_of
from qperf_app.bids.records import read_mask
from qperf_app.bids.tables import read_landmarks, read_numbers, read_table
from qperf_app.geometry import label_layers, label_segments

HAND_INS = {
    "masks": ("lv", "rv", "myocardium", "landmarks"),
    "masks+motion": ("lv", "rv", "myocardium", "landmarks", "xfm"),
    "masks+motion+concentration": ("lv", "rv", "myocardium", "landmarks", "xfm", "conc"),
    "masks+motion+concentration+aif": ("lv", "rv", "myocardium", "landmarks", "xfm", "conc", "aif"),
    "none": (),
}
#: Plugins by which the app finds the masks itself.
FINDERS = {
    "ensemble": ("ensemble", "ensemble"),
    "classical": ("kmeans", "classical"),
    "resunet": ("resunet", "resunet"),
}


def make_phantom(raw: Path, participants: int, seed: int, nprocs: int, options: Sequence[str] = ()) -> Path:
    """Write the dataset, unless it is there."""
    if not raw.exists():
        common = ["--participants", str(participants), "--seed", str(seed), "--nprocs", str(nprocs)]
        command = [sys.executable, "-m", "qperf_app.cli.tools", "phantom", str(raw), *common, *options]
        subprocess.run(command, check=True)
    return raw


def run_app(raw: Path, work: Path, kind: str, out: Path, options: Sequence[str], check: bool = True) -> int:
    """Run the app with some of the truth handed in; return its exit code."""
    command = [sys.executable, "-m", "qperf_app.cli.app", str(raw), str(out), "participant", "-w", str(work / "nodes")]
    if HAND_INS[kind]:
        command += ["-d", f"truth={hand_in(raw / 'derivatives' / 'truth', work / kind, HAND_INS[kind])}"]
    return subprocess.run([*command, *options, "--skip-bids-validation"], check=check).returncode


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


def true_flow(folder: Path, prefix: str) -> NDArray[np.float64]:
    """Map of the true MBF of a scan in its folder."""
    path = next(folder.glob(f"{prefix}_model-*_param-MBF_desc-truth_dcemap.nii.gz"))
    return np.asarray(read_image(path).get_fdata())


def true_means(truth: Path, prefix: str) -> dict[int, float]:
    """Mean true MBF of each segment of the true mask."""
    flow, labels, _ = _true_segments(truth, prefix)
    return {int(k): float(np.nanmean(flow[labels == k])) for k in np.unique(labels) if k}


def true_layers(truth: Path, prefix: str) -> dict[int, tuple[float, float]]:
    """Mean true MBF of the inner and the outer half of each segment of the true mask."""
    flow, labels, layers = _true_segments(truth, prefix)
    inner, outer = (np.where(layers == layer, flow, np.nan) for layer in (1, 2))
    segments = [int(k) for k in np.unique(labels) if k]
    return {k: (float(np.nanmean(inner[labels == k])), float(np.nanmean(outer[labels == k]))) for k in segments}


def _true_segments(truth: Path, prefix: str) -> tuple[NDArray[np.float64], NDArray[np.integer], NDArray[np.integer]]:
    """True MBF, and AHA segments and layers of the true mask."""
    folder = truth / folder_of(prefix)
    path = folder / f"{prefix}_{ROLES['myocardium']}"
    wall, affine = read_mask(path), read_image(path).affine
    labels = label_segments(wall, affine, read_landmarks(folder / f"{prefix}_{ROLES['landmarks']}")).labels
    return true_flow(folder, prefix), labels, label_layers(wall, affine)


def segment_column(path: Path, name: str = "MBF") -> dict[int, float]:
    """Values of a column of a table of segments, by segment; empty where the table has none."""
    rows = read_table(path)
    if not rows or name not in rows[0]:
        return {}
    return dict(zip((int(row["index"]) for row in rows), read_numbers(path, rows, name), strict=True))
