"""Motion of heart and abdomen: breathing with drift and coughs, and the beat's size after irregular intervals.

The heart follows the diaphragm along the patient's axis, its lower parts more than its upper ones (Wang et al., Magn
Reson Med 1995;33:713; McLeish et al., IEEE Trans Med Imaging 2002;21:1142), so that it is squeezed a little; its
axis being oblique, most of that shift lies in the short-axis plane and the rest goes through it. The organs slide along
the chest wall, which stays or comes forward with a breath.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from qperf_app.phantom.shapes import Array, smoothstep
from qperf_app.phantom.triggering import Triggers

# How far from the heart's axis its change of size reaches, mm.
_BEAT_REACH = 45.0
#: Peak-to-peak depth of a breath (mm of the diaphragm), drift over the scan (mm), expected coughs, for each mode.
_MODES: dict[str, tuple[tuple[float, float], tuple[float, float], float]] = {
    "mild": ((1.0, 3.0), (1.0, 4.0), 0.05),
    "free": ((8.0, 22.0), (1.0, 6.0), 0.3),
    "extreme": ((18.0, 34.0), (4.0, 12.0), 1.5),
    "held": ((8.0, 22.0), (1.0, 6.0), 0.3),
}
#: A breath that is held, with free breaths around: when it begins, how long it lasts (s), and how far the diaphragm
#: rises meanwhile, mm (Moghari et al., Magn Reson Med 2014;72:850; Holland et al., Radiology 1998;209:483).
_HELD_FROM, _HELD_FOR, _RISE = (0.0, 15.0), (18.0, 53.0), (1.0, 10.0)


@dataclass(frozen=True)
class MotionTrace:
    """State of every volume, relative to the reference frame in which nothing is displaced.

    Parameters
    ----------
    breath : (t,) array
        Shift of the diaphragm towards the feet, mm; 0 in the median.
    beat : (t,) array
        Relative change of the heart's size across its axis.
    direction : (3,) array
        World shift for each mm of breath.
    """

    breath: NDArray[np.float64]
    beat: NDArray[np.float64]
    direction: NDArray[np.float64]

    def at(self, which: NDArray[np.intp]) -> MotionTrace:
        """Some of the states."""
        return replace(self, breath=self.breath[which], beat=self.beat[which])


def sample_motion(
    mode: str, triggers: Triggers, rng: np.random.Generator, size: NDArray[np.float64] | None = None
) -> MotionTrace:
    """Draw the breathing of one scan and sample it at some times; ``none`` moves nothing.

    ``size`` (t,) is the relative change of the heart's size where it is read in all phases of its beat.
    """
    times = triggers.times
    direction = np.array([rng.normal(0.0, 0.04), rng.uniform(0.1, 0.3), -1.0])
    if mode == "none":
        return MotionTrace(np.zeros(len(times)), np.zeros(len(times)), direction)
    depths, drifts, coughs = _MODES[mode]
    breath = _breaths(times, float(rng.uniform(*depths)), rng)
    breath += _drift(times, float(rng.uniform(*drifts)), rng)
    for start in rng.uniform(times[0], times[-1], rng.poisson(coughs)):
        breath += _cough(times, float(start), rng)
    if mode == "held":
        breath = _held(times, breath, rng)
    beat = np.clip(0.2 * (triggers.preceding - 1.0), -0.06, 0.06) + rng.normal(0.0, 0.004, len(times))
    beat = beat if size is None else beat + size
    return MotionTrace(breath - np.median(breath), beat - np.median(beat), direction)


def within_slices(trace: MotionTrace, normal: NDArray[np.float64], kept: float) -> MotionTrace:
    """The same motion with only part of its shift along the slices' normal."""
    through = (trace.direction @ normal) * normal
    return replace(trace, direction=trace.direction - (1.0 - kept) * through)


