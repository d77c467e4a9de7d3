"""The networks of the ``resunet`` plugins against simulated truth and masks drawn on real scans, beside ``kmeans`` and
``classical``.

Prints tables of docs/validation-networks.md; ``--out`` replaces what stands there between the markers of each table.
Run from the root of the repository: ``python -m benchmarks.networks TABLE [DATA]``.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from benchmarks.segmentation_real import CONTEXT, Case, aif_cases, dice, filled, mlperf_cases, pisa_case
from qperf_app.physics.input_function import NoBolusError, find_features
from qperf_app.plugins import BloodPools, Series
from qperf_app.training import LEFT_BLOOD, RIGHT_BLOOD, WALL, TrainingCase
from qperf_app.training.simulated_cases import ABSENCES, simulate_case
from qperf_segmentation import ClassicalMyocardium, KMeansBloodPool, ResUNetBloodPool, ResUNetMyocardium
from qperf_segmentation.resunet_blood_pool import PoolNetworkOptions

Mask = NDArray[np.bool_]
#: Ranges of the held-out scans over those of the training's.
SPREAD = 1.25
#: Seed of the held-out scans; the shipped networks were trained with seeds 1 and 3.
SEED = 2026


@cache
def finders(extra: tuple[Path, ...]) -> dict[str, Any]:
    """Blood-pool plugins by name; ``extra`` weights as further networks."""
    found: dict[str, Any] = {"kmeans": KMeansBloodPool(), "resunet": ResUNetBloodPool()}
    for path in extra:
        found[path.parent.name] = ResUNetBloodPool(PoolNetworkOptions(weights=str(path)))
    return found


def spread_out(measure: Callable[..., Any], items: Sequence[Any], nprocs: int) -> list[Any]:
    """What ``measure`` makes of every item, in processes that do not share TensorFlow's threads."""
    with ProcessPoolExecutor(nprocs, mp_context=get_context("spawn")) as pool:
        return list(tqdm(pool.map(measure, items, chunksize=8), total=len(items), file=sys.stderr))


def present_table(count: int, extra: Sequence[Path], nprocs: int) -> Iterator[str]:
    """Held-out scans with a bolus: how often and how well the left ventricle is found, and its curve's features."""
    measured = spread_out(partial(_present, extra=tuple(extra)), range(count), nprocs)
    yield (
        "| plugin | LV found (Dice > 0.5) | mean LV Dice | LV Dice > 0.75 | 5th percentile | mean RV Dice "
        '| RV taken for LV | answered "not found" |'
    )
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    names = list(finders(tuple(extra)))
    for name in names:
        left, right, swapped = np.array([one[name][0] for one in measured], float).T
        yield (
            f"| {name} | {np.mean(left > 0.5):.2%} | {left.mean():.3f} | {np.mean(left > 0.75):.2%} "
            f"| {np.percentile(left, 5):.3f} | {np.nanmean(right):.3f} | {int(swapped.sum())} "
            f"| {np.mean(left == 0):.2%} |"
        )
    yield ""
    yield f"{count} scans of ranges {SPREAD:g} times as wide as the training's."
    yield ""
    yield "| curve of | foot, %: mean ± SD, r | time of peak | peak | area | scans |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: |"
    for name in names:
        pairs = np.array([one[name][1] for one in measured])
        true, found = pairs[np.isfinite(pairs).all(axis=(1, 2))].transpose(1, 2, 0)
        cells = []
        for a, b in zip(true, found, strict=True):
            off = 100 * (b / a - 1)
            cells.append(f"{off.mean():+.2f} ± {off.std():.1f}, {np.corrcoef(a, b)[0, 1]:.4f}")
        yield f"| {name} | " + " | ".join(cells) + f" | {true.shape[1]} |"


def _present(number: int, extra: tuple[Path, ...]) -> dict[str, tuple[tuple[float, float, bool], NDArray[np.float64]]]:
    """Scores of each plugin on one scan, and the true and the found curve's features (2, 4)."""
    case = simulate_case("blood-pool", np.random.default_rng([SEED, number]), SPREAD, absence="")
    lv, rv = (case.labels == label for label in (LEFT_BLOOD, RIGHT_BLOOD))
    found = {}
    for name, plugin in finders(extra).items():
        pools = plugin.find(case.series, CONTEXT)
        swapped = bool((pools.lv & rv).sum() > 0.5 * max(pools.lv.sum(), 1))
        found[name] = (dice(pools.lv, lv), dice(pools.rv, rv), swapped), feature_pairs(case, pools)
    return found


