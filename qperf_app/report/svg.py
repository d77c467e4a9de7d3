"""Scalable drawings, written directly: lines and words need no pixels, and follow the page's colours.

Inside the page a drawing inherits its style sheet, where the classes stand (``page.css``).
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qperf_app.report.elements import Drawing


def drawing(parts: Sequence[str], width: float, height: float, alt: str, kind: str = "drawing") -> Drawing:
    """Put parts together; ``alt`` says in words what is drawn, ``kind`` is the style sheet's class."""
    head = f'<svg class="{kind}" viewBox="0 0 {width:g} {height:g}" width="{width:g}" height="{height:g}"'
    return Drawing(f'{head} role="img" aria-label="{escape(alt)}">{"".join(parts)}</svg>', alt)


def text(x: float, y: float, words: str, kind: str = "", anchor: str = "start", turn: float = 0.0) -> str:
    """Words at a point; ``anchor`` is ``start``, ``middle`` or ``end``, ``turn`` degrees clockwise."""
    turned = f' transform="rotate({turn:g} {x:.1f} {y:.1f})"' if turn else ""
    named = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{named}{turned}>{escape(words)}</text>'


def path(
    points: ArrayLike, colour: str = "", width: float = 1.6, dash: str = "", kind: str = "", closed: bool = False
) -> str:
    """Line through points (n, 2), broken where they are not finite; nothing where none is."""
    steps = _steps(np.asarray(points, float))
    if not steps:
        return ""
    named, dashed = (f' class="{kind}"' if kind else ""), (f' stroke-dasharray="{dash}"' if dash else "")
    inked = f' stroke="{colour}" stroke-width="{width:g}"' if colour else ""
    return f'<path fill="none"{named}{inked}{dashed} d="{steps}{"Z" if closed else ""}"/>'


def area(points: ArrayLike, colour: str, opacity: float) -> str:
    """Filled polygon (n, 2)."""
    return f'<path fill="{colour}" fill-opacity="{opacity:g}" stroke="none" d="{_steps(np.asarray(points, float))}Z"/>'


def dots(points: ArrayLike, colour: str, radius: float, kind: str = "") -> str:
    """A dot at each finite point (n, 2), as one line of round points."""
    finite = [(x, y) for x, y in np.asarray(points, float).reshape(-1, 2) if np.isfinite(x + y)]
    named = f' class="{kind}"' if kind else ""
    steps = "".join(f"M{x:.1f} {y:.1f}h0" for x, y in finite)
    style = f'stroke="{colour}" stroke-width="{2 * radius:g}" stroke-linecap="round"'
    return f'<path fill="none"{named} {style} d="{steps}"/>' if steps else ""


def crosses(points: ArrayLike, colour: str, size: float) -> str:
    """A cross at each point (n, 2)."""
    arms = "".join(
        f"M{x - size:.1f} {y - size:.1f}l{2 * size:g} {2 * size:g}m{-2 * size:g} 0l{2 * size:g} {-2 * size:g}"
        for x, y in np.asarray(points, float).reshape(-1, 2)
    )
    return f'<path fill="none" stroke="{colour}" stroke-width="1.5" d="{arms}"/>' if arms else ""


def _steps(points: NDArray[np.float64]) -> str:
    steps, pen = [], "M"
    for x, y in points:
        if np.isfinite(x + y):
            steps.append(f"{pen}{x:.1f} {y:.1f}")
            pen = "L"
        else:
            pen = "M"
    return "".join(steps)
