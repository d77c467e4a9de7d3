"""Motion correction ``chained``: mutual information with neighbouring frames, inside the heart region."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from qperf_app.geometry import canonical_order, world_displacement
from qperf_app.methods.heart import dilated, first_pass_score, heart_centre, left_ventricle, squared_distance
from qperf_app.plugins import Motion, MotionCorrectionPlugin, Resources, RunContext, Series
from qperf_motion.chain import Positions, chain, neighbour_pairs, place_leading, prefer_rest, unplaced
from qperf_motion.grid import shifted_back, working_frames
from qperf_motion.mutual_information import information_surfaces

#: mm. A proton-density volume shares little with its neighbours in contrast; found farther from the median position
#: than this it was mistaken, and keeps the identity.
_WEIGHTED_REACH = 15.0
#: Shift that a second look, after the first has brought the frames together, may still find, mm.
_SECOND_LOOK = 11.0
#: The same of the last look, in which the mean of all frames is a neighbour of every one, of this weight.
_LAST_LOOK = 14.0
_MEAN_WEIGHT = 2.0
#: A proton-density volume lies no farther than this from the nearest position of another frame, mm.
_OFF_PATH = 4.0
#: Frames count as registered when they share this many times what noise shares on average, which is
#: (bins - 1)^2 / (2 pixels) nats (Roulston 1999, Physica D 125:285).
_SHARED = 1.5
#: Pixels for each cell of the joint histogram, at least.
_PIXELS_PER_CELL = 12


@dataclass(frozen=True)
class ChainedOptions:
    """Options of :class:`ChainedMotionCorrection`."""

    neighbours: int = field(default=4, metadata={"help": "frames on either side that each frame is registered to"})
    max_shift: float = field(default=24.0, metadata={"help": "largest shift between such frames, mm"})
    heart_radius: float = field(default=50.0, metadata={"help": "radius of the region of the first look, mm"})
    margin: float = field(default=22.0, metadata={"help": "mm around the left blood pool that the second look uses"})
    bins: int = field(default=8, metadata={"help": "most grey levels of a frame in the joint histogram"})
    rest: float = field(
        default=21.0, metadata={"help": "price of moving a pixel or more: nats times pixels of the region"}
    )


@dataclass(frozen=True)
class RegisteredSlice:
    """Frames (x, y, t) of one slice on their working grid of ``spacing`` (2,) mm, with their positions there.

    ``pool`` (x, y) is the left ventricle's blood in the common position, None where it was not found.
    """

    frames: NDArray[np.float32]
    spacing: NDArray[np.float64]
    positions: Positions
    pool: NDArray[np.bool_] | None


class ChainedMotionCorrection(MotionCorrectionPlugin):
    """Translation of each frame in its plane, slice by slice.

    The heart is found twice: roughly, by what rises and falls as a first pass does; then, in the roughly corrected
    series, closely around the left ventricle. Over the whole field of view the chest wall, which stays, would win. A
    last look adds the mean of the corrected frames to the neighbours of each.
    """

    name = "chained"
    version = "1.1"
    summary = "In-plane shift of every frame by mutual information with its neighbours, in the heart region."
    citations = (
        "Maes F, Collignon A, Vandermeulen D, Marchal G, Suetens P. Multimodality image registration by maximization "
        "of mutual information. IEEE Trans Med Imaging 1997;16:187-198. doi:10.1109/42.563664",
    )
    Options = ChainedOptions

    def correct(self, series: Series, context: RunContext) -> Motion:
        """Find each frame's shift in its plane; the reference is the median position over the frames.

        Slices are registered one by one, on ``context.threads`` threads; the result doesn't depend on their number. A
        frame that fits nowhere keeps the identity and ``corrected`` False, and so do all frames where nothing in the
        series looks like a first pass.
        """
        order = canonical_order(series.affine)
        series = series.reordered(order)
        return self.motion_of(series, self.register(series, context)).reordered(order.inverse)

    def motion_of(self, series: Series, slices: Sequence[RegisteredSlice]) -> Motion:
        """Displacement field of what :meth:`register` found."""
        return _motion(series, [each.positions for each in slices], [each.spacing for each in slices])

    def register(self, series: Series, context: RunContext) -> list[RegisteredSlice]:
        """Find the positions of every slice's frames; a plugin that refines them starts here."""
        spacing = series.voxel_size[:2]
        dynamic = series.dynamic()
        interval = float(np.median(np.diff(dynamic.times))) if len(dynamic.times) > 1 else 1.0
        slices = [working_frames(series.data[:, :, z], spacing) for z in range(series.data.shape[2])]
        first = series.n_proton_density
        scores = [first_pass_score(f[..., first:], s, interval, smoothing=4.0, median=5) for f, s in slices]
        centre = heart_centre(scores, slices[0][1])
        if centre is None:
            found: list[tuple[Positions, NDArray[np.bool_] | None]] = [
                (unplaced(series.data.shape[3]), None) for _ in slices
            ]
        else:
            register = partial(self._register, native=spacing, first=first, interval=interval, centre=centre)
            with ThreadPoolExecutor(max_workers=max(1, context.threads)) as pool:
                found = list(pool.map(register, [f for f, _ in slices], [s for _, s in slices]))
        return [RegisteredSlice(f, s, *each) for (f, s), each in zip(slices, found, strict=True)]

    def _register(
        self,
        frames: NDArray[np.float32],
        spacing: NDArray[np.float64],
        native: NDArray[np.float64],
        first: int,
        interval: float,
        centre: NDArray[np.float64],
    ) -> tuple[Positions, NDArray[np.bool_] | None]:
        """Look twice: in a disc around the heart, then closely around the left ventricle, where that is found."""
        n_frames = frames.shape[2]
        pairs = neighbour_pairs(n_frames, self.options.neighbours)
        # Pixels that were measured; those of a finer working grid are no further samples of the histogram.
        samples = float(np.prod(spacing) / max(np.prod(spacing), np.prod(native)))

        def look(
            moved: NDArray[np.intp], region: NDArray[np.bool_], reach: float, mean: NDArray[np.float32] | None = None
        ) -> Positions:
            n = samples * region.sum()
            bins = self._bins(n)
            pixels = int(np.ceil(reach / spacing.min()))
            images = shifted_back(frames, moved)
            surfaces = information_surfaces(images, region, pairs, pixels, bins)
            offsets = np.array([moved[j] - moved[i] for i, j in pairs]).reshape(-1, 2)
            step = max(1.0, float((native / spacing).max()))
            surfaces = prefer_rest(surfaces, offsets, step, self.options.rest / n)
            anchors = None
            if mean is not None:
                images = np.concatenate([mean[..., None], images], axis=-1)
                with_mean = [(0, t + 1) for t in range(n_frames)]
                anchors = _MEAN_WEIGHT * information_surfaces(images, region, with_mean, pixels, bins)
            found = chain(n_frames, pairs, surfaces, chance=_SHARED * (bins - 1) ** 2 / (2 * n), anchors=anchors)
            return replace(found, shift=found.shift + moved)

        disc = squared_distance(frames.shape[:2], centre, spacing) <= self.options.heart_radius**2
        rough = look(np.zeros((n_frames, 2), int), disc, self.options.max_shift)
        whole = np.round(rough.shift - np.median(rough.shift, axis=0)).astype(int)
        pool = left_ventricle(shifted_back(frames, whole)[..., first:], spacing, interval, centre)
        if pool is None:
            return rough, None
        region = dilated(pool, self.options.margin, spacing)
        near = look(whole, region, _SECOND_LOOK)
        whole = np.round(near.shift).astype(int)
        use = near.found & (np.arange(n_frames) >= first)
        if not use.any():
            return near, pool
        last = look(whole, region, _LAST_LOOK, shifted_back(frames, whole)[..., use].mean(axis=-1))
        return (self._place_density(last, frames, spacing, region, first, samples) if first else last), pool

    def _place_density(
        self,
        found: Positions,
        frames: NDArray[np.float32],
        spacing: NDArray[np.float64],
        region: NDArray[np.bool_],
        first: int,
        samples: float,
    ) -> Positions:
        """Place the proton-density volumes by the mean of all others alone.

        What such a volume shares with the noisy frames next to it, before contrast, is little; with the mean of all
        frames, in which heart, lung and chest wall stand out, it is much. Breathing takes the heart along one path:
        where no other frame comes near, the information's summit is a mistake.
        """
        placed = np.flatnonzero(found.found & (np.arange(len(found.found)) >= first))
        if not len(placed):
            return found
        still = shifted_back(frames, np.round(found.shift).astype(int))[..., placed].mean(axis=-1, keepdims=True)
        n = samples * region.sum()
        bins, reach = self._bins(n), int(np.ceil(self.options.max_shift / spacing.min()))
        images = np.concatenate([still, frames[..., :first]], axis=-1)
        surfaces = information_surfaces(images, region, [(0, k + 1) for k in range(first)], reach, bins)
        away = _distance(reach, found.shift[placed], spacing)
        surfaces = np.where(away <= _OFF_PATH, surfaces, surfaces.min(axis=(1, 2), keepdims=True))
        return place_leading(found, surfaces, chance=_SHARED * (bins - 1) ** 2 / (2 * n))

    def _bins(self, samples: float) -> int:
        """Grey levels for a region of so many samples."""
        return int(np.clip(np.sqrt(samples / _PIXELS_PER_CELL), 4, self.options.bins))

    def resources(self, shape: tuple[int, int, int, int]) -> Resources:
        """One slice on each thread: half a dozen copies of it and 0.7 MB of grey-level maps a frame; the field.

        Three slices of 160 x 160 x 60 took 0.17 GiB over the series itself on three threads; 0.7 GiB is declared.
        """
        voxels, slices = float(np.prod(shape)), shape[2]
        threads = max(1, min(slices, 4))
        each = 50 * voxels / max(slices, 1) + 0.7e6 * shape[3]
        return Resources(memory_gb=0.25 + (threads * each + 40 * voxels) / 2**30, threads=threads)


