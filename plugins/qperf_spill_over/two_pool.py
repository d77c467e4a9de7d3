"""Blood of the left and the right ventricle in the voxels of the wall: found, and taken out of their signal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache, cached_property

import numpy as np
from numpy.typing import NDArray

from qperf_app.geometry.masks import rectangle_around
from qperf_app.methods.fat import fat_fraction
from qperf_app.methods.kinetic_inputs import MIN_FRAMES
from qperf_app.methods.moving_border import border_motion, moved_fraction
from qperf_app.methods.spill_over import (
    BLUR,
    COARSE,
    FRACTIONS,
    MuscleCurves,
    Pool,
    about_the_best,
    expected_curves,
    frame_weights,
    log_likelihood,
    muscle_log_prior,
    muscle_signal,
    posterior,
    refined,
)
from qperf_app.physics.input_function import NoBolusError, find_features
from qperf_app.plugins import (
    RELATIVE_UNITS,
    BloodPools,
    Converter,
    InputFunction,
    Myocardium,
    Resources,
    RunContext,
    Series,
    SpillOver,
    SpillOverPlugin,
    TissueConstants,
)
from qperf_spill_over.geometry import Neighbour, neighbours_of

Array = NDArray[np.float64]
#: Voxels around the wall that are converted with it: whoever looks for the bolus in a series needs the blood.
_MARGIN = 3
_POOLS = ("LV", "RV")
#: Standard deviation of the logarithm of a height that is not known.
_ANY_HEIGHT = 5.0
#: Voxels that lie so far from every pool, in voxels' edges, are muscle alone.
_INNER = 1.25
#: A frame of less weight in a voxel is left out: blood has moved into it, or out.
_LEAST_WEIGHT = 0.25
#: Volumes before the bolus that tell fat, at least; most of a voxel that is not muscle.
_LEAST_EARLY, _MOST = 3, 0.95
#: Voxels that a border's motion is seen in, at least.
_LEAST_VOXELS = 8
_TINY = 1e-30


class TwoPool(SpillOverPlugin):
    """Finds the fraction of left or right ventricular blood in every voxel of the wall and takes its signal out.

    What the fraction is, the voxel's curve, its place in the outline and its neighbours tell
    (:mod:`qperf_app.methods.spill_over`); how it changes from frame to frame, all voxels along the border together
    (:mod:`qperf_app.methods.moving_border`).
    """

    name = "two-pool"
    version = "1.2"
    summary = "Takes the signal of left and right ventricular blood out of the voxels of the wall."
    citations = ("Hutchins GD, et al. J Am Coll Cardiol 1990;15:1032-1042. doi:10.1016/0735-1097(90)90237-J",)

    def resources(self, shape: tuple[int, int, int, int]) -> Resources:
        """Arrays of doubles of the wall's surroundings for every fraction, a slice on each thread."""
        threads = max(1, min(shape[2], 4))
        each = 8 * 8 * 0.25 * len(COARSE) * shape[0] * shape[1] * shape[3] / 2**30
        return Resources(memory_gb=0.8 + threads * each, threads=threads)

    def separate(
        self,
        series: Series,
        myocardium: Myocardium,
        pools: BloodPools | None,
        aif: InputFunction,
        constants: TissueConstants,
        convert: Converter,
        context: RunContext,
    ) -> SpillOver:
        """Estimate the fractions, slices on ``context.threads`` threads, and convert what is left of the signal."""
        wall, dynamic = myocardium.mask, series.dynamic()
        if len(dynamic.times) < MIN_FRAMES:
            # Too few to fit anything to; kinetics says so.
            return SpillOver()
        mean = {name: np.where(wall, 0.0, np.nan) for name in (*_POOLS, "fat")}
        sd = {name: np.where(wall, 0.0, np.nan) for name in (*_POOLS, "fat")}
        slices = np.flatnonzero(wall.any(axis=(0, 1))).tolist()
        beside = {z: neighbours_of(series, wall, pools, z) for z in slices}
        before = _before_bolus(series, aif, beside)
        left, jumps = series.data.astype(np.float64), np.zeros(dynamic.data.shape, bool)
        more = left.copy()

        @cache
        def muscle_at(offset: float) -> MuscleCurves:
            return _muscle_curves(aif, constants, dynamic.times + offset)

        def separate_slice(z: int) -> None:
            inside, neighbours = wall[:, :, z], beside[z]
            muscle = muscle_at(float(series.slice_times[z]))
            part = _WallSlice(series, inside, z, neighbours, muscle, convert)
            if neighbours and len(muscle.shapes):
                found = _moving_mixture(part)
                left[inside, z], more[inside, z] = found.muscle, found.muscle_beside_more()
                for name, fraction in found.fractions.items():
                    mean[name][inside, z], sd[name][inside, z] = fraction.mean(axis=1), found.sd[name]
            jumps[inside, z] = part.frame_weights(left[inside, z]) < _LEAST_WEIGHT
            if before is not None:
                blood = mean["LV"][inside, z] + mean["RV"][inside, z]
                fat, noise = fat_fraction(before[0][:, :, z], before[1][:, :, z], inside)
                mean["fat"][inside, z], sd["fat"][inside, z] = np.minimum(fat, _MOST - blood), noise

        with ThreadPoolExecutor(max(1, context.threads)) as pool:
            list(pool.map(separate_slice, slices))
        converted = convert(series.with_data(left), wall)
        data = np.where(jumps, np.nan, converted.data)
        shift = np.where(jumps, np.nan, convert(series.with_data(more), wall).data - converted.data)
        return SpillOver(replace(converted, data=data, invalid=converted.invalid | jumps), mean, sd, shift)


