"""Each slice fitted on its own clock: curves that share their times go to a kinetics plugin together.

A plugin knows one time for each volume. Slices that are read at other times within it, one after another or spread over
heart beats, are given to it apart, each with the times at which it was read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qperf_app.plugins import KineticMaps, ParameterMap, Series, TissueCurves

#: Times are told apart to a tenth of a millisecond.
_DECIMALS = 4


def slice_offset(series: Series, voxels: NDArray[np.bool_]) -> float:
    """Time after a volume's onset at which voxels (x, y, z) were read, s: the mean over their slices."""
    return float(series.slice_times[np.nonzero(voxels)[2]].mean())


def fit_by_clock(
    curves: TissueCurves, offsets: NDArray[np.float64], fit: Callable[[TissueCurves], KineticMaps]
) -> KineticMaps:
    """Fit curves that were read ``offsets`` (n,) s after their volumes' onsets, those with equal times together."""
    clocks, which = np.unique(np.round(offsets, _DECIMALS), return_inverse=True)
    if len(clocks) < 2:
        shift = float(clocks[0]) if len(clocks) else 0.0
        return fit(replace(curves, times=curves.times + shift) if shift else curves)
    parts = [np.flatnonzero(which == k) for k in range(len(clocks))]
    results = [
        fit(
            replace(
                curves,
                concentration=curves.concentration[rows],
                times=curves.times + shift,
                voxels=curves.voxels[rows],
            )
        )
        for shift, rows in zip(clocks, parts, strict=True)
    ]
    return merged(results, parts)


def merged(results: Sequence[KineticMaps], rows: Sequence[NDArray[np.intp]]) -> KineticMaps:
    """One result from those of parts; ``rows`` are the places of each part's curves.

    A map that a part lacks is NaN there; fitted curves and draws are kept where all parts have them.
    """
    order = np.argsort(np.concatenate(rows), kind="stable")
    kinds = dict.fromkeys((m.quantity, m.units, m.statistic) for result in results for m in result.maps)
    found = [{(m.quantity, m.units, m.statistic): m.values for m in result.maps} for result in results]

    def together(values: Sequence[Any]) -> Any:
        return None if any(v is None for v in values) else np.concatenate(values)[order]

    def of_kind(kind: tuple[Any, ...]) -> Any:
        return together([of.get(kind, np.full(len(part), np.nan)) for of, part in zip(found, rows, strict=True)])

    return KineticMaps(
        model=results[0].model,
        maps=tuple(ParameterMap(kind[0], kind[1], of_kind(kind), kind[2]) for kind in kinds),
        qc=together([r.qc for r in results]),
        qc_legend={code: text for r in results for code, text in r.qc_legend.items()},
        fitted=together([r.fitted for r in results]),
        predicted_sd=together([r.predicted_sd for r in results]),
        flow_draws=together([r.flow_draws for r in results]),
    )
