"""The two boluses of a dual-bolus study on one clock.

The input function is measured in the series of a small dose, in which blood does not saturate, and scaled by the ratio
of the doses (Christian et al., Radiology 2004;232:677; Köstler et al., Magn Reson Med 2004;52:296). When the main bolus
arrives is seen in the main series alone, where the signal of its blood is compressed. But however compressed, it rises
with concentration. So the shift is sought at which the small bolus' concentration is most nearly a rising function of
the main series' signal, whichever function that is: the residual of an isotonic regression. No signal equation and no
dose take part. Each level is passed twice, up and down, so that a wrong shift shows as hysteresis; where the signal is
flat, as at a peak that saturates, it has no say.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qperf_app.methods.bolus_timing import half_rise_time
from qperf_app.physics.input_function import NoBolusError, find_features

Array = NDArray[np.float64]

#: Steps of the shift that is sought, first and then about the best: parts of the interval between frames.
_COARSE, _FINE = 4, 20
#: How far from the first guess the shift is sought: so many times the small bolus' rise from foot to peak. A signal
#: that saturates has risen halfway earlier than its concentration, by less than the rise itself.
_SEARCHED = 1.5
#: Groups of frames, each of every so many-th frame, that are left out in turn for the shift's uncertainty.
_GROUPS = 8
#: Quantile of Student's t with one degree of freedom less than groups that a 90 % interval ends at.
_T_90 = 1.895
#: How much slower the main bolus may pass than the small one, as factors that are tried; by the part of the small one's
#: peak below which the main one's signal rises with concentration whatever T2* takes from it.
_STRETCHES, _FLANKS = np.exp(np.linspace(-0.5, 0.5, 21)), 0.5
#: Ratio of two frame intervals from which on they are those of two protocols, and not of two heart rates.
_OTHER_PROTOCOL = 1.33
#: Frames that an alignment needs at least.
_LEAST_FRAMES = 8


@dataclass(frozen=True)
class Alignment:
    """Where the small bolus' curve lies on the clock of the main series.

    Parameters
    ----------
    shift : float
        s to be added to the small bolus' times.
    half_width : float
        Half of the shift's 90 % interval, s, by the jackknife over groups of frames.
    explained : float
        Share of the small bolus' variance that a rising function of the main series' signal explains.
    stretch : float
        Factor by which the main bolus passes more slowly than the small one, at the best fit of shift and stretch.
    """

    shift: float
    half_width: float
    explained: float
    stretch: float


def align_boluses(times: Array, concentration: Array, main_times: Array, main_signal: Array) -> Alignment:
    """Find the shift that brings a small bolus onto the clock of the main one.

    Parameters
    ----------
    times, concentration : (t,) arrays
        Blood of the small bolus' series, s and any unit that is linear in concentration; finite.
    main_times, main_signal : (u,) arrays
        Blood of the main series, s and any signal that rises with concentration; finite.

    Returns
    -------
    Alignment

    Raises
    ------
    NoBolusError
        Where one of the curves shows no bolus, or the main series does not reach past its own.
    """
    from scipy.interpolate import PchipInterpolator

    found = find_features(times, concentration)
    find_features(main_times, main_signal)
    guess = half_rise_time(main_times, main_signal) - half_rise_time(times, concentration)
    reach = _SEARCHED * (found.peak - found.foot)
    frame = float(np.median(np.diff(times)))
    # The same frames for every shift: those that the main series reaches at each of them. Before its first frame there
    # is no bolus yet.
    covered = times <= main_times[-1] - guess - reach
    if covered.sum() < _LEAST_FRAMES or times[covered][-1] <= found.peak:
        raise NoBolusError("the main series ends too soon after its bolus to bring the prebolus onto its clock")
    rise = PchipInterpolator(main_times, main_signal)
    small = _Small(times[covered], concentration[covered], rise, (float(main_times[0]), float(main_times[-1])))
    shift, residual = small.best(guess, reach, frame)
    flanks = small.concentration < _FLANKS * found.peak_value
    groups = np.arange(covered.sum()) % _GROUPS
    left_out = [small.without(groups == g).best(guess, reach, frame)[0] for g in range(_GROUPS)]
    variance = (_GROUPS - 1) * float(np.var(left_out)) + (frame / _FINE) ** 2 / 12.0
    return Alignment(
        shift=shift,
        half_width=_T_90 * float(np.sqrt(variance)),
        explained=1.0 - residual / small.variance,
        stretch=_stretch(small.without(~flanks), found.foot, shift, frame),
    )


def at_main_pace(times: Array, concentration: Array, main_times: Array) -> tuple[Array, float]:
    """Times at which the small bolus would have passed at the main one's heart rate.

    The area under a bolus is dose over cardiac output (Stewart and Hamilton), which goes with the heart rate as long as
    the stroke volume stays: a heart that beats faster passes the same height in less time. Both series have an image of
    the same beats, so that their intervals tell the rates.

    Parameters
    ----------
    times, concentration : (t,) arrays
        Of the small bolus, s and any unit.
    main_times : (u,) array
        Of the main series, s.

    Returns
    -------
    (t,) array
        The same up to the foot of the bolus.
    float
        By how much slower the main bolus passes; 1 where the intervals are those of two protocols.

    Raises
    ------
    NoBolusError
        Where the curve shows no bolus.
    """
    pace = float(np.median(np.diff(main_times)) / np.median(np.diff(times)))
    if not 1.0 / _OTHER_PROTOCOL < pace < _OTHER_PROTOCOL:
        pace = 1.0
    foot = find_features(times, concentration).foot
    return foot + pace * (times - foot), pace


def _stretch(small: _Small, foot: float, shift: float, frame: float) -> float:
    """The stretch about the small bolus' foot that, with a shift of its own, leaves the least residual."""
    residuals = [small.best(shift, 2.0 * frame, frame, float(stretch), foot)[1] for stretch in _STRETCHES]
    return float(_STRETCHES[int(np.argmin(residuals))])


@dataclass(frozen=True)
class _Small:
    """The small bolus' curve, and the main series' signal at any time within ``span``."""

    times: Array
    concentration: Array
    main_signal: Callable[[Array], Array]
    span: tuple[float, float]

    @property
    def variance(self) -> float:
        """Sum of squares about the mean."""
        return float(((self.concentration - self.concentration.mean()) ** 2).sum())

    def without(self, frames: NDArray[np.bool_]) -> _Small:
        """The same without some frames."""
        return _Small(self.times[~frames], self.concentration[~frames], self.main_signal, self.span)

    def best(
        self, about: float, reach: float, frame: float, stretch: float = 1.0, foot: float = 0.0
    ) -> tuple[float, float]:
        """Shift of least residual within ``reach`` s of a first guess, and that residual."""
        at = foot + stretch * (self.times - foot)
        for step, around in ((frame / _COARSE, reach), (frame / _FINE, frame / _COARSE)):
            count = int(np.ceil(around / step))
            shifts = about + step * np.arange(-count, count + 1)
            residuals = self._residuals(shifts[:, None] + at)
            least = int(np.argmin(residuals))
            about = float(shifts[least])
        return about, float(residuals[least])

    def _residuals(self, at: Array) -> Array:
        """Sums of squares (s,) that no rising function of the main series' signal at the times (s, t) explains."""
        from scipy.optimize import isotonic_regression

        order = np.argsort(self.main_signal(np.clip(at, *self.span)), axis=1, kind="stable")
        curves = self.concentration[order]
        return np.array([((curve - isotonic_regression(curve).x) ** 2).sum() for curve in curves])