def _before_bolus(
    series: Series, aif: InputFunction, beside: Mapping[int, Mapping[str, Neighbour]]
) -> tuple[Array, Array] | None:
    """Mean proton-density volume and mean volume before the bolus comes to any pool (x, y, z); None for too few."""
    first, dynamic = series.n_proton_density, series.dynamic()
    pools = [dynamic.data[:, :, z][n.core].mean(axis=0) for z, near in beside.items() for n in near.values()]
    feet = [
        foot
        for times, curve in ((aif.times, aif.concentration), *((dynamic.times, curve) for curve in pools))
        if (foot := _foot(times, curve)) is not None
    ]
    early = np.flatnonzero(dynamic.times < min(feet, default=-np.inf))
    if not first or len(early) < _LEAST_EARLY:
        return None
    data = series.data.astype(np.float64)
    return data[..., :first].mean(axis=-1), data[..., first + early].mean(axis=-1)


def _foot(times: Array, curve: Array) -> float | None:
    try:
        return find_features(times, curve).foot
    except NoBolusError:
        return None


def _muscle_curves(aif: InputFunction, constants: TissueConstants, times: Array) -> MuscleCurves:
    """Draws of muscle; an input of unknown height says nothing of how high its curve is."""
    spread = _ANY_HEIGHT if aif.log_peak_sd and aif.units == RELATIVE_UNITS else aif.log_peak_sd
    return MuscleCurves.of(times, aif.times, aif.in_plasma(constants.haematocrit), log_height_sd=spread)


@dataclass(frozen=True)
class _WallSlice:
    """The n voxels of the wall in one slice, the pools beside them, and what is known of muscle.

    Signals have all v volumes of the series, curves its t dynamic ones.
    """

    series: Series
    inside: NDArray[np.bool_]
    z: int
    neighbours: Mapping[str, Neighbour]
    expected: MuscleCurves
    convert: Converter

    @cached_property
    def signal(self) -> Array:
        """Signal (n, v) of the voxels."""
        return np.asarray(self.series.data[self.inside, self.z], np.float64)

    @cached_property
    def blood(self) -> dict[str, Array]:
        """Signal (v,) of each pool."""
        frames = self.series.data[:, :, self.z].astype(np.float64)
        return {name: np.median(frames[n.core], axis=0) for name, n in self.neighbours.items()}

    @cached_property
    def distance(self) -> dict[str, Array]:
        """Distance (n,) of the voxels from each pool's outline, mm."""
        return {name: n.distance[self.inside] for name, n in self.neighbours.items()}

    @property
    def edge(self) -> float:
        """Edge of a voxel, mm."""
        return float(self.series.voxel_size[:2].mean())

    @property
    def inner(self) -> NDArray[np.bool_]:
        """Voxels away from every pool."""
        return np.asarray(np.min(list(self.distance.values()), axis=0) > _INNER * self.edge)

    def frame_weights(self, signal: Array) -> Array:
        """Weight (n, t) of the dynamic frames of a signal (n, v)."""
        interval = float(np.median(np.diff(self.series.dynamic().times)))
        return frame_weights(signal[:, self.series.n_proton_density :], interval)

    @cached_property
    def unmixed(self) -> _Curves:
        """Concentration (n, 1, t) of voxels taken for muscle alone."""
        nothing = np.zeros((len(self.signal), 1, self.signal.shape[1]))
        return self.converted(nothing, nothing[0])

    def converted(self, fractions: Array, blood: Array) -> _Curves:
        """Concentration of the muscle beside fractions (n, c, v) of blood of c signals, (c, v) or (n, c, v).

        The wall is converted where it lies, a copy for each fraction as a slice of its own: a conversion may look at
        the voxels around.
        """
        box = rectangle_around(self.inside, _MARGIN)
        within, first = self.inside[box], self.series.n_proton_density
        here = self.series.data[box][:, :, self.z : self.z + 1]
        copies = np.repeat(here.astype(np.float64), fractions.shape[1], axis=2)
        copies[within] = muscle_signal(copies[within], fractions, blood)
        where = np.repeat(within[:, :, None], copies.shape[2], axis=2)
        curves = np.asarray(self.convert(self.series.with_data(copies), where).data[within], np.float64)
        signal, known = copies[within][..., first:], np.isfinite(curves)
        slope = _slope(np.where(known, curves, 0.0), signal, known)[..., None]
        # Below the baseline, and above what the sequence can show, there is no concentration: the signal goes straight.
        start = np.where(known, signal - slope * np.where(known, curves, 0.0), 0.0).sum(axis=2, keepdims=True)
        start /= np.maximum(known.sum(axis=2, keepdims=True), 1)
        straight = (signal - start) / np.where(slope > 0, slope, np.inf)
        weight = (1.0 - fractions[..., first:].mean(axis=2)) * slope[..., 0]
        return _Curves(np.where(known, curves, straight), weight, start[..., 0], slope[..., 0])


