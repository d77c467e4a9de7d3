"""Check what a plugin returned, before anything is made of it. The host and the conformance suite use the same."""

from __future__ import annotations

from typing import Any

import numpy as np

from qperf_app.plugins.records import (
    BloodPools,
    ConcentrationSeries,
    KineticMaps,
    Motion,
    Myocardium,
    Series,
    TissueCurves,
)


class PluginResultError(ValueError):
    """A plugin returned something that its step's interface does not allow."""


def check_motion(result: Any, series: Series) -> Motion:
    """Displacement of the right shape and finite everywhere, one verdict per slice and frame."""
    _kind(result, Motion)
    _shape("displacement", result.displacement, (*series.data.shape, 3))
    _shape("corrected", result.corrected, series.data.shape[2:])
    if not np.isfinite(result.displacement).all():
        raise PluginResultError("displacement is not finite everywhere")
    if result.cost is not None:
        _shape("cost", result.cost, series.data.shape[2:])
    if result.residual is not None:
        _shape("residual", result.residual, series.data.shape[2:])
    return result


def check_pools(result: Any, series: Series) -> BloodPools:
    """Boolean masks on the series' grid; where pools are found none is empty; a reason where they are not."""
    _kind(result, BloodPools)
    for name in ("lv", "rv", "aif"):
        _mask(name, getattr(result, name), series.data.shape[:3])
    if result.found and not (result.lv.any() and result.aif.any()):
        raise PluginResultError("found is True but lv or aif is empty")
    if not result.found and not result.reason:
        raise PluginResultError("found is False without a reason")
    return result


def check_concentration(result: Any, series: Series) -> ConcentrationSeries:
    """Values for the dynamic volumes; NaN exactly where invalid is True."""
    _kind(result, ConcentrationSeries)
    shape = series.dynamic().data.shape
    _shape("data", result.data, shape)
    _mask("invalid", result.invalid, shape)
    if (np.isnan(result.data) != result.invalid).any():
        raise PluginResultError("data must be NaN exactly where invalid is True")
    if not isinstance(result.units, str) or not result.units:
        raise PluginResultError("units must be a non-empty text")
    return result


def check_myocardium(result: Any, series: Series) -> Myocardium:
    """Boolean mask on the series' grid, landmarks on its slices."""
    _kind(result, Myocardium)
    _mask("mask", result.mask, series.data.shape[:3])
    for landmark in result.landmarks:
        if not 0 <= landmark.slice < series.data.shape[2] or not np.isfinite(landmark.position).all():
            raise PluginResultError(f"landmark {landmark} lies on no slice or is not finite")
    return result


def check_maps(result: Any, curves: TissueCurves) -> KineticMaps:
    """One value per curve for every map, one code per curve that the legend knows, no infinities."""
    _kind(result, KineticMaps)
    n = len(curves.concentration)
    _shape("qc", result.qc, (n,))
    unknown = set(np.unique(result.qc).tolist()) - {int(k) for k in result.qc_legend} - {0}
    if unknown:
        raise PluginResultError(f"qc codes {sorted(unknown)} are not in qc_legend")
    if not result.maps:
        raise PluginResultError("there is no map")
    for parameter in result.maps:
        _shape(f"map {parameter.quantity}", parameter.values, (n,))
        if np.isinf(parameter.values).any():
            raise PluginResultError(f"map {parameter.quantity} has infinite values; NaN says not estimated")
    for name in ("fitted", "predicted_sd"):
        if getattr(result, name) is not None:
            _shape(name, getattr(result, name), curves.concentration.shape)
    if result.flow_draws is not None and (np.ndim(result.flow_draws) != 2 or len(result.flow_draws) != n):
        raise PluginResultError(f"flow_draws has shape {np.shape(result.flow_draws)}, expected ({n}, draws)")
    return result


def _kind(result: Any, cls: type) -> None:
    if not isinstance(result, cls):
        raise PluginResultError(f"expected {cls.__name__}, got {type(result).__name__}")


def _shape(name: str, array: Any, shape: tuple[int, ...]) -> None:
    if np.shape(array) != tuple(shape):
        raise PluginResultError(f"{name} has shape {np.shape(array)}, expected {tuple(shape)}")


def _mask(name: str, array: Any, shape: tuple[int, ...]) -> None:
    _shape(name, array, shape)
    if np.asarray(array).dtype != bool:
        raise PluginResultError(f"{name} must be boolean, it is {np.asarray(array).dtype}")
