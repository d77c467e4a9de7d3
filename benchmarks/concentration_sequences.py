"""Concentration by every read-out from the signal of single spins: tables of docs/signal.md.

The spins (``tests/isochromats.py``) are simulated one by one, by code of their own: spoiled by a gradient along the
voxel and RF phases of 117 degrees increment, spread over frequencies by what T2* is shorter than T2. Blood reaches 10
mmol/L, tissue 3. With proton density the native T1 is 6 % longer than the one the plugins know.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import get_args

import numpy as np

from benchmarks.records import Column, Row, Table, argument_parser, publish
from qperf_app.plugins import Series
from tests.isochromat_series import PLUGINS, Name, Scanner, relative_errors, series

FIELDS = (1.5, 3.0)
#: What the metadata do not say, for the second table.
SCANNERS = {
    "B1 -15 %": Scanner(b1=0.85),
    "B1 +15 %": Scanner(b1=1.15),
    "5 % left by saturation": Scanner(residual=0.05),
    "50 Hz off resonance": Scanner(off_resonance=50.0),
}
ERROR = "+.1%"


def cases() -> Iterator[tuple[str, Name]]:
    """Read-out and tissue of each row."""
    for readout in PLUGINS:
        for name in get_args(Name):
            yield readout, name


def largest(readout: str, name: Name, found: Series, **options: str) -> float:
    """Error of the largest magnitude, with its sign."""
    errors = relative_errors(readout, name, found, **options)
    return float("nan") if np.isnan(errors).any() else float(errors[np.abs(errors).argmax()])


def ideally_spoiled(found: Series) -> Series:
    """The same series, without the RF phase among its metadata."""
    left = {key: value for key, value in found.metadata.items() if key != "SpoilingRFPhaseIncrement"}
    return replace(found, metadata=left)


def error_table() -> Table:
    """Largest error over all concentrations, and what it is where a part of the signal's physics is left out."""
    rows: list[Row] = []
    for readout, name in cases():
        for field in FIELDS:
            plain, weighted = (series(readout, name, field, pd, 1.06 if pd else 1.0) for pd in (False, True))
            values = (
                largest(readout, name, plain),
                largest(readout, name, weighted),
                None if readout == "bSSFP" else largest(readout, name, weighted, t2star_correction="off"),
                largest(readout, name, ideally_spoiled(plain)) if readout != "bSSFP" else None,
                largest(readout, name, ideally_spoiled(weighted)),
            )
            rows.append((readout, name, field, *(None if v is None or np.isnan(v) else v for v in values)))
    heads = ("no PD", "PD", "T2* neglected, PD", "spoiling not told, no PD", "spoiling not told, PD")
    columns = (Column("read-out"), Column("tissue"), Column("field", "T", "g"), *(Column(h, "", ERROR) for h in heads))
    title = "Largest error of concentration from isochromats, by read-out"
    note = "PD: scaled by proton-density volumes; else by the baseline and the native T1."
    return Table("concentration-sequences", title, columns, tuple(rows), note)


def scanner_table() -> Table:
    """Error at the middle and at the highest concentration where the scanner does not do as the metadata say, 1.5 T."""
    rows: list[Row] = []
    for readout, name in cases():
        for pd in (False, True):
            found = (relative_errors(readout, name, series(readout, name, 1.5, pd, 1.0, s)) for s in SCANNERS.values())
            cells = tuple(tuple(None if np.isnan(e) else float(e) for e in errors[1:]) for errors in found)
            rows.append((readout, name, "yes" if pd else "no", *cells))
    columns = (Column(head, "", "{:+.1%}, {:+.1%}") for head in SCANNERS)
    heads = (Column("read-out"), Column("tissue"), Column("proton density"))
    title = "Error of concentration where the scanner differs from the metadata"
    note = "At 5 and at 10 mmol/L in blood, at 1.5 and at 3 mmol/L in tissue, 1.5 T."
    note = "At 5 and at 10 mmol/L in blood, at 1.5 and at 3 mmol/L in tissue, 1.5 T."
    return Table("concentration-scanner", title, (*heads, *columns), tuple(rows), note)


def main() -> None:
    """Publish the tables."""
    publish((table() for table in (error_table, scanner_table)), argument_parser(__doc__).parse_args())


if __name__ == "__main__":
    main()