@dataclass(frozen=True)
class _Curves:
    """Concentration (n, c, t), what a unit of it changes in the voxel's signal (n, c), and the line (n, c) that gives
    the muscle's signal from it."""

    concentration: Array
    weight: Array
    start: Array
    slope: Array


def _slope(curves: Array, signal: Array, known: NDArray[np.bool_]) -> Array:
    """Slope (n, c) of signal over concentration (n, c, t) where it is known."""
    count = np.maximum(known.sum(axis=2, keepdims=True), 1)
    centred = np.where(known, curves - curves.sum(axis=2, keepdims=True) / count, 0.0)
    slope: Array = (centred * signal).sum(axis=2) / ((centred**2).sum(axis=2) + _TINY)
    return slope


@dataclass(frozen=True)
class _Mixture:
    """What the n voxels of a slice hold.

    Parameters
    ----------
    mean, sd : mapping of str to (n,) array
        Fraction of each pool's blood with the border at its mean position.
    motion : mapping of str to (n, v) array
        Of each pool's border into the voxels in every volume, in units of the blur.
    log_prior : (m,) array
        Of the draws of muscle.
    """

    part: _WallSlice
    mean: Mapping[str, Array]
    sd: Mapping[str, Array]
    motion: Mapping[str, Array]
    log_prior: NDArray[np.float32]

    @cached_property
    def fractions(self) -> dict[str, Array]:
        """Fraction (n, v) of each pool's blood in every volume."""
        return {name: moved_fraction(mean, self.motion[name]) for name, mean in self.mean.items()}

    @property
    def total(self) -> Array:
        """Fraction (n, v) of blood; no more than what is weighed, beyond which noise is all that would be left."""
        return np.asarray(np.minimum(sum(self.fractions.values()), FRACTIONS[-1]))

    @property
    def blood(self) -> Array:
        """Signal (n, v) of the blood in each voxel."""
        parts = [fraction * self.part.blood[name] for name, fraction in self.fractions.items()]
        return np.asarray(sum(parts) / np.maximum(sum(self.fractions.values()), _TINY))

    @property
    def muscle(self) -> Array:
        """Signal (n, v) of the muscle."""
        return muscle_signal(self.part.signal, self.total, self.blood)

    def muscle_beside_more(self) -> Array:
        """Signal (n, v) of the muscle if each voxel held one standard deviation more blood of the pool that it has."""
        spread = np.array(list(self.sd.values()))
        own = np.where(np.arange(len(spread))[:, None] == spread.argmax(axis=0), spread, 0.0)
        most = FRACTIONS[-1]
        return replace(
            self, mean={n: np.minimum(m + own[k], most) for k, (n, m) in enumerate(self.mean.items())}
        ).muscle

    def expected_signal(self) -> Array:
        """Signal (n, t) that is expected of each voxel's muscle."""
        curves = self.part.converted(self.total[:, None], self.blood[:, None])
        frames = self.part.frame_weights(self.muscle)
        expected = expected_curves(
            curves.concentration[:, 0], curves.weight[:, 0], frames, self.part.expected, self.log_prior
        )
        return np.asarray(curves.start + curves.slope * expected)


