"""``hmc`` on whole hearts, out of an OUT_DIR that the app has written.

study    processor time of the plugin for each scan in a process of its own, loading and compiling included
speed    convergence and processor time of whole scans
referee  means and standard deviations beside those of a million weighed draws of the prior
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from benchmarks.hmc import priors, tail
from benchmarks.kinetics_accuracy import HAEMATOCRIT, NAMES
from benchmarks.records import Column, Row, Table, argument_parser, publish
from qperf_app.bids.names import ROLES
from qperf_app.bids.records import read_aif, read_mask, read_series
from qperf_app.methods.kinetic_inputs import even_input, screen
from qperf_app.physics.models import MODELS
from qperf_app.plugins import InputFunction, QualityCode, RunContext, TissueConstants, TissueCurves
from qperf_hmc import ExchangePosterior
from qperf_hmc.posterior import Sampling
from qperf_hmc.setting import as_tensor, choose, prior_draws

Array = NDArray[np.float64]

#: Draws of the prior that the referee weighs, and the effective number of them that it must leave.
PRIOR_DRAWS, LEAST_OF_PRIOR = 2**20, 300.0
_AT_ONCE = 65536


@dataclass(frozen=True)
class Heart:
    """Curves (n, t) of a scan's wall, mmol/L, with their times, s, and the plasma's input function on an even grid."""

    name: str
    curves: Array
    times: Array
    grid: Array
    plasma: Array

    def sampling(self, rows: NDArray[np.intp], threads: int) -> Sampling:
        """Sampling of some of the curves."""
        chosen, curves = priors(), self.curves[rows]
        setting = choose(MODELS["2CXM"], chosen, self.times, curves, self.grid, self.plasma)
        scale = chosen.noise_scale * float(self.plasma.max())
        return Sampling(setting, chosen, scale, curves, 400, RunContext(0, threads))


def read_scans(out: Path, scans: str) -> Iterator[tuple[str, TissueCurves, InputFunction]]:
    """What the app's kinetics plugin was given, of scans by a pattern of their names."""
    for path in sorted(out.glob(f"sub-*/perf/{scans}_desc-muscle_dce.nii.gz")):
        prefix = path.name.removesuffix("_desc-muscle_dce.nii.gz")
        series, aif = read_series(path), read_aif(path.with_name(f"{prefix}_desc-aif_timeseries.tsv"))
        wall = read_mask(path.with_name(f"{prefix}_{ROLES['myocardium']}"))
        curves = series.data[wall].astype(np.float64)
        yield prefix, TissueCurves(curves, series.times, np.argwhere(wall), series.affine, of_image=True), aif


def read_hearts(out: Path, scans: str) -> Iterator[Heart]:
    """Curves of scans by a pattern of their names."""
    for name, curves, aif in read_scans(out, scans):
        grid, plasma = even_input(aif.times, aif.in_plasma(HAEMATOCRIT), curves.times[-1] + 5.0)
        data = curves.concentration
        yield Heart(name, data[screen(data)[0]], curves.times, grid, plasma)


def study(out: Path, scans: str, threads: int) -> Table:
    """Processor time of the plugin for each scan in a new process, as many at a time as there are threads."""
    every = list(read_scans(out, scans))
    # A process that loads everything anew, and serves once.
    with ProcessPoolExecutor(threads, get_context("spawn"), max_tasks_per_child=1) as pool:
        rows = list(pool.map(_fit, *zip(*every, strict=True)))
    columns = (
        Column("scan"),
        Column("voxels", format="d"),
        Column("sampled and not converged", format="d"),
        Column("left for trajectories", format="d"),
        Column("processor time", "s", ".1f"),
    )
    return Table("hmc-study", "Scans in processes of their own", columns, tuple(rows), timed=True)


def _fit(name: str, curves: TissueCurves, aif: InputFunction) -> Row:
    """Row of a scan for :func:`study`."""
    left: list[str] = []
    context = RunContext(0, 1, lambda said: left.append(said) if said.startswith("pass 3") else None)
    found = ExchangePosterior().fit(curves, aif, TissueConstants(), context)
    bad = int((found.qc == QualityCode.NOT_CONVERGED).sum())
    last = int(left[-1].split()[4]) if len(left) > 1 else 0
    return name, len(curves.concentration), bad, last, time.process_time()


