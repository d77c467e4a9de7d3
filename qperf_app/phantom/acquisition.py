"""What the scanner does: slice geometry, receive coils, k-space and noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qperf_app.phantom.config import PhantomConfig
from qperf_app.phantom.participant import Participant
from qperf_app.phantom.torso import Torso

#: Slices of a tissue series.
N_SLICES = 3


@dataclass(frozen=True)
class Grid:
    """Voxels of a series: shape (x, y, z), affine to world mm, and thickness of the slices, mm (less than their
    distance)."""

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]
    thickness: float

    @property
    def voxel(self) -> float:
        """In-plane edge of a voxel, mm."""
        return float(np.linalg.norm(self.affine[:3, 0]))

    @property
    def normal(self) -> NDArray[np.float64]:
        """Unit vector through the slices."""
        return self.affine[:3, 2] / np.linalg.norm(self.affine[:3, 2])

    def slices(self, chosen: slice) -> Grid:
        """Some of the slices, one after another."""
        first, last, _ = chosen.indices(self.shape[2])
        affine = self.affine.copy()
        affine[:3, 3] += first * affine[:3, 2]
        return Grid((*self.shape[:2], last - first), affine, self.thickness)

    def world(self, part: tuple[slice, slice] = np.s_[:, :]) -> NDArray[np.float32]:
        """World mm of the voxel centres (of an in-plane part), (x, y, z, 3)."""
        i, j, k = np.meshgrid(
            np.arange(self.shape[0])[part[0]],
            np.arange(self.shape[1])[part[1]],
            np.arange(self.shape[2]),
            indexing="ij",
        )
        return self.at(i, j, k)

    def at(self, i: NDArray[np.integer], j: NDArray[np.integer], k: NDArray[np.integer]) -> NDArray[np.float32]:
        """World mm (..., 3) of voxel indices."""
        # Written out: a matrix product's rounding may depend on the number of threads.
        rows = self.affine[:3]
        return np.stack([a * i + b * j + c * k + d for a, b, c, d in rows], axis=-1).astype(np.float32)


def plan_grids(config: PhantomConfig, participant: Participant, rng: np.random.Generator) -> dict[str, Grid]:
    """Slices as an operator would plan them: basal, mid and apical, nearly square to the axis, the heart not quite in
    the middle. Returns the grid of ``tissue``, and of what else the acquisition has: ``aif`` or ``prebolus``."""
    heart = participant.heart
    turn = np.deg2rad(_about_zero(rng, 12.0, 30.0))
    tilt = np.deg2rad([_about_zero(rng, 2.5, 6.0), _about_zero(rng, 2.5, 6.0)])
    rotation = _rotation(2, turn) @ _rotation(0, tilt[0]) @ _rotation(1, tilt[1])
    rows = rotation @ participant.axes
    ventricle = heart.length - heart.base
    spacing = float(ventricle * rng.uniform(0.24, 0.29))
    mid = heart.base + ventricle * float(rng.uniform(0.45, 0.53))
    # The right ventricle belongs to the heart too, and the operator centres both.
    middle = participant.centre + np.array([-0.35 * heart.outer_radius, 0.0, mid]) @ participant.axes
    middle = middle + rng.uniform(-18.0, 18.0) * rows[0] + rng.uniform(-18.0, 18.0) * rows[1]
    field = float(rng.uniform(340.0, 380.0))
    grids = {
        "tissue": _grid((config.matrix, config.matrix, N_SLICES), field / config.matrix, spacing, rows, middle, 8.0)
    }
    # The input function's slice lies at the base, where the cavity is wide; both draws are made in either case.
    lift, width = float(rng.uniform(0.3, 0.9)), float(rng.uniform(340.0, 380.0))
    if config.acquisition == "dual":
        basal = middle - lift * spacing * rows[2]
        grids["aif"] = _grid((64, 48, 1), width / 64, 10.0, rows, basal, 10.0)
    elif config.acquisition == "dual-bolus":
        grids["prebolus"] = grids["tissue"]
    return grids


def _about_zero(rng: np.random.Generator, spread: float, limit: float) -> float:
    """A normal draw about 0, clipped at +- limit."""
    return float(np.clip(rng.normal(0.0, spread), -limit, limit))


def _rotation(axis: int, angle: float) -> NDArray[np.float64]:
    first, second = [a for a in range(3) if a != axis]
    matrix = np.eye(3)
    matrix[first, first] = matrix[second, second] = np.cos(angle)
    matrix[first, second], matrix[second, first] = np.sin(angle), -np.sin(angle)
    return matrix


def _grid(
    shape: tuple[int, int, int],
    voxel: float,
    spacing: float,
    rows: NDArray[np.float64],
    middle: NDArray[np.float64],
    thickness: float,
) -> Grid:
    """Grid about a world point; the affine is that of a NIfTI header, in float32 precision."""
    affine = np.eye(4)
    affine[:3, :3] = rows.T * [voxel, voxel, spacing]
    affine[:3, 3] = middle - affine[:3, :3] @ ((np.array(shape) - 1) / 2.0)
    return Grid(shape, affine.astype(np.float32).astype(np.float64), thickness)


def coil_sensitivity(
    torso: Torso, centre: NDArray[np.float64], exponent: float, points: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Combined sensitivity of a front and a back array of surface coils at points (..., 3), 1 at ``centre``.

    The root of the sum of squares of elements that fall off as a loop does along its axis; ``exponent`` says how much
    of it a pre-scan normalisation left.
    """
    depth = torso.half_depth + torso.wall + torso.fat
    elements = [
        (x, side * depth * np.sqrt(max(1.0 - (x / (torso.half_width + 40.0)) ** 2, 0.2)), z)
        for side in (1.0, -1.0)
        for x in (-110.0, -40.0, 30.0)
        for z in (-70.0, 60.0)
    ]

    def combined(p: NDArray[np.floating]) -> NDArray[np.floating]:
        squared = [(np.square(p - np.array(e, p.dtype)).sum(axis=-1) * (1.0 / 55.0**2)) for e in elements]
        sensitivity: NDArray[np.floating] = np.sqrt(sum((1.0 + s) ** -3 for s in squared))
        return sensitivity

    return ((combined(points) / combined(centre)) ** exponent).astype(np.float32)


def acquire(
    image: NDArray[np.float32],
    phase_resolution: float,
    noise: float,
    rng: np.random.Generator,
    amplification: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Magnitude images (x, y, z, t) of what was in the field of view.

    k-space ends at ``phase_resolution`` of its extent along y and is filled with zeros beyond. Complex Gaussian noise
    of standard deviation ``noise`` per channel in the image makes the magnitude Rician; ``amplification`` (x, y, z) is
    the g-factor by which parallel imaging multiplies it.
    """
    full = image.shape[1]
    # An odd number of lines about the centre keeps a real image real.
    outer = np.abs(np.fft.fftfreq(full)) * full > 0.5 * phase_resolution * full - 1e-9
    outer &= phase_resolution < 1.0
    kept = 1.0 - outer.mean()
    result = np.empty_like(image)
    for t in range(image.shape[-1]):
        frame: NDArray[np.inexact] = image[..., t]
        if noise > 0.0:
            sample = rng.standard_normal((2, *frame.shape), dtype=np.float32) * np.float32(noise / np.sqrt(kept))
            if amplification is not None:
                sample *= amplification
            frame = frame + sample[0] + 1j * sample[1]
        if outer.any():
            spectrum = np.fft.fft(frame, axis=1)
            spectrum[:, outer] = 0.0
            frame = np.fft.ifft(spectrum, axis=1)
        result[..., t] = np.abs(frame)
    return result