def _moving_mixture(part: _WallSlice) -> _Mixture:
    """Mixture of blood and muscle in every frame: first as if nothing moved, then with the borders' motion."""
    still = {name: np.zeros_like(part.signal) for name in part.neighbours}
    found = _mixture(part, still, part.frame_weights(part.signal))
    motion = _motion(part, found)
    return _mixture(part, motion, part.frame_weights(replace(found, motion=motion).muscle))


def _mixture(part: _WallSlice, motion: Mapping[str, Array], frames: Array) -> _Mixture:
    """Mixture where each pool's border moves into the voxels by ``motion`` (n, v), in units of the blur."""
    curves = part.unmixed
    log_prior = muscle_log_prior(curves.concentration[:, 0], curves.weight[:, 0], frames, part.expected, part.inner)
    coarse = [np.broadcast_to(COARSE[1:], (len(own), len(COARSE) - 1)) for own in motion.values()]
    tried, count = _tried(part, motion, coarse, frames, log_prior)
    chosen = [about_the_best(each) for each in tried]
    fine, _ = _tried(part, motion, [FRACTIONS[each] for each in chosen], frames, log_prior, count)
    pools = [
        Pool(part.distance[name], refined(a, index, b[:, 1:]))
        for name, a, index, b in zip(motion, tried, chosen, fine, strict=True)
    ]
    found = posterior(pools, np.argwhere(part.inside) * part.series.voxel_size[:2], part.edge)
    mean, sd = (dict(zip(motion, values, strict=True)) for values in (found.mean, found.sd))
    return _Mixture(part, mean, sd, motion, log_prior)


def _tried(
    part: _WallSlice,
    motion: Mapping[str, Array],
    fractions: Sequence[Array],
    frames: Array,
    log_prior: NDArray[np.float32],
    count: Array | None = None,
) -> tuple[list[Array], Array]:
    """Log likelihood (n, 1 + g) of no blood and of fractions (n, g) of each pool; independent frames (n,) of all."""
    # No blood at all, then each pool's fractions.
    nothing = np.zeros((len(part.signal), 1, part.signal.shape[1]))
    moved, bloods = [nothing], [nothing[0]]
    for (name, own), each in zip(motion.items(), fractions, strict=True):
        moved.append(np.minimum(moved_fraction(each, own[:, None]), COARSE[-1]))
        bloods.append(np.broadcast_to(part.blood[name], (each.shape[1], own.shape[1])))
    curves = part.converted(np.concatenate(moved, axis=1), np.concatenate(bloods))
    likelihood, count = log_likelihood(curves.concentration, curves.weight, frames, part.expected, log_prior, count)
    found, start = [], 1
    for each in fractions:
        own = likelihood[:, start : start + each.shape[1]]
        found.append(np.concatenate([likelihood[:, :1], own], axis=1))
        start += each.shape[1]
    return found, count


def _motion(part: _WallSlice, found: _Mixture) -> dict[str, Array]:
    """Motion (n, v) of each pool's border into the voxels, in units of the blur; proton-density volumes lie still."""
    first, expected = part.series.n_proton_density, found.expected_signal()
    motion = {}
    for name, neighbour in part.neighbours.items():
        motion[name] = np.zeros_like(part.signal)
        near = np.isfinite(part.distance[name])
        if near.sum() < _LEAST_VOXELS:
            continue
        others = [k for k in found.fractions if k != name]
        other = sum((found.fractions[k] for k in others), np.zeros_like(part.signal))[near, first:]
        blood = sum((found.fractions[k] * part.blood[k] for k in others), np.zeros_like(part.signal))[near, first:]
        motion[name][near, first:] = border_motion(
            part.signal[near, first:] - blood,
            (1.0 - other) * expected[near],
            part.blood[name][first:],
            found.mean[name][near],
            _across(neighbour.distance, part.series.voxel_size[:2])[part.inside][near],
            BLUR,
        )
    return motion


def _across(distance: Array, spacing: Array) -> Array:
    """Unit vectors (x, y, 2) across a pool's border, away from it."""
    along_x, along_y = np.gradient(np.where(np.isfinite(distance), distance, 0.0), *spacing)
    slope = np.stack([along_x, along_y], axis=-1)
    return np.asarray(slope / np.maximum(np.linalg.norm(slope, axis=-1, keepdims=True), 1e-9))
