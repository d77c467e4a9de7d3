"""Curves over time: the arterial input function with its features, and blood and myocardium of each slice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qperf_app.plugins.records import RELATIVE_UNITS, InputFunction, Series
from qperf_app.plugins.results import Picture, Table
from qperf_app.report.pictures import BLUE, INK, MUTED, ORANGE, SKY, VERMILION, encode_figure, figure_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

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
_CURVES = {
    "rv": (SKY, "--", "RV blood"),
    "lv": (ORANGE, "-", "LV blood"),
    "myocardium": (BLUE, "-", "myocardium"),
}


def input_function_picture(aif: InputFunction, features: Mapping[str, float]) -> Picture:
    """Draw the input function with foot, peak, valley, duration and area of its first pass."""
    figure, axes = figure_axes(5.4, 3.3, (0.1, 0.15, 0.985, 0.98))
    times, values = np.asarray(aif.times, float), np.asarray(aif.concentration, float)
    axes.plot(times, values, color=VERMILION, lw=1.6, marker="o", ms=2.6, zorder=3)
    top = float(np.nanmax(values)) if np.isfinite(values).any() else 1.0
    axes.set_ylim(min(0.0, float(np.nanmin(values, initial=0.0))) - 0.03 * top, 1.22 * top if top > 0 else 1.0)
    _mark_features(axes, times, values, features)
    fluid = "plasma" if aif.plasma else "whole blood"
    units = "relative units" if aif.units == RELATIVE_UNITS else aif.units
    finish(axes, f"Concentration in {fluid} ({units})")
    marked = ", ".join(f"{name} {features[name]:.1f} s" for name in ("foot", "peak", "valley") if _has(features, name))
    return encode_figure(
        figure, f"Arterial input function over {times[-1]:.0f} s" + (f": {marked}." if marked else ".")
    )


def _has(features: Mapping[str, float], name: str) -> bool:
    return name in features and bool(np.isfinite(features[name]))


def _mark_features(
    axes: Axes, times: NDArray[np.floating], values: NDArray[np.floating], features: Mapping[str, float]
) -> None:
    """Mark what is known of the first pass; the area reaches from foot to valley."""
    top = axes.get_ylim()[1]
    for name, side, shift in (("foot", "right", (-6, 6)), ("peak", "left", (6, 6)), ("valley", "right", (-7, -11))):
        if not _has(features, name):
            continue
        at, height = float(features[name]), float(np.interp(features[name], times, values))
        axes.plot([at], [height], marker="D", ms=5.5, mfc="white", mec=INK, mew=1.3, zorder=4)
        axes.annotate(name, (at, height), shift, textcoords="offset points", ha=side, fontsize=9, color=INK)
    if _has(features, "foot") and _has(features, "valley"):
        foot, valley = float(features["foot"]), float(features["valley"])
        inside = np.r_[foot, times[(times > foot) & (times < valley)], valley]
        axes.fill_between(inside, 0, np.interp(inside, times, values), color=VERMILION, alpha=0.14, lw=0, zorder=1)
        axes.annotate("", (foot, 0.93 * top), (valley, 0.93 * top), arrowprops={"arrowstyle": "<->", "color": MUTED})
        axes.text((foot + valley) / 2, 0.945 * top, f"{valley - foot:.1f} s", ha="center", fontsize=9, color=MUTED)


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


def slice_curves(series: Series, masks: Mapping[str, NDArray[np.bool_]], slices: Sequence[str]) -> tuple[Picture, ...]:
    """Draw mean signal over time of blood and myocardium, one picture for each slice, all with the same axis.

    ``masks`` holds (x, y, z) bool arrays named ``rv``, ``lv``, ``myocardium`` on the grid of the series. A slice with
    none of them is left out.
    """
    curves = []
    for z in range(len(slices)):
        means = {name: mean_curve(series.data[mask[:, :, z], z]) for name, mask in masks.items() if mask[:, :, z].any()}
        curves.append({name: mean for name, mean in means.items() if np.isfinite(mean).any()})
    everything = [value for of_slice in curves for value in of_slice.values()]
    if not everything:
        return ()
    low, high = float(np.nanmin(everything)), float(np.nanmax(everything))
    limits = (min(0.0, low), high + 0.05 * (high - low or 1.0))
    return tuple(
        _slice_picture(series, of_slice, name, limits)
        for name, of_slice in zip(slices, curves, strict=True)
        if of_slice
    )


def _slice_picture(
    series: Series, curves: Mapping[str, NDArray[np.floating]], name: str, limits: tuple[float, float]
) -> Picture:
    figure, axes = figure_axes(4.2, 2.8, (0.155, 0.165, 0.985, 0.915))
    for key, (colour, style, words) in _CURVES.items():
        if key in curves:
            axes.plot(series.times, curves[key], style, color=colour, lw=1.6, label=words)
    finish(axes, "Mean signal" + ("" if series.units == "arbitrary" else f" ({series.units})"), name, limits)
    shown = ", ".join(words for key, (_, _, words) in _CURVES.items() if key in curves)
    return encode_figure(figure, f"Mean signal over time in {name}: {shown}.")


def finish(axes: Axes, label: str, title: str = "", limits: tuple[float, float] | None = None) -> None:
    """Axes over time as all pictures of curves have them.

    Labels stand above the axes, on the right: a curve may reach any corner within them.
    """
    if limits is not None:
        axes.set_ylim(limits)
    if axes.get_legend_handles_labels()[1]:
        axes.legend(
            fontsize=7.5, frameon=False, labelcolor=INK, ncols=len(axes.lines), loc="lower right",
            bbox_to_anchor=(1.02, 0.97), borderpad=0.2, handlelength=1.4, columnspacing=0.8,
        )  # fmt: skip
    axes.set_title(title, fontsize=9.5, color=INK, loc="left")
    axes.set_xlabel("Time (s)", fontsize=9, color=INK)
    axes.set_ylabel(label, fontsize=9, color=INK)
    axes.tick_params(labelsize=8.5, colors=INK, length=3)
    axes.grid(color="#e3e7eb", lw=0.7)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color("#8a949e")
