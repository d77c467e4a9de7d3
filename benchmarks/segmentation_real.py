"""Blood pools and myocardium of the classical plugins against drawn masks, and against the phantom's truth.

Prints the tables of docs/validation-segmentation.md; ``--out`` replaces what stands there between its two markers.
Run from the root of the repository: ``python -m benchmarks.segmentation_real DATA``.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from qperf_app.geometry import world_displacement
from qperf_app.geometry.warp import warp
from qperf_app.phantom.config import PhantomConfig
from qperf_app.phantom.scan import SeriesTruth, simulate_scan
from qperf_app.plugins import BloodPools, Landmark, Myocardium, RunContext, Series
from qperf_app.plugins.manager import load_plugins, make
from qperf_segmentation import ClassicalMyocardium, KMeansBloodPool
from tests.realdata import ASSUMED_AIF_VOXEL, ASSUMED_FRAME_INTERVAL, on_grid, picture_affine

Mask = NDArray[np.bool_]
CONTEXT = RunContext()
MARKERS = ("<!-- tables of benchmarks/segmentation_real.py -->", "<!-- end of tables -->")
#: What aligns the free-breathing series by the centroids of the masks drawn on them, in place of a plugin.
BY_HAND = "drawn"
#: Subjects whose series served for choosing the methods' constants.
TUNED_ON = ("01", "02", "03")


@dataclass(frozen=True)
class Case:
    """A motion-corrected series with its drawn masks."""

    name: str
    series: Series
    lv: Mask
    rv: Mask | None = None
    wall: Mask | None = None


def mlperf_cases(data_dir: Path, motion: str) -> Iterator[Case]:
    """The 18 free-breathing series, corrected; a voxel is drawn where it is in most of the corrected drawn frames."""
    for source in sorted((data_dir / "mlperf").glob("*_perf.nii.gz")):
        image: Any = nib.load(source)
        drawing: Any = nib.load(str(source).replace("_perf.", "_dseg."))
        labels = np.asarray(drawing.dataobj).astype(np.uint8)
        times = np.arange(image.shape[3], dtype=np.float64) * ASSUMED_FRAME_INTERVAL
        series = Series(image.get_fdata(dtype=np.float32), times, image.affine)
        displacement = find_motion(series, labels, motion)
        corrected = series.with_data(warp(series.data, series.affine, displacement))
        drawn = warp(labels, series.affine, displacement)
        frames = labels.any(axis=(0, 1, 2)).sum()
        wall, cavity = ((drawn == label).sum(axis=-1) > frames / 2 for label in (1, 2))
        name = source.name.removeprefix("sub-").removesuffix("_perf.nii.gz")
        yield Case(name.replace("_task-", " ").replace("_slice-", " "), corrected, cavity, wall=wall)


def find_motion(series: Series, labels: NDArray[np.uint8], motion: str) -> NDArray[np.floating]:
    """Displacement (x, y, z, t, 3), mm, by a plugin or by the drawn masks' centroids."""
    if motion != BY_HAND:
        return make(load_plugins().get("motion-correction", motion)).correct(series, CONTEXT).displacement
    frames = np.flatnonzero(labels.any(axis=(0, 1, 2)))
    centres = np.array([ndimage.center_of_mass(labels[..., t] > 0) for t in frames])
    path = [np.interp(np.arange(labels.shape[3]), frames, c - np.median(c)) for c in centres.T]
    shift = np.broadcast_to(np.stack(path, axis=-1), (*labels.shape, 3))
    return world_displacement(series.affine, shift)


def aif_cases(data_dir: Path) -> Iterator[Case]:
    """The two input-function series with their pools."""
    for source in sorted((data_dir / "qperf" / "aif_images").glob("*.npz")):
        found = np.load(source)
        data, drawn = (on_grid(found[key])[:, :, None] for key in ("series", "mask_lv1_rv2"))
        times = np.arange(data.shape[3], dtype=np.float64) * ASSUMED_FRAME_INTERVAL
        yield Case(f"AIF {source.stem}", Series(data, times, picture_affine(ASSUMED_AIF_VOXEL)), drawn == 1, drawn == 2)


def pisa_case(data_dir: Path) -> Case:
    """The breath-held series."""
    found = np.load(data_dir / "pisa" / "first_pass.npz")
    voxel = (*found["pixel_spacing_mm"][::-1].astype(float), float(found["slice_thickness_mm"]))
    data = on_grid(np.moveaxis(found["images"], 0, -1)).astype(np.float32)[:, :, None]
    lv, rv, wall = (on_grid(found[key])[:, :, None] for key in ("lv", "rv", "myo"))
    return Case("pisa", Series(data, found["time_s"], picture_affine(voxel)), lv, rv, wall)


