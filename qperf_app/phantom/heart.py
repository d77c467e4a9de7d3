"""Shape of the heart: ventricles, papillary muscles, atria, great vessels and the fat around them.

Heart coordinates are mm from the middle of the left ventricle's axis: x points from the septum to the lateral wall,
y to the anterior wall, w along the axis to the apex. The anterior right-ventricular insertion lies near 120 degrees of
the angle atan2(y, x), the inferior one near 240 degrees, so that the AHA's segments 1 to 6 are those between 60 and
120, 120 and 180 ... 0 and 60 degrees.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from qperf_app.phantom.shapes import Array, capsule, ellipsoid, truncated_normal

# Depth of the basal plane below the left ventricle's widest level, relative to the long semi-axis.
_BASE = 0.5
# Volume of an ellipsoid of semi-axes 1 from that plane to the apex.
_VOLUME = np.pi * ((1.0 - 1.0 / 3.0) + (_BASE - _BASE**3 / 3.0))


@dataclass(frozen=True)
class HeartShape:
    """Sizes of a heart in one phase of its beat; lengths in mm.

    Parameters
    ----------
    radius, length : float
        Semi-axes of the left ventricle's cavity, across and along its axis.
    wall : float
        Thickness of the wall at the widest level.
    ovality, lobes : float
        Second and third harmonic of the outline, relative to the radius.
    phase : tuple of two floats
        Their angles, rad.
    apex_tilt : tuple of two floats
        Shift of the axis at the apex, in x and y.
    rv_size, rv_reach : float
        Right ventricle relative to the usual one, across and along.
    rv_wall : float
        Thickness of the right ventricle's free wall.
    fat : float
        Thickness of the fat on the heart.
    papillary_radius : float
        Radius of the papillary muscles.
    papillary_angles : tuple of two floats
        Anterolateral and posteromedial, rad.
    roughness : tuple of three floats
        Trabeculation of the left and of the right ventricle's inside (mm), and its phase (rad).
    scar : tuple of three floats
        Thinned wall of an old infarct: angle (rad), level w, and lost part of the thickness (0: none).
    """

    radius: float
    length: float
    wall: float
    ovality: float = 0.0
    lobes: float = 0.0
    phase: tuple[float, float] = (0.0, 0.0)
    apex_tilt: tuple[float, float] = (0.0, 0.0)
    rv_size: float = 1.0
    rv_reach: float = 0.95
    rv_wall: float = 3.5
    fat: float = 5.0
    papillary_radius: float = 4.5
    papillary_angles: tuple[float, float] = (0.8, -0.9)
    roughness: tuple[float, float, float] = (0.0, 0.0, 0.0)
    scar: tuple[float, float, float] = (0.0, 0.0, 0.0)

    @property
    def outer_radius(self) -> float:
        """Outer short semi-axis of the left ventricle."""
        return self.radius + self.wall

    @property
    def base(self) -> float:
        """Level w of the valve plane."""
        return -_BASE * self.length

    @property
    def cavity_volume(self) -> float:
        """Volume of the left ventricle's cavity, papillary muscles included, mL."""
        return float(_VOLUME) * self.radius**2 * self.length / 1000.0

    def contracted(self, fraction: float) -> HeartShape:
        """The same heart after part of its contraction, 1 being end systole; the wall keeps its cross-section."""
        radius = self.radius * (1.0 - 0.32 * fraction)
        outer = np.sqrt(self.outer_radius**2 - self.radius**2 + radius**2)
        return replace(self, radius=radius, wall=float(outer - radius), length=self.length * (1.0 - 0.12 * fraction))


#: When the heart has relaxed, as part of the RR interval; it contracts in the first half of that.
_RELAXED = 0.7


def contraction(phase: NDArray[np.float64]) -> NDArray[np.float64]:
    """Part of the contraction, 0 to 1 at end systole, when part ``phase`` of the RR interval has passed."""
    within = np.minimum(phase % 1.0, _RELAXED)
    result: NDArray[np.float64] = np.sin(np.pi * within / _RELAXED) ** 2
    return result


def phase_of(fraction: float) -> float:
    """When, in the heart's contraction, ``fraction`` of it is done."""
    return float(np.arcsin(np.sqrt(fraction)) * _RELAXED / np.pi)


