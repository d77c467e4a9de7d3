"""The 17-segment bull's-eye (Cerqueira et al., Circulation 2002;105:539): anterior at the top, septum to the left."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape

import numpy as np

from qperf_app.report import svg
from qperf_app.report.elements import Drawing
from qperf_app.report.marks import WIDE
from qperf_app.report.pictures import hexadecimal
from qperf_app.report.scales import ColourScale

#: Segment: inner radius, outer radius, start angle, end angle; degrees anticlockwise from the lateral wall.
SECTORS: dict[int, tuple[float, float, float, float]] = {
    **{1 + k: (0.72, 1.0, 60.0 + 60 * k, 120.0 + 60 * k) for k in range(6)},
    **{7 + k: (0.46, 0.72, 60.0 + 60 * k, 120.0 + 60 * k) for k in range(6)},
    **{13 + k: (0.2, 0.46, 45.0 + 90 * k, 135.0 + 90 * k) for k in range(4)},
    17: (0.0, 0.2, 0.0, 360.0),
}
#: Edge of the drawing and pixels of the outermost radius; the middle lies a little below that of the drawing.
_WIDTH, _HEIGHT, _RADIUS = 300.0, 322.0, 132.0
_MIDDLE = np.array([_WIDTH / 2, _HEIGHT - _WIDTH / 2])
_WALLS = (("Anterior", 0, 1.055, 0), ("Inferior", 0, -1.075, 0), ("Septal", -1.04, 0, -90), ("Lateral", 1.04, 0, 90))
#: Nothing was estimated: the page's pattern of that name, so that it is not told by colour alone.
HATCH = "url(#hatch)"


@dataclass(frozen=True)
class SegmentPicture:
    """What a bull's-eye shows.

    Parameters
    ----------
    values : mapping
        Value by segment number, 1 to 17. Missing or NaN is hatched grey.
    scale : ColourScale
    title : str
    low : float, optional
        A segment below it has a triangle beside its number.
    marks : mapping
        Marks beside the number of a segment (:mod:`qperf_app.report.marks`).
    outlined : set of int
        Segments with a rim: those that the table of territories calls low.
    """

    values: Mapping[int, float]
    scale: ColourScale
    title: str
    low: float | None = None
    marks: Mapping[int, str] = field(default_factory=dict)
    outlined: frozenset[int] = frozenset()

    def value(self, number: int) -> float:
        """Value of a segment, NaN where there is none."""
        return float(self.values.get(number, np.nan))

    def words(self, number: int) -> tuple[str, str]:
        """What is written into a segment: its value, and the marks beside its number; nothing without a value."""
        value = self.value(number)
        low = "\u25be" if self.low is not None and value < self.low else ""
        return (f"{value:.2f}", self.marks.get(number, "") + low) if np.isfinite(value) else ("", "")

    @property
    def alt(self) -> str:
        """The bull's-eye for those who do not see it."""
        known = {number: value for number, value in self.values.items() if np.isfinite(value)}
        if not known:
            return f"Bull's-eye, {self.title}: no segment was estimated."
        words = ", ".join(f"{number}: {value:.2f}" for number, value in sorted(known.items()))
        below = f"; {sum(v < self.low for v in known.values())} below {self.low:g}" if self.low is not None else ""
        wide = [str(number) for number, marks in sorted(self.marks.items()) if WIDE in marks]
        below += f"; outlined as low: {', '.join(map(str, sorted(self.outlined)))}" if self.outlined else ""
        below += f"; wide interval: {', '.join(wide)}" if wide else ""
        return f"Bull's-eye, {self.title}, by segment: {words}{below}. Grey: not estimated."


def bullseye(picture: SegmentPicture) -> Drawing:
    """Draw the values of the segments."""
    parts, written = [], []
    for number in SECTORS:
        value, (words, marks) = picture.value(number), picture.words(number)
        parts.append(_sector(number, hexadecimal(picture.scale.paint(np.array(value))) if words else HATCH))
        written.append(_words(number, words, ink_on(picture.scale, value), marks))
    # Over the gaps between all segments and below the words: a light line with a dark rim is seen on any colour.
    for kind in ("low-rim", "low-line"):
        parts += [_shape(number, f'class="{kind}" fill="none"') for number in sorted(picture.outlined)]
    parts += written
    return _finished(parts, picture.title, picture.alt)


