"""Weights of the ``resunet`` networks on held-out simulated cases: of the phantom, and of real anatomy.

Run from the root of the repository: ``python -m benchmarks.training_cases STEP DATA``. Real anatomy is that of the
persons in ``DATA/sunnybrook`` whom no training sees.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.networks import SEED, point_errors, spread_out
from benchmarks.records import Column, Row, Table, argument_parser, publish
from benchmarks.segmentation_real import CONTEXT
from qperf_app.geometry.masks import dice
from qperf_app.plugins import BloodPools
from qperf_app.training import LEFT_BLOOD, RIGHT_BLOOD, WALL, CaseKind, TrainingCase
from qperf_app.training.cine import Anatomies
from qperf_app.training.simulated_cases import simulate_case
from qperf_segmentation.resunet_blood_pool import PoolNetworkOptions, ResUNetBloodPool
from qperf_segmentation.resunet_myocardium import ResUNetMyocardium, WallNetworkOptions

#: Anatomies, and the part of the cases that are real.
KINDS = {"phantom": 0.0, "real anatomy": 1.0}


@cache
def _anatomies(data: Path) -> Anatomies:
    return Anatomies(data / "sunnybrook")


def case_of(kind: CaseKind, anatomy: str, number: int, data: Path) -> TrainingCase:
    """A held-out case with a bolus."""
    rng = np.random.default_rng([SEED, number, 21])
    draw = partial(_anatomies(data).draw, held_out=True)
    return simulate_case(kind, rng, absence="", anatomies=draw, share=KINDS[anatomy])


def pool_scores(item: tuple[str, int], weights: Sequence[str], data: Path) -> list[tuple[float, float, bool, bool]]:
    """Dice of left and right pool, whether right was taken for left, and whether anything was found; by weights."""
    case = case_of(CaseKind.POOLS, *item, data)
    left, right = (case.labels == label for label in (LEFT_BLOOD, RIGHT_BLOOD))
    scores = []
    for path in weights:
        found = ResUNetBloodPool(PoolNetworkOptions(weights=path)).find(case.series, CONTEXT)
        swapped = bool((found.lv & right).sum() > 0.5 * max(found.lv.sum(), 1))
        of_right = dice(found.rv, right) if right.any() else float("nan")
        scores.append((dice(found.lv, left), of_right, swapped, found.found))
    return scores


def wall_scores(item: tuple[str, int], weights: Sequence[str], data: Path) -> list[tuple[float, float, float]]:
    """Dice of the wall, share of the insertion points found and their error, mm, true pools given; by weights."""
    case = case_of(CaseKind.MUSCLE, *item, data)
    left, right, wall = (case.labels == label for label in (LEFT_BLOOD, RIGHT_BLOOD, WALL))
    if left.sum() < 12:
        return []
    pools = BloodPools(left, right, left, case.series.affine)
    scores = []
    for path in weights:
        found = ResUNetMyocardium(WallNetworkOptions(weights=path)).segment(case.series, pools, None, CONTEXT)
        scores.append((dice(found.mask, wall), *point_errors(case, found.landmarks)))
    return scores


def pool_row(scores: Any) -> Row:
    """Of all cases of a kind."""
    left, right, swapped, found = np.array(scores, float).T
    shares = (100 * float(np.mean(left > 0.5)), float(left.mean()), float(np.percentile(left, 5)))
    return (*shares, float(np.nanmean(right)), int(swapped.sum()), 100 * float(np.mean(found == 0)), len(left))


def wall_row(scores: Any) -> Row:
    """Of all cases of a kind."""
    wall, share, error = np.array(scores, float).T
    overlap = float(wall.mean()), float(np.percentile(wall, 10)), 100 * float(np.mean(wall < 0.6))
    return (*overlap, 100 * float(np.nanmean(share)), float(np.nanmedian(error)), len(wall))


POOL_COLUMNS = (
    Column("LV found (Dice over 0.5)", "%", ".1f"),
    Column("mean LV Dice", format=".3f"),
    Column("5th percentile", format=".3f"),
    Column("mean RV Dice", format=".3f"),
    Column("RV taken for LV", "scans", "d"),
    Column('answered "not found"', "%", ".1f"),
    Column("scans", format="d"),
)
WALL_COLUMNS = (
    Column("mean Dice", format=".3f"),
    Column("10th percentile", format=".3f"),
    Column("below 0.6", "%", ".1f"),
    Column("insertion points found", "%", ".0f"),
    Column("their error, median", "mm", ".1f"),
    Column("slices", format="d"),
)


def table(step: str, count: int, data: Path, extra: Sequence[Path], nprocs: int) -> Table:
    """Weights that are shipped, the usual ones, ``cine`` and ``cine-wide``, and others on cases of both kinds."""
    measures: dict[str, tuple[Callable[..., Any], Callable[[Any], Row], tuple[Column, ...]]] = {
        "blood-pool": (pool_scores, pool_row, POOL_COLUMNS),
        "myocardium": (wall_scores, wall_row, WALL_COLUMNS),
    }
    measure, row, columns = measures[step]
    names = {"": "usual", "cine": "cine", "cine-wide": "cine-wide", **{str(path): path.parent.name for path in extra}}
    rows: list[Row] = []
    for anatomy in KINDS:
        items = [(anatomy, number) for number in range(count)]
        found = [one for one in spread_out(partial(measure, weights=list(names), data=data), items, nprocs) if one]
        rows += [(anatomy, name, *row([one[k] for one in found])) for k, name in enumerate(names.values())]
    title = "Held-out simulated cases, the phantom's hearts and real slices of persons held out"
    head = (Column("anatomy"), Column("weights"))
    return Table(
        f"training-cases-{step}",
        title,
        (*head, *columns),
        tuple(rows),
        weights=(step, f"{step}-cine", f"{step}-cine-wide"),
    )


def main() -> None:
    """Publish a table."""
    parser = argument_parser(__doc__)
    parser.add_argument("step", choices=("blood-pool", "myocardium"))
    parser.add_argument("data", type=Path, help="folder of the measurement data")
    parser.add_argument("--count", type=int, default=300, help="cases of each kind")
    parser.add_argument("--weights", type=Path, nargs="*", default=[], help="other weights than those shipped")
    parser.add_argument("--nprocs", type=int, default=2, help="processes")
    args = parser.parse_args()
    publish([table(args.step, args.count, args.data, args.weights, args.nprocs)], args, seed=SEED)


if __name__ == "__main__":
    main()
