"""Motion correction ``elastix``: elastix registers all frames of a slice to one another at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qperf_app.geometry import canonical_order
from qperf_app.methods.heart import dilated
from qperf_app.plugins import Motion, MotionCorrectionPlugin, Resources, RunContext, Series
from qperf_motion.chained import ChainedMotionCorrection, RegisteredSlice
from qperf_motion.grid import in_plane_displacement, read_at, shifted_back, splines_of, working_positions
from qperf_motion.quality import roughness

#: Fewer frames have no principal components to speak of.
_LEAST = 8
#: elastix wants four pixels of a B-spline's support within its samples.
_SMALLEST = 16


@dataclass(frozen=True)
class ElastixOptions:
    """Options of :class:`ElastixMotionCorrection`."""

    margin: float = field(
        default=32.0, metadata={"help": "mm around the left blood pool that are registered", "range": (0.0, 500.0)}
    )
    knots: float = field(default=40.0, metadata={"help": "distance of the B-spline's knots, mm", "range": (1.0, 500.0)})
    resolutions: int = field(default=2, metadata={"help": "levels of the image pyramid", "range": (1, 10)})
    iterations: int = field(default=80, metadata={"help": "steps at each level", "range": (1, 100_000)})
    samples: int = field(default=512, metadata={"help": "pixels that each step looks at", "range": (1, 1_000_000)})
    components: int = field(
        default=5, metadata={"help": "principal components that may explain the contrast", "range": (1, 100)}
    )


class ElastixMotionCorrection(MotionCorrectionPlugin):
    """B-spline deformation of every frame, groupwise: no frame is the reference.

    The metric asks that few principal components explain all frames (Huizinga et al., Med Image Anal 2016;29:65-78,
    equation 9). It starts where ``chained`` ends: from the raw frames it diverges. elastix is an optional dependency.
    """

    name = "elastix"
    version = "1.1"
    summary = "Groupwise B-spline deformation by elastix, after chained's shifts; needs the extra of the same name."
    citations = (
        *ChainedMotionCorrection.citations,
        "Klein S, Staring M, Murphy K, Viergever MA, Pluim JPW. elastix: a toolbox for intensity-based medical image "
        "registration. IEEE Trans Med Imaging 2010;29:196-205. doi:10.1109/TMI.2009.2035616",
        "Huizinga W, Poot DHJ, Guyader JM, et al. PCA-based groupwise image registration for quantitative MRI. "
        "Med Image Anal 2016;29:65-78. doi:10.1016/j.media.2015.12.004",
    )
    Options = ElastixOptions

    def problems(self, metadata: Mapping[str, Any], shape: tuple[int, int, int, int]) -> Sequence[str]:
        """Say that elastix is not installed."""
        return () if available() else ("motion correction by elastix needs: pip install 'qperf-app[elastix]'",)

    def correct(self, series: Series, context: RunContext) -> Motion:
        """Find each frame's deformation; the reference is the mean position over the frames.

        Proton-density volumes, frames that ``chained`` could not place and slices without a left ventricle keep what
        ``chained`` gave them. elastix runs on one thread, so that its sums do not depend on how many there are.

        Raises
        ------
        ModuleNotFoundError
            Without elastix.
        """
        order = canonical_order(series.affine)
        series = series.reordered(order)
        chained = ChainedMotionCorrection()
        slices = chained.register(series, context)
        motion = chained.motion_of(series, slices)
        dynamic = np.arange(series.data.shape[3]) >= series.n_proton_density
        displacement = motion.displacement.copy()
        for z, slice_ in enumerate(slices):
            use = motion.corrected[z] & dynamic
            if slice_.ventricle is None or use.sum() < _LEAST:
                continue
            context.say(f"elastix: slice {z + 1} of {len(slices)}")
            moved = self._register(slice_, use, context)
            if moved is None:
                continue
            shift = _on_own_grid(moved, slice_.spacing, series)
            displacement[:, :, z, use] = in_plane_displacement(series.affine, shift)
        return Motion(displacement, motion.corrected, motion.cost).reordered(order.inverse)

    def _register(
        self, slice_: RegisteredSlice, use: NDArray[np.bool_], context: RunContext
    ) -> NDArray[np.float64] | None:
        """Where each used frame is read from on the working grid, pixels (x, y, n, 2), 0 in the mean.

        None where elastix fails, or makes the voxels' curves no smoother over time than ``chained`` did.
        """
        assert slice_.ventricle is not None
        region = dilated(slice_.ventricle.pool, self.options.margin, slice_.spacing)
        shift = slice_.positions.shift - np.median(slice_.positions.shift[use], axis=0)
        whole = np.round(shift).astype(int)
        box = _box(region)
        frames = shifted_back(slice_.frames, whole)[..., use][box]
        try:
            fields = _groupwise(frames, slice_.spacing, self.options, context.seed)
        except RuntimeError as error:
            # A frame whose samples leave the image ends the whole slice.
            context.say(f"elastix failed, chained's shifts are kept: {str(error).strip().splitlines()[-1]}")
            return None
        everything, splines = np.ones(len(whole[use]), bool), splines_of(frames)
        before, after = (
            roughness(read_at(splines, field), region[box], everything) for field in (np.zeros_like(fields), fields)
        )
        if after >= before:
            return None
        moved = fields + whole[use]
        moved -= moved.mean(axis=(0, 1, 2))
        # Outside the rectangle as at its edge.
        rows, columns = (
            np.clip(np.arange(n), b.start, b.stop - 1) - b.start
            for n, b in zip(slice_.frames.shape[:2], box, strict=True)
        )
        return np.asarray(moved[np.ix_(rows, columns)])

    def resources(self, shape: tuple[int, int, int, int]) -> Resources:
        """What ``chained`` takes, and elastix's own copies of one slice with its deformation field."""
        base = ChainedMotionCorrection().resources(shape)
        return Resources(base.memory_gb + 0.5 + 200 * float(np.prod(shape)) / max(shape[2], 1) / 2**30, base.threads)