def sample_heart(pathology: str, scar: tuple[float, float, float], rng: np.random.Generator) -> HeartShape:
    """Draw a heart at end diastole.

    Left-ventricular volume 68 +- 13 mL per m2 of body surface and relative wall thickness (twice the wall over the
    diameter) 0.40 +- 0.10; infarct hearts 97 +- 25 mL per m2, with a wall that is thinner for their size: statistics of
    1991 asymptomatic people and 300 patients (Zhang et al., PLoS ONE 2014;9:e110243).
    """
    surface = truncated_normal(rng, 1.85, 0.18, 1.45, 2.35)
    index = truncated_normal(rng, 97, 25, 55, 160) if pathology == "infarct" else truncated_normal(rng, 68, 13, 38, 107)
    elongation = truncated_normal(rng, 1.85, 0.12)
    # The cavity reaches from the base to the apex: (1 + base) length = elongation * 2 radius.
    ratio = 2.0 * elongation / (1.0 + _BASE)
    radius = float((1000.0 * index * surface / (_VOLUME * ratio)) ** (1.0 / 3.0))
    relative_wall = truncated_normal(rng, 0.40, 0.10, 0.24, 0.65)
    if pathology == "infarct":
        relative_wall = float(np.clip(relative_wall * (68.0 / 97.0) ** (2.0 / 3.0), 0.2, 0.5))
    return HeartShape(
        radius=radius,
        length=ratio * radius,
        wall=0.5 * relative_wall * 2.0 * radius,
        ovality=float(rng.uniform(0.0, 0.05)),
        lobes=float(rng.uniform(0.0, 0.025)),
        phase=tuple(float(a) for a in rng.uniform(-np.pi, np.pi, 2)),  # type: ignore[arg-type]
        apex_tilt=tuple(float(a) for a in rng.normal(0.0, 3.0, 2)),  # type: ignore[arg-type]
        # A dilated left ventricle leaves the right one as it was.
        # ... and one that is small does not let it reach around more than half of it.
        rv_size=min(truncated_normal(rng, 1.0, 0.08) * (33.0 / (radius * (1.0 + relative_wall))) ** 0.7, 1.1),
        rv_reach=float(rng.uniform(0.85, 0.98)),
        rv_wall=float(rng.uniform(3.0, 4.5)),
        fat=float(rng.uniform(3.0, 13.0)),
        papillary_radius=float(rng.uniform(0.12, 0.19) * radius),
        papillary_angles=(float(rng.normal(0.8, 0.12)), float(rng.normal(-1.0, 0.12))),
        roughness=(float(rng.uniform(0.2, 1.0)), float(rng.uniform(1.0, 4.0)), float(rng.uniform(-np.pi, np.pi))),
        scar=scar,
    )


@dataclass(frozen=True)
class Centred:
    """Heart coordinates about the left ventricle's own (tilted, slightly lobed) axis."""

    x: Array
    y: Array
    w: Array
    radius: Array
    stretch: Array


def centred(shape: HeartShape, x: Array, y: Array, w: Array) -> Centred:
    """Undo the axis' tilt; ``stretch`` is by how much the outline's harmonics widen it in each direction."""
    along = np.clip(w * (1.0 / shape.length), -1.0, 1.0)
    x = x - along * shape.apex_tilt[0]
    y = y - along * shape.apex_tilt[1]
    radius = np.sqrt(x * x + y * y) + np.float32(1e-3)
    cosine, sine = x / radius, y / radius
    cosine2, sine2 = 2.0 * cosine * cosine - 1.0, 2.0 * sine * cosine
    cosine3, sine3 = cosine2 * cosine - sine2 * sine, sine2 * cosine + cosine2 * sine
    second = cosine2 * np.cos(shape.phase[0]) + sine2 * np.sin(shape.phase[0])
    third = cosine3 * np.cos(shape.phase[1]) + sine3 * np.sin(shape.phase[1])
    return Centred(x, y, w, radius, 1.0 + shape.ovality * second + shape.lobes * third)


def outer_wall(shape: HeartShape, at: Centred) -> Array:
    """Distance to the left ventricle's outer surface."""
    axes = (shape.outer_radius, shape.outer_radius, shape.length + 0.7 * shape.wall)
    return ellipsoid((at.x / at.stretch, at.y / at.stretch, at.w), axes)


