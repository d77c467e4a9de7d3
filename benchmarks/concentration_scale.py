"""How well sr-flash recovers concentration on the digital phantom: the table of docs/signal.md.

Hearts that hold still, at 1.5 T. A voxel's amplitude is the factor, by least squares, that its converted curve has to
the true one; "whole" are voxels that are myocardium throughout, "mask" all that are so by half or more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.records import Column, Row, Table, argument_parser, publish
from qperf_app.phantom.config import PhantomConfig
from qperf_app.phantom.scan import Scan, simulate_scan
from qperf_app.plugins import RunContext, Series
from qperf_concentration import SaturationRecoveryFlash

WAYS: dict[str, dict[str, Any]] = {
    "proton density, voxel by voxel (default)": {"scale_window": 1},
    "proton density, median of 3 x 3": {"scale_window": 3},
    "baseline and native T1, voxel by voxel": {"scale_window": 1, "use_proton_density": False},
    "baseline and native T1, median of 3 x 3 (default)": {"scale_window": 3, "use_proton_density": False},
}


def convert(series: Series, options: dict[str, Any], tissue: Any) -> NDArray[np.floating]:
    """Concentration of a series under the options."""
    return (
        SaturationRecoveryFlash(SaturationRecoveryFlash.Options(**options)).convert(series, tissue, RunContext()).data
    )


def amplitude(found: NDArray[np.floating], true: NDArray[np.floating]) -> NDArray[np.floating]:
    """Least-squares factor of each curve."""
    return np.asarray((found * true).sum(axis=-1) / (true * true).sum(axis=-1))


def tissue_table(scans: Sequence[Scan]) -> Table:
    """Amplitudes in the myocardium."""
    rows: list[Row] = []
    for name, options in WAYS.items():
        factors: dict[str, list[NDArray[np.floating]]] = {"whole": [], "mask": []}
        for scan in scans:
            truth = scan.truth["tissue"]
            found = convert(scan.series["tissue"], options, "myocardium")
            for part, voxels in (("whole", truth.parts["myocardium"] > 0.99), ("mask", truth.masks["myocardium"])):
                factors[part].append(amplitude(found[voxels], truth.concentration[voxels]))
        whole, mask = (np.concatenate(each) for each in factors.values())
        rows.append((name, *(float(f(part)) for part in (whole, mask) for f in (np.nanmedian, np.nanstd))))
    columns = (Column(f"{part}, {what}", format=".3f") for part in ("whole", "mask") for what in ("median", "SD"))
    title = "Amplitude of converted curves over the true ones, myocardium"
    return Table("concentration-tissue", title, (Column("scale $\\rho$ from"), *columns), tuple(rows))


def blood_table(scans: Sequence[Scan]) -> Table:
    """Amplitudes of the input function, whose signal is averaged over voxels first."""
    rows = []
    for name, least in (("voxels that are blood throughout", 0.99), ("all that are so by half or more", 0.5)):
        factors = []
        for scan in scans:
            series, truth = scan.series["aif"], scan.truth["aif"]
            mean = series.data[truth.parts["LV"] > least].mean(axis=0)[None, None, None]
            curve = Series(mean, series.times, series.affine, series.metadata)
            true = np.interp(curve.dynamic().times, scan.aif.times, scan.aif.concentration)
            factors.append(float(amplitude(convert(curve, {}, "blood")[0, 0, 0], true)))
        rows.append((name, float(np.median(factors)), min(factors), max(factors)))
    columns = (Column(what, format=".3f") for what in ("median", "lowest", "highest"))
    title = "Amplitude of the converted input function over the true one"
    return Table("concentration-blood", title, (Column("input function averaged over"), *columns), tuple(rows))


def main() -> None:
    """Publish the tables."""
    parser = argument_parser(__doc__)
    parser.add_argument("--hearts", type=int, default=8)
    parser.add_argument("--cnr", type=float, default=12.0, help="of the myocardium")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    config = PhantomConfig(cnr=args.cnr, breathing="none", abnormal_bolus=0.0)
    seeds = np.random.SeedSequence(args.seed).spawn(args.hearts)
    scans = [simulate_scan(config, np.random.default_rng(seed)) for seed in seeds]
    publish((table(scans) for table in (tissue_table, blood_table)), args)


if __name__ == "__main__":
    main()
