"""Heart beats, the triggers that the scanner takes from them, and the times at which slices are read."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from qperf_app.phantom.config import PhantomConfig
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


def sample_triggers(
    task: str, frames: int, missed: float, rng: np.random.Generator, interval: float | None = None
) -> Triggers:
    """Draw irregular heart beats, ectopic ones with their pause among them, and drop the missed triggers.

    About 65 beats per minute at rest and 90 under a vasodilator, or a mean RR ``interval``, s.
    """
    usual = (90.0, 11.0, 65.0, 120.0) if task == "stress" else (65.0, 9.0, 45.0, 95.0)
    drawn = 60.0 / truncated_normal(rng, *usual)
    mean = drawn if interval is None else interval
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


@dataclass(frozen=True)
class Clock:
    """When every slice of every volume is read.

    Parameters
    ----------
    times : (z, t) array
        s from the first volume's onset, whole milliseconds.
    preceding : (z, t) array
        As in :class:`Triggers`.
    phase : (z, t) array
        Part of the heart beat that has passed since the first slice's place in it; where nothing triggers, since the
        last beat.
    """

    times: NDArray[np.float64]
    preceding: NDArray[np.float64]
    phase: NDArray[np.float64]

    @property
    def onsets(self) -> NDArray[np.float64]:
        """Time (t,) of every volume: of its first slice."""
        onsets: NDArray[np.float64] = self.times[0]
        return onsets

    @cached_property
    def slice_timing(self) -> list[float] | None:
        """Mean time of each slice within its volume, s; None where all are read at once."""
        offsets = (self.times - self.onsets).mean(axis=1)
        return [round(float(t), 3) for t in offsets] if offsets.any() else None

    def groups(self, n_slices: int) -> list[slice]:
        """Slices of a series that are read at the same time."""
        return [np.s_[0:n_slices]] if self.slice_timing is None else [np.s_[k : k + 1] for k in range(n_slices)]

    def stamps(self) -> Stamps:
        """All times in their order."""
        times, first, where = np.unique(self.times, return_index=True, return_inverse=True)
        preceding, phase = self.preceding.ravel()[first], self.phase.ravel()[first]
        return Stamps(times, preceding, phase, where.reshape(self.times.shape))


@dataclass(frozen=True)
class Stamps(Triggers):
    """All times of a series, strictly increasing.

    Parameters
    ----------
    phase : (t,) array
        As in :class:`Clock`.
    where : (slices, volumes) array
        Place of every slice and volume among the times.
    """

    phase: NDArray[np.float64]
    where: NDArray[np.intp]


def plan_clock(config: PhantomConfig, triggers: Triggers, n_slices: int, duration: float) -> Clock:
    """Times of a series of ``n_slices``.

    Parameters
    ----------
    config : PhantomConfig
    triggers : Triggers
        All of them: ``beats_per_image`` for each volume, or more.
    n_slices : int
    duration : float
        Of one slice's preparation and read-out, s.
    """
    order, every = np.arange(n_slices), config.beats_per_image
    # Slices over beats: the beats of an image share them evenly.
    beat = order * every // n_slices if config.slice_order == "over-beats" else np.zeros(n_slices, int)
    place = np.array([0 if config.slice_order == "together" else np.sum(beat[:k] == beat[k]) for k in order])
    delay = np.round(place * duration, 3)[:, None]
    if config.interval:
        onsets = np.round(np.arange(config.frames) * config.interval, 3)
        times = onsets + delay
        last = np.clip(np.searchsorted(triggers.times, times, side="right") - 1, 0, len(triggers.times) - 2)
        lengths = np.diff(triggers.times)
        phase = (times - triggers.times[last]) / lengths[last]
        return Clock(np.round(times, 3), triggers.preceding[last], phase)
    chosen = every * np.arange(config.frames) + beat[:, None]
    times = np.round(triggers.times[chosen] + delay, 3)
    return Clock(times, triggers.preceding[chosen], np.broadcast_to(delay / mean_interval(triggers), times.shape))


def mean_interval(triggers: Triggers) -> float:
    """Usual RR interval, s."""
    return float(np.median(np.diff(triggers.times)))
