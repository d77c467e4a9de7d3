"""``hmc`` on whole hearts, out of an OUT_DIR that the app has written.

speed    convergence and processor time of whole scans
referee  draws of the first passes beside Hamiltonian chains of the same curves
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.hmc import priors, tail
from benchmarks.kinetics_accuracy import HAEMATOCRIT, NAMES
from benchmarks.records import Column, Row, Table, argument_parser, publish
from qperf_app.bids.names import ROLES
from qperf_app.bids.records import read_aif, read_mask, read_series
from qperf_app.methods.kinetic_inputs import even_input, screen
from qperf_app.physics.models import MODELS
from qperf_app.plugins import RunContext
from qperf_hmc.posterior import Sampling
from qperf_hmc.setting import choose

Array = NDArray[np.float64]


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


def read_hearts(out: Path, scans: str) -> Iterator[Heart]:
    """Curves that the app's kinetics plugin was given, of scans by a pattern of their names."""
    for path in sorted(out.glob(f"sub-*/perf/{scans}_desc-muscle_dce.nii.gz")):
        prefix = path.name.removesuffix("_desc-muscle_dce.nii.gz")
        series, aif = read_series(path), read_aif(path.with_name(f"{prefix}_desc-aif_timeseries.tsv"))
        curves = series.data[read_mask(path.with_name(f"{prefix}_{ROLES['myocardium']}"))].astype(np.float64)
        grid, plasma = even_input(aif.times, aif.in_plasma(HAEMATOCRIT), series.times[-1] + 5.0)
        yield Heart(prefix, curves[screen(curves)[0]], series.times, grid, plasma)


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
    """Means and bounds of the octree's weighted draws beside those of chains of trajectories, of the same curves."""
    off: list[Array] = []
    expected: list[Array] = []
    chosen, converged = priors(), 0
    for heart in read_hearts(out, scans):
        rows = np.random.default_rng(0).permutation(len(heart.curves))[:count]
        sampling = heart.sampling(rows, threads)
        weighted = sampling.run(2)
        chains = sampling.chains(weighted)
        good = weighted.good & chains.good
        converged += int(good.sum())
        x, z = (chosen.coordinates(found.draws[good].astype(np.float64)) for found in (weighted, chains))
        sd = z.std(axis=1)
        bounds = [np.quantile(x, q, axis=1) - np.quantile(z, q, axis=1) for q in (0.05, 0.95)]
        off.append(np.stack([x.mean(axis=1) - z.mean(axis=1), *bounds]) / sd)
        # Of the mean: the draws that there are, and those of them that are kept.
        expected.append(1.0 / weighted.ess[good] + 1.0 / chains.ess[good] + 2.0 / x.shape[1])
    every, error = 100.0 * np.concatenate(off, axis=1), 100.0 * np.sqrt(np.concatenate(expected).mean(axis=0))
    size = np.sqrt((every**2).mean(axis=1))
    rows_: list[Row] = [
        (name, error[i], size[0, i], *(float(v[:, i].mean()) for v in every)) for i, name in enumerate(NAMES)
    ]
    unit = "% of the posterior SD"
    columns = (
        Column("quantity"),
        Column("difference of means by the effective sample sizes", unit, ".1f"),
        Column("difference of means, root mean square", unit, ".1f"),
        *(
            Column(f"{what}, weighted draws less chains, mean", unit, "+.1f")
            for what in ("mean", "5 % bound", "95 % bound")
        ),
    )
    note = f"{converged} curves of whole hearts on which both converged."
    return Table("hmc-referee", "Weighted draws beside Hamiltonian chains", columns, tuple(rows_), note)


def main() -> None:
    """Publish a table."""
    parser = argument_parser(__doc__)
    parser.add_argument("table", choices=("speed", "referee"))
    parser.add_argument("out", type=Path, help="OUT_DIR of the app")
    parser.add_argument("--scans", default="*", help="pattern of the scans' names")
    parser.add_argument("--count", type=int, default=32, help="curves of each scan (referee)")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    if args.table == "speed":
        table = speed(args.out, args.scans, args.threads)
    else:
        table = referee(args.out, args.scans, args.count, args.threads)
    publish([table], args)


if __name__ == "__main__":
    main()
