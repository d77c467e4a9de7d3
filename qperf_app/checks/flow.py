"""What comes out: a flow that no heart has, and whether there is enough of it."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

#: MBF, mL/min/g, that no heart has over most of its segments. A resting heart has about 1, and 2 only in children and
#: in hypertrophic or failing work; under a vasodilator healthy hearts reach 4 to 5.
HIGHEST = {"rest": 2.0, "stress": 8.0}
#: And the least: muscle without so much is dead, and not all of a heart that beats.
LOWEST = 0.1
#: Share of the segments that makes most of them.
MOST = 0.5
#: Share of the segments in view that must have flow for a scan to be complete.
ENOUGH = 0.5


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


def has_enough_flow(flows: Iterable[float]) -> bool:
    """Whether at least half of the segments in view have flow."""
    known = np.isfinite(np.array(list(flows), float))
    return bool(known.size and known.mean() >= ENOUGH)
