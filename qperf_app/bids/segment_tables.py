"""AHA segment tables: one file for each layer of the wall, one row per segment, a column per quantity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from qperf_app.bids.images import read_json, sidecar_path
from qperf_app.bids.names import LAYERS, segments_name
from qperf_app.bids.sidecars import describe
from qperf_app.bids.tables import read_numbers, read_table, write_table
from qperf_app.methods.wider_intervals import FLOWS
from qperf_app.plugins import SegmentRow, SegmentTable
from qperf_app.plugins.keys import Role
from qperf_app.plugins.results import CURVE_DEFINITION, is_interval

_FIXED = ("index", "name", "n_voxels", "n_estimated")
_BASES = {
    "map": ("Medians over", "Median {} of the voxels that have an estimate"),
    "curve": ("Estimates for", f"{{}} of the segment's curve, {CURVE_DEFINITION}"),
}
_LAYER_WORDS = {"transmural": "the whole wall", "endo": "the inner half of the wall", "epi": "the outer half"}


def write_segments(
    out: Path,
    prefix: str,
    table: SegmentTable,
    sources: Sequence[str],
    basis: Literal["map", "curve"] = "map",
    doubts: Sequence[str] = (),
) -> dict[Role, Path]:
    """Write a table, each layer to its own file; returns the files by layer.

    ``basis`` says in the sidecar what the values are: medians of the maps, or of flow alone and all else by the fit of
    each segment's own curve; ``doubts`` why they can't be right.
    """
    files: dict[Role, Path] = {}
    quantities = list(table.units)
    for layer in LAYERS:
        rows = [row for row in table.rows if row.layer == layer]
        if not rows:
            continue
        files[layer] = out / segments_name(prefix, table.plugin, layer)
        described = {
            **describe(f"{_BASES[basis][0]} AHA segments, {_LAYER_WORDS[layer]}", "n/a", sources),
            **({"Doubtful": list(doubts)} if doubts else {}),
            "index": {"Description": "AHA segment, 1 to 17", "Format": "integer"},
            "name": {"Description": "Name of the segment"},
            "n_voxels": {"Description": "Voxels of the segment", "Format": "integer"},
            "n_estimated": {"Description": "Voxels with an estimate of flow", "Format": "integer"},
            **{q: {"Description": _describe(q, basis), "Units": table.units[q]} for q in quantities},
        }
        cells = [
            (row.segment, row.name, row.n_voxels, row.n_estimated, *(row.values.get(q) for q in quantities))
            for row in rows
        ]
        write_table(files[layer], (*_FIXED, *quantities), cells, described)
    return files


def _describe(column: str, basis: Literal["map", "curve"]) -> str:
    quantity, statistic = column.rsplit("_", 1) if is_interval(column) else (column, "")
    of_voxels = basis == "map" or quantity in FLOWS
    if not statistic:
        return _BASES["map" if of_voxels else "curve"][1].format(column)
    words = (
        "{}, about the median over the voxels, as wide as that of the segment's curve"
        if of_voxels
        else _BASES[basis][1]
    )
    return f"{int(statistic[1:])} % quantile of the posterior of {words.format(quantity)}"


def read_segments(plugin: str, model: str, files: Mapping[Any, Path]) -> SegmentTable:
    """Read what :func:`write_segments` wrote."""
    rows: list[SegmentRow] = []
    units: dict[str, str] = {}
    for layer in LAYERS:
        if layer not in files:
            continue
        path = files[layer]
        lines = read_table(path)
        columns = [c for c in (lines[0] if lines else {}) if c not in _FIXED]
        numbers = {column: read_numbers(path, lines, column) for column in columns}
        sidecar = read_json(sidecar_path(path))
        units |= {column: str(sidecar.get(column, {}).get("Units", "")) for column in columns}
        rows += [
            SegmentRow(
                int(line["index"]), line["name"], layer, int(line["n_voxels"]), int(line["n_estimated"]),
                {column: float(values[k]) for column, values in numbers.items()},
            )
            for k, line in enumerate(lines)
        ]  # fmt: skip
    return SegmentTable(plugin, model, tuple(rows), units)