def layers_bullseye(endo: Mapping[int, float], epi: Mapping[int, float], scale: ColourScale, title: str) -> Drawing:
    """Draw the inner and the outer layer of every segment as a gradient from its inner to its outer edge.

    The number is the quotient endo/epi. A segment that lacks a layer is hatched.
    """
    parts, quotients = [], {}
    for number, (inner, outer, _, _) in SECTORS.items():
        inside, outside = float(endo.get(number, np.nan)), float(epi.get(number, np.nan))
        if not (np.isfinite([inside, outside]).all() and outside > 0):
            parts += [_sector(number, HATCH), _words(number, "", "")]
            continue
        quotients[number] = inside / outside
        colours = [hexadecimal(scale.paint(np.array(v))) for v in (inside, outside)]
        # Ids are the page's: a drawing of the same colours has the same gradient.
        name = f"wall-{number}-{colours[0][1:]}-{colours[1][1:]}"
        ends = zip((inner / outer, 1.0), colours, strict=True)
        stops = "".join(f'<stop offset="{at:.3f}" stop-color="{colour}"/>' for at, colour in ends)
        parts.append(
            f'<radialGradient id="{name}" gradientUnits="userSpaceOnUse" cx="{_MIDDLE[0]:g}" cy="{_MIDDLE[1]:g}" '
            f'r="{outer * _RADIUS:g}">{stops}</radialGradient>'
        )
        parts.append(_sector(number, f"url(#{name})"))
        parts.append(_words(number, f"{quotients[number]:.2f}", ink_on(scale, (inside + outside) / 2)))
    words = ", ".join(f"{number}: {value:.2f}" for number, value in sorted(quotients.items()))
    return _finished(
        parts, title, f"Bull's-eye, {title}, endo/epi by segment: {words or 'no segment has both layers'}."
    )


def _finished(parts: list[str], title: str, alt: str) -> Drawing:
    for words, right, up, turn in _WALLS:
        x, y = _MIDDLE + _RADIUS * np.array([right, -up]) + (0, 0 if turn else 4)
        parts.append(svg.text(x, y, words, "label", "middle", turn))
    parts.append(svg.text(_WIDTH / 2, 13, title, "title", "middle"))
    return svg.drawing(parts, _WIDTH, _HEIGHT, alt)


def _point(radius: float, degrees: float) -> str:
    x, y = _MIDDLE + _RADIUS * radius * np.array([np.cos(np.deg2rad(degrees)), -np.sin(np.deg2rad(degrees))])
    return f"{x:.1f} {y:.1f}"


def _sector(number: int, fill: str) -> str:
    return _shape(number, f'class="segment" data-segment="{number}" fill="{fill}"')


def _shape(number: int, style: str) -> str:
    inner, outer, start, end = SECTORS[number]
    if not inner:
        return f'<circle {style} cx="{_MIDDLE[0]:g}" cy="{_MIDDLE[1]:g}" r="{outer * _RADIUS:g}"/>'
    out, back = (f"A{r * _RADIUS:g} {r * _RADIUS:g} 0 0" for r in (outer, inner))
    edge = f"M{_point(outer, start)}{out} 0 {_point(outer, end)}"
    return f'<path {style} d="{edge}L{_point(inner, end)}{back} 1 {_point(inner, start)}Z"/>'


def _words(number: int, value: str, ink: str, marks: str = "") -> str:
    inner, outer, start, end = SECTORS[number]
    radius, angle = ((inner + outer) / 2 if inner else 0.0), np.deg2rad((start + end) / 2)
    y = float(_MIDDLE[1] - _RADIUS * radius * np.sin(angle))
    if not value:
        return svg.text(_centre_of(number, y), y + 3, str(number), "segment-number on-light")
    style = f"on-{ink}"
    above = svg.text(_centre_of(number, y - 9), y - 6, str(number), f"segment-number {style}")
    if marks:
        # Beside the number: the value has little more room than it takes.
        above = above.replace("</text>", f' <tspan class="segment-mark">{escape(marks)}</tspan></text>')
    return above + svg.text(_centre_of(number, y + 3), y + 8, value, f"segment-value {style}")


def _centre_of(number: int, y: float) -> float:
    """Where the middle of a segment is at the height of a line of words: a ring's sides slant."""
    inner, outer, start, end = SECTORS[number]
    side = round(np.cos(np.deg2rad((start + end) / 2)), 6) if inner else 0.0
    edges = [np.sqrt(max((_RADIUS * edge) ** 2 - (y - _MIDDLE[1]) ** 2, 0.0)) for edge in (inner, outer)]
    return float(_MIDDLE[0] + np.sign(side) * np.mean(edges))


def ink_on(scale: ColourScale, value: float) -> str:
    """Whether a value's colour is ``light`` or ``dark``: black or white words stand out from it more.

    At a relative luminance of 0.179 both have a contrast of 4.58 to 1 (WCAG 2.1, 1.4.3).
    """
    colour = scale.paint(np.array(value)) / 255
    linear = np.where(colour <= 0.03928, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)
    return "dark" if linear @ (0.2126, 0.7152, 0.0722) < 0.179 else "light"
