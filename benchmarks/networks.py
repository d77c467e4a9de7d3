"""The networks of the ``resunet`` plugins against simulated truth and masks drawn on real scans, beside ``kmeans`` and
``classical``.

Run from the root of the repository: ``python -m benchmarks.networks TABLE [DATA]``.
"""

from __future__ import annotations

import math
import sys
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from benchmarks.masks import Mask, filled
from benchmarks.records import Cell, Column, Row, Table, argument_parser, publish, weights_of
from benchmarks.segmentation_real import CONTEXT, Case, aif_cases, mlperf_cases, pisa_case
from qperf_app.checks.outlines import judge_pool
from qperf_app.geometry.masks import dice
from qperf_app.physics.input_function import NoBolusError, find_features
from qperf_app.plugins import BloodPools, Series
from qperf_app.training import LEFT_BLOOD, RIGHT_BLOOD, WALL, CaseKind, TrainingCase
from qperf_app.training.simulated_cases import ABSENCES, simulate_case
from qperf_segmentation import ClassicalMyocardium, EnsembleBloodPool, EnsembleMyocardium
from qperf_segmentation.resunet_blood_pool import PoolNetworkOptions, ResUNetBloodPool
from qperf_segmentation.resunet_myocardium import ResUNetMyocardium, WallNetworkOptions
from qperf_segmentation.templates import CanonicalBloodPool

#: Ranges of the held-out scans over those of the training's.
SPREAD = 1.25
#: Weights that the tables speak of.
POOLS = weights_of(EnsembleBloodPool())
WALLS = ("myocardium", "myocardium-cine", "myocardium-cine-wide")
#: Seed of the held-out scans; the shipped networks were trained with seeds 1, 3, 11 and 12.
SEED = 2026


class _Ensemble(EnsembleBloodPool):
    """The pool of methods with members that were asked before."""

    def __init__(self, members: tuple[CanonicalBloodPool, ...]) -> None:
        super().__init__()
        self._members = members

    @property
    def members(self) -> tuple[CanonicalBloodPool, ...]:
        return self._members


def _remembering(plugin: CanonicalBloodPool) -> CanonicalBloodPool:
    """The plugin, which answers from memory what it is asked twice in a row."""
    ask = plugin.find_in_order
    last: tuple[int, BloodPools | None] = (0, None)

    def once(series: Series) -> BloodPools:
        nonlocal last
        key, (known, answer) = zlib.crc32(series.data.tobytes()), last
        if answer is None or known != key:
            answer = ask(series)
            last = key, answer
        return answer

    setattr(plugin, "find_in_order", once)  # noqa: B010
    return plugin


def _title(plugin: CanonicalBloodPool) -> str:
    """Such as ``resunet, cine``."""
    return ", ".join(filter(None, (plugin.name, getattr(plugin.options, "weights", ""))))


@cache
def finders(extra: tuple[Path, ...]) -> dict[str, Any]:
    """Blood-pool plugins by name; ``extra`` weights as further networks."""
    members = tuple(_remembering(member) for member in EnsembleBloodPool().members)
    found: dict[str, Any] = {_title(member): member for member in members}
    found["ensemble"] = _Ensemble(members)
    for path in extra:
        found[path.parent.name or path.name] = ResUNetBloodPool(PoolNetworkOptions(weights=str(path)))
    return found


def spread_out(measure: Callable[..., Any], items: Sequence[Any], nprocs: int) -> list[Any]:
    """What ``measure`` makes of every item, in processes that do not share TensorFlow's threads."""
    with ProcessPoolExecutor(nprocs, mp_context=get_context("spawn")) as pool:
        return list(tqdm(pool.map(measure, items, chunksize=8), total=len(items), file=sys.stderr))


