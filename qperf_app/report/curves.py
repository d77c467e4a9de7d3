"""Curves over time: the arterial input function with its features, and blood and myocardium of each slice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from qperf_app.plugins.records import RELATIVE_UNITS, BloodPools, InputFunction, Series
from qperf_app.plugins.results import Table
from qperf_app.report import svg
from qperf_app.report.elements import Drawing, Key, LineStyle
from qperf_app.report.pictures import BLUE, ORANGE, SKY, VERMILION
from qperf_app.report.plots import Axes, Limits, limits_of, plot

#: Feature of an input function: words and unit; ``{units}`` is that of the concentration.
FEATURES = {
    "foot": ("Foot (arrival)", "s"),
    "peak": ("Peak", "s"),
    "peak_value": ("Height of the peak", "{units}"),
    "peak_value_log_sd": ("Its uncertainty (SD of the logarithm)", ""),
    "valley": ("Valley (end of the first pass)", "s"),
    "first_pass_duration": ("Duration of the first pass", "s"),
    "duration": ("Duration of the first pass", "s"),
    "area": ("Area under the first pass", "{units} × s"),
    "baseline": ("Level before the bolus", "{units}"),
    "noise": ("Noise (standard deviation)", "{units}"),
}
TIME = "Time (s)"
#: Colour, line style and words of a curve.
_CURVES: dict[str, tuple[str, LineStyle, str]] = {
    "rv": (SKY, "dashed", "right-ventricular blood"),
    "lv": (ORANGE, "solid", "left-ventricular blood"),
    "myocardium": (BLUE, "solid", "myocardium"),
}


def input_function_picture(aif: InputFunction, features: Mapping[str, float]) -> Drawing:
    """Draw the input function with foot, peak, valley, duration and area of its first pass."""
    times, values = np.asarray(aif.times, float), np.asarray(aif.concentration, float)
    top = float(np.nanmax(values)) if np.isfinite(values).any() else 1.0
    axes = Axes((48, 12, 470, 250), limits_of(times, 0.02), limits_of([*values, 1.2 * top], 0.03, 0.0))
    _mark_area(axes, times, values, features)
    axes.line(times, values, VERMILION)
    axes.dots(times, values, VERMILION)
    _mark_features(axes, times, values, features)
    fluid = "plasma" if aif.plasma else "whole blood"
    axes.frame(TIME, f"Concentration in {fluid} ({units_in_words(aif.units)})")
    marked = ", ".join(f"{name} {features[name]:.1f} s" for name in ("foot", "peak", "valley") if _has(features, name))
    words = f"Arterial input function over {times[-1]:.0f} s" + (f": {marked}." if marked else ".")
    return plot(axes, 480, 286, words)


def units_in_words(units: str) -> str:
    """Unit of a concentration, or of a flow."""
    return "relative units" if units == RELATIVE_UNITS else units


def _has(features: Mapping[str, float], name: str) -> bool:
    return name in features and bool(np.isfinite(features[name]))


def _mark_area(
    axes: Axes, times: NDArray[np.floating], values: NDArray[np.floating], features: Mapping[str, float]
) -> None:
    """Fill the area under the first pass, from foot to valley."""
    if _has(features, "foot") and _has(features, "valley"):
        foot, valley = float(features["foot"]), float(features["valley"])
        inside = np.r_[foot, times[(times > foot) & (times < valley)], valley]
        axes.band(inside, np.zeros_like(inside), np.interp(inside, times, values), VERMILION)
        (x, y), (end, _) = axes.points([foot, valley], [1.12 * np.nanmax(values)] * 2)
        axes.parts.append(svg.path([(x, y), (end, y)], kind="span"))
        axes.parts.append(svg.text((x + end) / 2, y - 4, f"{valley - foot:.1f} s", "tick", "middle"))


def _mark_features(
    axes: Axes, times: NDArray[np.floating], values: NDArray[np.floating], features: Mapping[str, float]
) -> None:
    for name, anchor, (right, down) in (
        ("foot", "end", (-6, -6)),
        ("peak", "start", (7, -5)),
        ("valley", "end", (-6, 15)),
    ):
        if _has(features, name):
            x, y = axes.points(features[name], np.interp(features[name], times, values))
            mark = [(x - 4.5, y), (x, y - 4.5), (x + 4.5, y), (x, y + 4.5)]
            axes.parts += [
                svg.path(mark, kind="mark", closed=True),
                svg.text(x + right, y + down, name, "label", anchor),
            ]


def features_table(features: Mapping[str, float], units: str) -> Table:
    """Features with their units; those that could not be found say so."""
    shown = "relative" if units == RELATIVE_UNITS else units
    rows = []
    for name, (words, unit) in FEATURES.items():
        if name in features:
            value = f"{features[name]:.2f} {unit.format(units=shown)}" if _has(features, name) else "not found"
            rows.append((words, value))
    known = set(FEATURES)
    rows += [(name, f"{value:.4g}") for name, value in features.items() if name not in known]
    return Table(("Feature", "Value"), tuple(rows), "The first pass of the input function")


def mean_curve(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Mean over voxels (n, t) at every time, of those that are finite; NaN where none is."""
    finite = np.isfinite(values)
    total, count = np.where(finite, values, 0.0).sum(axis=0, dtype=np.float64), finite.sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def blood_curves(series: Series, pools: BloodPools) -> dict[str, NDArray[np.float64]]:
    """Mean signal over time of the blood pools, on the grid of the series; a pool without voxels stays away."""
    masks = {name: np.asarray(getattr(pools, name), bool) for name in ("rv", "lv")}
    return {name: mean_curve(series.data[mask]) for name, mask in masks.items() if mask.any()}


