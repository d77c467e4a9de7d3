"""Curves of the AHA segments with a kinetics plugin's fit of them, and a posterior's draws of their flow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from qperf_app.bids.images import read_json, sidecar_path
from qperf_app.bids.names import segment_curves_name
from qperf_app.bids.sidecars import describe, quantity_in_words
from qperf_app.bids.tables import read_numbers, read_table, write_table
from qperf_app.plugins import RELATIVE_UNITS, SegmentCurves
from qperf_app.plugins.keys import Role
from qperf_app.plugins.results import CURVE_DEFINITION

#: Columns of a segment's curve, each with the segment's number behind it: words for the sidecar.
_COLUMNS = {
    "measured": f"Curve of segment {{}}, {CURVE_DEFINITION}",
    "fitted": "The model's curve of segment {}",
    "predicted_std": "Standard deviation of the curve of segment {} if it were measured again",
}
#: Roles of the files between the steps.
CURVES, DRAWS = "curves", "draws"


def write_segment_curves(out: Path, prefix: str, curves: SegmentCurves, sources: Sequence[str]) -> dict[Role, Path]:
    """Write the curves, and the draws where there are any; returns the files by role."""
    files: dict[Role, Path] = {CURVES: out / segment_curves_name(prefix, curves.plugin)}
    values = {"measured": curves.measured, "fitted": curves.fitted}
    values |= {} if curves.predicted_sd is None else {"predicted_std": curves.predicted_sd}
    columns = {f"{kind}_{k}": rows[i] for i, k in enumerate(curves.segments) for kind, rows in values.items()}
    described = {
        **describe(f"Curves of AHA segments and their fit by {curves.plugin}", curves.units, sources),
        "time": {"Description": "Time on the clock of the series", "Units": "s"},
        **{
            name: {"Description": _COLUMNS[kind].format(number), "Units": curves.units}
            for name in columns
            for kind, number in [name.rsplit("_", 1)]
        },
    }
    cells = zip(curves.times, *columns.values(), strict=True)
    write_table(files[CURVES], ("time", *columns), cells, described)
    if curves.flow_draws is not None:
        files[DRAWS] = out / segment_curves_name(prefix, curves.plugin, draws=True)
        names = [f"segment_{k}" for k in curves.segments]
        units = RELATIVE_UNITS if curves.units == RELATIVE_UNITS else "mL/min/g"
        what = (
            f"Draws of {quantity_in_words('MBF', units)}: of the posterior of the segment's curve, moved to the median "
            "over its voxels and scattered by how much these differ"
        )
        words = {"Description": what, "Units": units}
        described = {**describe(f"Draws of {curves.plugin} of AHA segments", units, sources)}
        write_table(files[DRAWS], names, curves.flow_draws.T.tolist(), described | dict.fromkeys(names, words))
    return files


def read_segment_curves(plugin: str, model: str, files: Mapping[Any, Path]) -> SegmentCurves:
    """Read what :func:`write_segment_curves` wrote.

    Raises
    ------
    DatasetError
        Naming file and column for what can't be read.
    """
    path = files[CURVES]
    rows = read_table(path)
    given = list(rows[0]) if rows else []
    segments = tuple(int(name.rsplit("_", 1)[1]) for name in given if name.startswith("measured_"))
    kinds = {
        kind: np.array([read_numbers(path, rows, f"{kind}_{k}") for k in segments])
        for kind in _COLUMNS
        if any(name.startswith(f"{kind}_") for name in given)
    }
    draws = None
    if DRAWS in files:
        lines = read_table(files[DRAWS])
        draws = np.array([read_numbers(files[DRAWS], lines, f"segment_{k}") for k in segments])
    units = str(read_json(sidecar_path(path)).get("Units", ""))
    times = read_numbers(path, rows, "time")
    return SegmentCurves(
        plugin, model, units, segments, times, kinds["measured"], kinds["fitted"], kinds.get("predicted_std"), draws
    )
