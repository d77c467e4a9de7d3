"""Curves of finished runs, for plugins that learn from participants' own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from qperf_app.bids import records
from qperf_app.bids.errors import DatasetError, SelectionError
from qperf_app.bids.images import read_json, sidecar_path
from qperf_app.bids.names import ROLES, derivative_name
from qperf_app.plugins import TissueConstants, TissueCurves
from qperf_app.training.cases import KineticScan


def find_scans(
    out_dir: Path, participants: Sequence[str] | None, say: Callable[[str], None]
) -> list[Callable[[], KineticScan]]:
    """Find the scans of an output folder that have tissue curves, a myocardium and an input function.

    Parameters
    ----------
    out_dir : Path
    participants : labels, with or without ``sub-``, or None for all
    say : function

    Returns
    -------
    list of functions
        Each reads one scan.

    Raises
    ------
    DatasetError
        Where the folder has no such scan.
    SelectionError
        Where a participant has none.
    """
    suffix = "_" + ROLES["conc"]
    found: dict[str, list[Callable[[], KineticScan]]] = {}
    needed = ("conc", "myocardium", "aif")
    for path in sorted(out_dir.glob(f"sub-*/**/*{suffix}")):
        prefix = path.name.removesuffix(suffix)
        files = {role: path.with_name(derivative_name(prefix, role)) for role in needed}
        muscle = path.with_name(derivative_name(prefix, "muscle"))
        if muscle.is_file():
            # What a kinetics plugin was given.
            files["conc"] = muscle
        if all(file.is_file() for file in files.values()):
            found.setdefault(prefix.split("_")[0].removeprefix("sub-"), []).append(partial(_read, prefix, files))
    if not found:
        raise DatasetError(f"{out_dir}: no finished run: no scan has {' and '.join(ROLES[r] for r in needed)}")
    wanted = list(found) if participants is None else [label.removeprefix("sub-") for label in participants]
    for label in wanted:
        if label not in found:
            raise SelectionError(f"{out_dir}: no scan of participant {label} has curves to learn from")
    scans = [scan for label in wanted for scan in found[label]]
    say(f"{out_dir}: curves of {len(scans)} scans")
    return scans


def _read(prefix: str, files: dict[str, Path]) -> KineticScan:
    series, mask = records.read_series(files["conc"]), records.read_mask(files["myocardium"])
    if mask.shape != series.data.shape[:3]:
        raise DatasetError(f"{files['myocardium']}: shape {mask.shape}, its series has {series.data.shape[:3]}")
    aif = records.read_aif(files["aif"])
    described = read_json(sidecar_path(files["aif"])) if sidecar_path(files["aif"]).is_file() else {}
    constants = TissueConstants() if aif.plasma else TissueConstants(float(described.get("Haematocrit", 0.42)))
    data = series.data[mask].astype(np.float64)
    return KineticScan(
        TissueCurves(data, series.times, np.argwhere(mask), series.affine, series.units), aif, constants, prefix
    )
