"""Motion correction ``chained``: mutual information with neighbouring frames, inside the heart region."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from qperf_app.geometry import canonical_order
from qperf_app.methods.heart import (
    LeftVentricle,
    dilated,
    first_pass_score,
    first_pass_width,
    heart_centre,
    left_ventricle,
    squared_distance,
)
from qperf_app.plugins import Motion, MotionCorrectionPlugin, Resources, RunContext, Series
from qperf_motion.chain import Positions, chain, neighbour_pairs, place_leading, prefer_rest, unplaced
from qperf_motion.grid import in_plane_displacement, shifted_back, working_frames
from qperf_motion.mutual_information import information_surfaces

#: A proton-density volume shares little with its neighbours in contrast; found farther from the median position than
#: this, mm, it was mistaken, and keeps the identity.
DENSITY_REACH = 15.0
#: Smoothing in the plane, mm, and running median of so many frames, at most, of the first look at where the heart is.
_HEART_SMOOTHING, _HEART_MEDIAN = 4.0, 5
#: The first look is never shorter than for the first pass of a resting adult, s: in a shorter one, as under stress,
#: more frames steady where the blood is seen, and nothing is lost.
USUAL_PASS = 6.5
#: Shift that a second pass, after the first has brought the frames together, may still find, mm.
_SECOND_PASS = 11.0
#: The same of the last pass, in which the mean of all frames is a neighbour of every one, of this weight.
_LAST_PASS = 14.0
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

    neighbours: int = field(
        default=4, metadata={"help": "frames on either side that each frame is registered to", "range": (1, 100)}
    )
    max_shift: float = field(
        default=24.0, metadata={"help": "largest shift between such frames, mm", "range": (1.0, 200.0)}
    )
    heart_radius: float = field(
        default=50.0, metadata={"help": "radius of the region of the first pass, mm", "range": (5.0, 500.0)}
    )
    margin: float = field(
        default=22.0,
        metadata={"help": "mm around the left blood pool that the second pass uses", "range": (0.0, 500.0)},
    )
    bins: int = field(
        default=8, metadata={"help": "most grey levels of a frame in the joint histogram", "range": (2, 256)}
    )
    rest: float = field(
        default=21.0,
        metadata={"help": "penalty of moving a pixel or more: nats times pixels of the region", "range": (0.0, 1e6)},
    )


@dataclass(frozen=True)
class RegisteredSlice:
    """Frames (x, y, t) of one slice on their working grid of ``spacing`` (2,) mm, with their positions there.

    ``ventricle`` is the left ventricle's blood in the common position, None where it was not found.
    """

    frames: NDArray[np.float32]
    spacing: NDArray[np.float64]
    positions: Positions
    ventricle: LeftVentricle | None


class ChainedMotionCorrection(MotionCorrectionPlugin):
    """Translation of each frame in its plane, slice by slice.

    The heart is found twice: roughly, by what rises and falls as a first pass does; then, in the roughly corrected
    series, closely around the left ventricle. Over the whole field of view the chest wall, which stays, would win. A
    last pass adds the mean of the corrected frames to the neighbours of each.
    """

    name = "chained"
    version = "1.2"
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
        native = series.voxel_size[:2]
        dynamic = series.dynamic()
        interval = float(np.median(np.diff(dynamic.times))) if len(dynamic.times) > 1 else 1.0
        slices = [
            _SliceRegistration(*working_frames(series.data[:, :, z], native), native, self.options)
            for z in range(series.data.shape[2])
        ]
        first = series.n_proton_density
        measured = first_pass_width([s.frames[..., first:] for s in slices], slices[0].spacing, interval)
        width = max(measured, USUAL_PASS) / interval
        scores = [
            first_pass_score(s.frames[..., first:], s.spacing, width, _HEART_SMOOTHING, _HEART_MEDIAN) for s in slices
        ]
        centre = heart_centre(scores, slices[0].spacing)
        if centre is None:
            nothing = unplaced(series.data.shape[3])
            return [RegisteredSlice(s.frames, s.spacing, nothing, None) for s in slices]
        with ThreadPoolExecutor(max_workers=max(1, context.threads)) as pool:
            found = list(pool.map(lambda s: s.register(first, centre, width), slices))
        return [RegisteredSlice(s.frames, s.spacing, *each) for s, each in zip(slices, found, strict=True)]

    def resources(self, shape: tuple[int, int, int, int]) -> Resources:
        """One slice on each thread: half a dozen copies of it and 0.7 MB of grey-level maps a frame; the field.

        Three slices of 160 x 160 x 60 took 0.17 GiB over the series itself on three threads; 0.7 GiB is declared.
        """
        voxels, slices = float(np.prod(shape)), shape[2]
        threads = max(1, min(slices, 4))
        each = 50 * voxels / max(slices, 1) + 0.7e6 * shape[3]
        return Resources(memory_gb=0.25 + (threads * each + 40 * voxels) / 2**30, threads=threads)


@dataclass(frozen=True)
class _SliceRegistration:
    """Frames (x, y, t) of a slice on a grid of ``spacing``, resampled from pixels of ``native``, (2,) mm."""

    frames: NDArray[np.float32]
    spacing: NDArray[np.float64]
    native: NDArray[np.float64]
    options: ChainedOptions

    @property
    def _n_frames(self) -> int:
        return int(self.frames.shape[2])

    def register(self, first: int, centre: NDArray[np.float64], width: float) -> tuple[Positions, LeftVentricle | None]:
        """Positions, and the left ventricle's blood where it is found.

        Three passes: in a disc around the heart; closely around the left ventricle; and there once more, with the mean
        of all frames as a neighbour of each. ``first`` is the first dynamic frame, ``centre`` the heart's, pixels,
        ``width`` that of the first pass, frames.
        """
        disc = squared_distance(self.frames.shape[:2], centre, self.spacing) <= self.options.heart_radius**2
        rough = self._pass(np.zeros((self._n_frames, 2), int), disc, self.options.max_shift)
        whole = np.round(rough.shift - np.median(rough.shift, axis=0)).astype(int)
        ventricle = left_ventricle(shifted_back(self.frames, whole)[..., first:], self.spacing, width, centre)
        if ventricle is None:
            return rough, None
        # A faint one is too little to hold on to before it fills.
        region = dilated(ventricle.pool, self.options.margin, self.spacing)
        near = self._pass(whole, region, _SECOND_PASS)
        whole = np.round(near.shift).astype(int)
        use = near.found & (np.arange(self._n_frames) >= first)
        if not use.any():
            return near, ventricle
        mean = shifted_back(self.frames, whole)[..., use].mean(axis=-1)
        last = self._pass(whole, region, _LAST_PASS, mean)
        return (self._place_density(last, region, first) if first else last), ventricle

    def _pass(
        self,
        moved: NDArray[np.intp],
        region: NDArray[np.bool_],
        reach: float,
        mean: NDArray[np.float32] | None = None,
    ) -> Positions:
        """Register frames, ``moved`` (t, 2) pixels back already, with their neighbours; shifts up to ``reach`` mm."""
        pairs = neighbour_pairs(self._n_frames, self.options.neighbours)
        samples, pixels = self._samples(region), int(np.ceil(reach / self.spacing.min()))
        bins = self._bins(samples)
        images, links = shifted_back(self.frames, moved), pairs
        if mean is not None:
            images = np.concatenate([images, mean[..., None]], axis=-1)
            links = pairs + [(self._n_frames, t) for t in range(self._n_frames)]
        information = information_surfaces(images, region, links, pixels, bins)
        offsets = np.array([moved[j] - moved[i] for i, j in pairs]).reshape(-1, 2)
        step = max(1.0, float((self.native / self.spacing).max()))
        surfaces = prefer_rest(information[: len(pairs)], offsets, step, self.options.rest / samples)
        anchors = None if mean is None else _MEAN_WEIGHT * information[len(pairs) :]
        found = chain(self._n_frames, pairs, surfaces, _chance(bins, samples), anchors)
        return replace(found, shift=found.shift + moved)

    def _place_density(self, found: Positions, region: NDArray[np.bool_], first: int) -> Positions:
        """Place the proton-density volumes by the mean of all others alone.

        What such a volume shares with the noisy frames next to it, before contrast, is little; with the mean of all
        frames, in which heart, lung and chest wall stand out, it is much. Breathing takes the heart along one path:
        where no other frame comes near, the information's peak is a mistake.
        """
        placed = np.flatnonzero(found.found & (np.arange(self._n_frames) >= first))
        if not len(placed):
            return found
        whole = np.round(found.shift).astype(int)
        still = shifted_back(self.frames, whole)[..., placed].mean(axis=-1, keepdims=True)
        samples = self._samples(region)
        bins, reach = self._bins(samples), int(np.ceil(self.options.max_shift / self.spacing.min()))
        images = np.concatenate([still, self.frames[..., :first]], axis=-1)
        surfaces = information_surfaces(images, region, [(0, k + 1) for k in range(first)], reach, bins)
        away = _distance(reach, found.shift[placed], self.spacing)
        surfaces = np.where(away <= _OFF_PATH, surfaces, surfaces.min(axis=(1, 2), keepdims=True))
        return place_leading(found, surfaces, _chance(bins, samples))

    def _samples(self, region: NDArray[np.bool_]) -> float:
        """Pixels of a region that were measured: a finer working grid gives a histogram no further samples."""
        measured = float(np.prod(self.spacing) / max(np.prod(self.spacing), np.prod(self.native)))
        return measured * float(region.sum())

    def _bins(self, samples: float) -> int:
        """Grey levels for a region of so many samples."""
        return int(np.clip(np.sqrt(samples / _PIXELS_PER_CELL), 4, self.options.bins))


def _chance(bins: int, samples: float) -> float:
    """Mutual information, nats, that tells a frame from noise."""
    return _SHARED * (bins - 1) ** 2 / (2 * samples)


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
        centred = positions.shift - np.median(positions.shift[corrected[z]], axis=0)
        away = np.hypot(*(centred[:first] * scale * series.voxel_size[:2]).T)
        corrected[z, :first] &= away <= DENSITY_REACH
        shift = np.where(corrected[z][:, None], positions.shift - np.median(positions.shift[corrected[z]], axis=0), 0.0)
        displacement[:, :, z] = in_plane_displacement(series.affine, shift * scale)
    cost = -np.stack([positions.information for positions in found])
    return Motion(displacement, corrected, cost)
