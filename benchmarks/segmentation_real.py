"""Blood pools and myocardium of the classical plugins against drawn masks, and against the phantom's truth.

Run from the root of the repository: ``python -m benchmarks.segmentation_real DATA``.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.masks import Mask, filled, read_image
from benchmarks.records import Column, Table, argument_parser, publish, weights_of
from qperf_app.checks.outlines import judge_pool
from qperf_app.geometry import world_displacement
from qperf_app.geometry.masks import dice
from qperf_app.geometry.warp import warp
from qperf_app.phantom.config import PhantomConfig
from qperf_app.phantom.scan import simulate_scan
from qperf_app.phantom.series import SeriesTruth
from qperf_app.plugins import BloodPools, Landmark, MotionCorrectionPlugin, Myocardium, RunContext, Series
from qperf_app.plugins.manager import load_plugins, make
from qperf_segmentation import ClassicalMyocardium, EnsembleBloodPool, KMeansBloodPool
from tests.realdata import ASSUMED_AIF_VOXEL, ASSUMED_FRAME_INTERVAL, on_grid, picture_affine

CONTEXT = RunContext()
#: What aligns the free-breathing series by the centroids of the masks drawn on them, in place of a plugin.
BY_HAND = "drawn"
#: Subjects whose series served for choosing the methods' constants.
TUNED_ON = ("01", "02", "03")
#: Those that are measured; 07 to 14 are kept for a test.
SUBJECTS = ("01", "02", "03", "04", "05", "06")


@dataclass(frozen=True)
class Case:
    """A motion-corrected series with its drawn masks."""

    name: str
    series: Series
    lv: Mask
    rv: Mask | None = None
    wall: Mask | None = None


def mlperf_cases(data_dir: Path, motion: str, subjects: Sequence[str] = ("*",)) -> Iterator[Case]:
    """The free-breathing series, corrected; a voxel is drawn where it is in most of the corrected drawn frames."""
    for source in sorted(path for s in subjects for path in (data_dir / "mlperf").glob(f"sub-{s}_*_perf.nii.gz")):
        image = read_image(source)
        drawing = read_image(source.with_name(source.name.replace("_perf.", "_dseg.")))
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
        plugin: MotionCorrectionPlugin = make(load_plugins().get("motion-correction", motion))
        return plugin.correct(series, CONTEXT).displacement
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


def outline(case: Case) -> tuple[BloodPools, Myocardium, float]:
    """Pools, myocardium and the seconds they took."""
    start = time.perf_counter()
    pools = KMeansBloodPool().find(case.series, CONTEXT)
    outlined = ClassicalMyocardium().segment(case.series, pools, None, CONTEXT)
    return pools, outlined, time.perf_counter() - start


def pool_table(cases: Sequence[Case]) -> Table:
    """Pools against drawn pools, both ventricles."""
    rows = []
    for case in cases:
        start = time.perf_counter()
        pools = KMeansBloodPool().find(case.series, CONTEXT)
        seconds = time.perf_counter() - start
        inside = 100 * float((pools.aif & case.lv).sum() / max(pools.aif.sum(), 1))
        right = None if case.rv is None else dice(pools.rv, case.rv)
        rows.append((case.name, dice(pools.lv, case.lv), right, int(pools.aif.sum()), inside, seconds))
    columns = (
        Column("series"),
        Column("LV Dice", format=".2f"),
        Column("RV Dice", format=".2f"),
        Column("AIF voxels", format="d"),
        Column("of them in the drawn LV", "%", ".0f"),
        Column("time", "s", ".1f"),
    )
    title = "Blood pools on series that show both ventricles"
    return Table("segmentation-pools", title, columns, tuple(rows), timed=True)


def tissue_table(name: str, how: str, cases: Sequence[Case]) -> Table:
    """Pools and myocardium against drawn masks, series by series."""
    rows = []
    for case in cases:
        assert case.wall is not None
        pools, outlined, seconds = outline(case)
        inside = 100 * float((pools.lv & case.lv).sum() / max(pools.lv.sum(), 1))
        scores = dice(pools.lv, case.lv), inside, dice(outlined.mask, case.wall)
        outer = dice(filled(outlined.mask), case.wall | case.lv)
        rows.append((case.name, *scores, outer, len(outlined.landmarks), len(outlined.warnings), seconds))
    columns = (
        Column("series"),
        Column("LV Dice", format=".2f"),
        Column("found LV in the drawn one", "%", ".0f"),
        Column("myocardium Dice", format=".2f"),
        Column("epicardium Dice", format=".2f"),
        Column("insertions", format="d"),
        Column("doubts", format="d"),
        Column("time", "s", ".1f"),
    )
    return Table(f"segmentation-{name}", f"Blood pools and myocardium, {how}", columns, tuple(rows), timed=True)


def summary(tables: Mapping[str, Table]) -> Table:
    """Pools and myocardium, by how the series were aligned and whether constants were chosen on them."""
    rows = []
    for how, table in tables.items():
        tuned = [row for row in table.rows if str(row[0])[:2] in TUNED_ON]
        groups = {"all": list(table.rows), "tuned": tuned, "held out": [row for row in table.rows if row not in tuned]}
        for group, members in groups.items():
            if not members or (group != "all" and len(members) == len(table.rows)):
                continue
            _, inside, wall = np.array([row[1:4] for row in members], dtype=float).T
            found = int((inside > 50).sum())
            rows.append(
                (how, group, len(members), found, float(np.median(wall)), float(wall.mean()), float(wall.min()))
            )
    columns = (
        Column("series"),
        Column("which"),
        Column("number", format="d"),
        Column("LV found", format="d"),
        Column("myocardium Dice, median", format=".2f"),
        Column("mean", format=".2f"),
        Column("least", format=".2f"),
    )
    title = "Myocardium on real series against drawn masks"
    note = "Constants of the method were chosen on the tuned series, and not on those held out."
    return Table("segmentation-real", title, columns, tuple(rows), note)


def truncated_table(cases: Sequence[Case]) -> Table:
    """What is answered where the series is cut off before the bolus reaches the left ventricle, or soon after."""
    rows = []
    for beats in (-8, -2, 3, 6, 9, 12):
        counts = [0, 0, 0, 0]
        for case in cases:
            curve = ndimage.gaussian_filter1d(case.series.data[case.lv].mean(axis=0).astype(float), 1.0)
            end = max(int(np.gradient(curve).argmax()) + beats, 1)
            short = Series(case.series.data[..., :end], case.series.times[:end], case.series.affine)
            counts[_outcome(EnsembleBloodPool().find(short, CONTEXT), short, case)] += 1
        rows.append((beats, *counts))
    columns = (
        Column("cut off, volumes after the steepest rise in the LV", format="+d"),
        Column("not found", format="d"),
        Column("found, in the drawn LV", format="d"),
        Column("elsewhere, doubtful", format="d"),
        Column("elsewhere, not doubtful", format="d"),
    )
    title = f"Blood pools by `ensemble` of {len(cases)} series that are cut off"
    return Table("segmentation-truncated", title, columns, tuple(rows), weights=weights_of(EnsembleBloodPool()))


def _outcome(pools: BloodPools, series: Series, case: Case) -> int:
    """Which of the counts a series that was cut off adds to."""
    if not pools.found:
        return 0
    if (pools.lv & case.lv).sum() > 0.5 * pools.lv.sum():
        return 1
    return 2 if judge_pool(series, pools.lv, pools.estimated_dice).doubts else 3


def phantom_table(n_scans: int) -> Table:
    """Against the phantom's truth, its own displacement corrected: rest and stress, dual and single bolus."""
    lv: list[float] = []
    rv: list[float] = []
    wall: dict[int, list[float]] = {0: [], 1: [], 2: []}
    errors: list[tuple[float, float]] = []
    expected = 0
    for number in range(n_scans):
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
    scores = {"LV Dice": lv, "RV Dice": rv}
    scores |= {f"myocardium Dice, {name}": wall[k] for k, name in enumerate(("basal", "mid", "apical"))}
    rows = [(name, float(np.median(v)), float(np.percentile(v, 10)), min(v)) for name, v in scores.items()]
    columns = (Column("median", format=".3f"), Column("10th percentile", format=".3f"), Column("least", format=".3f"))
    distance, angle = np.array(errors).T
    note = (
        f"Insertion points: {len(errors)} of {expected} found; error {np.median(distance):.1f} mm "
        f"(90th percentile {np.percentile(distance, 90):.1f}), {np.median(angle):.1f} degrees around the centre "
        f"(90th percentile {np.percentile(angle, 90):.1f}, greatest {angle.max():.1f})."
    )
    title = f"Blood pools and myocardium of {n_scans} phantom scans"
    return Table("segmentation-phantom", title, (Column("on the phantom"), *columns), tuple(rows), note)


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


