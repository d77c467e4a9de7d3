"""One simulated series: its slices painted at their own times, scanned, and what is known of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qperf_app.phantom.acquisition import Grid, coil_sensitivity
from qperf_app.phantom.config import PhantomConfig
from qperf_app.phantom.curves import Curves, signals
from qperf_app.phantom.fields import TransmitField, interpolation
from qperf_app.phantom.landmarks import insertion_points
from qperf_app.phantom.motion import MotionTrace
from qperf_app.phantom.perfusion import Kinetics
from qperf_app.phantom.render import LABELS, Renderer
from qperf_app.phantom.sequences import Protocol
from qperf_app.plugins import Landmark


@dataclass(frozen=True)
class SeriesTruth:
    """What is known of a simulated series; (x, y, z) is its grid.

    Parameters
    ----------
    displacement : (x, y, z, t, 3) float32 array
        World mm within the slice, from each voxel of the reference frame to where the heart's tissue is seen.
    masks : mapping of (x, y, z) bool arrays
        ``myocardium``, ``LV`` and ``RV`` in the reference frame: more than half of the voxel.
    frame_masks : mapping of (x, y, z, t) bool arrays
        The same where they lie in every volume.
    parts : mapping of (x, y, z) float32 arrays
        Part of each voxel, in the reference frame.
    concentration : (x, y, z, t) float32 array
        Mean over the voxel in the reference frame, mmol/L, for the dynamic volumes.
    parameters : mapping of (x, y, z) arrays
        MBF, Fb, Fp, PS, vp, ve, Ta in the myocardium, NaN elsewhere.
    landmarks : tuple of Landmark
        Right-ventricular insertion points in the reference frame.
    motion : MotionTrace
        At the onset of every volume.
    """

    displacement: NDArray[np.float32]
    masks: Mapping[str, NDArray[np.bool_]]
    frame_masks: Mapping[str, NDArray[np.bool_]]
    parts: Mapping[str, NDArray[np.float32]]
    concentration: NDArray[np.float32]
    parameters: Mapping[str, NDArray[np.float64]]
    landmarks: tuple[Landmark, ...]
    motion: MotionTrace


@dataclass(frozen=True)
class Slab:
    """Slices that are read at one time: their place in the grid, renderer, and concentrations at the volumes."""

    place: slice
    renderer: Renderer
    curves: Curves


@dataclass(frozen=True)
class Painted:
    """A series without noise.

    Parameters
    ----------
    images : (echo, x, y, z, t) float32 array
    blood : (t,) array
        Signal of the left ventricle's blood at the first echo of the dynamic volumes.
    wall : (t,) array
        The same of the mean over the myocardium; empty where none is in view.
    truth : SeriesTruth
    """

    images: NDArray[np.float32]
    blood: NDArray[np.float64]
    wall: NDArray[np.float64]
    truth: SeriesTruth


def paint_series(
    config: PhantomConfig,
    grid: Grid,
    scanned: Protocol,
    slabs: Sequence[Slab],
    kinetics: Kinetics,
    transmit: TransmitField,
) -> Painted:
    """Images of a series and what is true of it, slab by slab."""
    n, person = config.proton_density_frames, slabs[0].renderer.participant
    sensitivity = coil_sensitivity(person.torso, person.centre, person.coil_exponent, grid.world())
    images, blood, wall, truths = [], [], [], []
    for slab in slabs:
        local = sensitivity[:, :, slab.place]
        nodes, weights = interpolation(transmit.at(slab.renderer.grid.world()))
        values = signals(config, slab.curves, scanned, nodes)
        seen, labels = _paint(slab.renderer, values, weights)
        images.append(seen * local[..., None])
        truth, cells = _truth(slab, kinetics, labels, n)
        truths.append(truth)
        chamber, muscle = truth.masks["LV"], cells >= 0
        # What the coils and B1 leave of the signal at each node.
        shares = [local * weights[..., k] for k in range(len(nodes))]
        usual = [float(share[chamber].mean()) if chamber.any() else 1.0 / len(nodes) for share in shares]
        of_nodes = (share * values.tissues["left"][n:, 0, k] for k, share in enumerate(usual))
        blood.append(reduce(np.add, of_nodes))
        curves = (values.cells[cells[muscle], n:, 0, k] * share[muscle][:, None] for k, share in enumerate(shares))
        wall.append(reduce(np.add, curves))
    muscle_curves = np.concatenate(wall)
    mean = muscle_curves.mean(axis=0) if len(muscle_curves) else np.empty(0)
    return Painted(np.concatenate(images, axis=-2), blood[0], mean, _joined(truths))


def _paint(
    renderer: Renderer, values: Curves, weights: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Images (echo, x, y, z, t) of signals (t, echo, node), without the coils, and the labels (3, x, y, z, t)."""
    _, echoes, nodes = values.muscle.shape
    frames = range(len(values.muscle))
    images = np.empty((echoes, *renderer.grid.shape, len(frames)), np.float32)
    labels = np.empty((len(LABELS), *renderer.grid.shape, len(frames)), bool)
    flat = values.map(lambda _, curves, axis: curves.reshape(*curves.shape[:-2], echoes * nodes))
    for frame in frames:
        view = renderer.view(frame)
        seen = renderer.image(frame, view, flat.values(frame)).reshape(*renderer.grid.shape, echoes, nodes)
        images[..., frame] = np.moveaxis((seen * weights[..., None, :]).sum(axis=-1), -1, 0)
        labels[..., frame] = renderer.labels(view) > 0.5
    return images, labels


def _truth(
    slab: Slab, kinetics: Kinetics, moving: NDArray[np.bool_], n_weighted: int
) -> tuple[SeriesTruth, NDArray[np.intp]]:
    """The truth, and the cell of every voxel of the myocardium, -1 elsewhere."""
    renderer = slab.renderer
    view = renderer.view(None)
    parts = dict(zip(LABELS, renderer.labels(view), strict=True))
    masks = {name: part > 0.5 for name, part in parts.items()}
    cells = np.where(masks["myocardium"], renderer.cells(view), -1)
    parameters = {}
    for name, values in kinetics.items():
        parameters[name] = np.where(cells >= 0, values.ravel()[cells], np.nan)
    landmarks = insertion_points(renderer.shape, renderer.deformation, renderer.grid)
    truth = SeriesTruth(
        displacement=renderer.displacement(),
        masks=masks,
        frame_masks=dict(zip(LABELS, moving, strict=True)),
        parts=parts,
        concentration=renderer.image(None, view, slab.curves.values(np.s_[n_weighted:]), texture=False),
        parameters=parameters,
        landmarks=tuple(replace(mark, slice=mark.slice + slab.place.start) for mark in landmarks),
        motion=renderer.deformation.trace,
    )
    return truth, cells


def _joined(truths: Sequence[SeriesTruth]) -> SeriesTruth:
    """Slabs put together along the slices."""
    if len(truths) == 1:
        return truths[0]

    def stacked(name: str) -> dict[str, NDArray[Any]]:
        parts = [getattr(truth, name) for truth in truths]
        return {key: np.concatenate([part[key] for part in parts], axis=2) for key in parts[0]}

    return SeriesTruth(
        displacement=np.concatenate([truth.displacement for truth in truths], axis=2),
        concentration=np.concatenate([truth.concentration for truth in truths], axis=2),
        landmarks=tuple(mark for truth in truths for mark in truth.landmarks),
        motion=truths[0].motion,
        **{name: stacked(name) for name in ("masks", "frame_masks", "parts", "parameters")},
    )
