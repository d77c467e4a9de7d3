"""Read and write tab-separated tables with JSON sidecars: input functions, landmarks, segments."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qperf_app.bids.errors import DatasetError
from qperf_app.bids.images import read_json, sidecar_path, write_json
from qperf_app.plugins import InputFunction, Landmark


def write_table(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]], sidecar: Mapping[str, Any]) -> None:
    """Write a table; NaN and None become ``n/a``, numbers keep seven digits."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, delimiter="\t", lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([_text(value) for value in row] for row in rows)
    if sidecar:
        write_json(sidecar_path(path), sidecar)


def read_table(path: Path, columns: Sequence[str] = ()) -> list[dict[str, str]]:
    """Rows of a table as mappings from column name to text; ``columns`` are those that it must have.

    Raises
    ------
    DatasetError
        Naming the file, when it can't be read, is not separated by tabs, lacks a column or a row has not as many cells
        as there are columns.
    """
    try:
        # Spreadsheets begin a file with a byte order mark.
        with path.open(encoding="utf-8-sig", newline="") as stream:
            lines = list(csv.reader(stream, delimiter="\t"))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path}: not readable as a table: {error}") from None
    if not lines:
        raise DatasetError(f"{path}: the table is empty")
    head = lines[0]
    if len(head) == 1 and any(mark in head[0] for mark in ",;"):
        raise DatasetError(f"{path}: its cells are not separated by tabs; the first line is {head[0][:60]!r}")
    if missing := [column for column in columns if column not in head]:
        raise DatasetError(f"{path}: column {missing[0]!r} is missing")
    for number, row in enumerate(lines[1:], start=2):
        if len(row) != len(head):
            raise DatasetError(f"{path}: line {number} has {len(row)} cells, the header has {len(head)}")
    return [dict(zip(head, row, strict=True)) for row in lines[1:]]


def read_numbers(path: Path, rows: Sequence[Mapping[str, str]], column: str) -> NDArray[np.float64]:
    """One column as numbers, ``n/a`` as NaN.

    Raises
    ------
    DatasetError
        Naming file and column, when it is missing or holds something else.
    """
    if rows and column not in rows[0]:
        raise DatasetError(f"{path}: column {column!r} is missing")
    try:
        return np.array([math.nan if row[column] == "n/a" else float(row[column]) for row in rows], dtype=np.float64)
    except ValueError as error:
        raise DatasetError(f"{path}: column {column!r}: {error}") from None


def write_input_function(path: Path, aif: InputFunction, sidecar: Mapping[str, Any]) -> None:
    """Write an input function; without a signal its column is left out."""
    has_signal = aif.signal is not None
    columns = ("time", "signal", "concentration") if has_signal else ("time", "concentration")
    values = (aif.times, aif.signal, aif.concentration) if has_signal else (aif.times, aif.concentration)
    described = {
        **sidecar,
        "time": {"Description": "Time on the clock of the series", "Units": "s"},
        "concentration": {
            "Description": f"Gadolinium concentration of {'plasma' if aif.plasma else 'whole blood'}",
            "Units": aif.units,
        },
    }
    if has_signal:
        described["signal"] = {"Description": "Mean signal over the input function's voxels", "Units": "arbitrary"}
    write_table(path, columns, zip(*values, strict=True), described)


def read_input_function(path: Path) -> InputFunction:
    """Read an input function, handed in or written by :func:`write_input_function`.

    Frames whose concentration is ``n/a`` (saturated) are kept as NaN. Plasma where ``Haematocrit`` is 0.

    Raises
    ------
    DatasetError
        Naming file and column for what is missing, not finite or not increasing.
    """
    rows = read_table(path)
    times, concentration = (read_numbers(path, rows, column) for column in ("time", "concentration"))
    if np.isfinite(concentration).sum() < 3:
        raise DatasetError(f"{path}: column 'concentration' has fewer than 3 numbers")
    if not np.isfinite(times).all() or (np.diff(times) <= 0).any():
        raise DatasetError(f"{path}: column 'time' must increase strictly")
    sidecar = read_json(sidecar_path(path)) if sidecar_path(path).is_file() else {}
    described = sidecar.get("concentration")
    units = described.get("Units") if isinstance(described, dict) else None
    return InputFunction(
        times=times,
        concentration=concentration,
        signal=read_numbers(path, rows, "signal") if "signal" in rows[0] else None,
        units=str(units or sidecar.get("Units") or "mmol/L"),
        plasma=sidecar.get("Haematocrit") == 0,
        log_peak_sd=_not_negative(sidecar.get("peak_value_log_sd", 0.0), path, "peak_value_log_sd"),
    )


