"""Motion correction plugins on real free-breathing series: overlap of the drawn myocardium between frames.

Runs each plugin on the series themselves, and the host's judgement after it (``python -m benchmarks.real_data`` does it
through the command line), warps the mask drawn on every frame by the displacement, and averages the Dice overlap over
all pairs of drawn frames. ``--unjudged`` shows beside what the plugins alone would leave. An oracle that shifts each
frame by its drawn masks' centroid shows what a translation can reach. The roughness is that of the voxels' curves over
time, by how much they miss the mean of the frames before and after, as a part of their spread, in the median over
frames: of the voxels that are myocardium in most of the drawn frames. Times are CPU seconds, judgement included.

Run from the root of the repository: ``python -m benchmarks.motion_real DATA``.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.masks import pairwise_dice, read_image
from benchmarks.records import Column, Row, Table, argument_parser, publish
from qperf_app.checks.motion import judge_motion
from qperf_app.geometry.warp import warp
from qperf_app.plugins import Motion, RunContext, Series
from qperf_app.plugins.manager import load_plugins, make
from qperf_motion.quality import roughness
from tests.realdata import ASSUMED_FRAME_INTERVAL

Labels = NDArray[np.uint8]
#: Dice, roughness and seconds of one method on one series; NaN where there is none.
Score = tuple[float, float, float]


def main() -> None:
    """Publish the tables."""
    parser = argument_parser(__doc__)
    parser.add_argument("data", type=Path, help="folder of the measurement data")
    parser.add_argument("--plugins", nargs="+", default=["chained"])
    parser.add_argument("--subjects", nargs="+", default=["*"], help="labels of subjects; all")
    parser.add_argument("--unjudged", action="store_true", help="the plugins without the host's judgement, too")
    parser.add_argument("--nprocs", type=int, default=2)
    args = parser.parse_args()
    scores = dict(measure(args.data, args.plugins, args.subjects, args.unjudged, args.nprocs))
    publish([summary(scores), of_each_series(scores)], args)


def measure(
    data_dir: Path, plugins: Sequence[str], subjects: Sequence[str] = ("*",), unjudged: bool = False, nprocs: int = 2
) -> Iterator[tuple[str, dict[str, Score]]]:
    """Scores of every method on every series."""
    found = {path for label in subjects for path in (data_dir / "mlperf").glob(f"sub-{label}_*_perf.nii.gz")}
    paths = sorted(found)
    with ProcessPoolExecutor(nprocs) as pool:
        scores = pool.map(partial(of_series, plugins=plugins, unjudged=unjudged), paths)
        yield from zip((path.name.removesuffix("_perf.nii.gz") for path in paths), scores, strict=True)


def of_series(path: Path, plugins: Sequence[str], unjudged: bool) -> dict[str, Score]:
    """Scores of every method on one series."""
    image = read_image(path)
    data = image.get_fdata(dtype=np.float32)
    drawn = read_image(path.with_name(path.name.replace("_perf.", "_dseg."))).get_fdata().round().astype(np.uint8)
    series = Series(data, np.arange(data.shape[3]) * ASSUMED_FRAME_INTERVAL, image.affine)
    scores = {
        "none": (pairwise_dice(drawn == 1), curve_roughness(data, drawn), np.nan),
        "shift of the drawn masks": (pairwise_dice(oracle(drawn) == 1), np.nan, np.nan),
    }
    for name in plugins:
        plugin = make(load_plugins().get("motion-correction", name))
        started = time.process_time()
        motion = plugin.correct(series, RunContext())
        corrected = time.process_time() - started
        judged = judge_motion(series, motion)
        seconds = time.process_time() - started
        said = [*("undone" for _ in judged.undone), *(text.split(":")[1] for text in judged.doubts)]
        print(path.name, name, *said, file=sys.stderr, flush=True)
        if unjudged:
            scores[f"{name} alone"] = *score(series, drawn, motion), corrected
        scores[name] = *score(series, drawn, judged.motion), seconds
    return scores


def score(series: Series, drawn: Labels, motion: Motion) -> tuple[float, float]:
    """Dice between the moved masks, and roughness of the moved series."""
    moved = warp(drawn, series.affine, motion.displacement)
    rough = curve_roughness(warp(series.data, series.affine, motion.displacement), moved)
    return pairwise_dice(moved == 1), rough


def summary(scores: dict[str, dict[str, Score]]) -> Table:
    """Every method over all series."""
    columns = (
        Column("method"),
        Column("Dice, median", format=".3f"),
        Column("5th percentile", format=".3f"),
        Column("mean", format=".3f"),
        Column("lower than uncorrected", "series", "d"),
        Column("by more than 0.01", "series", "d"),
        Column("roughness, median", format=".3f"),
        Column("time", "s CPU", ".1f"),
    )
    rows = []
    for method in next(iter(scores.values())):
        dice, rough, seconds = np.array([each[method] for each in scores.values()]).T
        worse = sum(each[method][0] < each["none"][0] for each in scores.values())
        lower = sum(each[method][0] < each["none"][0] - 0.01 for each in scores.values())
        overlap = float(np.median(dice)), float(np.percentile(dice, 5)), float(dice.mean())
        rows.append((method, *overlap, worse, lower, float(np.median(rough)), float(np.median(seconds))))
    title = f"Overlap of the drawn myocardium between frames of {len(scores)} real series"
    return Table("motion-real", title, columns, tuple(rows), timed=True)


def of_each_series(scores: dict[str, dict[str, Score]]) -> Table:
    """Dice of every method on every series."""
    methods = next(iter(scores.values()))
    rows: list[Row] = [(name, *(each[method][0] for method in methods)) for name, each in scores.items()]
    columns = (Column("series"), *(Column(method, format=".3f") for method in methods))
    return Table("motion-real-series", "Dice of the drawn myocardium between frames", columns, tuple(rows))


def curve_roughness(data: NDArray[np.floating], drawn: Labels) -> float:
    """Roughness of the curves (x, y, 1, t) of voxels that are myocardium in most of the drawn frames."""
    frames = (drawn == 1).any(axis=(0, 1, 2))
    region = (drawn[..., frames] == 1).mean(axis=-1)[:, :, 0] > 0.5
    return roughness(np.moveaxis(data[:, :, 0], -1, 0), region, np.ones(data.shape[3], bool))


def oracle(drawn: Labels) -> Labels:
    """Masks shifted so that the drawn heart's centroid stays where it is on average."""
    frames = [t for t in range(drawn.shape[-1]) if (drawn[..., t] == 1).any()]
    centroids = {t: np.array(ndimage.center_of_mass(drawn[..., t] > 0)) for t in frames}
    mean = np.mean(list(centroids.values()), axis=0)
    moved = np.zeros_like(drawn)
    for t, centroid in centroids.items():
        moved[..., t] = ndimage.shift((drawn[..., t] == 1).astype(float), mean - centroid, order=1) >= 0.5
    return moved


if __name__ == "__main__":
    main()
