"""Curves of the segments with a model's fit of them, and the draws of their flow."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from qperf_app.plugins.results import CURVE_DEFINITION, ScanResult, SegmentCurves
from qperf_app.report import svg
from qperf_app.report.curves import units_in_words
from qperf_app.report.elements import Details, Drawing, Gallery, HostElement
from qperf_app.report.pictures import BLUE, VERMILION
from qperf_app.report.plots import Axes, Limits, limits_of
from qperf_app.report.studies import Study, flow_units, task_of

Interval = tuple[float, float]

# Half of the width of a normal distribution's 90 % interval, in standard deviations.
_NINETY = 1.645
_COLUMNS = 4


def fit_elements(study: Study, method: tuple[str, str]) -> list[HostElement]:
    """Curves and draws of every scan of a study, folded away."""
    elements: list[HostElement] = []
    found = [(scan, curves) for scan in study.scans for curves in [curves_of(scan, method)] if curves is not None]
    if found:
        caption = f"Points: a segment's curve, {CURVE_DEFINITION}. Line: the model's curve, on one scale."
        if any(curves.predicted_sd is not None for _, curves in found):
            caption += " Band: where nine of ten points should lie."
        pictures = tuple(curves_picture(curves, task_of(scan)) for scan, curves in found)
        elements.append(Details("Curves of the segments and the model's fit", (Gallery(pictures, caption),)))
    units = flow_units(study, method)
    drawn = tuple(p for scan, curves in found for p in [draws_picture(curves, task_of(scan), units)] if p is not None)
    if drawn:
        caption = (
            f"Draws of MBF ({units}) of each segment, from which the intervals of the reserve are: those of the "
            "posterior of its curve, moved to the median over its voxels and scattered by how much these differ. A "
            "drift or a step tells of a sampler that has not found the whole posterior. A level band does not tell "
            "that it has: draws that were weighed have no order, and the scatter hides small steps."
        )
        elements.append(Details("Draws of the segments' flow", (Gallery(drawn, caption),)))
    return elements


def drawn_reserves(rest: ScanResult | None, stress: ScanResult | None, method: tuple[str, str]) -> dict[int, Interval]:
    """90 % intervals of stress over rest MBF by segment, from the draws of both scans, which are independent."""
    both = curves_of(rest, method), curves_of(stress, method)
    if both[0] is None or both[1] is None or both[0].flow_draws is None or both[1].flow_draws is None:
        return {}
    draws = [dict(zip(c.segments, np.asarray(c.flow_draws), strict=True)) for c in both if c is not None]
    found = {}
    for segment in draws[0].keys() & draws[1].keys():
        resting, stressed = (values[segment] for values in draws)
        count = min(len(resting), len(stressed))
        ratio = stressed[:count] / np.where(resting[:count] > 0.0, resting[:count], np.nan)
        if np.isfinite(ratio).all():
            low, high = np.quantile(ratio, (0.05, 0.95))
            found[segment] = float(low), float(high)
    return found


def curves_of(scan: ScanResult | None, method: tuple[str, str]) -> SegmentCurves | None:
    """Return the segments' curves of one method."""
    every = scan.segment_curves if scan else ()
    return next((curves for curves in every if (curves.plugin, curves.model) == method), None)


def curves_picture(curves: SegmentCurves, title: str) -> Drawing:
    """Draw every segment's curve, its fit and what the posterior predicts."""
    spread = np.zeros_like(curves.fitted) if curves.predicted_sd is None else _NINETY * curves.predicted_sd
    known = np.concatenate([curves.measured, curves.fitted + spread, curves.fitted - spread])

    def draw(axes: Axes, k: int) -> None:
        if curves.predicted_sd is not None:
            axes.band(curves.times, curves.fitted[k] - spread[k], curves.fitted[k] + spread[k], BLUE, 0.22)
        axes.line(curves.times, curves.fitted[k], BLUE, 1.3)
        axes.dots(curves.times, curves.measured[k], VERMILION, 1.1)

    units = units_in_words(curves.units)
    words = f"{title}: curves of {len(curves.segments)} segments ({units}) and their fit by {curves.plugin}."
    heading = f"{title}: concentration ({units}) over time (s)"
    return _grid(curves, draw, limits_of(curves.times, 0.02), limits_of(known, 0.03, 0.0), heading, words)


def draws_picture(curves: SegmentCurves, title: str, units: str) -> Drawing | None:
    """Draw a posterior's draws of every segment's flow; None where there are none."""
    draws = None if curves.flow_draws is None else np.asarray(curves.flow_draws, float)
    if draws is None or not np.isfinite(draws).any():
        return None
    # No more points than there are pixels: of each stretch its least and its largest.
    count = draws.shape[1]
    edges = np.unique(np.linspace(0, count, min(count, _MOST_STRETCHES) + 1).astype(int))
    low, high = (extreme.reduceat(draws, edges[:-1], axis=1) for extreme in (np.fmin, np.fmax))
    at = np.repeat((edges[:-1] + edges[1:]) / 2, 2)

    def draw(axes: Axes, k: int) -> None:
        axes.line(at, np.stack([low[k], high[k]], axis=1).ravel(), BLUE, 0.6)

    words = f"{title}: draws of the flow of {len(curves.segments)} segments by {curves.plugin}."
    heading = f"{title}: MBF ({units}) over {count} draws"
    return _grid(curves, draw, (0.0, float(count)), limits_of(draws, 0.03, 0.0), heading, words)


#: Stretches that a chain of draws is drawn in.
_MOST_STRETCHES = 90


def _grid(
    curves: SegmentCurves, draw: Callable[[Axes, int], None], x: Limits, y: Limits, title: str, words: str
) -> Drawing:
    """A small pair of axes for each segment, all with the same scales."""
    parts, width, height, top = [svg.text(4, 14, title, "title")], 140.0, 96.0, 22.0
    for k, segment in enumerate(curves.segments):
        row, column = divmod(k, _COLUMNS)
        left, upper = column * width + 34, top + row * height + 16
        axes = Axes((left, upper, left + width - 42, upper + height - 34), x, y)
        draw(axes, k)
        axes.frame(title=str(segment), most=(3, 3))
        parts += axes.parts
    rows = -(-len(curves.segments) // _COLUMNS)
    return svg.drawing(parts, _COLUMNS * width, top + rows * height + 4, words, "drawing small")
