"""Images: what the header says, and what the voxel values look like."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qperf_app.checks.blood import blood_findings
from qperf_app.checks.findings import Finding, doubt, refusal
from qperf_app.checks.frames import counted_places, frame_findings
from qperf_app.checks.ranges import BLOOD_PEAK, PIXEL, SLICE_DISTANCE
from qperf_app.checks.timing import dynamic_times
from qperf_app.geometry import Grid
from qperf_app.methods.running import running_median
from qperf_app.physics.sequences import named_readout

#: Cosine between two axes of an image that is still perpendicular, but for a tilted stack.
MOST_SLANTED = 0.1
#: Share of voxels at the largest storable value from which a series counts as clipped.
CLIPPED = 1e-3
#: Factor between the signal of proton-density volumes and of those behind them that shows where they end. A saturation
#: pulse takes two thirds of the signal and more.
JUMP = 1.6
#: Correlation of neighbouring voxels below which the mean image is noise.
LEAST_SMOOTH = 0.2
_MOST_LEADING = 12


@dataclass(frozen=True)
class ImageHeader:
    """What the header of an image says.

    Parameters
    ----------
    shape : tuple of int
    affine : rows of the affine that counts, voxel index to world mm
    stored : str
        Type of the stored values, such as ``uint16``, ``complex64`` or ``RGB``.
    limits : (float, float) or None
        Smallest and largest value that the stored integers can say, scaled; None for floats.
    placed : bool
        Whether the header says where the image lies, by qform or sform.
    both_forms : rows of qform and of sform where both are given, else None
    interval : float or None
        Time between volumes, s; None where it says none.
    """

    shape: tuple[int, ...]
    affine: tuple[tuple[float, ...], ...]
    stored: str
    limits: tuple[float, float] | None = None
    placed: bool = True
    both_forms: tuple[tuple[tuple[float, ...], ...], tuple[tuple[float, ...], ...]] | None = None
    interval: float | None = None

    @property
    def grid(self) -> Grid:
        """Where the voxels lie."""
        return Grid.of(self.shape, self.affine)

    @property
    def is_magnitude(self) -> bool:
        """Whether a voxel holds one real number."""
        return self.stored != "RGB" and not self.stored.startswith("complex")


def header_findings(file: str, header: ImageHeader) -> Iterator[Finding]:
    """Check type and geometry of a raw series."""
    if not header.is_magnitude:
        yield refusal(file, "", f"the data type is {header.stored}; a magnitude series is needed")
    if len(header.shape) != 4:
        words = f"image has {len(header.shape)} dimensions, a series needs 4 (x, y, slice, t)"
        if len(header.shape) == 3:
            x, y, last = header.shape
            words += f"; of one slice it is ({x}, {y}, 1, {last})"
        yield refusal(file, "", words)
    else:
        yield from _exchanged_axes(file, header.shape)
    grid = header.grid
    if not np.isfinite(grid.affine).all() or abs(np.linalg.det(grid.affine[:3, :3])) < 1e-9:
        yield refusal(file, "", "the affine is singular")
        return
    edges = grid.voxel_size
    axes = grid.affine[:3, :3] / edges
    slant = float(np.abs(axes.T @ axes - np.eye(3)).max())
    if slant > MOST_SLANTED:
        yield doubt(file, "", f"the voxels' axes are not perpendicular (cosine {slant:.2f}): is the affine damaged?")
    if not header.placed:
        yield doubt(file, "", "the header has neither qform nor sform: where the image lies is not known")
    for entry, found in ((PIXEL, edges[0]), (PIXEL, edges[1]), (SLICE_DISTANCE, edges[2])):
        severity = entry.verdict(float(found))
        if severity:
            yield Finding(file, "", entry.words(float(found)), severity)
            break
    if header.both_forms is not None:
        forms = [np.array(rows) for rows in header.both_forms]
        corners = np.column_stack([grid.corners, np.ones(8)])
        apart = float(np.linalg.norm((corners @ (forms[0] - forms[1]).T)[:, :3], axis=1).max())
        if apart > float(edges.min()):
            yield doubt(file, "", f"qform and sform of the header differ by up to {apart:.0f} mm; the sform is used")


def _exchanged_axes(file: str, shape: tuple[int, ...]) -> Iterator[Finding]:
    """A stack has fewer slices than its slices have rows and columns, and a series has more volumes than slices."""
    x, y, slices, volumes = shape
    words = f"{slices} slices of {x} × {y} pixels, {volumes} volumes: are the axes exchanged?"
    if slices > min(x, y):
        yield refusal(file, "", words)
    elif slices > volumes:
        yield doubt(file, "", words)


def _not_finite(finite: NDArray[np.bool_]) -> str:
    """Say where values (x, y, z, t) are no numbers: in some frames, or outside of what somebody cut out."""
    outside = ~finite.any(axis=-1)
    if outside.any() and finite[~outside].all():
        return f"{outside.mean():.0%} of the voxels are NaN in every frame, as outside of a mask: write 0 there"
    bad = np.asarray(~finite.all(axis=(0, 1, 2)))
    return f"values that are not finite in {counted_places(bad, 'frame')}"


def voxel_findings(
    file: str, data: NDArray[np.floating], metadata: Mapping[str, Any], header: ImageHeader
) -> Iterator[Finding]:
    """Check the values (x, y, z, t) of a raw series."""
    if not data.size:
        yield refusal(file, "", "the image has no voxels")
        return
    finite = np.isfinite(data)
    if not finite.all():
        yield refusal(file, "", _not_finite(finite))
        return
    if data.min() == data.max():
        yield refusal(file, "", "all values are the same")
        return
    is_signal = metadata.get("Units", "arbitrary") == "arbitrary"
    yield from frame_findings(file, data)
    if is_signal:
        yield from _negative(file, data)
    elif metadata.get("Units") == "mmol/L":
        yield from concentration_findings(file, data)
    yield from _stored(file, data, header)
    count = metadata.get("ProtonDensityVolumeCount", 0)
    count = count if isinstance(count, int) else 0
    if is_signal and named_readout(metadata).readout != "bSSFP":
        # A balanced read-out after saturation is about as bright as the spoiled proton-density volumes before it.
        yield from proton_density_in_signal(file, data.mean(axis=(0, 1, 2), dtype=np.float64), count)
    yield from blood_findings(file, data[..., count:], dynamic_times(metadata), is_signal)


def concentration_findings(file: str, data: NDArray[np.floating]) -> Iterator[Finding]:
    """Concentrations (x, y, z, t), mmol/L, reach what blood reaches; without blood in view they stay below."""
    # Single spikes aside: at the edges of what moves, and in air, concentration may be anything for a volume. That of
    # muscle is there in the wall alone.
    known = np.nan_to_num(data[np.isfinite(data).any(axis=-1)])
    if not known.size:
        yield refusal(file, "", "no voxel has a value")
        return
    smooth = running_median(known, 3) if known.shape[-1] >= 3 else known
    peak = float(np.percentile(smooth.max(axis=-1, initial=0.0), 99.0))
    severity = BLOOD_PEAK.verdict(peak)
    if severity:
        high = peak > BLOOD_PEAK.usual[1]
        words = BLOOD_PEAK.words(peak)
        if high:
            words += f"{'' if words.endswith('?') else '.'} Or is it signal, whose Units are 'arbitrary'?"
        yield Finding(file, "Units", words, severity if high else "doubt")


def proton_density_in_signal(file: str, means: NDArray[np.floating], count: int) -> Iterator[Finding]:
    """The signal falls where the proton-density volumes end: they alone were made without a saturation pulse.

    Parameters
    ----------
    means : (t,) array
        Mean signal of every volume.
    count : int
        ``ProtonDensityVolumeCount``.
    """
    bright = leading_bright(means)
    name = "ProtonDensityVolumeCount"
    if bright == count or len(means) <= count:
        return
    if not bright:
        yield doubt(file, name, f"{name} is {count}, but the signal doesn't fall after volume {count}")
        return
    ratio = means[bright - 1] / max(means[bright], 1e-30)
    text = f"{name} is {count}, but the signal falls to 1/{min(ratio, 999):.1f} after volume {bright}"
    if count:
        yield refusal(file, name, f"{text}: correct the count")
    else:
        yield doubt(file, name, f"{text}: are the first {bright} volumes proton-density weighted?")


def leading_bright(means: NDArray[np.floating]) -> int:
    """How many leading volumes are much brighter than the baseline behind them; 0 where there is no such step.

    The step must be sharp and the signal behind it level for some volumes: a bolus falls slowly, and rises before.
    """
    values = np.asarray(means, np.float64)
    for k in range(1, min(_MOST_LEADING, len(values) - 3) + 1):
        before, after = values[:k], values[k : k + 3]
        level = after.max() < 1.25 * max(after.min(), 1e-30)
        if level and after.min() > 0 and before.min() > JUMP * after.max():
            return k
    return 0


def _negative(file: str, data: NDArray[np.floating]) -> Iterator[Finding]:
    below = int((data < 0).sum())
    if not below:
        return
    share = below / data.size
    text = f"values below 0 in {below} voxels ({share:.2g} of all) of a magnitude series, down to {data.min():.4g}"
    why = "was an unsigned type read as signed, or an intercept lost?"
    if share > 0.5:
        yield refusal(file, "", f"{text}: {why}")
    else:
        yield doubt(file, "", f"{text}; they are used as they are: {why}")


def _stored(file: str, data: NDArray[np.floating], header: ImageHeader) -> Iterator[Finding]:
    """Integers at the end of their range, and images that are noise since bytes were exchanged."""
    if header.limits is not None and header.limits[1] > 0:
        top = header.limits[1]
        near = data > 0.98 * top
        clipped = float((data >= top * (1 - 1e-6)).mean())
        if clipped > CLIPPED:
            yield doubt(file, "", f"{clipped:.1%} of the values are the largest of {header.stored}: cut off?")
        elif header.stored.startswith("u") and near.any() and data[~near].max() < 0.5 * top:
            yield doubt(
                file, "",
                f"{near.sum()} values lie at the end of {header.stored} and all others below its middle: negative "
                "values read as unsigned?",
            )  # fmt: skip
    if header.stored in ("int8", "uint8"):
        yield doubt(file, "", f"stored as {header.stored}: 256 grey values, which rounds the muscle's enhancement")
    smooth = neighbour_correlation(data.mean(axis=-1))
    if smooth < LEAST_SMOOTH:
        yield doubt(file, "", "neighbouring voxels have nothing in common: is this an image, in the right byte order?")


def neighbour_correlation(image: NDArray[np.floating]) -> float:
    """Correlation of in-plane neighbours of an image (x, y, z); 1 where there are none."""
    pairs = [(np.delete(image, 0, axis), np.delete(image, -1, axis)) for axis in (0, 1) if image.shape[axis] > 8]
    found = []
    for one, other in pairs:
        a, b = one.ravel().astype(np.float64), other.ravel().astype(np.float64)
        if a.std() > 0 and b.std() > 0:
            found.append(float(np.corrcoef(a, b)[0, 1]))
    return max(found, default=1.0)
