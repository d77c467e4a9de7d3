"""The chest around the heart: skin and fat, wall with ribs, lungs with vessels, spine and aorta, diaphragm, liver,
stomach and spleen.

World coordinates are mm in the patient's RAS+ frame: x to the right, y to the front, z to the head; the origin is the
middle of the chest at the heart's level.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qperf_app.phantom.shapes import Array, capsule, ellipsoid, smoothstep, truncated_normal


@dataclass(frozen=True)
class Torso:
    """Sizes of a chest, mm.

    Parameters
    ----------
    half_width, half_depth : float
        Semi-axes of the rib cage's inside.
    wall : float
        Thickness of muscle and ribs.
    fat : float
        Thickness of the subcutaneous fat.
    rib_spacing, rib_slope, rib_phase : float
        Distance of the ribs along z, their fall towards the front (mm per mm), and where the first one lies.
    dome : float
        Height z of the right dome of the diaphragm at the reference breath.
    liver_edge : float
        x of the liver's left edge.
    """

    half_width: float
    half_depth: float
    wall: float
    fat: float
    rib_spacing: float
    rib_slope: float
    rib_phase: float
    dome: float
    liver_edge: float


def sample_torso(surface: NDArray[np.float64], centre: NDArray[np.float64], rng: np.random.Generator) -> Torso:
    """Draw a chest that holds a heart.

    Parameters
    ----------
    surface : (n, 3) array
        Points on the heart's surface, world mm.
    centre : (3,) array
        Middle of the left ventricle, world mm.
    """
    half_depth = float(surface[:, 1].max() + rng.uniform(2.0, 8.0))
    half_width = half_depth * float(rng.uniform(1.35, 1.55))
    # Wide enough for the lateral wall too.
    reach = np.sqrt((surface[:, 0] / half_width) ** 2 + (surface[:, 1] / half_depth) ** 2).max()
    scale = max(1.0, float(reach) / 0.97)
    return Torso(
        half_width=half_width * scale,
        half_depth=half_depth * scale,
        wall=float(rng.uniform(14.0, 22.0)),
        fat=truncated_normal(rng, 18.0, 8.0, 5.0, 40.0),
        rib_spacing=float(rng.uniform(26.0, 34.0)),
        rib_slope=float(rng.uniform(0.3, 0.6)),
        rib_phase=float(rng.uniform(0.0, 30.0)),
        # The heart's lowest part lies in the saddle between the diaphragm's domes.
        dome=float(surface[:, 2].min() + rng.uniform(14.0, 28.0)),
        liver_edge=float(centre[0] + rng.uniform(-20.0, 30.0)),
    )


def rib_cage(torso: Torso, x: Array, y: Array) -> Array:
    """Distance to the inside of the chest wall, negative in the cavity."""
    return ellipsoid((x, y), (torso.half_width, torso.half_depth))


def ribs(torso: Torso, y: Array, z: Array, cage: Array) -> Array:
    """Distance to the ribs, bands that fall towards the front within the wall."""
    height = z + torso.rib_slope * y + torso.rib_phase
    along = np.abs(height - torso.rib_spacing * np.round(height * (1.0 / torso.rib_spacing)))
    across = np.abs(cage - 0.45 * torso.wall)
    distance: Array = np.sqrt((along * 0.9) ** 2 + across**2) - 0.32 * torso.wall
    return distance


def spine(torso: Torso, x: Array, y: Array) -> Array:
    """Distance to the vertebral bodies."""
    return ellipsoid((x, y + torso.half_depth - 16.0), (22.0, 20.0))


def descending_aorta(torso: Torso, x: Array, y: Array) -> Array:
    """Distance to the descending aorta, beside the spine on the left."""
    return ellipsoid((x + 24.0, y + torso.half_depth - 42.0), (11.5, 11.5))


def mediastinum(torso: Torso, centre: NDArray[np.float64], x: Array, y: Array) -> Array:
    """Distance to the fat between spine and heart."""
    return capsule((x, y), (-5.0, -torso.half_depth + 20.0), (0.6 * centre[0], centre[1]), 22.0)


def diaphragm(torso: Torso, x: Array, y: Array, z: Array) -> Array:
    """Distance (to first order) to the diaphragm's two domes, negative below."""
    right = torso.dome - ((x - 0.5 * torso.half_width) ** 2 + y**2) * (1.0 / 190.0)
    left = torso.dome - 12.0 - ((x + 0.5 * torso.half_width) ** 2 + y**2) * (1.0 / 190.0)
    return 0.8 * (z - np.maximum(right, left))


def liver(torso: Torso, x: Array, z: Array, below: Array) -> Array:
    """Distance to the liver, on the right below the diaphragm; ``below`` is the distance to the diaphragm."""
    distance: Array = np.maximum(below + 3.0, 0.85 * (torso.liver_edge - x - 0.3 * (z - torso.dome)))
    return distance


def stomach(torso: Torso, x: Array, y: Array, z: Array, below: Array) -> Array:
    """Distance to the stomach, on the left in front."""
    centre = (torso.liver_edge - 48.0, 0.15 * torso.half_depth, torso.dome - 50.0)
    distance: Array = np.maximum(
        below + 5.0, ellipsoid((x - centre[0], y - centre[1], z - centre[2]), (44.0, 52.0, 42.0))
    )
    return distance


def spleen(torso: Torso, x: Array, y: Array, z: Array, below: Array) -> Array:
    """Distance to the spleen, on the left behind."""
    centre = (-0.62 * torso.half_width, -0.5 * torso.half_depth, torso.dome - 55.0)
    distance: Array = np.maximum(
        below + 4.0, ellipsoid((x - centre[0], y - centre[1], z - centre[2]), (34.0, 28.0, 45.0))
    )
    return distance


def lung_vessels(noise: Array, x: Array, hilum: float) -> Array:
    """Part of a lung voxel that is vessel: the crests of a random field, more of them towards the hilum."""
    threshold = 1.35 + 0.009 * np.minimum(np.abs(x - hilum), 80.0)
    return smoothstep(noise - threshold, 0.0, 0.9)
