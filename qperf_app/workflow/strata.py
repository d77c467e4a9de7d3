"""Where and how the scans of a group were acquired, as far as the metadata tell: site, scanner, sequence."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from qperf_app.bids.images import read_json, sidecar_path
from qperf_app.bids.index import sidecar
from qperf_app.bids.tables import read_table
from qperf_app.plugins.steps import MOTION_CORRECTION
from qperf_app.workflow.status import ScanRecord

#: By what a group is divided: the column of ``group_segments.tsv``, and what it is told from.
STRATA: Mapping[str, str] = {
    "site": "Column site of participants.tsv, else InstitutionName of the series",
    "scanner": "Manufacturer, ManufacturersModelName and MagneticFieldStrength of the series",
    "sequence": "PulseSequenceType of the series, and how the input function was acquired",
}
_ABSENT = ("", "n/a")


def strata_of(
    scans: Mapping[str, Iterable[ScanRecord]], bids_dir: Path, out_dir: Path
) -> dict[tuple[str, str], dict[str, str]]:
    """What is known of every scan, by participant and label; what the metadata don't tell is left out.

    Where the raw dataset is not at hand, the fields serve that the corrected series carries.
    """
    sites, listings = _sites(bids_dir), dict[Path, list[str]]()
    found = {}
    for participant, records in scans.items():
        for scan in records:
            fields = _fields(scan, bids_dir, out_dir, listings)
            strength = fields.get("MagneticFieldStrength")
            maker = (fields.get("Manufacturer"), fields.get("ManufacturersModelName"), strength and f"{strength:g} T")
            told = {
                "site": sites.get(participant) or str(fields.get("InstitutionName", "")),
                "scanner": " ".join(str(part) for part in maker if part),
                "sequence": ", ".join(filter(None, (str(fields.get("PulseSequenceType", "")), scan.acquisition))),
            }
            found[participant, scan.label] = {name: value for name, value in told.items() if value}
    return found


def _sites(bids_dir: Path) -> dict[str, str]:
    table = bids_dir / "participants.tsv"
    rows = read_table(table) if table.is_file() else []
    return {
        row.get("participant_id", "").removeprefix("sub-"): row["site"]
        for row in rows
        if row.get("site", "") not in _ABSENT
    }


def _fields(scan: ScanRecord, bids_dir: Path, out_dir: Path, listings: dict[Path, list[str]]) -> dict[str, Any]:
    raw = bids_dir / scan.series
    if raw.is_file():
        return sidecar(raw, bids_dir, listings)
    record = scan.find(MOTION_CORRECTION.name) or scan.find(MOTION_CORRECTION.name, series="aif")
    path = record.paths.get("preproc") if record else None
    beside = sidecar_path(out_dir / path) if path else None
    return read_json(beside) if beside is not None and beside.is_file() else {}
