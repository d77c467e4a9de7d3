"""Does a curve, or a heart, tell which tracer-kinetic model made it? Log Bayes factors of ``hmc`` for ATH against 2CXM.

hearts  phantom participants of either tissue, the truth's masks and displacement handed in: curves of each wall under
        both models; flow of each, and of their averages, against the truth
real    the real resting slice, flow against its authors' map
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.kinetics_accuracy import HAEMATOCRIT
from benchmarks.kinetics_real import read_slice
from benchmarks.masks import read_image
from benchmarks.phantom_runs import make_phantom, run_app
from benchmarks.records import Column, Row, Table, argument_parser, publish
from benchmarks.scores import QUARTILES, quartiles
from qperf_app.bids.names import ROLES, folder_of
from qperf_app.bids.records import read_aif, read_mask, read_series
from qperf_app.methods.exchange_models import EXCHANGE_MODELS
from qperf_app.methods.kinetic_inputs import screen
from qperf_app.plugins import InputFunction, RunContext, TissueConstants, TissueCurves
from qperf_hmc import ExchangePosterior
from qperf_hmc.plugin import ExchangeOptions

Array = NDArray[np.float64]

#: A log Bayes factor beyond which evidence is strong (Kass and Raftery 1995, doi:10.1080/01621459.1995.10476572).
STRONG = 3.0
_PHANTOM = ("--matrix", "64", "--frames", "45")


@dataclass(frozen=True)
class Heart:
    """Curves (n, t) of a wall at times (t,), the input function, and the flow (n,) that they are held against."""

    name: str
    curves: Array
    times: Array
    aif: InputFunction
    flow: Array
    haematocrit: float = HAEMATOCRIT


def read_hearts(work: Path, tissue: str, count: int) -> Iterator[Heart]:
    """At most ``count`` curves of each scan that the app has written, with the true MBF."""
    out, truth = work / tissue / "out", work / tissue / "raw" / "derivatives" / "truth"
    for path in sorted(out.glob("sub-*/perf/*_desc-muscle_dce.nii.gz")):
        prefix = path.name.removesuffix("_desc-muscle_dce.nii.gz")
        series, aif = read_series(path), read_aif(path.with_name(f"{prefix}_desc-aif_timeseries.tsv"))
        mask = read_mask(path.with_name(f"{prefix}_{ROLES['myocardium']}"))
        (flow,) = (truth / folder_of(prefix)).glob(f"{prefix}_model-*_param-MBF_desc-truth_dcemap.nii.gz")
        curves, known = series.data[mask].astype(np.float64), read_image(flow).get_fdata()[mask]
        usable = np.flatnonzero(screen(curves)[0] & np.isfinite(known))
        some = np.sort(np.random.default_rng(0).permutation(usable)[:count])
        yield Heart(prefix, curves[some], series.times, aif, known[some])


def row(heart: Heart, threads: int, passes: int) -> Row:
    """Evidence of the curves, one by one and together, and flow over what it is held against."""
    voxels = np.stack([np.arange(len(heart.curves))] * 3, axis=1)
    tissue = TissueCurves(heart.curves, heart.times, voxels, np.eye(4))
    options = [ExchangeOptions(model=m, evidence=m == EXCHANGE_MODELS[1], passes=passes) for m in EXCHANGE_MODELS]
    exchange, plug = (
        ExchangePosterior(o).fit(tissue, heart.aif, TissueConstants(heart.haematocrit), RunContext(0, threads)).values
        for o in options
    )
    level = plug["logBF"]
    known = np.isfinite(level)
    pooled = float(level[known].sum())
    by_curve = np.where(known, _weight(np.nan_to_num(level)), 0.5)
    flows = exchange["MBF"], plug["MBF"]
    ways = (*flows, _between(*flows, by_curve), _between(*flows, _weight(np.array(pooled))))
    share = [100.0 * float(each.mean()) for each in (level[known] > 0.0, np.abs(level[known]) > STRONG)]
    error = float(level[known].std() * np.sqrt(known.sum()))
    return int(known.sum()), quartiles(level[known]), *share, (pooled, error), *(_ratio(f / heart.flow) for f in ways)


def _weight(log_factor: Array) -> Array:
    """Posterior probability of the second model, both as likely before."""
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(log_factor, -500.0, 500.0))))


def _between(exchange: Array, plug: Array, weight: Array) -> Array:
    return np.asarray((1.0 - weight) * exchange + weight * plug)


def _ratio(values: Array) -> float:
    return float(np.nanmedian(values))


COLUMNS = (
    Column("curves", format="d"),
    Column("log Bayes factor of a curve, median (quartiles)", format=QUARTILES),
    Column("above 0", "% of curves", ".0f"),
    Column(f"beyond {STRONG:g} either way", "% of curves", ".0f"),
    Column("sum over the heart (± SD times root of n)", format="{:+.0f} (± {:.0f})"),
    *(
        Column(f"flow over the truth's: {name}", format=".2f")
        for name in (*EXCHANGE_MODELS, "averaged by curve", "averaged by heart")
    ),
)


def hearts(work: Path, participants: int, seed: int, count: int, threads: int, passes: int) -> Table:
    """Phantom participants of either tissue."""
    rows: list[Row] = []
    for tissue in EXCHANGE_MODELS:
        folder = work / tissue
        folder.mkdir(parents=True, exist_ok=True)
        raw = make_phantom(folder / "raw", participants, seed, 1, [*_PHANTOM, "--model", tissue])
        if not (folder / "out").is_dir():
            run_app(raw, folder, "masks+motion", folder / "out", ["--kinetics", "nlls", "--nprocs", "1"])
        rows += [(tissue, heart.name, *row(heart, threads, passes)) for heart in read_hearts(work, tissue, count)]
    columns = (Column("tissue"), Column("scan"), *COLUMNS)
    return Table("model-evidence", "Evidence for plug flow (ATH) against the 2CXM", columns, tuple(rows))


def real(path: Path, threads: int, passes: int) -> Table:
    """The published resting slice."""
    rest = read_slice(path)
    heart = Heart("rest", rest.tissue, rest.times, InputFunction(rest.times, rest.blood), rest.theirs, rest.haematocrit)
    title = "Evidence on a resting slice, flow over its authors'"
    return Table("model-evidence-real", title, COLUMNS, (row(heart, threads, passes),))


def main() -> None:
    """Publish a table."""
    parser = argument_parser(__doc__)
    parser.add_argument("table", choices=("hearts", "real"))
    parser.add_argument("data", type=Path, help="folder for the datasets and the outputs, re-used; or rest.npz (real)")
    parser.add_argument("--participants", type=int, default=2)
    parser.add_argument("--seed", type=int, default=41)
    parser.add_argument("--count", type=int, default=96, help="curves of each scan (hearts)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--passes", type=int, default=2)
    args = parser.parse_args()
    if args.table == "real":
        table = real(args.data, args.threads, args.passes)
    else:
        table = hearts(args.data, args.participants, args.seed, args.count, args.threads, args.passes)
    publish([table], args)


if __name__ == "__main__":
    main()
