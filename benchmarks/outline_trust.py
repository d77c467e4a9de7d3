"""Are wrong outlines doubted, and right ones not? The host's estimate of an outline's Dice, and the pool of methods.

Run from the root of the repository: ``python -m benchmarks.outline_trust DATA``. Of the free-breathing series those of
subjects 01 to 06 are measured; 07 to 14 are kept for a test.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.records import Column, Row, Table, argument_parser, publish, weights_of
from benchmarks.segmentation_real import BY_HAND, CONTEXT, SUBJECTS, Case, _still, mlperf_cases, pisa_case
from qperf_app.checks.outlines import judge_pool, judge_wall
from qperf_app.geometry.masks import dice
from qperf_app.methods.outline_features import seen_slices
from qperf_app.methods.outline_trust import Trust, trust_pool, trust_wall
from qperf_app.methods.wider_intervals import NINETY
from qperf_app.phantom.config import PhantomConfig
from qperf_app.phantom.scan import simulate_scan
from qperf_app.plugins import BloodPoolPlugin, MyocardiumPlugin, Series
from qperf_app.training import LEFT_BLOOD, RIGHT_BLOOD, WALL, CaseKind
from qperf_app.training.outline_trust import RIGHT, SPREAD, WRONG
from qperf_app.training.simulated_cases import simulate_case
from qperf_app.training.worse_outlines import worse_pools, worse_walls
from qperf_segmentation import ClassicalMyocardium, EnsembleBloodPool, EnsembleMyocardium, KMeansBloodPool
from qperf_segmentation.resunet_blood_pool import ResUNetBloodPool
from qperf_segmentation.resunet_myocardium import ResUNetMyocardium
from qperf_segmentation.templates import CanonicalBloodPool, SliceWiseMyocardium

SEED = 4711
#: Draws of worse outlines of each slice.
DRAWS = 1
#: Bounds of the bins of the estimated Dice.
BINS = (0.0, 0.2, 0.4, 0.6, 0.7, 0.8, 0.9, 1.0)
# Outlines whose mean is drawn.
_ENOUGH = 5

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Judged:
    """An outline: from where, of what, how it was made, its Dice and the estimate."""

    source: str
    what: str
    kind: str
    truth: float
    trust: Trust

    @property
    def doubtful(self) -> bool:
        """Whether the host doubts it."""
        return self.trust.dice < self.trust.least


def judged_slice(
    source: str, number: int, series: Series, k: int, wall: Mask, left: Mask, right: Mask
) -> Iterator[Judged]:
    """Outlines of a source's slice whose true masks (x, y) are known, made worse in each way."""
    seen = seen_slices(series)[k]
    peak = seen.signal.max(axis=-1) - np.median(seen.signal[..., :4], axis=-1)
    for draw in range(DRAWS):
        rng = np.random.default_rng([SEED, number, draw])
        for kind, mask in worse_walls(wall, left, right, peak, seen.spacing, rng):
            yield Judged(source, "wall", kind, dice(mask, wall), trust_wall(seen, mask))
        for kind, mask in worse_pools(left, right, wall, peak, seen.spacing, rng):
            yield Judged(source, "blood", kind, dice(mask, left), trust_pool(seen, mask))


def simulated(count: int) -> Iterator[Judged]:
    """Held-out simulated slices; of coarse ones, as input-function series are, the blood alone."""
    for number in range(count):
        kind = CaseKind.MUSCLE if number % 2 else CaseKind.POOLS
        case = simulate_case(kind, np.random.default_rng([SEED, number]), SPREAD, absence="")
        wall, left, right = (case.labels[..., 0] == label for label in (WALL, LEFT_BLOOD, RIGHT_BLOOD))
        if wall.sum() >= 20 and left.sum() >= 10 and seen_slices(case.series):
            for one in judged_slice("simulated", number, case.series, 0, wall, left, right):
                if one.what == "blood" or kind is CaseKind.MUSCLE:
                    yield one


