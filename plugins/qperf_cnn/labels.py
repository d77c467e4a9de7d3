"""Labels of simulated studies, made by another kinetics plugin and kept on disk, so that training can be repeated."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qperf_app.plugins import (
    STATISTICS,
    InputFunction,
    KineticsPlugin,
    RunContext,
    TissueConstants,
    TissueCurves,
)
from qperf_cnn.simulation import Study

Array = NDArray[np.float64]

#: What is learnt of each curve, and of what unit.
QUANTITIES = {"Fp": "mL/min/mL", "PS": "mL/min/mL", "Ktrans": "mL/min/mL", "vp": "mL/mL", "ve": "mL/mL", "Ta": "s"}
#: Where the median stands among the statistics: what is learnt as the value of a quantity.
MEDIAN = STATISTICS.index("q50")


@dataclass(frozen=True)
class Labels:
    """What a labeller says of n curves.

    Parameters
    ----------
    values : (n, 6, 5) array
        Mean, standard deviation, 5, 50 and 95 % quantile of each of :data:`QUANTITIES`; NaN where it gives none.
        A point estimate stands in the place of the median.
    qc : (n,) uint8 array
        The labeller's own codes, 0 for a full estimate.
    """

    values: Array
    qc: NDArray[np.uint8]


class LabelStore:
    """Labels in a folder, one file for each study, named by what went into it.

    Parameters
    ----------
    folder : Path
    plugin : KineticsPlugin
        The labeller. Its name, version and options are part of a file's name, as are the curves.
    """

    def __init__(self, folder: Path, plugin: KineticsPlugin) -> None:
        self.folder, self.plugin = folder, plugin
        folder.mkdir(parents=True, exist_ok=True)

    def label(self, study: Study) -> Labels:
        """Labels of a study; read where they were made before."""
        path = self.folder / f"{self.digest(study)}.npz"
        if path.exists():
            with np.load(path, allow_pickle=False) as found:
                return Labels(found["values"].astype(np.float64), found["qc"])
        labels = fit(self.plugin, study)
        partial = path.with_suffix(".partial.npz")
        np.savez_compressed(partial, values=labels.values.astype(np.float32), qc=labels.qc)
        partial.replace(path)
        return labels

    def digest(self, study: Study) -> str:
        """SHA-256 of the labeller and the curves, 32 digits of it."""
        whole = hashlib.sha256(f"{self.plugin.name} {self.plugin.version} {self.plugin.options}".encode())
        for array in (study.times, study.plasma, study.tissue):
            whole.update(np.ascontiguousarray(array).tobytes())
        return whole.hexdigest()[:32]


def fit(plugin: KineticsPlugin, study: Study) -> Labels:
    """Run the labeller on a study, on one thread: studies run beside each other."""
    n = len(study.tissue)
    curves = TissueCurves(study.tissue, study.times, np.zeros((n, 3), dtype=np.intp), np.eye(4))
    aif = InputFunction(study.times, study.plasma, plasma=True)
    found = plugin.fit(curves, aif, TissueConstants(), RunContext())
    values = np.full((n, len(QUANTITIES), len(STATISTICS)), np.nan)
    for at, quantity in enumerate(QUANTITIES):
        for parameter in found.maps:
            if parameter.quantity == quantity:
                column = STATISTICS.index(parameter.statistic) if parameter.statistic else MEDIAN
                values[:, at, column] = parameter.values
    return Labels(values, found.qc)