def _waves(at: Centred, length: float, phase: float) -> Array:
    """Uneven surface of amplitude 1 with bumps of about ``length`` mm."""
    k = np.float32(2.0 * np.pi / length)
    waves: Array = np.sin(k * at.x + phase) * np.cos(k * 0.9 * at.y - phase) * np.cos(k * 0.4 * at.w + 2.0 * phase)
    return waves


def cavity(shape: HeartShape, at: Centred) -> Array:
    """Distance to the left ventricle's inner surface; an old infarct bulges it outwards."""
    distance = ellipsoid((at.x / at.stretch, at.y / at.stretch, at.w), (shape.radius, shape.radius, shape.length))
    angle, level, lost = shape.scar
    if lost > 0.0:
        cosine = (at.x * np.cos(angle) + at.y * np.sin(angle)) / at.radius
        bulge = np.exp(4.0 * (cosine - 1.0) - ((at.w - level) / (0.5 * shape.length)) ** 2)
        distance = distance - (lost * shape.wall) * bulge
    return distance + shape.roughness[0] * _waves(at, 16.0, shape.roughness[2])


def right_ventricle(shape: HeartShape, at: Centred) -> Array:
    """Distance to the ellipsoid whose part outside the left ventricle is the right one's cavity."""
    outer = shape.outer_radius
    # Towards the apex the right ventricle draws closer to the left one.
    centre = -0.9 * outer * (1.0 - 0.3 * np.clip(at.w * (1.0 / shape.length), 0.0, 1.0))
    axes = (1.3 * outer * shape.rv_size, 0.95 * outer * shape.rv_size, shape.rv_reach * shape.length)
    distance = ellipsoid((at.x - centre, at.y, at.w + 0.08 * shape.length), axes)
    return distance + shape.roughness[1] * _waves(at, 45.0, shape.roughness[2])


def papillary_muscles(shape: HeartShape, at: Centred) -> Array:
    """Distance to the two papillary muscles, which run from the middle of the cavity into the apical wall."""
    distances = []
    for angle in shape.papillary_angles:
        top, bottom = 0.60 * shape.radius, 0.52 * shape.radius
        start = (top * np.cos(angle), top * np.sin(angle), -0.12 * shape.length)
        end = (bottom * np.cos(angle), bottom * np.sin(angle), 0.55 * shape.length)
        distances.append(capsule((at.x, at.y, at.w), start, end, shape.papillary_radius))
    return np.minimum(*distances)


def trabeculae(shape: HeartShape, at: Centred) -> Array:
    """Distance to the moderator band and a trabecula of the right ventricle."""
    outer, length = shape.outer_radius, shape.length
    coordinates = (at.x, at.y, at.w)
    band = capsule(
        coordinates, (-0.8 * outer, -0.1 * outer, 0.2 * length), (-1.7 * outer, 0.25 * outer, 0.4 * length), 2.5
    )
    ridge = capsule(
        coordinates, (-1.3 * outer, -0.75 * outer, -0.1 * length), (-1.2 * outer, -0.5 * outer, 0.5 * length), 2.5
    )
    return np.minimum(band, ridge)


def left_vessels(shape: HeartShape, at: Centred) -> Array:
    """Distance to the left atrium and the aortic root, beyond the valve plane."""
    outer, base = shape.outer_radius, shape.base
    atrium = ellipsoid((at.x - 0.1 * outer, at.y + 0.35 * outer, at.w - base + 20.0), (0.85 * outer, 0.8 * outer, 24.0))
    aorta = capsule(
        (at.x, at.y, at.w), (-0.25 * outer, 0.45 * outer, base - 2.0), (-0.9 * outer, 0.9 * outer, base - 60.0), 14.0
    )
    return np.minimum(atrium, aorta)


def right_vessels(shape: HeartShape, at: Centred) -> Array:
    """Distance to the right atrium and the outflow tract with the pulmonary artery."""
    outer, base = shape.outer_radius, shape.base
    atrium = ellipsoid((at.x + 1.5 * outer, at.y + 0.35 * outer, at.w - base + 20.0), (0.8 * outer, 0.8 * outer, 25.0))
    artery = capsule(
        (at.x, at.y, at.w), (-0.8 * outer, 0.85 * outer, base + 8.0), (0.1 * outer, 1.25 * outer, base - 45.0), 13.0
    )
    return np.minimum(atrium, artery)
