"""What belongs to a person and stays the same from rest to stress: anatomy, pathology and scanner set-up."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qperf_app.phantom.config import PhantomConfig
from qperf_app.phantom.heart import HeartShape, sample_heart
from qperf_app.phantom.perfusion import Defect, sample_defects
from qperf_app.phantom.shapes import truncated_normal
from qperf_app.phantom.torso import Torso, sample_torso

#: Edges of the periodic random field that gives tissues their texture: voxels, and mm of each.
TEXTURE_SIZE, TEXTURE_VOXEL = 48, 4.0


@dataclass(frozen=True)
class Participant:
    """One simulated person.

    Parameters
    ----------
    pathology : {"none", "ischaemia", "infarct"}
    heart : HeartShape
        At end diastole.
    centre, axes : (3,), (3, 3) arrays
        Middle of the left ventricle, and heart axes x, y, w (rows), in world mm (RAS+).
    torso : Torso
    defects : tuple of Defect
    haematocrit : float
    coil_exponent : float
        Power of the receive coils' sensitivity that is left in the image: 0 none, more than 1 steeper than the model.
    texture : (n, n, n) float32 array
        Periodic random field of unit variance.
    personal_seed : int
        Of the draws that rest and stress share.
    """

    pathology: str
    heart: HeartShape
    centre: NDArray[np.float64]
    axes: NDArray[np.float64]
    torso: Torso
    defects: tuple[Defect, ...]
    haematocrit: float
    coil_exponent: float
    texture: NDArray[np.float32]
    personal_seed: int


def sample_participant(config: PhantomConfig, rng: np.random.Generator) -> Participant:
    """Draw a participant; of the configuration only ``defects`` matters."""
    # Always drawn, so that another choice of defects leaves the rest of the person as it was.
    drawn = str(rng.choice(["none", "ischaemia", "infarct"], p=[0.4, 0.4, 0.2]))
    pathology = drawn if config.defects == "mixed" else config.defects
    defect_rng, heart_rng, place_rng, texture_rng, rng = rng.spawn(5)
    defects = sample_defects(pathology, defect_rng)
    heart = sample_heart(pathology, _thinned_wall(defects, defect_rng), heart_rng)
    axes = _sample_axes(place_rng)
    centre = np.array([place_rng.uniform(-55.0, -32.0), place_rng.uniform(2.0, 18.0), place_rng.uniform(-15.0, 15.0)])
    surface = np.einsum("ni,ij->nj", _surface(heart), axes) + centre
    return Participant(
        pathology=pathology,
        heart=heart,
        centre=centre,
        axes=axes,
        torso=sample_torso(surface, centre, place_rng),
        defects=defects,
        haematocrit=round(truncated_normal(rng, 0.42, 0.035, 0.32, 0.50), 3),
        coil_exponent=float(rng.uniform(0.5, 1.3)),
        texture=_texture(texture_rng),
        personal_seed=int(rng.integers(2**63)),
    )


def _thinned_wall(defects: tuple[Defect, ...], rng: np.random.Generator) -> tuple[float, float, float]:
    """Angle, relative level and loss of the wall's thickness in the largest infarct."""
    infarcts = [d for d in defects if d.kind == "infarct" and d.depth == 1.0]
    if not infarcts:
        return (0.0, 0.0, 0.0)
    largest = max(infarcts, key=lambda d: d.half_width * d.half_length)
    return (largest.centre, largest.level, float(rng.uniform(0.15, 0.45)))


def _sample_axes(rng: np.random.Generator) -> NDArray[np.float64]:
    """Heart axes in RAS+: the apex points left, forward and down by some 40 degrees, more or less so by habitus."""
    down = np.deg2rad(truncated_normal(rng, 38.0, 7.0, 22.0, 55.0))
    forward = np.deg2rad(truncated_normal(rng, 42.0, 7.0, 25.0, 58.0))
    apex = np.array([-np.cos(down) * np.cos(forward), np.cos(down) * np.sin(forward), -np.sin(down)])
    lateral = np.array([-0.8, -0.54, 0.25])
    lateral -= apex * (lateral @ apex)
    lateral /= np.linalg.norm(lateral)
    anterior = np.cross(apex, lateral)
    roll = rng.normal(0.0, np.deg2rad(8.0))
    return np.stack([
        np.cos(roll) * lateral + np.sin(roll) * anterior,
        np.cos(roll) * anterior - np.sin(roll) * lateral,
        apex,
    ])  # fmt: skip


def _surface(heart: HeartShape) -> NDArray[np.float64]:
    """Points on the outer surface of both ventricles, heart coordinates."""
    azimuth, polar = (a.ravel() for a in np.meshgrid(np.linspace(0, 2 * np.pi, 48), np.linspace(0, np.pi, 24)))
    sphere = np.stack([np.sin(polar) * np.cos(azimuth), np.sin(polar) * np.sin(azimuth), np.cos(polar)], axis=-1)
    outer = heart.outer_radius
    left = sphere * [outer, outer, heart.length + 0.7 * heart.wall]
    right = sphere * [1.3 * outer * heart.rv_size, 0.95 * outer * heart.rv_size, heart.rv_reach * heart.length]
    right = right * (1.0 + heart.rv_wall / outer) + [-0.9 * outer, 0.0, -0.08 * heart.length]
    points = np.concatenate([left, right])
    return points[points[:, 2] > heart.base - 10.0]


def _texture(rng: np.random.Generator) -> NDArray[np.float32]:
    from scipy.ndimage import gaussian_filter

    noise = gaussian_filter(rng.standard_normal((TEXTURE_SIZE,) * 3), 0.9, mode="wrap")
    unit_variance: NDArray[np.float32] = (noise / noise.std()).astype(np.float32)
    return unit_variance
