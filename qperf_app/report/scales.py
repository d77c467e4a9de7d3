"""Colour scales of the quantities: fixed where a range is customary, so that pages can be compared by eye."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qperf_app.plugins.results import Picture
from qperf_app.report.pictures import INK, MISSING, encode_figure, figure_axes

#: Units of an absolute myocardial blood flow.
ABSOLUTE_FLOW = "mL/min/g"
#: Colour maps of even lightness steps, readable in print and by colour-blind readers (matplotlib's own).
VALUE_MAP, SPREAD_MAP, RATIO_MAP = "viridis", "magma", "plasma"

#: Quantity (OSIPI CAPLEX) and units: range of its colour scale, and what it is called in prose.
RANGES: dict[tuple[str, str], tuple[float, float]] = {
    ("MBF", "mL/min/g"): (0.0, 5.0),
    ("Fb", "mL/min/mL"): (0.0, 5.0),
    ("Fp", "mL/min/mL"): (0.0, 3.0),
    ("PS", "mL/min/mL"): (0.0, 3.0),
    ("Ktrans", "mL/min/mL"): (0.0, 2.0),
    ("vp", "mL/mL"): (0.0, 0.2),
    ("vb", "mL/mL"): (0.0, 0.3),
    ("ve", "mL/mL"): (0.0, 0.6),
    ("Ta", "s"): (0.0, 10.0),
    ("MPR", ""): (0.0, 4.0),
    ("Blood", "% of the voxel"): (0.0, 70.0),
}
NAMES = {
    "MBF": "Myocardial blood flow",
    "Fb": "Blood flow",
    "Fp": "Plasma flow",
    "PS": "Permeability-surface area product",
    "Ktrans": "Transfer constant",
    "vp": "Plasma volume",
    "vb": "Blood volume",
    "ve": "Interstitial volume",
    "Ta": "Bolus arrival delay",
    "MPR": "Perfusion reserve",
}
STATISTICS = {"std": "standard deviation", "q05": "5 % quantile", "q95": "95 % quantile"}


@dataclass(frozen=True)
class ColourScale:
    """A linear scale from ``low`` to ``high``; ``fixed`` is False where it was fitted to the values shown."""

    quantity: str
    units: str
    low: float
    high: float
    colours: str = VALUE_MAP
    fixed: bool = True
    statistic: str | None = None

    @property
    def title(self) -> str:
        """Name of the quantity with its units."""
        statistic = f", {STATISTICS.get(self.statistic, self.statistic)}" if self.statistic else ""
        return f"{self.quantity}{statistic}{unit_suffix(self.units)}"

    def paint(self, values: NDArray[np.floating]) -> NDArray[np.uint8]:
        """Colour values (...,) into (..., 3); NaN takes the grey of what was not estimated."""
        import matplotlib

        scaled = (np.asarray(values, float) - self.low) / (self.high - self.low)
        painted = np.asarray(matplotlib.colormaps[self.colours](np.nan_to_num(scaled), bytes=True))[..., :3]
        missing = np.array([int(MISSING[k : k + 2], 16) for k in (1, 3, 5)], np.uint8)
        return np.where(np.isfinite(values)[..., None], painted, missing)

    def bar(self) -> Picture:
        """Draw the scale as a horizontal bar with ticks and units."""
        figure, axes = figure_axes(3.6, 0.62, (0.04, 0.62, 0.96, 0.96))
        ramp = np.linspace(self.low, self.high, 256)
        axes.imshow(self.paint(ramp)[None], aspect="auto", extent=(self.low, self.high, 0, 1))
        axes.set_yticks([])
        axes.set_xlabel(self.title, fontsize=8.5, color=INK)
        axes.tick_params(labelsize=8.5, colors=INK, length=2.5)
        axes.locator_params(axis="x", nbins=6)
        for spine in axes.spines.values():
            spine.set_color("#8a949e")
        return encode_figure(figure, f"Colour scale of {self.title} from {self.low:g} to {self.high:g}")


def unit_suffix(units: str) -> str:
    """Return `` (units)``, or say that a quantity is relative; nothing where it is a plain ratio."""
    if units == "1":
        return " (relative units)"
    return f" ({units})" if units else ""


def scale_for(quantity: str, units: str, statistic: str | None, values: Sequence[NDArray[np.floating]]) -> ColourScale:
    """Return the one scale for all maps of a quantity that are shown together.

    The customary range holds for values and quantiles, half of it for standard deviations. Relative units and
    quantities without a customary range get one from 0 to the 98th percentile of all the values, rounded up.
    """
    known = RANGES.get((quantity, units))
    if known and statistic != "std":
        return ColourScale(quantity, units, *known, RATIO_MAP if quantity == "MPR" else VALUE_MAP, True, statistic)
    if known:
        return ColourScale(quantity, units, 0.0, known[1] / 2, SPREAD_MAP, True, statistic)
    finite = np.concatenate([np.ravel(v)[np.isfinite(np.ravel(v))] for v in values] or [np.zeros(0)])
    high = _rounded_up(float(np.percentile(finite, 98)) if finite.size else 1.0)
    low = min(0.0, float(np.percentile(finite, 2))) if finite.size else 0.0
    return ColourScale(quantity, units, low, high, SPREAD_MAP if statistic == "std" else VALUE_MAP, False, statistic)


def _rounded_up(value: float) -> float:
    """Next of 1, 2, 2.5, 5, 10 times a power of ten."""
    if not value > 0:
        return 1.0
    power = 10.0 ** np.floor(np.log10(value))
    return float(next(step * power for step in (1, 2, 2.5, 5, 10) if step * power >= value * (1 - 1e-9)))
