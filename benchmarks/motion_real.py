"""Motion correction plugins on real free-breathing series: overlap of the drawn myocardium between frames.

Runs each plugin on the series themselves (``python -m benchmarks.real_data`` does it through the command line), warps
the mask drawn on every frame by the displacement, and averages the Dice overlap over all pairs of drawn frames. An
oracle that shifts each frame by its drawn masks' centroid shows what a translation can reach. The roughness is that of
the voxels' curves over time, by how much they miss the mean of the frames before and after, as a part of their spread,
in the median over frames: of the voxels that are myocardium in most of the drawn frames. Times are CPU seconds.

Run from the root of the repository: ``python -m benchmarks.motion_real DATA``.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage

from benchmarks.real_data import pairwise_dice, table
from qperf_app.geometry.warp import warp
from qperf_app.plugins import RunContext, Series
from qperf_app.plugins.manager import load_plugins, make
from qperf_motion.quality import roughness
from tests.realdata import ASSUMED_FRAME_INTERVAL


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of the measurement data")
    parser.add_argument("--plugins", nargs="+", default=["chained"])
    parser.add_argument("--out", type=Path, help="write the table to this file as well")
    args = parser.parse_args()
    registry = load_plugins()
    plugins = [make(registry.get("motion-correction", name)) for name in args.plugins]
    rows, values = [], []
    for path in sorted((args.data / "mlperf").glob("*_perf.nii.gz")):
        image = nib.load(path)
        data = image.get_fdata(dtype=np.float32)
        drawn = nib.load(path.with_name(path.name.replace("_perf.", "_dseg."))).get_fdata().round().astype(np.uint8)
        series = Series(data, np.arange(data.shape[3]) * ASSUMED_FRAME_INTERVAL, image.affine)
        scores = [pairwise_dice(drawn == 1), pairwise_dice(oracle(drawn) == 1)]
        seconds, rough = [], [curve_roughness(data, drawn)]
        for plugin in plugins:
            started = time.process_time()
            motion = plugin.correct(series, RunContext())
            seconds.append(time.process_time() - started)
            moved = warp(drawn, series.affine, motion.displacement)
            scores.append(pairwise_dice(moved == 1))
            rough.append(curve_roughness(warp(data, series.affine, motion.displacement), moved))
        values.append([*scores, *rough, *seconds])
        label = path.name.removesuffix("_perf.nii.gz")
        rows.append(
            (label, str(data.shape[3]), *(f"{v:.3f}" for v in (*scores, *rough)), *(f"{s:.1f}" for s in seconds))
        )
    for name, row in (("**median**", np.median(values, axis=0)), ("5th percentile", np.percentile(values, 5, axis=0))):
        count = 3 + 2 * len(plugins)
        rows.append((name, "", *(f"{v:.3f}" for v in row[:count]), *(f"{v:.1f}" for v in row[count:])))
    roughness_of = [f"roughness, {name}" for name in ("none", *args.plugins)]
    times = [f"{name}, s" for name in args.plugins]
    head = ["series", "frames", "none", "oracle", *args.plugins, *roughness_of, *times]
    text = "\n".join(table(head, rows)) + "\n"
    print(text)
    if args.out:
        args.out.write_text(text, encoding="utf-8")


def curve_roughness(data: np.ndarray, drawn: np.ndarray) -> float:
    """Roughness of the curves (x, y, 1, t) of voxels that are myocardium in most of the drawn frames."""
    frames = (drawn == 1).any(axis=(0, 1, 2))
    region = (drawn[..., frames] == 1).mean(axis=-1)[:, :, 0] > 0.5
    return roughness(np.moveaxis(data[:, :, 0], -1, 0), region, np.ones(data.shape[3], bool))


def oracle(drawn: np.ndarray) -> np.ndarray:
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
