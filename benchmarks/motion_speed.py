"""How long motion correction takes, and what it reaches: the plugins beside SimpleITK, on one series in one run.

Three slices of 128 x 128 and 60 frames of the phantom, free breathing. ``SimpleITK`` registers each frame to the one
before it by ascent (translation, Mattes mutual information, two levels, the heart's region), as scripts commonly do,
and adds the shifts up. Wall time on ``--threads`` threads; errors as in ``motion_phantom``. ``elastix`` and SimpleITK
are extras: ``pip install itk-elastix SimpleITK``. Run from the root of the repository:
``python -m benchmarks.motion_speed``.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from benchmarks.motion_phantom import Array, error, overlap
from benchmarks.records import Column, Table, argument_parser, publish
from qperf_app.geometry import world_displacement
from qperf_app.phantom.config import PhantomConfig
from qperf_app.phantom.scan import simulate_scan
from qperf_app.plugins import RunContext, Series
from qperf_app.plugins.manager import load_plugins, make


def main() -> None:
    """Publish the table."""
    parser = argument_parser(__doc__)
    parser.add_argument("--plugins", nargs="+", default=["chained", "progressive", "elastix"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seed", type=int, default=99)
    args = parser.parse_args()
    publish([comparison(args.plugins, args.threads, args.repeats, args.seed)], args)


def comparison(plugins: list[str], threads: int, repeats: int, seed: int) -> Table:
    """Run the plugins and SimpleITK on the same series."""
    config = PhantomConfig(
        task="stress", acquisition="single", cnr=20.0, breathing="free", abnormal_bolus=0.0, matrix=128, frames=60
    )
    scan = simulate_scan(config, np.random.default_rng(seed))
    series, truth = scan.series["tissue"], scan.truth["tissue"]
    heart = np.asarray((truth.masks["myocardium"] | truth.masks["LV"]).any(axis=2))
    methods = {name: partial(by_plugin, name, threads, series) for name in plugins}
    methods["SimpleITK, pairwise"] = partial(pairwise, heart, threads, series)
    rows = []
    for name, run in methods.items():
        seconds = []
        # The first run loads libraries.
        for _ in range(1 + repeats):
            started = time.perf_counter()
            displacement = run()
            seconds.append(time.perf_counter() - started)
        scores = float(np.mean(overlap(series, truth, displacement))), error(series, truth, displacement)[0]
        rows.append((name, float(np.median(seconds[1:])), *scores))
    columns = (Column("wall", "s", ".1f"), Column("Dice", format=".3f"), Column("error", "pixels", ".2f"))
    title = f"Motion correction of one phantom series, {' x '.join(map(str, series.data.shape))}, {threads} threads"
    return Table("motion-speed", title, (Column("method"), *columns), tuple(rows), timed=True)


def by_plugin(name: str, threads: int, series: Series) -> Array:
    """Displacement by a plugin."""
    plugin = make(load_plugins().get("motion-correction", name))
    return np.asarray(plugin.correct(series, RunContext(threads=threads)).displacement)


def pairwise(heart: NDArray[np.bool_], threads: int, series: Series) -> Array:
    """Displacement by SimpleITK: shifts from frame to frame, added up, around the true heart."""
    import SimpleITK as sitk

    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    pixel = series.voxel_size[:2]
    region = sitk.GetImageFromArray(binary_dilation(heart, iterations=5).T.astype(np.uint8))
    region.SetSpacing([float(v) for v in pixel])

    def image(z: int, t: int) -> Any:
        frame = sitk.GetImageFromArray(np.ascontiguousarray(series.data[:, :, z, t].T, np.float32))
        frame.SetSpacing([float(v) for v in pixel])
        return frame

    def slice_shifts(z: int) -> Array:
        steps = [np.zeros(2)]
        for t in range(1, series.data.shape[3]):
            method = sitk.ImageRegistrationMethod()
            method.SetMetricAsMattesMutualInformation(16)
            method.SetMetricFixedMask(region)
            method.SetInterpolator(sitk.sitkLinear)
            method.SetOptimizerAsRegularStepGradientDescent(1.0, 1e-3, 100)
            method.SetShrinkFactorsPerLevel([2, 1])
            method.SetSmoothingSigmasPerLevel([1, 0])
            method.SetInitialTransform(sitk.TranslationTransform(2))
            found = method.Execute(image(z, t - 1), image(z, t))
            steps.append(np.array(found.GetParameters()))
        return np.cumsum(steps, axis=0) / pixel

    with ThreadPoolExecutor(threads) as pool:
        shifts = np.stack(list(pool.map(slice_shifts, range(series.data.shape[2]))))
    voxels = np.concatenate([shifts, np.zeros((*shifts.shape[:2], 1))], axis=-1)
    shape = (*series.data.shape, 3)
    return np.broadcast_to(world_displacement(series.affine, voxels), shape).astype(np.float32)


if __name__ == "__main__":
    main()
