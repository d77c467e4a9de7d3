"""Motion correction ``progressive``: from whole shifts to an affine deformation, each step kept only if it helps."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from qperf_app.geometry import canonical_order
from qperf_app.geometry.masks import rectangle_around
from qperf_app.methods.heart import dilated
from qperf_app.plugins import Motion, MotionCorrectionPlugin, Resources, RunContext, Series
from qperf_motion.affine import Deformation, refine_affine, translation_of
from qperf_motion.chained import DENSITY_REACH, ChainedMotionCorrection, RegisteredSlice
from qperf_motion.grid import WHOLE, in_plane_displacement, read_at, read_shifted, splines_of, working_positions
from qperf_motion.quality import MARGIN, frame_quality, roughness, whole_energy
from qperf_motion.translation import agree_over_slices, recover, refine_translation

#: Fewer dynamic frames have nothing to be smooth between.
_LEAST_FRAMES = 3
#: A run of frames may have gone so far astray, mm.
_ASTRAY = 22.0


@dataclass(frozen=True)
class ProgressiveOptions:
    """Options of :class:`ProgressiveMotionCorrection`."""

    margin: float = field(
        default=26.0, metadata={"help": "mm around the left blood pool that the edges come from", "range": (0.0, 500.0)}
    )
    rest: float = field(
        default=20.0,
        metadata={
            "help": "penalty of moving a pixel from one frame to the next: nats times pixels",
            "range": (0.0, 1e6),
        },
    )
    window: float = field(
        default=3.0, metadata={"help": "temporal window of the last reference, frames", "range": (0.1, 1000.0)}
    )
    floor: float = field(default=0.1, metadata={"help": "weight of frames outside the window", "range": (0.0, 1.0)})
    stiffness: float = field(
        default=3.0, metadata={"help": "penalty of deforming against the misfit of the edges", "range": (0.0, 1e6)}
    )
    gain: float = field(
        default=0.09,
        metadata={
            "help": "part by which a deformation must smooth the curves over time to be kept",
            "range": (0.0, 1.0),
        },
    )


class ProgressiveMotionCorrection(MotionCorrectionPlugin):
    """Shift, then stretch of each frame in its plane, against references made of all other frames.

    It starts where ``chained`` ends. The edges of all frames together are the first reference, which no contrast
    changes: runs of frames that went astray are brought back to it. The window then shrinks to the frames around each,
    and the shift becomes an affine deformation. A slice
    takes a step only if that makes its voxels' curves smoother over time, judged on frames that had no part in the
    prediction.
    """

    name = "progressive"
    version = "1.3"
    summary = "In-plane affine deformation of every frame against the edges of the others, after chained's shifts."
    citations = (
        *ChainedMotionCorrection.citations,
        "Haber E, Modersitzki J. Intensity gradient based registration and fusion of multi-modal images. MICCAI 2006, "
        "Lect Notes Comput Sci 4191:726-733. doi:10.1007/11866763_89",
    )
    Options = ProgressiveOptions

    def correct(self, series: Series, context: RunContext) -> Motion:
        """Find each frame's deformation; the reference is the median position over the frames.

        Frames that ``chained`` could not place keep the identity and ``corrected`` False. The result doesn't depend
        on ``context.threads``.
        """
        order = canonical_order(series.affine)
        series = series.reordered(order)
        dynamic = np.arange(series.data.shape[3]) >= series.n_proton_density
        slices = ChainedMotionCorrection().register(series, context)
        with ThreadPoolExecutor(max_workers=max(1, context.threads)) as pool:
            splines = list(pool.map(lambda each: splines_of(each.frames), slices))
            slices = list(pool.map(lambda each, spline: self._recovered(each, spline, dynamic), slices, splines))
        tracked = [
            k for k, each in enumerate(slices) if each.ventricle is not None and (each.positions.found & dynamic).any()
        ]
        use = [slices[k].positions.found & dynamic for k in tracked]
        agreed = agree_over_slices([slices[k].positions.shift for k in tracked], use)
        for k, shift in zip(tracked, agreed, strict=True):
            slices[k] = replace(slices[k], positions=replace(slices[k].positions, shift=shift))
        with ThreadPoolExecutor(max_workers=max(1, context.threads)) as pool:
            results = list(pool.map(lambda each, spline: self._refine(each, spline, dynamic), slices, splines))
        return _motion(series, slices, results).reordered(order.inverse)

    def _recovered(
        self, slice_: RegisteredSlice, splines: NDArray[np.float32], dynamic: NDArray[np.bool_]
    ) -> RegisteredSlice:
        """Bring back runs of frames that ``chained`` lost in one slice."""
        positions, spacing = slice_.positions, slice_.spacing
        use = positions.found & dynamic
        if slice_.ventricle is None or use.sum() < _LEAST_FRAMES:
            return slice_
        region = dilated(slice_.ventricle.either, self.options.margin, spacing)
        start = np.where(positions.found[:, None], positions.shift, np.median(positions.shift[use], axis=0))
        reach = int(np.ceil(_ASTRAY / spacing.min()))
        shift = recover(splines, region, start, use, reach, self.options.rest)
        shift = np.where(positions.found[:, None], shift, positions.shift)
        return replace(slice_, positions=replace(positions, shift=shift))

    def _refine(self, slice_: RegisteredSlice, splines: NDArray[np.float32], dynamic: NDArray[np.bool_]) -> _Refined:
        """Refine one slice step by step; a step that does not make its curves smoother over time is not taken."""
        positions, spacing, options = slice_.positions, slice_.spacing, self.options
        use = positions.found & dynamic
        if slice_.ventricle is None or use.sum() < _LEAST_FRAMES:
            everywhere = np.ones(slice_.frames.shape[:2], bool)
            unrefined = translation_of(positions.shift, everywhere, spacing)
            return _Refined(unrefined, (~positions.found).astype(np.float64), None)
        region = dilated(slice_.ventricle.either, options.margin, spacing)
        frames = np.ascontiguousarray(np.moveaxis(slice_.frames, -1, 0))
        start = np.where(positions.found[:, None], positions.shift, np.median(positions.shift[use], axis=0))

        box = rectangle_around(region)

        def roughness_of(deformation: Deformation) -> float:
            return roughness(_read(splines, deformation, box), region[box], use)

        kept = translation_of(start, region, spacing)
        still = roughness_of(kept)
        moved = translation_of(refine_translation(splines, region, start, use, options.rest), region, spacing)
        shifted = roughness_of(moved)
        if shifted < still:
            kept, still = moved, shifted
        bent = refine_affine(frames, region, moved, use, options.window, options.floor, options.stiffness)
        smoothed = roughness_of(bent)
        if smoothed < (1 - options.gain) * still:
            kept, still = bent, smoothed
        unmoved = translation_of(np.zeros_like(start), region, spacing)
        home = np.median(kept.coefficients[use, 0], axis=0)
        unmoved = replace(unmoved, coefficients=unmoved.coefficients + [home, [0, 0], [0, 0]])
        if roughness_of(unmoved) <= still:
            kept = unmoved
        box = rectangle_around(region, MARGIN)
        # The frame as a whole is hardly another for being bent around the heart.
        energy = whole_energy(_read(splines, translation_of(kept.coefficients[:, 0], region, spacing)))
        return _Refined(kept, *frame_quality(_read(splines, kept, box), region[box], use, spacing, energy))

    def resources(self, shape: tuple[int, int, int, int]) -> Resources:
        """What ``chained`` takes, and the edge tensors with their slopes of one slice on each thread.

        A frame takes 3 MB whatever the matrix: small series of many frames exceeded a declaration without them.
        """
        base = ChainedMotionCorrection().resources(shape)
        each = 60 * float(np.prod(shape)) / max(shape[2], 1) + 3e6 * shape[3]
        return Resources(base.memory_gb + base.threads * each / 2**30, base.threads)


@dataclass(frozen=True)
class _Refined:
    """Deformation of a slice with the cost and the residual motion (mm) of its frames; None: not known."""

    deformation: Deformation
    cost: NDArray[np.float64]
    residual: NDArray[np.float64] | None


def _read(
    splines: NDArray[np.float32], deformation: Deformation, box: tuple[slice, slice] = WHOLE
) -> NDArray[np.float32]:
    """Read frames, given as splines (t, x, y), through a deformation, within a rectangle."""
    if not deformation.coefficients[:, 1:].any():
        along, across = (np.arange(n)[part] for n, part in zip(splines.shape[1:], box, strict=True))
        return read_shifted(splines, deformation.coefficients[:, 0], along, across)
    x, y = (grid[box] for grid in np.indices(splines.shape[1:], dtype=float))
    return read_at(splines, deformation.displacement(x, y), box)


def _motion(series: Series, slices: list[RegisteredSlice], results: list[_Refined]) -> Motion:
    """Displacement on the series' own grid from deformations on each slice's working grid."""
    shape, first = series.data.shape, series.n_proton_density
    displacement = np.zeros((*shape, 3), np.float32)
    corrected = np.stack([each.positions.found for each in slices]).copy()
    residual = np.full(shape[2:], np.nan)
    for z, (each, result) in enumerate(zip(slices, results, strict=True)):
        if result.residual is not None:
            residual[z] = result.residual
        if not corrected[z].any():
            continue
        centred = result.deformation.coefficients.copy()
        centred[:, 0] -= np.median(centred[corrected[z], 0], axis=0)
        corrected[z, :first] &= np.hypot(*(centred[:first, 0] * each.spacing).T) <= DENSITY_REACH
        centred[~corrected[z]] = 0.0
        scale = each.spacing / series.voxel_size[:2]
        # Turned into the world before it is spread over the pixels: there are few coefficients.
        world = replace(result.deformation, coefficients=in_plane_displacement(series.affine, centred * scale))
        # A translation is the same everywhere.
        places = working_positions(shape[:2], each.frames.shape[:2]) if centred[:, 1:].any() else np.zeros((2, 1, 1))
        displacement[:, :, z] = world.displacement(*places)
    return Motion(displacement, corrected, np.stack([each.cost for each in results]), residual)
