"""Axes with ticks, labels and curves, as parts of a drawing."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qperf_app.report import svg
from qperf_app.report.elements import Drawing

Limits = tuple[float, float]
#: Steps between ticks, times a power of ten.
_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)


def ticks(limits: Limits, most: int = 6) -> list[float]:
    """Round numbers within limits, at most so many intervals between them; none for 0."""
    if not most:
        return []
    low, high = limits
    span = max(high - low, 1e-12)
    power = 10.0 ** np.floor(np.log10(span / most))
    step = next(s * power for s in (*_STEPS, 20.0) if s * power * most >= span * (1 - 1e-9))
    first = int(np.ceil(low / step - 1e-9))
    last = int(np.floor(high / step + 1e-9))
    return [k * step + 0.0 for k in range(first, last + 1)]


def limits_of(values: ArrayLike, margin: float = 0.05, floor: float | None = None) -> Limits:
    """From the least to the largest finite value with a margin, never empty; ``floor`` lies within."""
    found = np.asarray(values, float)
    finite = found[np.isfinite(found)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    if floor is not None:
        low, high = min(low, floor), max(high, floor)
    spare = margin * (high - low or abs(high) or 1.0)
    return (low if low == floor else low - spare), high + spare


class Axes:
    """A rectangle of a drawing with a linear scale along each edge.

    Parameters
    ----------
    box : left, top, right, bottom
        Of the rectangle within the drawing.
    x, y : limits of the scales
    """

    def __init__(self, box: tuple[float, float, float, float], x: Limits, y: Limits) -> None:
        self.box, self._x, self._y = box, x, y
        self.parts: list[str] = []

    def points(self, x: ArrayLike, y: ArrayLike) -> NDArray[np.float64]:
        """Places (n, 2) in the drawing."""
        left, top, right, bottom = self.box
        across = left + (np.asarray(x, float) - self._x[0]) * (right - left) / (self._x[1] - self._x[0])
        down = bottom - (np.asarray(y, float) - self._y[0]) * (bottom - top) / (self._y[1] - self._y[0])
        return np.stack(np.broadcast_arrays(across, down), axis=-1)

    def line(self, x: ArrayLike, y: ArrayLike, colour: str, width: float = 1.6, dash: str = "") -> None:
        """Draw a curve."""
        self.parts.append(svg.path(self.points(x, y), colour, width, dash))

    def dots(self, x: ArrayLike, y: ArrayLike, colour: str, radius: float = 2.0) -> None:
        """Draw a dot at each value."""
        self.parts.append(svg.dots(self.points(x, y), colour, radius))

    def band(self, x: ArrayLike, low: ArrayLike, high: ArrayLike, colour: str, opacity: float = 0.16) -> None:
        """Fill what lies between two curves."""
        edges = np.concatenate([self.points(x, low), self.points(x, high)[::-1]])
        self.parts.append(svg.area(edges[np.isfinite(edges).all(axis=1)], colour, opacity))

    def level(self, y: float, kind: str, dash: str = "") -> None:
        """Draw a horizontal line across the axes, in the style of a class."""
        self.parts.append(svg.path(self.points(self._x, y), kind=kind, dash=dash))

    def frame(self, x_label: str = "", y_label: str = "", title: str = "", most: tuple[int, int] = (6, 5)) -> None:
        """Draw the scales behind the curves: ticks with numbers, a faint grid, labels and a title."""
        left, top, right, bottom = self.box
        behind = []
        for value, (x, _) in zip(across := ticks(self._x, most[0]), self.points(across, self._y[0]), strict=True):
            behind.append(svg.text(x, bottom + 14, f"{value:g}", "tick", "middle"))
        for value, (_, y) in zip(up := ticks(self._y, most[1]), self.points(self._x[0], up), strict=True):
            behind.append(svg.path([(left, y), (right, y)], kind="gridline"))
            behind.append(svg.text(left - 5, y + 3.5, f"{round(value, 10):g}", "tick", "end"))
        behind.append(svg.path([(left, top), (left, bottom), (right, bottom)], kind="axis"))
        if x_label:
            behind.append(svg.text((left + right) / 2, bottom + 29, x_label, "label", "middle"))
        if y_label:
            behind.append(svg.text(left - 36, (top + bottom) / 2, y_label, "label", "middle", -90))
        if title:
            behind.append(svg.text(left, top - 8, title, "title"))
        self.parts = behind + self.parts


def plot(axes: Axes, width: float, height: float, alt: str) -> Drawing:
    """Finish a drawing of one pair of axes."""
    return svg.drawing(axes.parts, width, height, alt)
