"""Colour scales of the quantities: fixed where a range is customary, so that pages can be compared by eye."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from qperf_app.plugins.records import RELATIVE_UNITS
from qperf_app.report import svg
from qperf_app.report.elements import Drawing
from qperf_app.report.pictures import MISSING, encode_palette, png_uri
from qperf_app.report.plots import ticks

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
    ("logBF", "nat"): (-4.0, 4.0),
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
    "logBF": "Log Bayes factor, plug flow against 2CXM",
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

    @property
    def palette(self) -> NDArray[np.uint8]:
        """Colours of :meth:`levels`, (256, 3); the first is that of what was not estimated."""
        return _palette(self.colours)

    def levels(self, values: NDArray[np.floating]) -> NDArray[np.uint8]:
        """Steps 1 to 255 from ``low`` to ``high``; 0 where there is no value."""
        finite = np.isfinite(values)
        scaled = (np.where(finite, values, self.low) - self.low) / (self.high - self.low)
        steps = np.clip(np.floor(256 * scaled), 1, 255).astype(np.uint8)
        return np.where(finite, steps, np.uint8(0))

    def paint(self, values: NDArray[np.floating]) -> NDArray[np.uint8]:
        """Colour values (...,) into (..., 3); NaN takes the grey of what was not estimated."""
        painted: NDArray[np.uint8] = self.palette[self.levels(values)]
        return painted

    def bar(self) -> Drawing:
        """Draw the scale as a horizontal bar with ticks and units."""
        left, right, height = 14.0, 306.0, 15.0
        place = f"translate({left:g} 1) scale({right - left:g} {height:g})"
        parts = [f'<use href="#{ramp_id(self.colours)}" transform="{place}"/>']
        for value in ticks((self.low, self.high)):
            x = left + (value - self.low) * (right - left) / (self.high - self.low)
            parts += [
                svg.path([(x, height + 1), (x, height + 4)], kind="axis"),
                svg.text(x, height + 15, f"{value:g}", "tick", "middle"),
            ]
        parts.append(svg.text((left + right) / 2, height + 31, self.title, "label", "middle"))
        return svg.drawing(parts, 320, 52, f"Colour scale of {self.title} from {self.low:g} to {self.high:g}")


@cache
def colour_map(name: str) -> NDArray[np.uint8]:
    """Colours (256, 3) of a colour map, from the table beside this file."""
    lines = files("qperf_app.report").joinpath("colour_maps.csv").read_text(encoding="utf-8").split()
    column = lines[0].split(",").index(name)
    return np.array([_rgb(line.split(",")[column]) for line in lines[1:]], np.uint8)


@cache
def _palette(colours: str) -> NDArray[np.uint8]:
    palette = np.vstack([np.array(_rgb(MISSING), np.uint8), colour_map(colours)[1:]])
    palette.setflags(write=False)
    return palette


def _rgb(colour: str) -> tuple[int, ...]:
    return tuple(int(colour[k : k + 2], 16) for k in (1, 3, 5))


def ramp_id(colours: str) -> str:
    """Id of a colour map's ramp among the page's definitions."""
    return f"ramp-{colours}"


def ramps() -> list[str]:
    """Ramps of all colour maps as definitions of the page, a unit square each."""
    steps = np.arange(256, dtype=np.uint8)[None]
    return [
        f'<image id="{ramp_id(name)}" width="1" height="1" preserveAspectRatio="none" '
        f'href="{png_uri(encode_palette(steps, colour_map(name)))}"/>'
        for name in (VALUE_MAP, SPREAD_MAP, RATIO_MAP)
    ]


def unit_suffix(units: str) -> str:
    """Return `` (units)``, or say that a quantity is relative; nothing where it is a plain ratio."""
    if units == RELATIVE_UNITS:
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
