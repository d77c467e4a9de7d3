"""Participants' own curves as studies to learn from: their input functions, frame times, noise and artefacts."""

from __future__ import annotations

import numpy as np

from qperf_app.methods import kinetic_inputs
from qperf_app.methods.exchange_models import ExchangeModel
from qperf_app.training import KineticScan
from qperf_cnn.simulation import NAMES, Study


def studies_of(scan: KineticScan, count: int, model: ExchangeModel) -> list[Study]:
    """Cut the complete curves of a scan into studies of at most ``count``; their truth is NaN: nobody knows it.

    Raises
    ------
    ValueError
        Where the scan has no curve or no input function that could be learnt from.
    """
    try:
        kinetic_inputs.check(scan.curves, scan.aif)
    except ValueError as error:
        raise ValueError(f"{scan.name}: {error}") from None
    if scan.curves.units != "mmol/L":
        raise ValueError(f"{scan.name}: the curves are in {scan.curves.units}: flow in them is not absolute")
    tissue = np.asarray(scan.curves.concentration, np.float64)
    tissue = tissue[np.isfinite(tissue).all(axis=1) & kinetic_inputs.changing_curves(tissue)]
    if not len(tissue):
        raise ValueError(f"{scan.name}: no curve is finite in all frames")
    times = np.asarray(scan.curves.times, np.float64)
    plasma = np.interp(times, scan.aif.times, scan.aif.in_plasma(scan.constants.haematocrit))
    unknown = np.full((len(tissue), len(NAMES)), np.nan)
    parts = [slice(k, k + count) for k in range(0, len(tissue), count)]
    return [Study(times, plasma, tissue[part], unknown[part], unknown[part, 0], model) for part in parts]