def tables(data_dir: Path, motions: Sequence[str], n_scans: int, subjects: Sequence[str]) -> Iterator[Table]:
    """All tables, one after the other."""
    aif, pisa = list(aif_cases(data_dir)), pisa_case(data_dir)
    yield pool_table([*aif, pisa])
    aligned: dict[str, Table] = {}
    tissue: list[Case] = []
    for motion in motions:
        tissue = list(mlperf_cases(data_dir, motion, subjects))
        how = "by the drawn masks" if motion == BY_HAND else f"by `{motion}`"
        aligned[f"free-breathing, aligned {how}"] = tissue_table(motion, f"aligned {how}", tissue)
    aligned["breath-held"] = tissue_table("breath-held", "breath-held", [pisa])
    yield from aligned.values()
    yield summary(aligned)
    yield truncated_table([*aif, pisa, *tissue])
    yield phantom_table(n_scans)


def main() -> None:
    """Publish the tables."""
    parser = argument_parser(__doc__)
    parser.add_argument("data", type=Path, help="folder of the measurement data")
    parser.add_argument(
        "--motion",
        nargs="+",
        default=["chained", "progressive", BY_HAND],
        help=f"motion-correction plugins, or {BY_HAND!r} for the masks",
    )
    parser.add_argument("--scans", type=int, default=24, help="of the phantom")
    parser.add_argument("--subjects", nargs="+", default=list(SUBJECTS), help="labels of the free-breathing series")
    args = parser.parse_args()
    publish(tables(args.data, args.motion, args.scans, args.subjects), args, seed=2024)


if __name__ == "__main__":
    main()
