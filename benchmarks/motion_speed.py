"""How long motion correction takes, and what it reaches: the plugins beside SimpleITK, on one series in one run.

Three slices of 128 x 128 and 60 frames of the phantom, free breathing. ``SimpleITK`` registers each frame to the one
before it by ascent (translation, Mattes mutual information, two levels, the heart's region), as scripts commonly do,
and adds the shifts up. Wall time on ``--threads`` threads; errors as in ``motion_phantom``. ``elastix`` and SimpleITK
are extras: ``pip install itk-elastix SimpleITK``. Run from the root of the repository:
``python -m benchmarks.motion_speed``.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from scipy.ndimage import binary_dilation

from benchmarks.motion_phantom import error, overlap
from benchmarks.real_data import table
from qperf_app.geometry import world_displacement
from qperf_app.phantom.config import PhantomConfig
from qperf_app.phantom.scan import simulate_scan
from qperf_app.plugins import RunContext, Series
from qperf_app.plugins.manager import load_plugins, make


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plugins", nargs="+", default=["chained", "progressive", "elastix"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seed", type=int, default=99)
    args = parser.parse_args()
    config = PhantomConfig(
        task="stress", acquisition="single", cnr=20.0, breathing="free", abnormal_bolus=0.0, matrix=128, frames=60
    )
    scan = simulate_scan(config, np.random.default_rng(args.seed))
    series, truth = scan.series["tissue"], scan.truth["tissue"]
    registry, context = load_plugins(), RunContext(threads=args.threads)
    heart = (truth.masks["myocardium"] | truth.masks["LV"]).any(axis=2)
    methods: dict[str, Callable[[], np.ndarray]] = {
        name: lambda name=name: make(registry.get("motion-correction", name)).correct(series, context).displacement
        for name in args.plugins
    }
    methods["SimpleITK, pairwise"] = lambda: pairwise(series, heart, args.threads)
    rows = []
    for name, run in methods.items():
        seconds = []
        # The first run loads libraries.
        for _ in range(1 + args.repeats):
            started = time.perf_counter()
            displacement = run()
            seconds.append(time.perf_counter() - started)
        scores = f"{overlap(series, truth, displacement):.3f}", f"{error(series, truth, displacement)[0]:.2f}"
        rows.append((name, f"{np.median(seconds[1:]):.1f}", *scores))
    print(f"{' x '.join(map(str, series.data.shape))}, {args.threads} threads\n")
    print("\n".join(table(["method", "s", "Dice", "error, px"], rows)))


def pairwise(series: Series, heart: np.ndarray, threads: int) -> np.ndarray:
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

    def slice_shifts(z: int) -> np.ndarray:
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