def present_tables(count: int, extra: Sequence[Path], nprocs: int) -> Iterator[Table]:
    """Held-out scans with a bolus: how often and how well the left ventricle is found, and its curve's features."""
    measured = spread_out(partial(_present, extra=tuple(extra)), range(count), nprocs)
    ranges = f"{count} scans of ranges {SPREAD:g} times as wide as the training's"
    found: list[Row] = []
    curves: list[Row] = []
    for name in finders(tuple(extra)):
        left, right, swapped, doubtful, given = np.array([one[name][0] for one in measured], float).T
        shares = [100 * float(np.mean(each)) for each in (left > 0.5, left > 0.75, given == 0)]
        tail = float(np.percentile(left, 5)), float(np.nanmean(right)), int(swapped.sum())
        elsewhere = (given > 0) & (left <= 0.5)
        told = int((elsewhere & (doubtful == 0)).sum()), 100 * float(doubtful[left > 0.75].mean())
        found.append((f"`{name}`", shares[0], float(left.mean()), shares[1], *tail, shares[2], *told))
        pairs = np.array([one[name][1] for one in measured])
        true, given = pairs[np.isfinite(pairs).all(axis=(1, 2))].transpose(1, 2, 0)
        cells: list[Cell] = []
        for a, b in zip(true, given, strict=True):
            off = 100 * (b / a - 1)
            cells.append((float(off.mean()), float(off.std()), float(np.corrcoef(a, b)[0, 1])))
        curves.append((f"`{name}`", *cells, true.shape[1]))
    columns: tuple[Column, ...] = (
        Column("plugin"),
        Column("LV found (Dice over 0.5)", "%", ".2f"),
        Column("mean LV Dice", format=".3f"),
        Column("LV Dice over 0.75", "%", ".2f"),
        Column("5th percentile", format=".3f"),
        Column("mean RV Dice", format=".3f"),
        Column("RV taken for LV", "scans", "d"),
        Column('answered "not found"', "%", ".2f"),
        Column("elsewhere and not doubtful", "scans", "d"),
        Column("of those over 0.75 doubtful", "%", ".1f"),
    )
    yield Table("networks-present", ranges, columns, tuple(found), f"{ranges}.", weights=POOLS)
    form = "{:+.2f} ± {:.1f}, {:.4f}"
    names = ("foot, mean ± SD of the error in %, r", "time of peak", "peak", "area")
    columns = (Column("plugin"), *(Column(name, format=form) for name in names), Column("scans", format="d"))
    title = "Features of the found input function against the true one's"
    yield Table("networks-features", title, columns, tuple(curves), weights=POOLS)


def _present(number: int, extra: tuple[Path, ...]) -> dict[str, tuple[tuple[float, ...], NDArray[np.float64]]]:
    """Scores of each plugin on one scan, and the true and the found curve's features (2, 4)."""
    case = simulate_case(CaseKind.POOLS, np.random.default_rng([SEED, number]), SPREAD, absence="")
    lv, rv = (case.labels == label for label in (LEFT_BLOOD, RIGHT_BLOOD))
    found: dict[str, tuple[tuple[float, ...], NDArray[np.float64]]] = {}
    for name, plugin in finders(extra).items():
        pools = plugin.find(case.series, CONTEXT)
        swapped = bool((pools.lv & rv).sum() > 0.5 * max(pools.lv.sum(), 1))
        doubtful = pools.found and bool(judge_pool(case.series, pools.lv, pools.estimated_dice).doubts)
        scores = dice(pools.lv, lv), dice(pools.rv, rv), swapped, doubtful, pools.found
        found[name] = scores, feature_pairs(case, pools)
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


def absent_table(count: int, extra: Sequence[Path], nprocs: int) -> Table:
    """Held-out scans without a left-ventricular passage: how many are reported as such."""
    names = list(finders(tuple(extra)))
    n = count // len(ABSENCES)
    items = [(kind, number) for kind in ABSENCES for number in range(n)]
    absent = np.array(spread_out(partial(_absent, extra=tuple(extra)), items, nprocs)).reshape(len(ABSENCES), n, -1)
    shares = {kind: (n, hits.mean(axis=0)) for kind, hits in zip(ABSENCES, absent, strict=True)}
    shares["all"] = len(items), absent.mean(axis=(0, 1))
    rows: list[Row] = [(kind, number, *(100 * float(v) for v in found)) for kind, (number, found) in shares.items()]
    columns = (Column("without"), Column("scans", format="d"))
    found = (Column(f"`{name}`: not found", "%", ".2f") for name in names)
    title = "Held-out scans without a left-ventricular passage"
    return Table("networks-absent", title, (*columns, *found), tuple(rows), weights=POOLS)


