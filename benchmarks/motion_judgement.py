"""The host's judgement on motion corrections of known error, on phantom series that served for nothing else.

Simulates series of all read-outs, with breathing from none to extreme, wide doses and noise, and moving fat. Each
is corrected by the true displacement, by a part of it, with every frame shaken, with a run of frames aside, and shaken
without any correction. A slice is better or worse where the Dice overlap of its myocardium between frames differs by
more than 0.01 from that as acquired. The error is that of the heart's mean displacement, root mean square over the
dynamic frames, mm: what is left of the motion where the slice was undone.

Run from the root of the repository: ``python -m benchmarks.motion_judgement``.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from benchmarks.masks import pairwise_dice
from benchmarks.records import Column, Table, argument_parser, publish
from qperf_app.checks.motion import judge_motion
from qperf_app.geometry.warp import voxel_displacement, warp, world_displacement
from qperf_app.phantom.config import READ_OUTS, PhantomConfig
from qperf_app.phantom.scan import simulate_scan
from qperf_app.plugins import Motion, Series

BREATHING = ("none", "free", "mild", "free", "extreme", "free")
#: Dice that makes a slice better or worse; smallest part of a slice, voxels, that is a heart.
DIFFERENCE, SMALLEST = 0.01, 40
#: mm: what is done to the true displacement, and the error from which a slice is steady or not.
SHAKEN, ASIDE, NEAR, OFF = (1.0, 2.0, 4.0), 6.0, 1.0, 3.0
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Verdict:
    """Of one slice: change of its Dice by the correction, whether it was kept, doubt, and error that is left, mm."""

    gain: float
    kept: bool
    doubtful: bool
    left: float


def main() -> None:
    """Publish the table."""
    parser = argument_parser(__doc__)
    parser.add_argument("--series", type=int, default=24)
    parser.add_argument("--seed", type=int, default=31)
    parser.add_argument("--nprocs", type=int, default=2)
    args = parser.parse_args()
    with ProcessPoolExecutor(args.nprocs) as pool:
        results = list(pool.map(partial(measure, seed=args.seed), range(args.series)))
    publish([comparison(results)], args)


def comparison(results: list[dict[str, list[Verdict]]]) -> Table:
    """Each kind of correction over all slices."""
    rows = []
    for name in results[0]:
        slices = [verdict for result in results for verdict in result[name]]
        better, worse = ([v for v in slices if sign * v.gain > DIFFERENCE] for sign in (1, -1))
        near, off = [v.doubtful for v in slices if v.left <= NEAR], [v.doubtful for v in slices if v.left >= OFF]
        rows.append((
            name,
            len(better), _percent([v.kept for v in better]), len(worse), _percent([not v.kept for v in worse]),
            max([-v.gain for v in slices if v.kept and v.gain < 0], default=0.0),
            len(near), _percent(near), len(off), _percent(off),
        ))  # fmt: skip
    columns = (
        Column("correction"),
        Column("better", "slices", "d"), Column("of them kept", "%", ".0f"),
        Column("worse", "slices", "d"), Column("of them undone", "%", ".0f"),
        Column("largest loss that was kept", "Dice", ".3f"),
        Column(f"within {NEAR:g} mm then", "slices", "d"), Column("of them doubtful", "%", ".0f"),
        Column(f"{OFF:g} mm off and more", "slices", "d"), Column("of these doubtful", "%", ".0f"),
    )  # fmt: skip
    title = f"Motion of known error in {len(results)} phantom series, judged"
    return Table("motion-judgement", title, columns, tuple(rows))


def _percent(values: list[bool]) -> float | None:
    return 100.0 * float(np.mean(values)) if values else None


def measure(number: int, seed: int) -> dict[str, list[Verdict]]:
    """Verdicts on the slices of one simulated series, by the correction."""
    random = np.random.default_rng([seed, number])
    readout = READ_OUTS[number % len(READ_OUTS)]
    config = PhantomConfig(
        task=("rest", "stress")[number // 2 % 2],
        acquisition="single",
        readout=readout,
        cnr=float(random.uniform(6, 30)),
        dose=float(np.exp(random.uniform(np.log(0.025), np.log(0.1)))),
        breathing=BREATHING[number % len(BREATHING)],
        matrix=96,
        frames=46,
        proton_density_frames=0 if readout == "steady-state" else 3,
        fat_brightness=float(np.exp(random.uniform(0, 1.5))),
        wall_motion=float(random.uniform(0, 0.3)),
    )
    scan = simulate_scan(config, random)
    series, truth = scan.series["tissue"], scan.truth["tissue"]
    hearts = truth.masks["myocardium"] | truth.masks["LV"]
    usable = [z for z in range(hearts.shape[2]) if hearts[:, :, z].sum() >= SMALLEST]
    first, frames = series.n_proton_density, truth.frame_masks["myocardium"]
    true = np.zeros((*series.data.shape[2:], 2))
    for z in usable:
        shift = voxel_displacement(series.affine, truth.displacement[:, :, z : z + 1])[hearts[:, :, z], 0, :, :2]
        true[z] = shift.mean(axis=0) - np.median(shift.mean(axis=0), axis=0)
    still = _overlaps(series, frames, np.zeros_like(true))
    verdicts = {}
    for name, shift in _corrections(true, series.voxel_size[:2], random):
        judged = judge_motion(series, _motion(series, shift))
        moved = _overlaps(series, frames, shift)
        verdicts[name] = [
            Verdict(
                gain=moved[z] - still[z],
                kept=z not in judged.undone,
                doubtful=any(text.startswith(f"slice {z + 1}:") for text in judged.doubts),
                left=_rms(((0.0 if z in judged.undone else shift[z]) - true[z])[first:] * series.voxel_size[:2]),
            )
            for z in usable
        ]
    return verdicts


def _corrections(true: Array, spacing: Array, random: np.random.Generator) -> Iterator[tuple[str, Array]]:
    """Shifts (z, t, 2), pixels, by what is wrong with them."""
    yield "none", np.zeros_like(true)
    yield "true displacement", true
    yield "half of it", true / 2
    for size in SHAKEN:
        yield f"true, frames {size:g} mm aside", true + _shaken(true, size, spacing, random)
    run = true.copy()
    start = int(random.integers(8, true.shape[1] - 8))
    run[:, start : start + 8] += ASIDE / np.sqrt(2) / spacing
    yield f"true, eight frames {ASIDE:g} mm aside", run
    for size in SHAKEN[:2]:
        yield f"none, frames {size:g} mm aside", _shaken(true, size, spacing, random)


def _shaken(like: Array, size: float, spacing: Array, random: np.random.Generator) -> Array:
    return np.asarray(random.normal(0.0, size / np.sqrt(2), like.shape) / spacing)


def _motion(series: Series, shift: Array) -> Motion:
    field = np.concatenate([shift, np.zeros((*shift.shape[:2], 1))], axis=-1)
    world = world_displacement(series.affine, field).astype(np.float32)
    shape = series.data.shape
    return Motion(np.broadcast_to(world, (*shape, 3)), np.ones(shape[2:], bool))


def _overlaps(series: Series, frames: NDArray[np.bool_], shift: Array) -> list[float]:
    """Dice of the myocardium between the dynamic frames of every slice; 0 where there is none."""
    moved = warp(frames, series.affine, _motion(series, shift).displacement)[..., series.n_proton_density :]
    return [pairwise_dice(moved[:, :, z]) if moved[:, :, z].any() else 0.0 for z in range(moved.shape[2])]


def _rms(shift: Array) -> float:
    return float(np.sqrt(((shift - np.median(shift, axis=0)) ** 2).sum(axis=-1).mean()))


if __name__ == "__main__":
    main()