def dice(first: Mask, second: Mask) -> float:
    """Overlap of two masks; NaN where both are empty."""
    size = first.sum() + second.sum()
    return float(2 * (first & second).sum() / size) if size else float("nan")


def outline(case: Case) -> tuple[BloodPools, Myocardium, float]:
    """Pools, myocardium and the seconds they took."""
    start = time.perf_counter()
    pools = KMeansBloodPool().find(case.series, CONTEXT)
    outlined = ClassicalMyocardium().segment(case.series, pools, None, CONTEXT)
    return pools, outlined, time.perf_counter() - start


def filled(wall: Mask) -> Mask:
    """Everything inside the epicardium."""
    return np.stack([ndimage.binary_fill_holes(wall[..., k]) for k in range(wall.shape[2])], axis=2)


def pool_table(cases: Sequence[Case]) -> Iterator[str]:
    """Pools against drawn pools, both ventricles."""
    yield "| series | LV Dice | RV Dice | AIF voxels | of them in the drawn LV | s |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: |"
    for case in cases:
        start = time.perf_counter()
        pools = KMeansBloodPool().find(case.series, CONTEXT)
        seconds = time.perf_counter() - start
        inside = (pools.aif & case.lv).sum() / max(pools.aif.sum(), 1)
        right = "" if case.rv is None else f"{dice(pools.rv, case.rv):.2f}"
        cells = [case.name, f"{dice(pools.lv, case.lv):.2f}", right, pools.aif.sum(), f"{100 * inside:.0f} %"]
        yield "| " + " | ".join(map(str, (*cells, f"{seconds:.1f}"))) + " |"


def tissue_table(cases: Sequence[Case]) -> Iterator[str]:
    """Pools and myocardium against drawn masks."""
    yield (
        "| series | LV found | LV Dice | found LV in the drawn one | myocardium Dice | epicardium Dice | insertions | "
        "doubts | s |"
    )
    yield "| --- | :---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    scores: dict[str, list[float]] = {"all": [], "tuned": [], "held out": []}
    hits = 0
    for case in cases:
        assert case.wall is not None
        pools, outlined, seconds = outline(case)
        inside = (pools.lv & case.lv).sum() / max(pools.lv.sum(), 1)
        hits += bool(inside > 0.5)
        wall = dice(outlined.mask, case.wall)
        outer = dice(filled(outlined.mask), case.wall | case.lv)
        scores["all"].append(wall)
        scores["tuned" if case.name[:2] in TUNED_ON else "held out"].append(wall)
        yield (
            f"| {case.name} | {'yes' if inside > 0.5 else '**no**'} | {dice(pools.lv, case.lv):.2f} "
            f"| {100 * inside:.0f} % | {wall:.2f} | {outer:.2f} | {len(outlined.landmarks)} "
            f"| {len(outlined.warnings)} | {seconds:.1f} |"
        )
    yield ""
    parts = [
        f"{name}: median {np.median(v):.2f}, mean {np.mean(v):.2f}, least {min(v):.2f}"
        for name, v in scores.items()
        if v
    ]
    yield f"LV found in {hits} of {len(cases)}. Myocardium Dice, " + "; ".join(parts) + "."


def truncated_table(cases: Sequence[Case]) -> Iterator[str]:
    """What is answered where the series is cut off before the bolus reaches the left ventricle, or soon after."""
    yield "| cut off | not found | found, in the drawn LV | found, elsewhere |"
    yield "| --- | ---: | ---: | ---: |"
    for beats in (-8, -2, 3, 6, 9, 12):
        counts = [0, 0, 0]
        for case in cases:
            curve = ndimage.gaussian_filter1d(case.series.data[case.lv].mean(axis=0).astype(float), 1.0)
            end = max(int(np.gradient(curve).argmax()) + beats, 1)
            short = Series(case.series.data[..., :end], case.series.times[:end], case.series.affine)
            pools = KMeansBloodPool().find(short, CONTEXT)
            right = (pools.lv & case.lv).sum() > 0.5 * pools.lv.sum()
            counts[0 if not pools.found else 1 if right else 2] += 1
        where = f"{abs(beats)} volumes {'before' if beats < 0 else 'after'} the steepest rise in the LV"
        yield f"| {where} | " + " | ".join(map(str, counts)) + " |"