def _breaths(times: NDArray[np.float64], depth: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Breaths of uneven depth and length that rest at the end of expiration (Lujan et al., Med Phys 1999;26:715)."""
    mean_period = float(rng.uniform(3.2, 5.5))
    n = int(times[-1] / (0.5 * mean_period)) + 4
    periods = mean_period * np.clip(rng.normal(1.0, 0.12, n), 0.5, 1.5)
    starts = np.concatenate([[0.0], np.cumsum(periods)]) - rng.uniform(0.0, mean_period)
    depths = depth * np.clip(rng.normal(1.0, 0.2, n), 0.3, 1.6)
    which = np.clip(np.searchsorted(starts, times, side="right") - 1, 0, n - 1)
    waves: NDArray[np.float64] = np.sin(np.pi * (times - starts[which]) / periods[which]) ** 4
    return depths[which] * waves


def _drift(times: NDArray[np.float64], size: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Slow change: a slope and one long wave."""
    x = times / times[-1]
    slope: NDArray[np.float64] = rng.uniform(-1.0, 1.0) * x
    wave: NDArray[np.float64] = np.sin(2.0 * np.pi * (rng.uniform(0.3, 0.9) * x + rng.random()))
    return size * (slope + 0.4 * wave)


def _held(times: NDArray[np.float64], breath: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """The same with a breath that is held at some depth, while the diaphragm slowly rises."""
    start, rise = times[0] + float(rng.uniform(*_HELD_FROM)), float(rng.uniform(*_RISE))
    since = (times - start) / float(rng.uniform(*_HELD_FOR))
    depth = float(rng.uniform(breath.min(), breath.max()))
    return np.where((since >= 0.0) & (since <= 1.0), depth - rise * since, breath)


def _cough(times: NDArray[np.float64], start: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """A deep breath in, then a burst out."""
    size = rng.uniform(8.0, 18.0)
    inward = np.exp(-(((times - start) / 0.6) ** 2))
    outward = np.exp(-(((times - start - 1.2) / 0.5) ** 2))
    return size * (inward - 0.6 * outward)


def _combine(weights: NDArray[np.float64], parts: Sequence[Array] | Array) -> Array:
    """Weighted sum of three arrays, in their own precision."""
    first, second, third = (np.float32(w) for w in weights)
    total: Array = first * parts[0] + second * parts[1] + third * parts[2]
    return total


@dataclass(frozen=True)
class Deformation:
    """Where the tissue seen at a point of space has its place in the reference frame.

    Parameters
    ----------
    trace : MotionTrace
    dome : float
        Height z of the diaphragm at rest, world mm.
    centre, axes : (3,), (3, 3) arrays
        Middle of the left ventricle and the heart's axes (rows x, y, w) in world mm.
    wall : float
        How far the front of the chest wall comes forward for each mm of the diaphragm.
    """

    trace: MotionTrace
    dome: float
    centre: NDArray[np.float64]
    axes: NDArray[np.float64]
    wall: float = 0.0

    def breathing_shift(self, z: Array, frame: int) -> Array:
        """Shift along the breathing direction of what is seen at height z, mm."""
        following = 0.3 + 0.7 * smoothstep(-z, -self.dome - 120.0, -self.dome + 10.0)
        return np.float32(self.trace.breath[frame]) * following

    def chest_wall(self, y: Array, *, frame: int) -> Array:
        """Reference height y of the chest wall seen at y: the front moves, the back lies on the table."""
        front: Array = smoothstep(y, -60.0, 60.0)
        return y - np.float32(self.wall * self.trace.breath[frame]) * front

    def organs(self, x: Array, y: Array, z: Array, *, frame: int) -> tuple[Array, Array, Array]:
        """Reference place, world mm, of the organ tissue seen at a point; breathing only."""
        shift = self.breathing_shift(z, frame)
        dx, dy, dz = (np.float32(d) for d in self.trace.direction)
        return x - dx * shift, y - dy * shift, z - dz * shift

    def heart(self, x: Array, y: Array, z: Array, *, frame: int | None) -> tuple[Array, Array, Array]:
        """Reference place in heart coordinates of what is seen at a world point; None is the reference frame."""
        if frame is None:
            return self._heart_coordinates(x, y, z)
        hx, hy, hw = self._heart_coordinates(*self.organs(x, y, z, frame=frame))
        scale = self._beat_scale(hx, hy, frame)
        return hx * scale, hy * scale, hw

    def _heart_coordinates(self, x: Array, y: Array, z: Array) -> tuple[Array, Array, Array]:
        offset = [c - np.float32(o) for c, o in zip((x, y, z), self.centre, strict=True)]
        hx, hy, hw = (_combine(row, offset) for row in self.axes)
        return hx, hy, hw

    def _beat_scale(self, hx: Array, hy: Array, frame: int) -> Array:
        """Factor from the place seen to the reference place, across the heart's axis."""
        near = np.exp((hx * hx + hy * hy) * np.float32(-1.0 / _BEAT_REACH**2))
        return 1.0 / (1.0 + np.float32(self.trace.beat[frame]) * near)

    def eulerian(self, points: NDArray[np.float32], frame: int) -> NDArray[np.float32]:
        """World displacement (3, ...) of the heart tissue seen at points (3, ...): seen minus reference place."""
        x, y, z = points
        shift = self.breathing_shift(z, frame)
        hx, hy, _ = self._heart_coordinates(*self.organs(x, y, z, frame=frame))
        grown = 1.0 - self._beat_scale(hx, hy, frame)
        return np.stack([
            np.float32(d) * shift + (np.float32(ax) * hx + np.float32(ay) * hy) * grown
            for d, ax, ay in zip(self.trace.direction, self.axes[0], self.axes[1], strict=True)
        ])  # fmt: skip

    def in_plane_displacement(
        self, points: NDArray[np.float32], normal: NDArray[np.float64], iterations: int = 5
    ) -> NDArray[np.float32]:
        """Displacement (3, ..., t), world mm, from reference points (3, ...) to where their tissue is seen.

        The tissue at p is seen where q - u(q) = p within the plane; the fixed point q = p + u(q) contracts because
        the shift changes slowly in space. What goes through the plane can't be read from a slice and is left out.
        """
        across = [np.float32(n) for n in normal]
        result = np.zeros((*points.shape, len(self.trace.breath)), np.float32)
        for frame in range(result.shape[-1]):
            shift = np.zeros_like(points)
            for _ in range(iterations):
                shift = self.eulerian(points + shift, frame)
                through = _combine(normal, shift)
                for n, s in zip(across, shift, strict=True):
                    s -= n * through
            result[..., frame] = shift
        return result