def slice_curves(
    series: Series,
    masks: Mapping[str, NDArray[np.bool_]],
    slices: Sequence[str],
    blood: tuple[NDArray[np.floating], Mapping[str, NDArray[np.floating]]] | None = None,
) -> tuple[tuple[Drawing, ...], Key]:
    """Draw mean signal over time of blood and myocardium, one picture for each slice, all with the same axis.

    ``masks`` holds (x, y, z) bool arrays named ``rv``, ``lv``, ``myocardium`` on the grid of the series. A slice with
    none of them is left out. ``blood`` has the blood's curves with their times, s, where they are of another series of
    the same bolus: its signal is another one, so that they are brought to the height of the picture, all alike.
    """
    curves = []
    for z in range(len(slices)):
        means = {name: mean_curve(series.data[mask[:, :, z], z]) for name, mask in masks.items() if mask[:, :, z].any()}
        curves.append({name: mean for name, mean in means.items() if np.isfinite(mean).any()})
    everything = [value for of_slice in curves for value in of_slice.values()]
    if not everything:
        return (), Key(())
    limits = limits_of(np.concatenate(everything), 0.05, 0.0)
    beside = {} if blood is None else _at_height(blood[0], blood[1], max(map(np.nanmax, everything)))
    pictures = tuple(
        _slice_picture(series, {name: (series.times, curve) for name, curve in of_slice.items()} | beside, name, limits)
        for name, of_slice in zip(slices, curves, strict=True)
        if of_slice
    )
    there = {name for of_slice in curves for name in of_slice} | set(beside)
    return pictures, Key(tuple(style for name, style in _CURVES.items() if name in there))


#: Times and values of a curve.
_Curve = tuple[NDArray[np.floating], NDArray[np.floating]]


def _at_height(
    times: NDArray[np.floating], curves: Mapping[str, NDArray[np.floating]], height: float
) -> dict[str, _Curve]:
    """Curves, all by one factor, from 0 at their lowest to a height at their highest."""
    known = np.concatenate(list(curves.values()))
    low, high = np.nanmin(known), np.nanmax(known)
    return {name: (times, height * (curve - low) / ((high - low) or 1.0)) for name, curve in curves.items()}


def _slice_picture(series: Series, curves: Mapping[str, _Curve], name: str, limits: Limits) -> Drawing:
    axes = Axes((52, 24, 370, 210), limits_of(series.times, 0.02), limits)
    drawn = [(key, style) for key, style in _CURVES.items() if key in curves]
    for key, (colour, style, _) in drawn:
        axes.line(*curves[key], colour, dash="6 4" if style == "dashed" else "")
    axes.frame(TIME, "Mean signal" + ("" if series.units == "arbitrary" else f" ({series.units})"), name)
    shown = ", ".join(words for _, (_, _, words) in drawn)
    return plot(axes, 380, 246, f"Mean signal over time in {name}: {shown}.")