def feature_pairs(case: TrainingCase, pools: BloodPools) -> NDArray[np.float64]:
    """Foot, time of peak, peak and area, (2, 4): of the true pool's brightest voxels, and of those that were found.

    Of the signal's rise over its level before contrast, as no sequence is inverted here; NaN where a curve has none.
    """
    from qperf_app.methods.input_voxels import choose_input_voxels

    dynamic = case.series.dynamic()
    true = features_of(dynamic, choose_input_voxels(dynamic.data, case.labels == LEFT_BLOOD))
    found = features_of(dynamic, pools.aif) if pools.found else np.full(4, np.nan)
    return np.stack([true, found])


def features_of(series: Series, voxels: Mask) -> NDArray[np.float64]:
    """Foot, time of peak, peak and area of the mean rise of some voxels."""
    curve = series.data[voxels].mean(axis=0).astype(np.float64)
    curve -= curve[: max(3, int(curve.argmax()) // 3)].mean()
    try:
        found = find_features(series.times, curve)
    except NoBolusError:
        return np.full(4, np.nan)
    return np.array([found.foot, found.peak, found.peak_value, found.area])


def absent_table(count: int, extra: Sequence[Path], nprocs: int) -> Iterator[str]:
    """Held-out scans without a left-ventricular passage: how many are reported as such."""
    names = list(finders(tuple(extra)))
    n = count // len(ABSENCES)
    items = [(kind, number) for kind in ABSENCES for number in range(n)]
    absent = np.array(spread_out(partial(_absent, extra=tuple(extra)), items, nprocs)).reshape(len(ABSENCES), n, -1)
    yield "| without | scans | " + " | ".join(f"{name}: not found" for name in names) + " |"
    yield "| --- | ---: |" + " ---: |" * len(names)
    for kind, hits in zip(ABSENCES, absent, strict=True):
        yield f"| {kind} | {n} | " + " | ".join(f"{share:.1%}" for share in hits.mean(axis=0)) + " |"
    whole = " | ".join(f"**{share:.2%}**" for share in absent.mean(axis=(0, 1)))
    yield f"| **all** | {len(items)} | {whole} |"


def _absent(item: tuple[str, int], extra: tuple[Path, ...]) -> list[bool]:
    kind, number = item
    case = simulate_case("blood-pool", np.random.default_rng([SEED, number, 7]), SPREAD, absence=kind)
    return [not plugin.find(case.series, CONTEXT).found for plugin in finders(extra).values()]


def real_pool_table(data: Path, extra: Sequence[Path]) -> Iterator[str]:
    """Real input-function series, the breath-held series and all free-breathing ones."""
    plugins = finders(tuple(extra))
    cases = [*aif_cases(data), pisa_case(data), *mlperf_cases(data, "chained")]
    yield "| series | " + " | ".join(f"{n} LV" for n in plugins) + " | " + " | ".join(f"{n} RV" for n in plugins) + " |"
    yield "| --- |" + " ---: |" * (2 * len(plugins))
    left: dict[str, list[float]] = {name: [] for name in plugins}
    for case in cases:
        pools = {name: plugin.find(case.series, CONTEXT) for name, plugin in plugins.items()}
        for name, found in pools.items():
            left[name].append(dice(found.lv, case.lv))
        cells = [f"{left[n][-1]:.2f}" if pools[n].found else "not found" for n in plugins]
        cells += ["" if case.rv is None else f"{dice(pools[n].rv, case.rv):.2f}" for n in plugins]
        yield f"| {case.name} | " + " | ".join(cells) + " |"
    yield "| **median of the free-breathing** | " + " | ".join(f"**{np.median(left[n][3:]):.3f}**" for n in plugins)
    yield ""
    yield "; ".join(f"{n}: LV Dice > 0.5 in {sum(v > 0.5 for v in left[n])} of {len(cases)}" for n in plugins) + "."


def real_wall_table(data: Path) -> Iterator[str]:
    """Myocardium on the real series after motion correction, and the peak frame."""
    yield (
        "| series | classical | resunet | epicardium, classical | resunet | peak frame, classical | resunet "
        "| insertions, classical | resunet | doubts of resunet |"
    )
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |"
    rows: list[tuple[float, float]] = []
    for case in [*mlperf_cases(data, "chained"), pisa_case(data)]:
        rows.append((yield from _wall_row(case)))
    medians = np.median(np.array(rows[:-1]), axis=0)
    yield f"| **median of the free-breathing** | **{medians[0]:.3f}** | **{medians[1]:.3f}** | | | | | | | |"
    better = sum(b > a for a, b in rows)
    least = np.min(np.array(rows), axis=0)
    yield ""
    yield f"resunet is better in {better} of {len(rows)}; least: classical {least[0]:.2f}, resunet {least[1]:.2f}."


def _wall_row(case: Case) -> Any:
    assert case.wall is not None
    cells: dict[str, list[str]] = {"dice": [], "outer": [], "peak": [], "points": []}
    scores, doubts = [], ""
    for pool_plugin, plugin in ((KMeansBloodPool(), ClassicalMyocardium()), (ResUNetBloodPool(), ResUNetMyocardium())):
        pools = pool_plugin.find(case.series, CONTEXT)
        found = plugin.segment(case.series, pools, None, CONTEXT)
        scores.append(dice(found.mask, case.wall))
        cells["dice"].append(f"{scores[-1]:.2f}")
        cells["outer"].append(f"{dice(filled(found.mask), case.wall | case.lv):.2f}")
        cells["peak"].append(f"{peak_error(case, filled(found.mask) & ~found.mask):+.1f}")
        cells["points"].append(str(len(found.landmarks)))
        doubts = "; ".join(w.removeprefix("slice 0: ") for w in found.warnings)
    ordered = [value for pair in cells.values() for value in pair]
    yield f"| {case.name} | " + " | ".join(ordered) + f" | {doubts} |"
    return scores[0], scores[1]


def peak_error(case: Case, cavity: Mask) -> float:
    """Frames from the peak of the drawn cavity's curve to that of a found one's; NaN where none is found."""
    if not cavity.any():
        return float("nan")
    drawn, found = (case.series.data[mask].mean(axis=0) for mask in (case.lv, cavity))
    return float(int(found.argmax()) - int(drawn.argmax()))


def wall_table(count: int, nprocs: int) -> Iterator[str]:
    """Held-out simulated slices: wall, box, insertion points, peak frame."""
    measured = [one for one in spread_out(_wall, range(count), nprocs) if one]
    rows = {name: [one[name] for one in measured] for name in measured[0]}
    yield "| plugin | mean Dice | 10th percentile | box (IoU) | insertions | error, mm (median) | 90th | peak frame |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    for name, values in rows.items():
        table = np.array(values)
        error = table[:, 3]
        yield (
            f"| {name} | {table[:, 0].mean():.3f} | {np.percentile(table[:, 0], 10):.3f} | {table[:, 1].mean():.3f} "
            f"| {np.nanmean(table[:, 2]):.0%} | {np.nanmedian(error):.1f} | {np.nanpercentile(error, 90):.1f} "
            f"| {np.nanmean(table[:, 4]):.2f} |"
        )
    yield ""
    yield f"{len(rows['resunet'])} slices, true blood pools given."


def _wall(number: int) -> dict[str, list[float]]:
    """Scores of both plugins on one slice; none where it hardly shows a cavity."""
    case = simulate_case("myocardium", np.random.default_rng([SEED, number]), 1.1)
    lv, wall = case.labels == LEFT_BLOOD, case.labels == WALL
    if lv.sum() < 12:
        return {}
    pools = BloodPools(lv, case.labels == RIGHT_BLOOD, lv, case.series.affine)
    rows = {}
    for name, plugin in (("classical", ClassicalMyocardium()), ("resunet", ResUNetMyocardium())):
        found = plugin.segment(case.series, pools, None, CONTEXT)
        cavity = filled(found.mask) & ~found.mask
        peak = abs(peak_error(Case("", case.series.dynamic(), lv), cavity))
        box = box_overlap(found.mask, wall)
        rows[name] = [dice(found.mask, wall), box, *point_errors(case, found.landmarks), peak]
    return rows


def box_overlap(a: Mask, b: Mask) -> float:
    """Intersection over union of the bounding boxes in the plane; 0 where one is empty."""
    if not (a.any() and b.any()):
        return 0.0
    boxes = [[(i.min(), i.max() + 1) for i in np.nonzero(m)[:2]] for m in (a, b)]
    inner = np.prod([max(min(p[1], q[1]) - max(p[0], q[0]), 0) for p, q in zip(*boxes, strict=True)])
    areas = [np.prod([high - low for low, high in box]) for box in boxes]
    return float(inner / (areas[0] + areas[1] - inner))


def point_errors(case: TrainingCase, found: Sequence[Any]) -> tuple[float, float]:
    """Share of the true insertion points that are found, and their mean distance, mm, whichever is called which."""
    true = [np.array(p.position) for p in case.landmarks]
    if not true:
        return float("nan"), float("nan")
    if not found:
        return 0.0, float("nan")
    distances = [min(float(np.linalg.norm(t - np.array(f.position))) for f in found) for t in true]
    return min(len(found) / len(true), 1.0), float(np.mean(distances))


def speed_table() -> Iterator[str]:
    """Load and first and later use on one input-function series, beside the published size, TensorFlow being up."""
    import keras

    from qperf_segmentation.networks.architecture import Architecture, build
    from qperf_segmentation.networks.weights import _load, load
    from qperf_segmentation.resunet_blood_pool import WEIGHTS

    case = simulate_case("blood-pool", np.random.default_rng([SEED, 0]), 1.0, absence="")
    keras.layers.Conv2D(1, 1)(np.zeros((1, 4, 4, 1), np.float32))
    _load.cache_clear()
    start = time.perf_counter()
    model = load(WEIGHTS)
    loaded = time.perf_counter() - start
    times = []
    for _ in range(6):
        start = time.perf_counter()
        ResUNetBloodPool().find(case.series, CONTEXT)
        times.append(time.perf_counter() - start)
    yield "| network | parameters | build and load, ms | first series, ms | later ones, ms | one forward pass, ms |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: |"
    published = build(Architecture((64, 48), 64, 3, filters=128))
    passes = []
    for one in (model, published):
        one(np.zeros((1, 64, 48, 64), np.float32), training=False)
        laps = []
        for _ in range(5):
            start = time.perf_counter()
            one(np.zeros((1, 64, 48, 64), np.float32), training=False)
            laps.append(time.perf_counter() - start)
        passes.append(1000 * float(np.median(laps)))
    yield (
        f"| shipped | {model.count_params()} | {1000 * loaded:.0f} | {1000 * times[0]:.0f} "
        f"| {1000 * np.median(times[1:]):.0f} | {passes[0]:.0f} |"
    )
    yield f"| 128 filters, as published | {published.count_params()} | | | | {passes[1]:.0f} |"


def tables(arguments: argparse.Namespace) -> dict[str, Callable[[], Iterator[str]]]:
    """Makers of the tables, by name."""
    return {
        "present": lambda: present_table(arguments.count, arguments.weights, arguments.nprocs),
        "absent": lambda: absent_table(arguments.count, arguments.weights, arguments.nprocs),
        "real-pools": lambda: real_pool_table(arguments.data, arguments.weights),
        "real-wall": lambda: real_wall_table(arguments.data),
        "wall": lambda: wall_table(arguments.count, arguments.nprocs),
        "speed": lambda: speed_table(),
    }


def main() -> None:
    """Print a table and put it into the document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=("present", "absent", "real-pools", "real-wall", "wall", "speed"))
    parser.add_argument("data", type=Path, nargs="?", help="folder of the measurement data, for the real ones")
    parser.add_argument("--count", type=int, default=1000, help="simulated scans")
    parser.add_argument("--weights", type=Path, nargs="*", default=[], help="further blood-pool networks to compare")
    parser.add_argument("--nprocs", type=int, default=2, help="processes for the simulated scans")
    parser.add_argument("--out", type=Path, help="document whose table to replace")
    arguments = parser.parse_args()
    lines = []
    for line in tables(arguments)[arguments.table]():
        print(line, flush=True)
        lines.append(line)
    if arguments.out is not None:
        first, last = f"<!-- table {arguments.table} -->", f"<!-- end of {arguments.table} -->"
        text = arguments.out.read_text()
        before, after = text.split(first)[0], text.split(last)[1]
        arguments.out.write_text("\n".join([before + first, "", *lines, "", last]) + after)


if __name__ == "__main__":
    main()