def phantom_scans(count: int) -> Iterator[tuple[Series, Series, dict[str, Mask]]]:
    """Series that blood is looked for in, tissue series and its true masks, of the phantom at rest and under stress."""
    for number in range(count):
        config = PhantomConfig(
            task=("rest", "stress")[number % 2],
            acquisition=("dual", "single")[number // 2 % 2],
            field_strength=(1.5, 3.0)[number // 4 % 2],
        )
        scan = simulate_scan(config, np.random.default_rng([SEED, number]))
        series = {key: _still(scan.series[key], scan.truth[key]) for key in scan.series}
        blood = series.get("aif", series["tissue"])
        yield blood, series["tissue"], dict(scan.truth["tissue"].masks)


def on_phantom(count: int) -> Iterator[Judged]:
    """Outlines of the phantom's slices."""
    for number, (_, tissue, masks) in enumerate(phantom_scans(count)):
        for k in range(tissue.data.shape[2]):
            wall, left, right = (masks[name][..., k] for name in ("myocardium", "LV", "RV"))
            yield from judged_slice("phantom", 10 * number + k, tissue, k, wall, left, right)


def on_real(cases: Iterable[Case]) -> Iterator[Judged]:
    """Outlines of real series, from the drawn masks; where no right ventricle was drawn, that of ``kmeans``."""
    for number, case in enumerate(cases):
        assert case.wall is not None
        right = case.rv if case.rv is not None else KMeansBloodPool().find(case.series, CONTEXT).rv
        right = right & ~case.wall & ~case.lv
        yield from judged_slice("real", number, case.series, 0, case.wall[..., 0], case.lv[..., 0], right[..., 0])


def summary_table(found: list[Judged]) -> Table:
    """Wrong outlines that are doubtful, and right ones that are, by source."""
    rows: list[Row] = []
    for source in dict.fromkeys(one.source for one in found):
        for what in ("wall", "blood"):
            rows.append((source, what, *_shares([o for o in found if o.source == source and o.what == what])))
    columns = (Column("outlines"), Column("of"), *_SHARES)
    return Table("outline-trust", f"Outlines made worse on purpose: {_COUNTED}", columns, tuple(rows), f"{_COUNTED}.")


def kinds_table(found: list[Judged]) -> Table:
    """The same by what was done to the outline."""
    rows: list[Row] = []
    for what in ("wall", "blood"):
        for kind in dict.fromkeys(one.kind for one in found if one.what == what):
            for source in dict.fromkeys(one.source for one in found):
                some = [o for o in found if (o.source, o.what, o.kind) == (source, what, kind)]
                if some:
                    rows.append((what, kind, source, *_shares(some)))
    columns = (Column("outline"), Column("what was done"), Column("on"), *_SHARES)
    return Table("outline-trust-kinds", "The same by what was done to the outline", columns, tuple(rows))


_COUNTED = f"wrong is a Dice below {WRONG:g}, right one above {RIGHT:g}"
_SHARES = (
    Column("wrong", format="d"),
    Column("of them doubtful", "%", ".1f"),
    Column("right", format="d"),
    Column("of them doubtful (false alarms)", "%", ".1f"),
)


def _shares(some: list[Judged]) -> tuple[int, float, int, float]:
    wrong, right = [o.doubtful for o in some if o.truth < WRONG], [o.doubtful for o in some if o.truth > RIGHT]
    shares = [100 * float(np.mean(part)) if part else float("nan") for part in (wrong, right)]
    return len(wrong), shares[0], len(right), shares[1]


def reliability_table(found: list[Judged]) -> Table:
    """True Dice by the estimated one."""
    rows: list[Row] = []
    for low, high in itertools.pairwise(BINS):
        cells: list[float | int] = []
        for source in dict.fromkeys(one.source for one in found):
            true = [o.truth for o in found if o.source == source and low <= o.trust.dice < high + (high == 1.0)]
            cells += [len(true), float(np.mean(true)) if true else float("nan")]
        rows.append((f"{low:g} to {high:g}", *cells))
    sources = dict.fromkeys(one.source for one in found)
    each = (c for s in sources for c in (Column(f"{s}, outlines", format="d"), Column("mean Dice", format=".2f")))
    return Table("outline-trust-reliability", "Dice by its estimate", (Column("estimated Dice"), *each), tuple(rows))


def draw_reliability(found: list[Judged], path: Path) -> None:
    """Draw the true Dice over the estimated one: every outline, and the mean with its 90 % interval in each bin."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.6), layout="constrained")
    panels = figure.subplots(1, 2, sharex=True, sharey=True)
    for panel, kind in zip(panels, dict.fromkeys(one.what for one in found), strict=True):
        panel.plot((0, 1), (0, 1), color="0.7", zorder=0)
        for k, source in enumerate(dict.fromkeys(one.source for one in found)):
            pairs = np.array([(o.trust.dice, o.truth) for o in found if o.what == kind and o.source == source])
            colour, bins = f"C{k}", np.digitize(pairs[:, 0], BINS[1:-1])
            panel.plot(*pairs.T, ".", markersize=2, color=colour, alpha=0.4)
            parts = [pairs[bins == b] for b in np.unique(bins) if (bins == b).sum() >= _ENOUGH]
            means = np.array([part.mean(axis=0) for part in parts])
            errors = [NINETY * part[:, 1].std(ddof=1) / np.sqrt(len(part)) for part in parts]
            panel.errorbar(*means.T, yerr=errors, color=colour, marker="o", markersize=4, capsize=2, label=source)
        panel.set(title=kind, xlabel="estimated Dice", xlim=(0, 1), ylim=(0, 1))
    panels[0].set_ylabel("true Dice")
    panels[0].legend(fontsize=8)
    figure.savefig(path, dpi=90)


def choice_tables(cases: Iterable[Case], phantoms: int) -> Iterator[Table]:
    """The pool of methods beside the default ones: Dice of blood and wall, doubts, seconds."""
    rows = _compared(cases, phantoms, CHAINS)
    each = (
        Column("LV Dice", format=".2f"),
        Column("wall Dice", format=".2f"),
        Column("its estimate", format=".2f"),
        Column("doubts", format="d"),
        Column("time", "s", ".1f"),
    )
    columns = (Column("series"), *(Column(f"{c.name}, {n}", c.unit, c.format) for n in CHAINS for c in each))
    title = "The pool of methods beside the default ones"
    yield Table("outline-ensemble-series", title, columns, tuple(rows), weights=_WEIGHTS, timed=True)
    yield _totals_table("outline-ensemble", title, "plugins", rows, CHAINS)


def ingredients_table(cases: Iterable[Case], phantoms: int, shorter: Path | None) -> Table:
    """What each part of the pool of methods brings: all of them, and each left out once.

    ``shorter``: folder of the weights ``cine`` of a shorter training.
    """
    chains = dict(_INGREDIENTS)
    if shorter is not None:
        chains["the second of these, and the latter part of the first's training"] = _with_cine(shorter)
    rows = _compared(cases, phantoms, chains)
    title = "Outlines with each part of the pool left out"
    return _totals_table("outline-ingredients", title, "left out", rows, chains)


def _compared(cases: Iterable[Case], phantoms: int, chains: Mapping[str, Chain]) -> list[Row]:
    """Name of each series and its cells by each chain."""
    return [
        (name, *itertools.chain(*(outlined(*series, chain) for chain in chains.values())))
        for name, series in _measured(cases, phantoms)
    ]


def _totals_table(name: str, title: str, what: str, rows: list[Row], chains: Iterable[str]) -> Table:
    """Figures of each chain over the real series and over the phantom's."""
    totals = (
        (group, chain, len(some), *_totals(np.array([r[1 + 5 * n : 6 + 5 * n] for r in some], float)))
        for group, some in _groups(rows)
        for n, chain in enumerate(chains)
    )
    columns = (Column("series"), Column(what), Column("number", format="d"), *_TOTALS)
    return Table(name, title, columns, tuple(totals), weights=_WEIGHTS, timed=True)


def _groups(rows: Sequence[Row]) -> Iterator[tuple[str, list[Row]]]:
    """Rows of real series and of the phantom's, where there are any."""
    for group in ("real", "phantom"):
        some = [row for row in rows if str(row[0]).startswith("phantom") == (group == "phantom")]
        if some:
            yield group, some


_WEIGHTS = weights_of(EnsembleMyocardium())
_TOTALS = (
    Column("LV Dice, median", format=".3f"),
    Column("wall Dice, median", format=".3f"),
    Column("mean", format=".3f"),
    Column("least", format=".2f"),
    Column("wrong", format="d"),
    Column("wrong and not doubtful", format="d"),
    Column("time", "s", ".1f"),
)


def _totals(cells: NDArray[np.float64]) -> Row:
    """Figures of the series' cells (n, 5)."""
    left, wall, _, doubts, seconds = cells.T
    wrong = wall < WRONG
    of_blood = float(np.nanmedian(left)) if np.isfinite(left).any() else float("nan")
    figures = float(np.median(wall)), float(np.mean(wall)), float(wall.min())
    counts = int(wrong.sum()), int((wrong & (doubts == 0)).sum())
    return (of_blood, *figures, *counts, float(np.median(seconds)))


class _NetworkPools(EnsembleBloodPool):
    """The pool of methods without the classical one."""

    @property
    def members(self) -> tuple[CanonicalBloodPool, ...]:
        return super().members[1:]


class _NetworkWalls(EnsembleMyocardium):
    """The same for the wall."""

    pool_finder = _NetworkPools

    @property
    def members(self) -> tuple[SliceWiseMyocardium, ...]:
        return super().members[1:]


@dataclass(frozen=True)
class Chain:
    """Plugins that outline blood and wall, and whether what they say is held against the host's checks."""

    pool: Callable[[], BloodPoolPlugin]
    wall: Callable[[], MyocardiumPlugin]
    judged: bool = True


_CLASSICAL = Chain(KMeansBloodPool, ClassicalMyocardium)
CHAINS: dict[str, Chain] = {
    "`kmeans`, `classical`": _CLASSICAL,
    "`resunet`, `cine`": Chain(
        lambda: ResUNetBloodPool(ResUNetBloodPool.Options(weights="cine")),
        lambda: ResUNetMyocardium(ResUNetMyocardium.Options(weights="cine")),
    ),
    "`ensemble`": Chain(EnsembleBloodPool, EnsembleMyocardium),
}


def _with_weights(of_pools: tuple[str, ...], of_walls: tuple[str, ...]) -> Chain:
    of_pool, of_wall = EnsembleBloodPool.Options(weights=of_pools), EnsembleMyocardium.Options(weights=of_walls)
    return Chain(lambda: EnsembleBloodPool(of_pool), lambda: EnsembleMyocardium(of_wall))


def _with_cine(folder: Path) -> Chain:
    """The pool of methods with one network on real anatomy for each step, of other weights."""
    return _with_weights((str(folder / "blood-pool-cine.npz"), ""), (str(folder / "myocardium-cine.npz"),))


_INGREDIENTS: dict[str, Chain] = {
    "nothing": Chain(EnsembleBloodPool, EnsembleMyocardium),
    "networks trained on real anatomy and every sequence": _with_weights(("",), ("",)),
    "the second of these": _with_weights(("cine", ""), ("cine",)),
    "the first of these": _with_weights(("cine-wide", ""), ("cine-wide",)),
    "blood's network trained on drawn shapes": _with_weights(("cine", "cine-wide"), ("cine", "cine-wide")),
    "all networks": _CLASSICAL,
    "classical methods": Chain(_NetworkPools, _NetworkWalls),
    # Where no outline is doubted the first method's answer stands.
    "checks of outlines": Chain(KMeansBloodPool, ClassicalMyocardium, judged=False),
}


def _measured(cases: Iterable[Case], phantoms: int) -> Iterator[tuple[str, tuple[Series, Series, Mask | None, Mask]]]:
    """Names, series that blood and that the wall are looked for in, and true blood and wall."""
    for case in cases:
        assert case.wall is not None
        yield case.name, (case.series, case.series, case.lv, case.wall)
    for number, (blood, tissue, masks) in enumerate(phantom_scans(phantoms)):
        yield f"phantom {number}", (blood, tissue, None, masks["myocardium"])


def outlined(blood: Series, tissue: Series, left: Mask | None, wall: Mask, chain: Chain) -> Iterator[float | int]:
    """Dice of blood and wall, the wall's estimate, doubts, seconds."""
    start = time.perf_counter()
    pools = chain.pool().find(blood, CONTEXT)
    found = chain.wall().segment(tissue, pools if pools.found else None, None, CONTEXT)
    seconds = time.perf_counter() - start
    judged = judge_wall(tissue, found.mask, found.estimated_dice)
    of_blood = judge_pool(blood, pools.lv, pools.estimated_dice).doubts if pools.found else ()
    doubts = len(judged.doubts) + len(of_blood)
    known = [d for d in judged.dice if np.isfinite(d)]
    yield float("nan") if left is None else dice(pools.lv, left)
    yield dice(found.mask, wall)
    yield float(np.min(known)) if known else float("nan")
    # Nothing found is no number.
    yield (doubts if chain.judged else 0) if found.mask.any() else 1
    yield seconds


def tables(args: argparse.Namespace) -> Iterator[Table]:
    """All tables."""
    data, count, phantoms, what = args.data, args.count, args.phantoms, args.what
    breath_held = [pisa_case(data)] if args.subjects == list(SUBJECTS) else []
    cases = [*mlperf_cases(data, args.motion, args.subjects), *breath_held]
    if what in ("all", "trust"):
        found = [*simulated(count), *on_phantom(phantoms), *on_real(cases)]
        yield summary_table(found)
        yield kinds_table(found)
        yield reliability_table(found)
        draw_reliability(found, args.picture)
    if what in ("all", "choice"):
        yield from choice_tables(cases, phantoms)
    if what in ("all", "ingredients"):
        yield ingredients_table(cases, phantoms, args.shorter)


def main() -> None:
    """Publish the tables."""
    parser = argument_parser(__doc__)
    parser.add_argument("data", type=Path, help="folder of the measurement data")
    parser.add_argument("--count", type=int, default=200, help="simulated slices")
    parser.add_argument("--phantoms", type=int, default=4, help="scans of the phantom")
    parser.add_argument("--what", choices=("all", "trust", "choice", "ingredients"), default="all", help="which tables")
    parser.add_argument("--subjects", nargs="+", default=list(SUBJECTS), help="labels of the free-breathing series")
    parser.add_argument("--shorter", type=Path, help="weights cine of a shorter training, for the ingredients")
    parser.add_argument("--picture", type=Path, default=Path("docs/images/reliability.png"), help="of the estimates")
    parser.add_argument("--motion", default=BY_HAND, help=f"what aligns them: a plugin, or {BY_HAND!r} for the masks")
    args = parser.parse_args()
    publish(tables(args), args, seed=SEED)


if __name__ == "__main__":
    main()
