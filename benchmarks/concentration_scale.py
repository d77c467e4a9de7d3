"""How well sr-flash recovers concentration on the digital phantom: the table of docs/signal.md.

Hearts that hold still, at 1.5 T. A voxel's amplitude is the factor, by least squares, that its converted curve has to
the true one; "whole" are voxels that are myocardium throughout, "mask" all that are so by half or more.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
    return (found * true).sum(axis=-1) / (true * true).sum(axis=-1)


def tissue_rows(scans: Sequence[Scan]) -> Iterator[str]:
    """Amplitudes in the myocardium."""
    yield "| scale rho from | whole: median | spread | mask: median | spread |"
    yield "| --- | ---: | ---: | ---: | ---: |"
    for name, options in WAYS.items():
        whole: list[NDArray[np.floating]] = []
        mask: list[NDArray[np.floating]] = []
        for scan in scans:
            truth = scan.truth["tissue"]
            found = convert(scan.series["tissue"], options, "myocardium")
            for voxels, factors in ((truth.parts["myocardium"] > 0.99, whole), (truth.masks["myocardium"], mask)):
                factors.append(amplitude(found[voxels], truth.concentration[voxels]))
        cells = [f"{np.nanmedian(v):.3f} | {np.nanstd(v):.3f}" for v in map(np.concatenate, (whole, mask))]
        yield f"| {name} | " + " | ".join(cells) + " |"


def blood_rows(scans: Sequence[Scan]) -> Iterator[str]:
    """Amplitudes of the input function, whose signal is averaged over voxels first."""
    yield "| input function averaged over | median | lowest | highest |"
    yield "| --- | ---: | ---: | ---: |"
    for name, least in (("voxels that are blood throughout", 0.99), ("all that are so by half or more", 0.5)):
        factors = []
        for scan in scans:
            series, truth = scan.series["aif"], scan.truth["aif"]
            mean = series.data[truth.parts["LV"] > least].mean(axis=0)[None, None, None]
            curve = Series(mean, series.times, series.affine, series.metadata)
            true = np.interp(curve.dynamic().times, scan.aif.times, scan.aif.concentration)
            factors.append(float(amplitude(convert(curve, {}, "blood")[0, 0, 0], true)))
        yield f"| {name} | {np.median(factors):.3f} | {min(factors):.3f} | {max(factors):.3f} |"


def main() -> None:
    """Print the tables, and write them where ``--out`` says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hearts", type=int, default=8)
    parser.add_argument("--cnr", type=float, default=12.0, help="of the myocardium")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="file for the tables")
    arguments = parser.parse_args()
    config = PhantomConfig(cnr=arguments.cnr, breathing="none", abnormal_bolus=0.0)
    seeds = np.random.SeedSequence(arguments.seed).spawn(arguments.hearts)
    scans = [simulate_scan(config, np.random.default_rng(seed)) for seed in seeds]
    tables = "\n".join([*tissue_rows(scans), "", *blood_rows(scans)]) + "\n"
    print(tables, end="")
    if arguments.out:
        arguments.out.write_text(tables)


if __name__ == "__main__":
    main()