def _absent(item: tuple[str, int], extra: tuple[Path, ...]) -> list[bool]:
    kind, number = item
    case = simulate_case(CaseKind.POOLS, np.random.default_rng([SEED, number, 7]), SPREAD, absence=kind)
    return [not plugin.find(case.series, CONTEXT).found for plugin in finders(extra).values()]


def real_pool_tables(data: Path, extra: Sequence[Path], subjects: Sequence[str]) -> Iterator[Table]:
    """Real input-function series, the breath-held series and all free-breathing ones."""
    plugins = finders(tuple(extra))
    cases = [*aif_cases(data), pisa_case(data), *mlperf_cases(data, "chained", subjects)]
    left: dict[str, list[float]] = {name: [] for name in plugins}
    found = dict.fromkeys(plugins, 0)
    rows: list[Row] = []
    for case in cases:
        pools = {name: plugin.find(case.series, CONTEXT) for name, plugin in plugins.items()}
        for name, given in pools.items():
            left[name].append(dice(given.lv, case.lv))
            found[name] += given.found
        right = [None if case.rv is None else dice(pools[n].rv, case.rv) for n in plugins]
        rows.append((case.name, *(left[n][-1] if pools[n].found else "not found" for n in plugins), *right))
    columns = (
        Column("plugin"),
        Column("LV Dice over 0.5", format="{} of {}"),
        Column('answered "not found"', format="d"),
        Column("LV Dice, median of the free-breathing", format=".3f"),
    )
    totals: list[Row] = [
        (f"`{n}`", (sum(v > 0.5 for v in left[n]), len(cases)), len(cases) - found[n], float(np.median(left[n][3:])))
        for n in plugins
    ]
    title = "Blood pools of real series against drawn masks"
    yield Table("networks-pools", title, columns, tuple(totals), weights=POOLS)
    scores = (Column(f"`{name}` {side}", format=".2f") for side in ("LV", "RV") for name in plugins)
    title = "The same, series by series"
    yield Table("networks-pools-series", title, (Column("series"), *scores), tuple(rows), weights=POOLS)


def peak_error(case: Case, cavity: Mask) -> float:
    """Frames from the peak of the drawn cavity's curve to that of a found one's; NaN where none is found."""
    if not cavity.any():
        return float("nan")
    drawn, found = (case.series.data[mask].mean(axis=0) for mask in (case.lv, cavity))
    return float(int(found.argmax()) - int(drawn.argmax()))


def wall_table(count: int, nprocs: int) -> Table:
    """Held-out simulated slices: wall, box, insertion points, peak frame."""
    measured = [one for one in spread_out(_wall, range(count), nprocs) if one]
    rows: list[Row] = []
    for name in measured[0]:
        wall, box, share, error, peak = np.array([one[name] for one in measured]).T
        overlap = float(wall.mean()), float(np.percentile(wall, 10)), float(box.mean())
        points = 100 * float(np.nanmean(share)), float(np.nanmedian(error)), float(np.nanpercentile(error, 90))
        rows.append((f"`{name}`", *overlap, *points, float(np.nanmean(peak))))
    columns = (
        Column("plugin"),
        Column("mean Dice", format=".3f"),
        Column("10th percentile", format=".3f"),
        Column("box (IoU)", format=".3f"),
        Column("insertion points found", "%", ".0f"),
        Column("their error, median", "mm", ".1f"),
        Column("90th percentile", "mm", ".1f"),
        Column("peak off by", "frames", ".2f"),
    )
    title = f"Myocardium of {len(measured)} held-out simulated slices, true blood pools given"
    return Table("networks-wall", title, columns, tuple(rows), f"{title}.", weights=WALLS)


