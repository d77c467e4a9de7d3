"""Blood of the left and the right ventricle in the voxels of the wall: found, and taken out of their signal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from qperf_app.methods.kinetic_inputs import MIN_FRAMES
from qperf_app.methods.spill_over import (
    FRACTIONS,
    Fractions,
    MuscleCurves,
    Pool,
    frame_weights,
    log_likelihood,
    muscle_signal,
    posterior,
)
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
_TINY = 1e-30


class TwoPool(SpillOverPlugin):
    """Finds the fraction of left or right ventricular blood in every voxel of the wall and takes its signal out.

    What the fraction is, the voxel's curve, its place in the outline and its neighbours tell
    (:mod:`qperf_app.methods.spill_over`).
    """

    name = "two-pool"
    version = "1.0"
    summary = "Takes the signal of left and right ventricular blood out of the voxels of the wall."
    citations = ("Hutchins GD, et al. J Am Coll Cardiol 1990;15:1032-1042. doi:10.1016/0735-1097(90)90237-J",)

    def resources(self, shape: tuple[int, int, int, int]) -> Resources:
        """Arrays of doubles of the wall's surroundings for every fraction, a slice at a time."""
        return Resources(memory_gb=0.8 + 8 * 8 * 0.25 * len(FRACTIONS) * shape[0] * shape[1] * shape[3] / 2**30)

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
        """Estimate the fractions slice by slice, and convert what is left of the signal."""
        wall, dynamic = myocardium.mask, series.dynamic()
        if len(dynamic.times) < MIN_FRAMES:
            # Too few to fit anything to; kinetics says so.
            return SpillOver()
        mean = {pool: np.where(wall, 0.0, np.nan) for pool in _POOLS}
        sd = {pool: np.where(wall, 0.0, np.nan) for pool in _POOLS}
        left, jumps = series.data.astype(np.float64), np.zeros(dynamic.data.shape, bool)
        for z in np.flatnonzero(wall.any(axis=(0, 1))).tolist():
            inside, frames = wall[:, :, z], series.data[:, :, z].astype(np.float64)
            jumps[inside, z] = _frame_weights(series, inside, z) < _LEAST_WEIGHT
            neighbours = neighbours_of(series, wall, pools, z)
            muscle = _muscle_curves(aif, constants, dynamic.times + series.slice_times[z])
            if not neighbours or not len(muscle.shapes):
                continue
            signals = {name: np.median(frames[n.core], axis=0) for name, n in neighbours.items()}
            found = _slice_fractions(series, inside, z, neighbours, signals, muscle, convert)
            for name, fraction, spread in zip(neighbours, found.mean, found.sd, strict=True):
                mean[name][inside, z], sd[name][inside, z] = fraction, spread
                left[inside, z] -= fraction[:, None] * signals[name]
            left[inside, z] /= 1.0 - found.mean.sum(axis=0)[:, None]
        converted = convert(series.with_data(left))
        data = np.where(jumps, np.nan, converted.data)
        return SpillOver(replace(converted, data=data, invalid=converted.invalid | jumps), mean, sd)


def _muscle_curves(aif: InputFunction, constants: TissueConstants, times: Array) -> MuscleCurves:
    """Draws of muscle; an input of unknown height says nothing of how high its curve is."""
    spread = _ANY_HEIGHT if aif.log_peak_sd and aif.units == RELATIVE_UNITS else aif.log_peak_sd
    return MuscleCurves.of(times, aif.times, aif.in_plasma(constants.haematocrit), log_height_sd=spread)


def _frame_weights(series: Series, inside: NDArray[np.bool_], z: int) -> Array:
    dynamic = series.dynamic()
    return frame_weights(dynamic.data[inside, z].astype(np.float64), float(np.median(np.diff(dynamic.times))))


def _slice_fractions(
    series: Series,
    inside: NDArray[np.bool_],
    z: int,
    neighbours: Mapping[str, Neighbour],
    signals: Mapping[str, Array],
    muscle: MuscleCurves,
    convert: Converter,
) -> Fractions:
    """Fractions of each neighbour's blood in the voxels of the wall in one slice."""
    # No blood at all, then each pool's fractions.
    parts, bloods = [FRACTIONS[:1]], [np.zeros((1, series.data.shape[3]))]
    for name in neighbours:
        parts.append(FRACTIONS[1:])
        bloods.append(np.broadcast_to(signals[name], (len(FRACTIONS) - 1, series.data.shape[3])))
    fractions = np.concatenate(parts)
    curves, weight = _muscle_of_each(series, inside, z, fractions, np.concatenate(bloods), convert)
    away = np.min([n.distance[inside] for n in neighbours.values()], axis=0) > _INNER * float(
        series.voxel_size[:2].mean()
    )
    likelihood = log_likelihood(curves, weight, _frame_weights(series, inside, z), muscle, away)
    pools, each = [], len(FRACTIONS) - 1
    for k, neighbour in enumerate(neighbours.values()):
        own = likelihood[:, 1 + k * each : 1 + (k + 1) * each]
        pools.append(Pool(neighbour.distance[inside], np.concatenate([likelihood[:, :1], own], axis=1)))
    spacing = series.voxel_size[:2]
    return posterior(pools, np.argwhere(inside) * spacing, float(spacing.mean()))


def _muscle_of_each(
    series: Series, inside: NDArray[np.bool_], z: int, fractions: Array, blood: Array, convert: Converter
) -> tuple[Array, Array]:
    """Concentration (n, c, t) of the muscle beside each fraction (c,) of each blood (c, t), and what it weighs, (n, c).

    The weight is what a unit of concentration changes in the signal. The wall is converted where it lies, a copy
    for each fraction as a slice of its own: a conversion may look at the voxels around.
    """
    box = tuple(slice(max(0, k.min() - _MARGIN), k.max() + _MARGIN + 1) for k in np.nonzero(inside))
    within = inside[box]
    copies = np.repeat(series.data[box][:, :, z : z + 1].astype(np.float64), len(fractions), axis=2)
    signal = muscle_signal(copies[within], fractions, blood)
    copies[within] = signal
    curves = np.asarray(convert(series.with_data(copies)).data[within], np.float64)
    change = signal[..., series.n_proton_density :]
    known = np.isfinite(curves)
    slope = _slope(np.where(known, curves, 0.0), change, known)[..., None]
    # Below the baseline, and above what the sequence can show, there is no concentration: the signal goes on straight.
    start = np.where(known, change - slope * np.where(known, curves, 0.0), 0.0).sum(axis=2, keepdims=True)
    start /= np.maximum(known.sum(axis=2, keepdims=True), 1)
    straight = (change - start) / np.where(slope > 0, slope, np.inf)
    return np.where(known, curves, straight), (1.0 - fractions) * slope[..., 0]


def _slope(curves: Array, signal: Array, known: NDArray[np.bool_]) -> Array:
    """Slope (n, c) of signal over concentration (n, c, t) where it is known."""
    count = np.maximum(known.sum(axis=2, keepdims=True), 1)
    centred = np.where(known, curves - curves.sum(axis=2, keepdims=True) / count, 0.0)
    slope: Array = (centred * signal).sum(axis=2) / ((centred**2).sum(axis=2) + _TINY)
    return slope
