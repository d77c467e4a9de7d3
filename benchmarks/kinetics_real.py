"""Flow on a real resting slice against its authors' map, and which model their scale belongs to.

The slice is ``qperf/rest.npz`` of the measurement data; the ring is found by
``tests/realdata_ring.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.records import Column, Row, Table, argument_parser, publish
from benchmarks.scores import QUARTILES, correlation, quartiles
from qperf_app.physics.conversion import plasma_concentration
from qperf_app.physics.models import MODELS
from qperf_app.plugins import InputFunction, KineticsPlugin, RunContext, TissueConstants, TissueCurves
from qperf_kinetics import ExchangeLeastSquares, FermiDeconvolution
from qperf_kinetics.nlls import ExchangeOptions
from tests.realdata_ring import ring_mask

Array = NDArray[np.float64]


@dataclass(frozen=True)
class RealSlice:
    """The ring of the published slice: n voxels at m times."""

    #: Concentration in tissue, mmol/L, (n, m).
    tissue: Array
    #: Concentration in blood, mmol/L, (m,).
    blood: Array
    #: Seconds, (m,).
    times: Array
    #: The authors' blood flow, mL/min/g, (n,).
    theirs: Array
    #: Indices of the voxels, (n, 3).
    voxels: NDArray[np.intp]
    haematocrit: float

    @property
    def curves(self) -> TissueCurves:
        """What a plugin is given."""
        return TissueCurves(self.tissue, self.times, self.voxels, np.eye(4))


def read_slice(path: Path) -> RealSlice:
    """The slice of ``rest.npz``."""
    with np.load(path) as content:
        ring = ring_mask(content)
        blood = content["aif_mM"].astype(np.float64)
        return RealSlice(
            content["concentration_mM"][ring].astype(np.float64),
            blood,
            float(content["dt_s"]) * np.arange(len(blood), dtype=np.float64),
            content["authors_mbf_ml_min_g"][ring].astype(np.float64),
            np.pad(np.argwhere(ring), ((0, 0), (0, 1))),
            float(content["hematocrit"]),
        )


def fit_plugin(plugin: KineticsPlugin, times: Array, tissue: Array, blood: Array, haematocrit: float) -> Array:
    """Blood flow (n,), mL/min/mL."""
    return fit_all(plugin, times, tissue, blood, haematocrit)["Fb"]


def fit_all(
    plugin: KineticsPlugin, times: Array, tissue: Array, blood: Array, haematocrit: float
) -> Mapping[str, Array]:
    """Every quantity (n,) of a plugin."""
    curves = TissueCurves(tissue, times, np.zeros((len(tissue), 3), dtype=np.intp), np.eye(4))
    return plugin.fit(curves, InputFunction(times, blood), TissueConstants(haematocrit), RunContext()).values


def comparison(path: Path) -> Table:
    """Flow by three models against the authors' map, and the 2CXM's on curves that the distributed model made."""
    real = read_slice(path)
    tissue, blood, times, haematocrit = real.tissue, real.blood, real.times, real.haematocrit
    flows = {
        "2CXM, `nlls`": fit_plugin(ExchangeLeastSquares(), times, tissue, blood, haematocrit),
        "Fermi, `fermi`": fit_plugin(FermiDeconvolution(), times, tissue, blood, haematocrit),
    }
    plug_flow = ExchangeLeastSquares(ExchangeOptions(model="ATH"))
    distributed = fit_all(plug_flow, times, tissue, blood, haematocrit)
    flows["plug flow (ATH), `nlls`"] = distributed["Fb"]
    rows: list[Row] = [
        (name, int(np.isfinite(flow).sum()), correlation(flow, real.theirs), quartiles(flow / real.theirs))
        for name, flow in flows.items()
    ]
    # Curves of the distributed model, as fitted, given to the compartment model: its scale is the model's doing.
    fitted = [distributed[p.name] for p in MODELS["ATH"].parameters]
    known = np.isfinite(fitted).all(axis=0)
    made = MODELS["ATH"](times, plasma_concentration(blood, haematocrit), *(values[known] for values in fitted))
    made = np.asarray(made) + 0.02 * np.random.default_rng(0).standard_normal(made.shape)
    again = fit_plugin(ExchangeLeastSquares(), times, made, blood, haematocrit) / distributed["Fb"][known]
    columns = (
        Column("blood flow of"),
        Column("voxels", format="d"),
        Column("r", format=".2f"),
        Column("ratio to the authors' MBF, median (quartiles)", format=QUARTILES),
    )
    note = (
        f"{len(real.theirs)} voxels. 2CXM fitted to curves that the distributed model made: "
        f"{np.nanmedian(again):.2f} times its blood flow."
    )
    title = "Blood flow on a resting slice against its authors' map"
    return Table("kinetics-real", title, columns, tuple(rows), note)


def main() -> None:
    """Publish the table."""
    parser = argument_parser(__doc__)
    parser.add_argument("data", type=Path, help="rest.npz")
    args = parser.parse_args()
    publish([comparison(args.data)], args)


if __name__ == "__main__":
    main()
