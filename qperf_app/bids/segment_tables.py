"""AHA segment tables: one file for each layer of the wall, one row per segment, a column per quantity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from qperf_app.bids.errors import DatasetError
from qperf_app.bids.images import read_json, sidecar_path
from qperf_app.bids.names import LAYERS, segments_name
from qperf_app.bids.sidecars import describe, quantity_in_words
from qperf_app.bids.tables import read_numbers, read_table, write_table
from qperf_app.methods.wider_intervals import FLOWS
from qperf_app.plugins import SegmentRow, SegmentTable
from qperf_app.plugins.keys import Role
from qperf_app.plugins.results import CURVE_DEFINITION, INTERVAL, is_interval

#: What the columns that every table has hold.
FIXED_COLUMNS: Mapping[str, Mapping[str, str]] = {
    "index": {"Description": "AHA segment, 1 to 17", "Format": "integer"},
    "name": {"Description": "Name of the segment"},
    "n_voxels": {"Description": "Voxels of the segment", "Format": "integer"},
    "n_estimated": {"Description": "Voxels with an estimate of flow", "Format": "integer"},
}
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
            **FIXED_COLUMNS,
            **{
                q: {"Description": column_in_words(q, table.units[q], basis), "Units": table.units[q]}
                for q in quantities
            },
        }
        cells = [
            (row.segment, row.name, row.n_voxels, row.n_estimated, *(row.values.get(q) for q in quantities))
            for row in rows
        ]
        write_table(files[layer], (*FIXED_COLUMNS, *quantities), cells, described)
    return files


def column_in_words(column: str, units: str, basis: Literal["map", "curve"] = "curve") -> str:
    """What a column of a quantity, or of a bound of its interval, holds; ``basis`` as for :func:`write_segments`."""
    quantity, statistic = column.rsplit("_", 1) if is_interval(column) else (column, "")
    of_voxels = basis == "map" or quantity in FLOWS
    if not statistic:
        return _BASES["map" if of_voxels else "curve"][1].format(quantity_in_words(column, units))
    words = (
        "{}, about the median over the voxels, as wide as that of the segment's curve"
        if of_voxels
        else _BASES[basis][1]
    )
    end = "Lower" if statistic == INTERVAL[0] else "Upper"
    return f"{end} bound of the 90 % interval of {words.format(quantity_in_words(quantity, units))}"


def read_segments(plugin: str, model: str, files: Mapping[Any, Path]) -> SegmentTable:
    """Read what :func:`write_segments` wrote.

    Raises
    ------
    DatasetError
        Naming the file, where a column that its sidecar describes or a segment that the table of another layer has is
        missing, a segment is there twice, or a value is no number.
    """
    rows: list[SegmentRow] = []
    units: dict[str, str] = {}
    found: dict[Path, set[int]] = {}
    for layer in LAYERS:
        if layer not in files:
            continue
        path = files[layer]
        sidecar = read_json(sidecar_path(path))
        described = {c: str(of["Units"]) for c, of in sidecar.items() if isinstance(of, dict) and "Units" in of}
        lines = read_table(path, (*FIXED_COLUMNS, *described))
        columns = [c for c in (lines[0] if lines else described) if c not in FIXED_COLUMNS]
        numbers = {column: read_numbers(path, lines, column) for column in columns}
        for column, values in numbers.items():
            if np.isinf(values).any():
                raise DatasetError(f"{path}: column {column!r} has an infinite value")
        units |= {column: described.get(column, "") for column in columns}
        index, n_voxels, n_estimated = (_whole(path, lines, column) for column in ("index", "n_voxels", "n_estimated"))
        if len(set(index)) < len(index) or not set(index) <= set(range(1, 18)):
            raise DatasetError(f"{path}: column 'index' has a segment twice, or one that is not from 1 to 17")
        found[path] = set(index)
        rows += [
            SegmentRow(
                index[k], line["name"], layer, n_voxels[k], n_estimated[k],
                {column: float(values[k]) for column, values in numbers.items()},
            )
            for k, line in enumerate(lines)
        ]  # fmt: skip
    for path, segments in found.items():
        if lacking := set().union(*found.values()) - segments:
            some = ", ".join(map(str, sorted(lacking)))
            raise DatasetError(f"{path}: segments {some} are missing; the table of another layer has them")
    return SegmentTable(plugin, model, tuple(rows), units)


def _whole(path: Path, rows: Sequence[Mapping[str, str]], column: str) -> list[int]:
    values = read_numbers(path, rows, column)
    if not (np.isfinite(values) & (values == np.round(values))).all():
        raise DatasetError(f"{path}: column {column!r} must hold whole numbers")
    return [int(value) for value in values]
