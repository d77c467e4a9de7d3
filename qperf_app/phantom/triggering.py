"""Heart beats and the triggers that the scanner takes from them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qperf_app.phantom.shapes import truncated_normal

# Beat-to-beat variation: correlated fluctuation of a few per cent of the RR interval.
_VARIATION = 0.035
_CORRELATION = 0.7
_ECTOPIC = 0.012


@dataclass(frozen=True)
class Triggers:
    """Trigger times of the volumes.

    Parameters
    ----------
    times : (t,) array
        s from the first trigger.
    preceding : (t,) array
        RR interval that ended with the beat, relative to the mean one: what the ventricle filled in.
    """

    times: NDArray[np.float64]
    preceding: NDArray[np.float64]


def sample_triggers(task: str, frames: int, missed: float, rng: np.random.Generator) -> Triggers:
    """Draw irregular heart beats, ectopic ones with their pause among them, and drop the missed triggers.

    About 65 beats per minute at rest and 90 under a vasodilator.
    """
    usual = (90.0, 11.0, 65.0, 120.0) if task == "stress" else (65.0, 9.0, 45.0, 95.0)
    mean = 60.0 / truncated_normal(rng, *usual)
    # Enough beats that, whatever is missed, ``frames`` remain.
    count = frames * 3 + 20
    shocks = rng.normal(0.0, _VARIATION * np.sqrt(1.0 - _CORRELATION**2), count)
    fluctuation = np.zeros(count)
    for k in range(1, count):
        fluctuation[k] = _CORRELATION * fluctuation[k - 1] + shocks[k]
    relative = 1.0 + fluctuation
    for beat in np.flatnonzero(rng.random(count - 1) < _ECTOPIC):
        early = rng.uniform(0.6, 0.75)
        relative[beat], relative[beat + 1] = early, 2.0 - early
    beats = np.concatenate([[0.0], np.cumsum(mean * relative)])
    kept = np.concatenate([[True], rng.random(count) >= missed])
    chosen = np.flatnonzero(kept)[:frames]
    # Whole milliseconds, as a header states them.
    return Triggers(np.round(beats[chosen], 3), np.concatenate([[1.0], relative])[chosen])