def speed(out: Path, scans: str, threads: int) -> Table:
    """Convergence and processor time of whole scans, compiling left out."""
    rows: list[Row] = []
    for heart in read_hearts(out, scans):
        every = np.arange(len(heart.curves))
        if not rows:
            heart.sampling(every[:64], threads).run(2)  # compiles
        started = time.process_time()
        found = heart.sampling(every, threads).run(3)
        seconds = time.process_time() - started
        gaps = int((~np.isfinite(heart.curves)).any(axis=1).sum())
        good = [100.0 * float((found.good & (found.passes <= k)).mean()) for k in (1, 2, 3)]
        rows.append(
            (heart.name, len(every), gaps, *good, tail(found.ess.min(axis=1), 5), seconds, len(every) / seconds)
        )
    columns = (
        Column("scan"),
        Column("voxels", format="d"),
        Column("with frames missing", format="d"),
        *(Column(f"converged after pass {k}", "%", ".1f") for k in (1, 2, 3)),
        Column("ESS of the worst parameter, median (5th percentile)", format="{:.0f} ({:.0f})"),
        Column("processor time", "s", ".1f"),
        Column("voxels for each second of a processor", format=".0f"),
    )
    return Table("hmc-hearts", "Whole hearts of phantom participants", columns, tuple(rows), timed=True)


def referee(out: Path, scans: str, count: int, threads: int) -> Table:
    """Means and standard deviations beside those of a million draws of the prior, weighed by the likelihood.

    That has no proposal, no octree and no Laplace's method; curves of which it leaves fewer than LEAST_OF_PRIOR
    effective draws are left out.
    """
    off: list[Array] = []
    ratio: list[Array] = []
    expected: list[float] = []
    chosen = priors()
    x = prior_draws(chosen, PRIOR_DRAWS)
    for heart in read_hearts(out, scans):
        whole = np.flatnonzero(np.isfinite(heart.curves).all(axis=1))
        sampling = heart.sampling(np.random.default_rng(0).permutation(whole)[:count], threads)
        found = sampling.run(3)
        kept = chosen.coordinates(found.draws.astype(np.float64))
        for i, level in enumerate(_log_likelihoods(sampling, x)):
            weight = np.exp(level - level.max())
            weight /= weight.sum()
            size = 1.0 / (weight**2).sum()
            if size > LEAST_OF_PRIOR and found.good[i]:
                mean = x @ weight
                sd = np.sqrt((x - mean[:, None]) ** 2 @ weight)
                off.append((kept[i].mean(axis=0) - mean) / sd)
                ratio.append(kept[i].std(axis=0) / sd)
                expected.append(1.0 / size + 1.0 / found.ess[i].min() + 1.0 / kept.shape[1])
    every = 100.0 * np.array(off)
    figures = every.mean(axis=0), np.sqrt((every**2).mean(axis=0)), np.median(ratio, axis=0)
    rows: list[Row] = [(name, *map(float, row)) for name, *row in zip(NAMES, *figures, strict=True)]
    unit = "% of the posterior SD"
    columns = (
        Column("quantity"),
        Column("difference of means, mean", unit, "+.1f"),
        Column("root mean square", unit, ".1f"),
        Column("ratio of the standard deviations, median", format=".3f"),
    )
    error = 100.0 * np.sqrt(np.mean(expected))
    note = f"{len(every)} curves of {count} a scan; by the effective sample sizes the root mean square is {error:.1f}."
    return Table("hmc-referee", "Draws beside a million of the prior", columns, tuple(rows), note)


def _log_likelihoods(sampling: Sampling, x: Array) -> Array:
    """Log likelihoods (curves, n) of coordinates (p, n), the noise's level integrated out."""
    model, tables = sampling.setting.model, sampling.tables
    features = tf.function(lambda at: model.features(tables, at), jit_compile=True, autograph=False)
    parts = []
    for k in range(0, x.shape[1], _AT_ONCE):
        f = features([as_tensor(row[k : k + _AT_ONCE]) for row in x]).numpy().astype(np.float64)
        outside = sampling.rest + (sampling.data**2).sum(axis=1)
        squares = outside[:, None] - 2.0 * sampling.data @ f + (f**2).sum(axis=0)
        level = np.log(sampling.scale + 0.5 * sampling.efficiency[:, None] * np.maximum(squares, 0.0))
        parts.append(-(sampling.priors.noise_shape + 0.5 * sampling.efficiency * sampling.count)[:, None] * level)
    return np.concatenate(parts, axis=1)


def main() -> None:
    """Publish a table."""
    parser = argument_parser(__doc__)
    parser.add_argument("table", choices=("study", "speed", "referee"))
    parser.add_argument("out", type=Path, help="OUT_DIR of the app")
    parser.add_argument("--scans", default="*", help="pattern of the scans' names")
    parser.add_argument("--count", type=int, default=96, help="curves of each scan (referee)")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    if args.table == "study":
        table = study(args.out, args.scans, args.threads)
    elif args.table == "speed":
        table = speed(args.out, args.scans, args.threads)
    else:
        table = referee(args.out, args.scans, args.count, args.threads)
    publish([table], args)


if __name__ == "__main__":
    main()
