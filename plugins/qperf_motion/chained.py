"""Motion correction by mutual information, each frame with its neighbours in time, inside the region of the heart."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from qperf_app.plugins import Motion, MotionCorrectionPlugin, Resources, RunContext, Series


@dataclass(frozen=True)
class ChainedOptions:
    """Options of ``chained``."""

    reach: float = field(default=24.0, metadata={"help": "largest displacement from frame to frame, mm"})
    margin: float = field(default=20.0, metadata={"help": "how far around the left ventricle frames are compared, mm"})
    bins: int = field(default=6, metadata={"help": "grey levels of the joint histograms"})
    lags: tuple[int, ...] = field(default=(1, 2, 4), metadata={"help": "how many frames apart two compared frames are"})


class ChainedMutualInformation(MotionCorrectionPlugin):
    """Translation of every frame within its slice.

    The heart is found twice: roughly from what brightens like a first pass, then, in the roughly corrected series,
    around the left ventricle. Inside that region the mutual information of each frame with its neighbours in time is
    known for every shift, and the frames are placed where it is largest in sum: neighbours look alike though the bolus
    changes everything in the long run. Over the whole field of view the chest wall, which stays, would win.
    """

    name = "chained"
    version = "1.0"
    summary = "in-plane translation by mutual information of neighbouring frames inside the region of the heart"
    citations = (
        "Maes F, Collignon A, Vandermeulen D, Marchal G, Suetens P. Multimodality image registration by maximization "
        "of mutual information. IEEE Trans Med Imaging 1997;16:187-198.",
    )
    Options = ChainedOptions

    def correct(self, series: Series, context: RunContext) -> Motion:
        """Find each frame's shift in its plane; the frame at the most usual position keeps its place.

        Slices are registered one by one, on ``context.threads`` threads; the result doesn't depend on their number. A
        frame that fits nowhere keeps the identity and ``corrected`` False, and so do all frames where nothing in the
        series looks like a first pass.
        """
        spacing = series.voxel_size[:2]
        dynamic = series.dynamic()
        interval = float(np.median(np.diff(dynamic.times))) if len(dynamic.times) > 1 else 1.0
        slices = [working_frames(series.data[:, :, z], spacing) for z in range(series.data.shape[2])]
        first = series.n_proton_density
        scores = [first_pass_score(f[..., first:], s, interval, smoothing=4.0, median=5) for f, s in slices]
        centre = heart_centre(scores, slices[0][1])

        def register(slice_: tuple[NDArray[np.float32], NDArray[np.float64]]) -> Positions:
            return self._register(*slice_, first, interval, centre)

        if centre is None:
            found = [unplaced(series.data.shape[3])] * len(slices)
        else:
            with ThreadPoolExecutor(max_workers=max(1, context.threads)) as pool:
                found = list(pool.map(register, slices))
        return _motion(series, found, [s / spacing for _, s in slices])

    def _register(
        self,
        frames: NDArray[np.float32],
        spacing: NDArray[np.float64],
        first: int,
        interval: float,
        centre: NDArray[np.float64],
    ) -> Positions:
        """Look twice: in a disc around the heart, then closely around the left ventricle, where that is found."""
        options = self.options
        pairs = neighbour_pairs(frames.shape[2], options.neighbours)

        def look(frames: NDArray[np.float32], region: NDArray[np.bool_], reach: float) -> Positions:
            pixels = int(np.ceil(reach / spacing.min()))
            return chain(frames.shape[2], pairs, information_surfaces(frames, region, pairs, pixels, options.bins))

        disc = squared_distance(frames.shape[:2], centre, spacing) <= options.heart_radius**2
        rough = look(frames, disc, options.max_shift)
        whole = np.round(rough.shift).astype(int)
        aligned = shifted_back(frames, whole)
        pool = left_ventricle(aligned[..., first:], spacing, interval, centre)
        if pool is None:
            return rough
        fine = look(aligned, grown(pool, options.margin, spacing), _SECOND_LOOK)
        return replace(fine, shift=fine.shift + whole)

    def resources(self, shape: tuple[int, int, int, int]) -> Resources:
        return Resources(memory_gb=1.0)


def _motion(series: Series, found: Sequence[Positions], scales: Sequence[NDArray[np.float64]]) -> Motion:
    """Displacement field from shifts on each slice's working grid; ``scales`` are its pixels in voxels."""
    n_slices, n_frames = series.data.shape[2:]
    displacement = np.zeros((*series.data.shape, 3), np.float32)
    corrected = np.zeros((n_slices, n_frames), bool)
    for z, (positions, scale) in enumerate(zip(found, scales, strict=True)):
        corrected[z] = positions.prominence >= _PROMINENT
        if not corrected[z].any():
            continue
        shift = np.where(corrected[z][:, None], positions.shift - _usual(positions.shift[corrected[z]]), 0.0)
        voxels = np.concatenate([shift * scale, np.zeros((n_frames, 1))], axis=1)
        displacement[:, :, z] = world_displacement(series.affine, voxels)
    cost = -np.stack([positions.information for positions in found])
    return Motion(displacement, corrected, cost)


def _usual(shift: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shift of the key frame: the one nearest to the median position, so that most frames move least."""
    return shift[((shift - np.median(shift, axis=0)) ** 2).sum(axis=1).argmin()]