def _not_negative(value: Any, path: Path, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 <= value < math.inf:
        raise DatasetError(f"{sidecar_path(path)}: {name} is {value!r}, not a number of 0 or more")
    return float(value)


_LANDMARK_COLUMNS = ("name", "slice", "x", "y", "z")


def write_landmarks(path: Path, landmarks: Sequence[Landmark], sidecar: Mapping[str, Any]) -> None:
    """Write named points, world mm (RAS+)."""
    described = {
        **sidecar,
        "name": {"Description": "RV insertion point"},
        "slice": {"Description": "Index of the slice, from 0", "Format": "integer"},
        **{axis: {"Description": f"World {axis} (RAS+)", "Units": "mm"} for axis in "xyz"},
    }
    write_table(path, _LANDMARK_COLUMNS, ((m.name, m.slice, *m.position) for m in landmarks), described)


def read_landmarks(path: Path) -> tuple[Landmark, ...]:
    """Read RV insertion points.

    Raises
    ------
    DatasetError
        Naming file and column for a name or number that is not one.
    """
    rows = read_table(path, _LANDMARK_COLUMNS)
    names = ("RVInsertionAnterior", "RVInsertionInferior")
    for row in rows:
        if row.get("name") not in names:
            raise DatasetError(f"{path}: column 'name' has {row.get('name')!r}, expected one of {', '.join(names)}")
    slices, x, y, z = (read_numbers(path, rows, column) for column in ("slice", "x", "y", "z"))
    if not np.isfinite([slices, x, y, z]).all():
        raise DatasetError(f"{path}: columns slice, x, y, z must be numbers")
    if (slices != np.rint(slices)).any():
        raise DatasetError(f"{path}: column 'slice' must hold whole numbers, counted from 0")
    return tuple(
        Landmark(row["name"], int(k), (float(a), float(b), float(c)))  # type: ignore[arg-type]
        for row, k, a, b, c in zip(rows, slices, x, y, z, strict=True)
    )


def write_left_out(path: Path, times: NDArray[np.float64], frames: Iterable[int], sidecar: Mapping[str, Any]) -> None:
    """Write which frames of a series are left out: a row for each volume."""
    described = {
        **sidecar,
        "time": {"Description": "Time on the clock of the series", "Units": "s"},
        "left_out": {"Description": "1 where the volume takes no part, 0 where it does", "Format": "integer"},
    }
    left_out = set(frames)
    rows = ((float(time), int(frame in left_out)) for frame, time in enumerate(times))
    write_table(path, ("time", "left_out"), rows, described)


def read_left_out(path: Path, volumes: int) -> tuple[int, ...]:
    """Numbers of the volumes, from 0, that are left out of a series.

    Raises
    ------
    DatasetError
        Naming file and column, where it has not a row for each volume or a value other than 0 and 1.
    """
    values = read_numbers(path, read_table(path), "left_out")
    if len(values) != volumes:
        raise DatasetError(f"{path}: {len(values)} rows, the series has {volumes} volumes")
    if not np.isin(values, (0.0, 1.0)).all():
        raise DatasetError(f"{path}: column 'left_out' must hold 0 or 1")
    return tuple(int(frame) for frame in np.flatnonzero(values))


def _text(value: Any) -> str:
    if value is None or (isinstance(value, float | np.floating) and math.isnan(value)):
        return "n/a"
    if isinstance(value, float | np.floating):
        return f"{value:.7g}"
    return str(value)
