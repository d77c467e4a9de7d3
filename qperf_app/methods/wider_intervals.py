"""What the fit of a curve does not know of: an uncertain input, voxels that differ, what a region's voxels say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from qperf_app.plugins.records import RELATIVE_UNITS, KineticMaps, ParameterMap, value_keys

Array = NDArray[np.float64]

#: Quantities of flow.
FLOWS = ("MBF", "Fb", "Fp")
#: Quantities that go as one over the input's height; a delay does not.
SCALED = ("MBF", "Fb", "Fp", "PS", "Ktrans", "vp", "vb", "ve")
# Standard deviations from the median to a bound of a normal distribution's 90 % interval.
NINETY = 1.6449


def but_for_a_factor(result: KineticMaps) -> KineticMaps:
    """The maps that were fitted to an input of unknown height: what goes as one over it is in relative units."""
    maps = tuple(replace(m, units=RELATIVE_UNITS) if m.quantity in SCALED else m for m in result.maps)
    return replace(result, maps=maps)


def is_but_for_a_factor(quantity: str, units: str) -> bool:
    """Whether values of a quantity are those of :func:`but_for_a_factor`."""
    return quantity in SCALED and units == RELATIVE_UNITS


def widened(
    result: KineticMaps, log_sd: float | Array, rng: np.random.Generator, quantities: Sequence[str] = SCALED
) -> KineticMaps:
    """The maps with a further uncertainty in their intervals, standard deviations and draws of flow.

    The logarithm of each of the quantities has an independent error of standard deviation ``log_sd``. Medians, means
    and point estimates stay. On the logarithm, distances of the bounds from the median add in squares, as they do for
    normal distributions.

    Parameters
    ----------
    result : KineticMaps
        Of n curves.
    log_sd : float or (n,) array
        One error for all curves, such as that of the input's height, or one of each curve's own.
    rng : Generator
        Draws the error for each draw of flow.
    quantities : sequence of str
        What has the error.
    """
    values: dict[tuple[str, str | None], Array] = {(m.quantity, m.statistic): m.values for m in result.maps}
    maps = tuple(replace(m, values=_widened(m, values, log_sd)) if m.quantity in quantities else m for m in result.maps)
    draws = result.flow_draws
    if draws is not None and set(quantities) & set(FLOWS):
        shared = np.ndim(log_sd) == 0
        noise = rng.standard_normal(draws.shape[1] if shared else draws.shape)
        draws = (draws * np.exp((log_sd if shared else np.asarray(log_sd)[:, None]) * noise)).astype(draws.dtype)
    return replace(result, maps=maps, flow_draws=draws)


def widened_by(result: KineticMaps, other: KineticMaps, rng: np.random.Generator) -> KineticMaps:
    """The maps with the uncertainty of something that their curves depend on in their intervals.

    Parameters
    ----------
    result : KineticMaps
        Of n curves.
    other : KineticMaps
        Of the same curves with that something changed by a standard deviation. By how much a quantity differs is then a
        standard deviation of its own: of the logarithm, but for a delay.
    rng : Generator
        Draws the error for each draw of flow.
    """
    values, theirs = result.values, other.values
    for quantities in (FLOWS, *((q,) for q in SCALED if q not in FLOWS)):
        known = next((q for q in quantities if q in values and q in theirs), None)
        if known is not None:
            with np.errstate(divide="ignore", invalid="ignore"):
                apart = np.abs(np.log(theirs[known] / values[known]))
            result = widened(result, np.where(np.isfinite(apart), apart, 0.0), rng, quantities)
    if "Ta" in values and "Ta" in theirs:
        result = _with_another_delay(result, np.abs(theirs["Ta"] - values["Ta"]))
    return result


def _with_another_delay(result: KineticMaps, sd: Array) -> KineticMaps:
    """The maps with an independent error of standard deviation ``sd`` (n,), s, in the intervals of the delay."""
    middle, sd = result.values["Ta"], np.nan_to_num(sd)

    def wider(one: ParameterMap) -> Array:
        if one.statistic == "std":
            return np.hypot(one.values, sd)
        sign = {"q05": -1.0, "q95": 1.0}.get(one.statistic or "", 0.0)
        return middle + sign * np.hypot(one.values - middle, NINETY * sd) if sign else one.values

    maps = tuple(replace(m, values=wider(m)) if m.quantity == "Ta" else m for m in result.maps)
    return replace(result, maps=maps)


def centred(result: KineticMaps, of_voxels: Mapping[tuple[str, str | None], Array]) -> KineticMaps:
    """The maps with the flow of regions' curves moved onto that of their voxels, with the width that it has.

    Parameters
    ----------
    result : KineticMaps
        Of n regions' curves.
    of_voxels : mapping of (n,) arrays
        Medians over the voxels of each region of the maps of flow, by quantity and statistic; NaN where there is none.
        Where the curve gives no flow they stand for it, bounds included.

    Returns
    -------
    KineticMaps
        Flow of :data:`FLOWS` and its draws; other quantities stay those of the curves.
    """
    values, keys = result.values, value_keys(of_voxels)
    names = [q for q in FLOWS if q in values and q in keys]
    # What is not above 0 has no width that could be carried over.
    given = {q: np.isfinite(values[q]) & (values[q] > 0.0) for q in names}
    ratios = {q: of_voxels[keys[q]] / np.where(given[q], values[q], np.nan) for q in names}
    unknown = np.full(len(result.qc), np.nan)

    def moved(one: ParameterMap) -> ParameterMap:
        voxels = of_voxels.get((one.quantity, one.statistic), unknown)
        return replace(one, values=np.where(given[one.quantity], one.values * ratios[one.quantity], voxels))

    maps = tuple(moved(one) if one.quantity in names else one for one in result.maps)
    draws = result.flow_draws
    if draws is not None and "MBF" in ratios:
        draws = (draws * ratios["MBF"][:, None]).astype(draws.dtype)
    return replace(result, maps=maps, flow_draws=draws)


def _widened(one: ParameterMap, values: Mapping[tuple[str, str | None], Array], log_sd: float | Array) -> Array:
    key = value_keys(values).get(one.quantity)
    if key is None:
        return one.values
    middle = values[key]
    if one.statistic == "std":
        return np.hypot(one.values, values.get((one.quantity, "mean"), middle) * log_sd)
    if one.statistic not in ("q05", "q95"):
        return one.values
    with np.errstate(divide="ignore", invalid="ignore"):
        off = np.hypot(np.log(one.values / middle), NINETY * log_sd)
        bound = middle * np.exp(-off if one.statistic == "q05" else off)
    return np.where((one.values > 0) & (middle > 0), bound, one.values)