def _distance(reach: int, shifts: NDArray[np.float64], spacing: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distance, mm, of every whole-pixel shift of up to ``reach`` from the nearest of ``shifts`` (n, 2)."""
    axis = np.arange(-reach, reach + 1)
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1)
    distance: NDArray[np.float64] = np.linalg.norm((grid[:, :, None] - shifts) * spacing, axis=-1).min(axis=-1)
    return distance


def _motion(series: Series, found: Sequence[Positions], spacings: Sequence[NDArray[np.float64]]) -> Motion:
    """Displacement field from shifts on each slice's working grid, of these ``spacings``, mm."""
    n_slices, n_frames = series.data.shape[2:]
    first = series.n_proton_density
    displacement = np.zeros((*series.data.shape, 3), np.float32)
    corrected = np.zeros((n_slices, n_frames), bool)
    for z, (positions, spacing) in enumerate(zip(found, spacings, strict=True)):
        scale = spacing / series.voxel_size[:2]
        corrected[z] = positions.found
        if not corrected[z].any():
            continue
        away = (positions.shift - np.median(positions.shift[corrected[z]], axis=0)) * scale * series.voxel_size[:2]
        corrected[z, :first] &= np.hypot(*away[:first].T) <= _WEIGHTED_REACH
        shift = np.where(corrected[z][:, None], positions.shift - np.median(positions.shift[corrected[z]], axis=0), 0.0)
        voxels = np.concatenate([shift * scale, np.zeros((n_frames, 1))], axis=1)
        displacement[:, :, z] = world_displacement(series.affine, voxels)
    cost = -np.stack([positions.information for positions in found])
    return Motion(displacement, corrected, cost)
