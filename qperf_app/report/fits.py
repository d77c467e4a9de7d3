"""Curves of the segments with a model's fit of them, and a posterior's draws in the order in which they were made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from qperf_app.plugins.records import RELATIVE_UNITS
from qperf_app.plugins.results import CURVE_DEFINITION, Picture, ScanResult, SegmentCurves
from qperf_app.report.backdrops import task_of
from qperf_app.report.elements import Details, Gallery, HostElement
from qperf_app.report.pictures import BLUE, INK, MUTED, VERMILION, encode_figure, figure_grid
from qperf_app.report.studies import Study

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
    drawn = tuple(p for scan, curves in found for p in [draws_picture(curves, task_of(scan))] if p is not None)
    if drawn:
        caption = (
            "Draws of MBF (mL/min/g) of each segment's posterior, in the order in which they were made: a level band, "
            "without drift or steps, is what chains look like that have found the whole posterior."
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


def curves_picture(curves: SegmentCurves, title: str) -> Picture:
    """Draw every segment's curve, its fit and what the posterior predicts."""
    spread = np.zeros_like(curves.fitted) if curves.predicted_sd is None else _NINETY * curves.predicted_sd
    known = np.concatenate([curves.measured, curves.fitted + spread, curves.fitted - spread])
    top, bottom = float(np.nanmax(known, initial=1e-3)), float(np.nanmin(known, initial=0.0))

    def draw(axes: Any, k: int) -> None:
        if curves.predicted_sd is not None:
            low, high = curves.fitted[k] - spread[k], curves.fitted[k] + spread[k]
            axes.fill_between(curves.times, low, high, color=BLUE, alpha=0.18, lw=0)
        axes.plot(curves.times, curves.fitted[k], color=BLUE, lw=1.2)
        axes.plot(curves.times, curves.measured[k], ".", color=VERMILION, ms=2.4)
        axes.set_ylim(bottom - 0.03 * (top - bottom), top + 0.03 * (top - bottom))

    units = "relative units" if curves.units == RELATIVE_UNITS else curves.units
    words = f"{title}: curves of {len(curves.segments)} segments ({units}) and their fit by {curves.plugin}."
    return _grid(curves, draw, f"{title}: concentration ({units}) over time (s)", words)


def draws_picture(curves: SegmentCurves, title: str) -> Picture | None:
    """Draw a posterior's draws of every segment's flow; None where there are none."""
    draws = curves.flow_draws
    if draws is None or not np.isfinite(draws).any():
        return None

    def draw(axes: Any, k: int) -> None:
        axes.plot(np.asarray(draws)[k], color=BLUE, lw=0.5)

    words = f"{title}: draws of the flow of {len(curves.segments)} segments by {curves.plugin}."
    return _grid(curves, draw, f"{title}: MBF (mL/min/g) over {draws.shape[1]} draws", words)


def _grid(curves: SegmentCurves, draw: Callable[[Any, int], None], title: str, words: str) -> Picture:
    figure, every = figure_grid(5.6, len(curves.segments), _COLUMNS, 1.05, title)
    for k, (axes, segment) in enumerate(zip(every, curves.segments, strict=True)):
        draw(axes, k)
        axes.set_title(str(segment), fontsize=7.5, color=INK, loc="left", pad=2)
        axes.tick_params(labelsize=6.5, colors=MUTED, length=2, pad=1.5)
        for side, spine in axes.spines.items():
            spine.set_visible(side in ("left", "bottom"))
            spine.set_color("#8a949e")
    return encode_figure(figure, words)