def _wall(number: int) -> dict[str, list[float]]:
    """Scores of both plugins on one slice; none where it hardly shows a cavity."""
    case = simulate_case(CaseKind.MUSCLE, np.random.default_rng([SEED, number]), 1.1)
    lv, wall = case.labels == LEFT_BLOOD, case.labels == WALL
    if lv.sum() < 12:
        return {}
    pools = BloodPools(lv, case.labels == RIGHT_BLOOD, lv, case.series.affine)
    rows = {}
    plugins = {
        "classical": ClassicalMyocardium(),
        "resunet": ResUNetMyocardium(),
        "resunet, cine": ResUNetMyocardium(WallNetworkOptions(weights="cine")),
        "resunet, cine-wide": ResUNetMyocardium(WallNetworkOptions(weights="cine-wide")),
        "ensemble": EnsembleMyocardium(),
    }
    for name, plugin in plugins.items():
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


def speed_table() -> Table:
    """Load and first and later use on one input-function series, beside the published size."""
    from qperf_segmentation.networks.architecture import Architecture
    from qperf_segmentation.networks.forward import ForwardNetwork, shapes
    from qperf_segmentation.networks.weights import forward
    from qperf_segmentation.resunet_blood_pool import WEIGHTS

    case = simulate_case(CaseKind.POOLS, np.random.default_rng([SEED, 0]), 1.0, absence="")
    start = time.perf_counter()
    model = forward(WEIGHTS)
    loaded = time.perf_counter() - start
    times = []
    for _ in range(6):
        start = time.perf_counter()
        ResUNetBloodPool().find(case.series, CONTEXT)
        times.append(time.perf_counter() - start)
    small, large = (Architecture((64, 48), 64, 3, filters=filters) for filters in (24, 128))
    published = ForwardNetwork(large, [np.zeros(shape, np.float32) for shape in shapes(large)])
    passes = []
    for one in (model, published):
        laps = []
        for _ in range(6):
            start = time.perf_counter()
            one(np.zeros((1, 64, 48, 64), np.float32))
            laps.append(time.perf_counter() - start)
        passes.append(1000 * float(np.median(laps[1:])))
    names = ("read", "first series", "later ones", "one forward pass")
    columns = (Column("network"), Column("parameters", format="d"), *(Column(name, "ms", ".0f") for name in names))
    shipped = 1000 * loaded, 1000 * times[0], 1000 * float(np.median(times[1:])), passes[0]
    size = [sum(math.prod(shape) for shape in shapes(each)) for each in (small, large)]
    rows: tuple[Row, ...] = (
        ("shipped", size[0], *shipped),
        ("128 filters, as published", size[1], None, None, None, passes[1]),
    )
    title = "Time of the blood-pool network on one low-resolution series"
    return Table("networks-speed", title, columns, rows, timed=True)


def main() -> None:
    """Publish a table."""
    parser = argument_parser(__doc__)
    parser.add_argument("table", choices=("present", "absent", "real-pools", "wall", "speed"))
    parser.add_argument("data", type=Path, nargs="?", help="folder of the measurement data, for the real ones")
    parser.add_argument("--count", type=int, default=1000, help="simulated scans")
    parser.add_argument(
        "--weights", type=Path, nargs="*", default=[], help="further networks to compare; cine: shipped"
    )
    parser.add_argument("--subjects", nargs="+", default=["*"], help="labels of the free-breathing series; all")
    parser.add_argument("--nprocs", type=int, default=2, help="processes for the simulated scans")
    args = parser.parse_args()
    tables: dict[str, Callable[[], Iterable[Table]]] = {
        "present": lambda: present_tables(args.count, args.weights, args.nprocs),
        "absent": lambda: [absent_table(args.count, args.weights, args.nprocs)],
        "real-pools": lambda: real_pool_tables(args.data, args.weights, args.subjects),
        "wall": lambda: [wall_table(args.count, args.nprocs)],
        "speed": lambda: [speed_table()],
    }
    publish(tables[args.table](), args, seed=SEED)


if __name__ == "__main__":
    main()
