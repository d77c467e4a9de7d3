"""Motion correction plugins on phantom series whose motion is known: overlap and displacement error.

Simulates series of rest and stress, of still hearts, held breaths and mild to extreme breathing, and CNR 10 to 40, and
runs each plugin on them, and the host's judgement after it. Dice is the overlap of the myocardium of each corrected
dynamic frame with that of the key frame (the one that moves least by the plugin's displacement), in the mean over
frames and slices; the true displacement is the one within the slice: what comes and goes through the slice is left. A
slice is worse where it loses more than 0.01. The error is the root mean square, in pixels, over the voxels of
myocardium and left ventricle and the dynamic frames, whatever position was taken for reference.
Times are CPU seconds of a series of three slices, judgement included.

Run from the root of the repository: ``python -m benchmarks.motion_phantom``.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np
from numpy.typing import NDArray

from benchmarks.records import Column, Table, argument_parser, publish
from qperf_app.checks.motion import judge_motion
from qperf_app.geometry.warp import voxel_displacement, warp
from qperf_app.phantom.config import PhantomConfig
from qperf_app.phantom.scan import simulate_scan
from qperf_app.phantom.series import SeriesTruth
from qperf_app.plugins import RunContext, Series
from qperf_app.plugins.manager import load_plugins, make

BREATHING = ("held", "free", "mild", "extreme", "held", "free", "none", "free")
#: Dice that makes a slice worse.
DIFFERENCE = 0.01
#: Dice of each slice; error of dynamic and of proton-density frames, and seconds; by method.
Scores = dict[str, tuple[list[float], float, float, float]]
Array = NDArray[np.floating]


def main() -> None:
    """Publish the table."""
    parser = argument_parser(__doc__)
    parser.add_argument("--plugins", nargs="+", default=["none", "chained", "progressive"])
    parser.add_argument("--series", type=int, default=50)
    parser.add_argument("--seed", type=int, default=4711)
    parser.add_argument("--nprocs", type=int, default=2)
    args = parser.parse_args()
    with ProcessPoolExecutor(args.nprocs) as pool:
        results = list(pool.map(partial(measure, seed=args.seed, plugins=args.plugins), range(args.series)))
    publish([comparison(results)], args)


def comparison(results: Sequence[Scores]) -> Table:
    """Medians and tails over the series."""
    rows = []
    for name in results[0]:
        dice = np.array([np.mean(result[name][0]) for result in results])
        error, weighted, seconds = np.array([result[name][1:] for result in results]).T
        gains = np.concatenate([np.subtract(result[name][0], result["none"][0]) for result in results])
        spread = float(np.median(dice)), float(np.percentile(dice, 5)), int((gains < -DIFFERENCE).sum())
        errors = float(np.median(error)), float(np.percentile(error, 95)), float(np.median(weighted))
        rows.append((name, *spread, *errors, float(np.median(seconds))))
    columns = (
        Column("method"),
        Column("Dice, median", format=".3f"),
        Column("5th percentile", format=".3f"),
        Column("worse than uncorrected", "slices", "d"),
        Column("error, median", "pixels", ".2f"),
        Column("95th percentile", "pixels", ".2f"),
        Column("proton density, median", "pixels", ".2f"),
        Column("time", "s CPU", ".1f"),
    )
    title = f"Motion correction of {len(results)} phantom series"
    return Table("motion-phantom", title, columns, tuple(rows), timed=True)


def measure(number: int, seed: int, plugins: list[str]) -> Scores:
    """Scores of one simulated series."""
    random = np.random.default_rng([seed, number])
    config = PhantomConfig(
        task=("rest", "stress")[(number // len(BREATHING) + number // 2) % 2],
        acquisition="single",
        cnr=float(random.uniform(10, 40)),
        breathing=BREATHING[number % len(BREATHING)],
        abnormal_bolus=0.0,
    )
    scan = simulate_scan(config, random)
    series, truth = scan.series["tissue"], scan.truth["tissue"]
    registry, scores = load_plugins(), {}
    for name in plugins:
        started = time.process_time()
        motion = make(registry.get("motion-correction", name)).correct(series, RunContext())
        motion = judge_motion(series, motion).motion
        seconds = time.process_time() - started
        scores[name] = (
            overlap(series, truth, motion.displacement),
            *error(series, truth, motion.displacement),
            seconds,
        )
    scores["true displacement"] = (overlap(series, truth, truth.displacement), 0.0, 0.0, 0.0)
    return scores


def overlap(series: Series, truth: SeriesTruth, displacement: Array) -> list[float]:
    """Mean Dice of the corrected frames' myocardium with the key frame's, of every slice."""
    first = series.n_proton_density
    moved = warp(truth.frame_masks["myocardium"].astype(np.uint8), series.affine, displacement)[..., first:] > 0
    shift = voxel_displacement(series.affine, displacement)[..., first:, :2]
    dice = []
    for z in range(moved.shape[2]):
        heart = truth.masks["myocardium"][:, :, z] | truth.masks["LV"][:, :, z]
        if not moved[:, :, z].any() or not heart.any():
            continue
        path = shift[:, :, z][heart].mean(axis=0)
        key = moved[:, :, z, int(np.hypot(*(path - np.median(path, axis=0)).T).argmin())]
        both = (moved[:, :, z] & key[..., None]).sum(axis=(0, 1))
        dice.append(float((2 * both / np.maximum(moved[:, :, z].sum(axis=(0, 1)) + key.sum(), 1)).mean()))
    return dice


def error(series: Series, truth: SeriesTruth, displacement: Array) -> tuple[float, float]:
    """Root mean square displacement error over the heart, pixels, of dynamic and of proton-density frames."""
    first = series.n_proton_density
    difference = voxel_displacement(series.affine, displacement - truth.displacement)[..., :2]
    squares: tuple[list[Array], list[Array]] = ([], [])
    for z in range(difference.shape[2]):
        heart = truth.masks["myocardium"][:, :, z] | truth.masks["LV"][:, :, z]
        if heart.any():
            off = difference[:, :, z][heart]
            off = off - np.median(off[:, first:].mean(axis=0), axis=0)
            for part, frames in zip(squares, (off[:, first:], off[:, :first]), strict=True):
                part.append((frames**2).sum(axis=-1).ravel())
    dynamic, weighted = (float(np.sqrt(np.concatenate(part).mean())) for part in squares)
    return dynamic, weighted


if __name__ == "__main__":
    main()