def available() -> bool:
    """Whether elastix is installed; it is not imported."""
    return find_spec("itk") is not None and find_spec("itk.itkElastixRegistrationMethodPython") is not None


def _box(region: NDArray[np.bool_]) -> tuple[slice, slice]:
    """Smallest rectangle around a region, no narrower than elastix can do with."""
    found = []
    for axis in (0, 1):
        inside = np.flatnonzero(region.any(axis=1 - axis))
        first, last = int(inside[0]), int(inside[-1]) + 1
        lacking = max(0, _SMALLEST - (last - first))
        found.append(slice(max(0, first - lacking), min(region.shape[axis], last + lacking)))
    return found[0], found[1]


def _groupwise(
    frames: NDArray[np.float32], spacing: NDArray[np.float64], options: ElastixOptions, seed: int
) -> NDArray[np.float64]:
    """Deformation of frames (x, y, n), pixels (x, y, n, 2): the corrected pixel at p is read from p + deformation."""
    import itk

    itk.MultiThreaderBase.SetGlobalMaximumNumberOfThreads(1)
    # ITK's arrays count the other way round.
    stack = itk.image_from_array(np.ascontiguousarray(frames.T))
    stack.SetSpacing([float(spacing[0]), float(spacing[1]), 1.0])
    parameters = itk.ParameterObject.New()
    parameters.AddParameterMap(_parameters(options, seed))
    _, found = itk.elastix_registration_method(
        stack, stack, parameter_object=parameters, log_to_console=False, number_of_threads=1
    )
    # transformix leaves the field as a file as well, in the current folder where it is not told of another.
    with TemporaryDirectory() as folder:
        moved = itk.transformix_deformation_field(stack, found, log_to_console=False, output_directory=folder)
    return np.asarray(itk.array_from_image(moved), np.float64).transpose(2, 1, 0, 3)[..., :2] / spacing


def _parameters(options: ElastixOptions, seed: int) -> dict[str, tuple[str, ...]]:
    """elastix's parameter map."""
    levels = range(options.resolutions - 1, -1, -1)
    schedule = tuple(str(v) for level in levels for v in (2**level, 2**level, 0))
    grid = tuple(str(2**level) for level in levels)
    return {
        "FixedInternalImagePixelType": ("float",),
        "MovingInternalImagePixelType": ("float",),
        "Registration": ("MultiResolutionRegistration",),
        "FixedImagePyramid": ("FixedSmoothingImagePyramid",),
        "MovingImagePyramid": ("MovingSmoothingImagePyramid",),
        "ImagePyramidSchedule": schedule,
        "NumberOfResolutions": (str(options.resolutions),),
        "Metric": ("PCAMetric",),
        "NumEigenValues": (str(options.components),),
        "UseZeroAverageDisplacementConstraint": ("true",),
        "MovingImageDerivativeScales": ("1", "1", "0"),
        "Interpolator": ("ReducedDimensionBSplineInterpolator",),
        "BSplineInterpolationOrder": ("1",),
        "ResampleInterpolator": ("FinalReducedDimensionBSplineInterpolator",),
        "FinalBSplineInterpolationOrder": ("3",),
        "Resampler": ("DefaultResampler",),
        "Transform": ("BSplineStackTransform",),
        "FinalGridSpacingInPhysicalUnits": (str(options.knots), str(options.knots), "1"),
        "GridSpacingSchedule": grid,
        "HowToCombineTransforms": ("Compose",),
        "AutomaticScalesEstimation": ("true",),
        "Optimizer": ("AdaptiveStochasticGradientDescent",),
        "AutomaticParameterEstimation": ("true",),
        "ASGDParameterEstimationMethod": ("Original",),
        "MaximumNumberOfIterations": (str(options.iterations),),
        "ImageSampler": ("RandomCoordinate",),
        "NumberOfSpatialSamples": (str(options.samples),),
        "NumberOfSamplesForExactGradient": (str(2 * options.samples),),
        "NewSamplesEveryIteration": ("true",),
        "RequiredRatioOfValidSamples": ("0.05",),
        "CheckNumberOfSamples": ("true",),
        "UseDirectionCosines": ("true",),
        "RandomSeed": (str(seed % 2**31),),
        "DefaultPixelValue": ("0",),
        "WriteResultImage": ("false",),
    }


def _on_own_grid(moved: NDArray[np.float64], spacing: NDArray[np.float64], series: Series) -> NDArray[np.float64]:
    """Bring pixels (x, y, n, 2) of the working grid to the series' own grid."""
    from scipy.ndimage import map_coordinates

    shape = series.data.shape[:2]
    where = working_positions((shape[0], shape[1]), (moved.shape[0], moved.shape[1]))
    result = np.empty((*shape, *moved.shape[2:]))
    for n in range(moved.shape[2]):
        for axis in (0, 1):
            result[:, :, n, axis] = map_coordinates(moved[:, :, n, axis], where, order=1, mode="nearest")
    return result * spacing / series.voxel_size[:2]
