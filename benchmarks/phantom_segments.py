"""Segment MBF of the whole app against the phantom's truth, with the true masks handed in or found by the app.

Makes a phantom dataset, hands in the truth's masks and insertion points (``--hand-in masks``), those and the true
displacement (``masks+motion``), or nothing (``none``), runs ``qperf-app`` on it, checks every derivative with the
official validator, and compares the mean MBF of each AHA segment with the mean of the true map over the same segment
of the true mask. With ``--hand-in masks none`` a second table compares the segments that the app found itself with
those of the masks handed in; ``--finders`` names plugins for blood pools and myocardium to be compared.
"""

from __future__ import annotations

import argparse
import itertools
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

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
#: Plugins by which the app finds the masks itself.
FINDERS = {"classical": ("kmeans", "classical"), "resunet": ("resunet", "resunet")}
#: MBF by task and plugin of kinetics, and within them by scan and segment.
Segments = dict[tuple[str, str], dict[tuple[str, int], float]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path, help="folder for the dataset and the outputs; re-used")
    parser.add_argument("--participants", type=int, default=20)
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--hand-in", nargs="+", choices=HAND_INS, default=list(HAND_INS))
    parser.add_argument("--motion-correction", nargs="+", default=["progressive"], help="plugins to compare")
    parser.add_argument(
        "--finders", nargs="+", choices=FINDERS, default=["classical"], help="where nothing is handed in"
    )
    parser.add_argument("--kinetics", nargs="+", default=["nlls", "fermi"])
    parser.add_argument("--nprocs", type=int, default=2)
    parser.add_argument("--reuse", action="store_true", help="only compare the outputs that are there already")
    parser.add_argument("--out", type=Path, help="write the tables to this file as well")
    args = parser.parse_args()
    runs = dict(measure(args))
    text = "\n".join([*truth_table(runs), *common_table(runs), *found_table(runs)]) + "\n"
    print(text)
    if args.out:
        args.out.write_text(text, encoding="utf-8")


class Run(NamedTuple):
    """True and measured flow of the segments of one run, and errors that the validator found in its outputs."""

    true: Segments
    found: Segments
    errors: int


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


_NAMES = ("handed in", "motion correction", "task", "plugin")


def truth_table(runs: Mapping[tuple[str, str], Run]) -> Iterator[str]:
    """Measured flow against the truth."""
    yield from _head((*_NAMES, "segments"), "ratio to truth", "validator errors")
    for key, run in runs.items():
        for (task, plugin), pairs in paired(run.true, run.found).items():
            yield _row((*key, task, plugin), pairs, str(run.errors))


def common_table(runs: Mapping[tuple[str, str], Run]) -> Iterator[str]:
    """The same in segments to which every plugin gives a value, and how many each gives to others."""
    if max(len({plugin for _, plugin in run.found}) for run in runs.values()) < 2:
        return
    yield from ("", "Segments to which every plugin gives a value:", "")
    yield from _head((*_NAMES, "segments"), "ratio to truth", "others that it gives")
    for key, run in runs.items():
        pairs = paired(run.true, run.found)
        for (task, plugin), (true, values) in pairs.items():
            everywhere = np.isfinite([v for (t, _), (_, v) in pairs.items() if t == task]).all(axis=0)
            common = np.where(everywhere, values, np.nan).tolist()
            others = int((np.isfinite(values) & ~everywhere).sum())
            yield _row((*key, task, plugin), (true, common), str(others))


def found_table(runs: Mapping[tuple[str, str], Run]) -> Iterator[str]:
    """Segments that the app found itself against those of the masks handed in, where both were run."""
    handed = {motion: run.found for (label, motion), run in runs.items() if label == "masks"}
    by_itself = {key: run.found for key, run in runs.items() if key[0].startswith("none") and key[1] in handed}
    if not by_itself:
        return
    yield from ("", "Segments that the app found itself against those of the masks handed in:", "")
    yield from _head((*_NAMES, "segments of both"), "ratio", "of the masks handed in")
    for key, values in by_itself.items():
        for (task, plugin), pairs in paired(handed[key[1]], values).items():
            yield _row((*key, task, plugin), pairs, str(int(np.isfinite(pairs[0]).sum())))


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


def paired(first: Segments, second: Segments) -> dict[tuple[str, str], tuple[list[float], list[float]]]:
    """Values of both for every segment of the first, by task and plugin, and by plugin for both tasks."""
    pairs: dict[tuple[str, str], tuple[list[float], list[float]]] = {}
    for key, values in sorted(first.items()):
        other: Mapping[tuple[str, int], float] = second.get(key, {})
        pairs[key] = list(values.values()), [other.get(segment, np.nan) for segment in values]
    for plugin in sorted({plugin for _, plugin in pairs}):
        tasks = [values for (_, name), values in pairs.items() if name == plugin]
        pairs["both", plugin] = ([v for a, _ in tasks for v in a], [v for _, b in tasks for v in b])
    return pairs


def true_means(truth: Path, prefix: str) -> dict[int, float]:
    """Mean true MBF of each segment of the true mask."""
    folder = truth / folder_of(prefix)
    mask_path = folder / f"{prefix}_{ROLES['myocardium']}"
    landmarks = read_landmarks(folder / f"{prefix}_{ROLES['landmarks']}")
    labels = label_segments(read_mask(mask_path), nib.load(mask_path).affine, landmarks).labels
    flow = nib.load(next(folder.glob(f"{prefix}_model-*_param-MBF_desc-truth_dcemap.nii.gz"))).get_fdata()
    return {int(k): float(np.nanmean(flow[labels == k])) for k in np.unique(labels) if k}


def _head(names: Sequence[str], ratio: str, last: str) -> list[str]:
    columns = (*names, "mean MBF", "bias", "bias, %", "limits", ratio, "ICC", "r", last)
    return [_line(columns), _line(["---"] * len(columns))]


def _row(labels: tuple[str, ...], pairs: tuple[list[float], list[float]], last: str) -> str:
    found: Agreement = agreement(*pairs)
    low, middle, high = np.nanpercentile(np.divide(pairs[1], pairs[0]), (25, 50, 75))
    bias = (f"{found.bias:+.3f}", f"{100 * found.relative_bias:+.1f}", f"{found.lower:+.2f} to {found.upper:+.2f}")
    agreeing = (f"{middle:.2f} ({low:.2f} to {high:.2f})", f"{found.icc:.3f}", f"{found.correlation:.3f}", last)
    return _line((*labels, str(found.n), f"{found.mean:.2f}", *bias, *agreeing))


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main()
