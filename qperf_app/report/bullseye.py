"""The 17-segment bull's-eye (Cerqueira et al., Circulation 2002;105:539): anterior at the top, septum to the left."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import numpy as np

from qperf_app.plugins.results import Picture
from qperf_app.report.pictures import INK, MISSING, encode_figure, figure_axes
from qperf_app.report.scales import ColourScale

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Segment: inner radius, outer radius, start angle, end angle; degrees anticlockwise from the lateral wall.
SECTORS: dict[int, tuple[float, float, float, float]] = {
    **{1 + k: (0.72, 1.0, 60.0 + 60 * k, 120.0 + 60 * k) for k in range(6)},
    **{7 + k: (0.46, 0.72, 60.0 + 60 * k, 120.0 + 60 * k) for k in range(6)},
    **{13 + k: (0.2, 0.46, 45.0 + 90 * k, 135.0 + 90 * k) for k in range(4)},
    17: (0.0, 0.2, 0.0, 360.0),
}
_WALLS = (("Anterior", 0, 1.06), ("Inferior", 0, -1.06), ("Septal", -1.06, 0), ("Lateral", 1.06, 0))


def bullseye(
    values: Mapping[int, float],
    scale: ColourScale,
    title: str,
    low: float | None = None,
    doubtful: Collection[int] = (),
    decimals: int = 2,
) -> Picture:
    """Draw the values of the segments.

    Parameters
    ----------
    values : mapping
        Value by segment number, 1 to 17. Missing or NaN is grey.
    scale : ColourScale
    title : str
    low : float, optional
        A segment below it has a triangle beside its value.
    doubtful : collection of int
        Segments with a question mark beside their value.
    decimals : int
    """
    figure, axes = figure_axes(3.7, 3.95, (0.0, 0.0, 1.0, 3.7 / 3.95))
    axes.set_axis_off()
    axes.set_xlim(-1.13, 1.13)
    axes.set_ylim(-1.13, 1.13)
    for number, sector in SECTORS.items():
        value = float(values.get(number, np.nan))
        mark = "?" if number in doubtful else ""
        mark += "\u25be" if low is not None and value < low else ""
        _draw_segment(axes, number, sector, value, scale, f"{value:.{decimals}f}{mark}")
    for words, x, y in _WALLS:
        turn = {-1.06: 90, 1.06: -90}.get(x, 0)
        axes.text(x, y, words, ha="center", va="center", rotation=turn, fontsize=9, color=INK)
    axes.set_title(title, fontsize=11, color=INK, pad=2)
    return encode_figure(figure, _in_words(values, title, low, doubtful, decimals))


def _draw_segment(
    axes: Axes,
    number: int,
    sector: tuple[float, float, float, float],
    value: float,
    scale: ColourScale,
    words: str,
) -> None:
    from matplotlib.patches import Wedge

    inner, outer, start, end = sector
    colour = scale.paint(np.array(value)) / 255
    patch = Wedge((0, 0), outer, start, end, width=outer - inner, facecolor=colour, edgecolor="white", lw=1.6)
    if not np.isfinite(value):
        # Not by colour alone: a segment without an estimate is hatched.
        patch.set(hatch="////", hatchcolor="white")
    axes.add_patch(patch)
    radius, angle = ((inner + outer) / 2 if inner else 0.0), np.radians((start + end) / 2)
    x, y = radius * np.cos(angle), radius * np.sin(angle)
    # Black on light, white on dark, by relative luminance.
    ink = "white" if colour @ (0.2126, 0.7152, 0.0722) < 0.42 else "black"
    if np.isfinite(value):
        axes.text(x, y - 0.025, words, ha="center", va="center", fontsize=9.5, color=ink)
        axes.text(x, y + 0.075, str(number), ha="center", va="center", fontsize=6.5, color=ink, alpha=0.85)
    else:
        axes.text(x, y, str(number), ha="center", va="center", fontsize=6.5, color="#4b5560")


def _in_words(
    values: Mapping[int, float], title: str, low: float | None, doubtful: Collection[int], decimals: int
) -> str:
    """Describe the bull's-eye for those who do not see it."""
    known = {number: value for number, value in values.items() if np.isfinite(value)}
    if not known:
        return f"Bull's-eye, {title}: no segment was estimated."
    words = ", ".join(f"{number}: {value:.{decimals}f}" for number, value in sorted(known.items()))
    below = f"; {sum(v < low for v in known.values())} below {low:g}" if low is not None else ""
    below += f"; wide interval: {', '.join(map(str, sorted(doubtful)))}" if doubtful else ""
    return f"Bull's-eye, {title}, by segment: {words}{below}. Grey ({MISSING}): not estimated."
