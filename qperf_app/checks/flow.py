"""What comes out: a flow or a reserve that no heart has, whether there is enough of it, an outline without muscle."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from qperf_app.physics.input_function import InputFeatures
from qperf_app.plugins.quality import QualityCode

#: MBF, mL/min/g, that no heart has over most of its segments. A resting heart has about 1, and 2 only in children and
#: in hypertrophic or failing work; under a vasodilator healthy hearts reach 4 to 5.
HIGHEST = {"rest": 2.0, "stress": 8.0}
#: And the least: muscle without so much is dead, and not all of a heart that beats.
LOWEST = 0.1
#: Share of the segments that makes most of them.
MOST = 0.5
#: Share of the segments in view that must have flow for a scan to be complete.
ENOUGH = 0.5
#: An interval whose ends differ by more than this factor tells no more than half of a flow from all of it.
WIDE = 2.0
#: A rise is told by an image at its foot, one at its peak and two between: of fewer, the flow hangs on where they fell.
LEAST_IN_RISE = 4

#: Ratio of flow under stress to that at rest that no heart has over most of its segments. A vasodilator raises flow
#: two- to fivefold; where it has no effect, or a stenosis leaves no reserve, flow stays about as it was.
LOWEST_RESERVE, HIGHEST_RESERVE = 2 / 3, 6.0
#: Share of the outlined wall that may show no enhancement: a scar may, most of a wall that gives flow doesn't.
NOT_ENHANCED = 0.25


def implausible_flow(task: str, flows: Iterable[float], units: str) -> str:
    """Say why the segments' flow is no heart's; empty where it may be one's.

    Parameters
    ----------
    task : str
        ``rest`` or ``stress``.
    flows : iterable of float
        MBF of each segment over the whole wall; NaN where there is none.
    units : str
        Anything but mL/min/g is relative, and not judged.
    """
    values = np.array([value for value in flows if np.isfinite(value)], float)
    if units != "mL/min/g" or not values.size:
        return ""
    highest = HIGHEST.get(task, max(HIGHEST.values()))
    high, low = values > highest, values < LOWEST
    word = {"rest": "at rest", "stress": "under stress"}.get(task, "")
    if high.mean() > MOST:
        return f"MBF is above {highest:g} mL/min/g in {high.sum()} of {values.size} segments {word}: no heart has that"
    if low.mean() > MOST:
        return f"MBF is below {LOWEST:g} mL/min/g in {low.sum()} of {values.size} segments {word}: no heart has that"
    return ""


def implausible_reserve(rest: Mapping[int, float], stress: Mapping[int, float]) -> str:
    """Say why flow at rest and under stress can't be a heart's; empty where they may be.

    Parameters
    ----------
    rest, stress : mapping
        MBF by segment, in one unit.
    """
    both = [k for k in rest.keys() & stress.keys() if np.isfinite([rest[k], stress[k]]).all() and rest[k] > 0]
    fallen = sum(stress[k] < LOWEST_RESERVE * rest[k] for k in both)
    risen = sum(stress[k] > HIGHEST_RESERVE * rest[k] for k in both)
    if fallen > MOST * len(both):
        return (
            f"Flow under stress is less than two thirds of that at rest in {fallen} of {len(both)} segments: are rest "
            "and stress exchanged?"
        )
    if risen > MOST * len(both):
        return (
            f"Flow under stress is more than {HIGHEST_RESERVE:g} times that at rest in {risen} of {len(both)} "
            "segments: no heart has that; look at both input functions and at the dose of either"
        )
    return ""


def without_enhancement(codes: NDArray[np.integer]) -> str:
    """Say so where much of the outlined wall shows no enhancement; else empty.

    Parameters
    ----------
    codes : array
        Codes of a quality map.
    """
    inside = codes != QualityCode.OUTSIDE
    share = float((codes[inside] == QualityCode.NO_ENHANCEMENT).mean()) if inside.any() else 0.0
    if share < NOT_ENHANCED:
        return ""
    return f"{share:.0%} of the outlined wall shows no enhancement above the noise: is the outline too wide?"


def has_enough_flow(flows: Iterable[float]) -> bool:
    """Whether at least half of the segments in view have flow."""
    known = np.isfinite(np.array(list(flows), float))
    return bool(known.size and known.mean() >= ENOUGH)


def coarse_sampling(
    lower: Iterable[float], upper: Iterable[float], times: NDArray[np.float64], aif: InputFeatures
) -> str:
    """Say that flow is uncertain because images are too far apart in time for the bolus; empty where it isn't both.

    Parameters
    ----------
    lower, upper : iterables of float
        Bounds of the segments' 90 % intervals of flow; NaN where there are none.
    times : (t,) array
        Dynamic volumes of the tissue series, s.
    aif : InputFeatures
    """
    low, high = np.array(list(lower), float), np.array(list(upper), float)
    known = np.isfinite(low) & np.isfinite(high)
    wide = high[known] > WIDE * low[known]
    interval, rise = float(np.median(np.diff(times))), aif.peak - aif.foot
    if not wide.size or wide.mean() <= MOST or rise >= LEAST_IN_RISE * interval:
        return ""
    return (
        f"The 90 % interval of flow spans more than a factor of {WIDE:g} in {wide.sum()} of {wide.size} segments, and "
        f"images are {interval:.2g} s apart where the blood rises for {rise:.2g} s: too far for this flow to be told "
        f"more closely ({LEAST_IN_RISE} images in the rise are needed)."
    )