def phantom_table(n_participants: int) -> Iterator[str]:
    """Against the phantom's truth, its own displacement corrected: rest and stress, dual and single bolus."""
    lv: list[float] = []
    rv: list[float] = []
    wall: dict[int, list[float]] = {0: [], 1: [], 2: []}
    errors: list[tuple[float, float]] = []
    expected = 0
    for number in range(n_participants):
        config = PhantomConfig(
            task=("rest", "stress")[number % 2],
            acquisition=("dual", "single")[number // 2 % 2],
            field_strength=(1.5, 3.0)[number // 4 % 2],
        )
        scan = simulate_scan(config, np.random.default_rng([2024, number]))
        series = {key: _still(scan.series[key], scan.truth[key]) for key in scan.series}
        place = "aif" if "aif" in series else "tissue"
        pools = KMeansBloodPool().find(series[place], CONTEXT)
        lv.append(dice(pools.lv, scan.truth[place].masks["LV"]))
        rv.append(dice(pools.rv, scan.truth[place].masks["RV"]))
        outlined = ClassicalMyocardium().segment(series["tissue"], pools, None, CONTEXT)
        truth = scan.truth["tissue"]
        for k, values in wall.items():
            values.append(dice(outlined.mask[..., k], truth.masks["myocardium"][..., k]))
        expected += len(truth.landmarks)
        errors += insertion_errors(outlined.landmarks, truth, series["tissue"].affine)
    yield "| on the phantom | median | 10th percentile | least |"
    yield "| --- | ---: | ---: | ---: |"
    rows = {"LV Dice": lv, "RV Dice": rv}
    rows |= {f"myocardium Dice, {name}": wall[k] for k, name in enumerate(("basal", "mid", "apical"))}
    for name, values in rows.items():
        yield f"| {name} | {np.median(values):.3f} | {np.percentile(values, 10):.3f} | {min(values):.3f} |"
    yield ""
    distance, angle = np.array(errors).T
    yield (
        f"{n_participants} scans. Insertion points: {len(errors)} of {expected} found; "
        f"error {np.median(distance):.1f} mm "
        f"(90th percentile {np.percentile(distance, 90):.1f}), {np.median(angle):.1f} degrees around the centre "
        f"(90th percentile {np.percentile(angle, 90):.1f}, greatest {angle.max():.1f})."
    )


def _still(series: Series, truth: SeriesTruth) -> Series:
    return replace(series, data=warp(series.data, series.affine, truth.displacement))


def insertion_errors(
    found: Sequence[Landmark], truth: SeriesTruth, affine: NDArray[np.float64]
) -> Iterator[tuple[float, float]]:
    """Distance, mm, and angle around the ventricle's centre, degrees, of each point from the true one of its name."""
    true = {(point.name, point.slice): np.array(point.position) for point in truth.landmarks}
    for point in found:
        if (point.name, point.slice) not in true:
            continue
        inside = (truth.masks["LV"] | truth.masks["myocardium"])[..., point.slice]
        centre = affine @ [*np.argwhere(inside).mean(axis=0), point.slice, 1.0]
        a, b = true[point.name, point.slice] - centre[:3], np.array(point.position) - centre[:3]
        cosine = a @ b / (np.linalg.norm(a) * np.linalg.norm(b))
        yield float(np.linalg.norm(a - b)), float(np.rad2deg(np.arccos(np.clip(cosine, -1.0, 1.0))))


def report(data_dir: Path, motions: Sequence[str], n_participants: int) -> Iterator[str]:
    """All tables, line by line."""
    aif, pisa = list(aif_cases(data_dir)), pisa_case(data_dir)
    yield "### Blood pools on input-function series"
    yield ""
    yield from pool_table([*aif, pisa])
    tissue: list[Case] = []
    for motion in motions:
        tissue = list(mlperf_cases(data_dir, motion))
        how = "the drawn masks' centroids" if motion == BY_HAND else f"the plugin `{motion}`"
        yield from ("", f"### Free-breathing tissue series, aligned by {how}", "")
        yield from tissue_table([*tissue])
    yield from ("", "### Breath-held tissue series", "")
    yield from tissue_table([pisa])
    yield from ("", "### Series without a left-ventricular passage", "")
    yield from truncated_table([*aif, pisa, *tissue])
    yield from ("", "### Phantom", "")
    yield from phantom_table(n_participants)


def main() -> None:
    """Print the tables and put them into the document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of the measurement data")
    parser.add_argument(
        "--motion",
        nargs="+",
        default=["chained", BY_HAND],
        help=f"motion-correction plugins, or {BY_HAND!r} for the masks",
    )
    parser.add_argument("--participants", type=int, default=24, help="scans of the phantom")
    parser.add_argument("--out", type=Path, help="document whose tables to replace")
    arguments = parser.parse_args()
    lines = []
    for line in report(arguments.data, arguments.motion, arguments.participants):
        print(line, flush=True)
        lines.append(line)
    if arguments.out is not None:
        text = arguments.out.read_text()
        before, after = text.split(MARKERS[0])[0], text.split(MARKERS[1])[1]
        arguments.out.write_text("\n".join([before + MARKERS[0], "", *lines, "", MARKERS[1]]) + after)


if __name__ == "__main__":
    main()
