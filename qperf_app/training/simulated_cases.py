"""Simulated training cases: wide draws of everything a scan may be like, on small motion-corrected series.

A network that is to work on patients has to see more variety than patients have: sequences, bolus shapes, slice places,
intensities and artefacts are all drawn from ranges wider than published ones. Truth stays exact.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from qperf_app.phantom.acquisition import Grid, acquire
from qperf_app.phantom.artefacts import blurred, disturb, random_field
from qperf_app.phantom.bolus import Bolus, blood_curves
from qperf_app.phantom.config import PhantomConfig
from qperf_app.phantom.curves import GAIN
from qperf_app.phantom.draws import Draws
from qperf_app.phantom.heart import HeartShape
from qperf_app.phantom.motion import MotionTrace
from qperf_app.phantom.participant import Participant, sample_participant
from qperf_app.phantom.perfusion import sample_kinetics
from qperf_app.phantom.scenes import LAYERS, ORGANS, SECTORS, Scene, render_scene, wall_groups
from qperf_app.phantom.sequences import protocol, signal_of
from qperf_app.phantom.tissue import TISSUES, blood_and_organ_curves, t1_of
from qperf_app.phantom.triggering import sample_triggers
from qperf_app.physics.constants import relaxivity
from qperf_app.physics.conversion import plasma_concentration
from qperf_app.physics.models import two_compartment_exchange
from qperf_app.physics.sequences import Sequence
from qperf_app.physics.signal import relaxation_rate
from qperf_app.plugins import Series
from qperf_app.training.cases import LEFT_BLOOD, RIGHT_BLOOD, WALL, CaseKind, TrainingCase

#: Share of blood-pool cases with an input-function sequence; the others have that of tissue, in which blood saturates.
INPUT_SHARE = 0.55
#: Share of blood-pool cases in whose slices the ventricles, above all the right one, hold little blood.
LITTLE_BLOOD_SHARE = 0.4
#: Share of blood-pool cases in which there is no left ventricle to be found.
ABSENT_SHARE = 0.15
#: Why: no contrast at all, a bolus that comes too late, a series that stops too soon, no heart in the slice, noise.
ABSENCES = ("no-bolus", "late", "stopped", "no-heart", "noise")
#: Share of cases with contrast agent left over from a scan before, and the most of it in blood, mmol/L.
LEFT_OVER_SHARE, LEFT_OVER = 0.4, 1.2
#: Contrast of a heart that noise hides, as a part of the noise of one voxel and volume.
HIDDEN = 0.1
#: Latest peak in the left ventricle, s after the first saturation-prepared volume, of a bolus that counts as present.
LAST_PEAK = 29.0
#: Breathing states of a scene.
STATES = 3


#: Widest Gaussian blur before and after noise, voxels, and how often there is any.
BLUR = ((1.1, 0.7), (0.8, 0.4))


@dataclass(frozen=True)
class _Plan:
    """Slice and in-plane resolution of a kind of case, mm; levels as parts of the ventricle's length below its base."""

    shape: tuple[int, int]
    pixel: tuple[float, float]
    level: tuple[float, float]
    off_centre: float
    thickness: tuple[float, float]


_PLANS: dict[CaseKind, _Plan] = {
    CaseKind.POOLS: _Plan((64, 48), (4.3, 7.0), (0.08, 0.75), 28.0, (7.0, 11.0)),
    CaseKind.MUSCLE: _Plan((80, 80), (1.5, 2.1), (0.06, 0.80), 10.0, (6.0, 11.0)),
}


def simulate_case(
    kind: CaseKind, rng: np.random.Generator, spread: float = 1.0, absence: str | None = None
) -> TrainingCase:
    """Simulate one training case.

    Parameters
    ----------
    kind : CaseKind
        Which grid: the whole chest at a low resolution, or the heart at a higher one.
    rng : Generator
    spread : float
        Widens (above 1) the ranges of all draws; for held-out cases that go beyond the training's.
    absence : str, optional
        One of :data:`ABSENCES`, or "" for none; drawn where it is not given. Myocardium cases have none.

    Returns
    -------
    TrainingCase
        One slice, already free of the heart's motion but for what a correction leaves. Empty labels where no left
        ventricle should be found.
    """
    draw = Draws(rng, spread)
    if kind is CaseKind.MUSCLE:
        absence = ""
    elif absence is None:
        absence = str(rng.choice(ABSENCES)) if rng.random() < ABSENT_SHARE else ""
    config = PhantomConfig(
        task="stress" if rng.random() < 0.5 else "rest", field_strength=3.0 if rng.random() < 0.5 else 1.5
    )
    person = sample_participant(config, rng)
    scene = _scene(_PLANS[kind], person, draw)
    n = int(rng.integers(0, 5))
    times = _times(config.task, n, draw)
    bolus = _bolus(times, n, absence, draw)
    times = times[: _end(times, bolus, absence, draw)]
    signals = _signals(config, person, bolus, times, n, kind, draw)
    data = _series(scene, signals, times, n, absence, draw)
    labels = _labels(scene, kind) if not absence else np.zeros(data.shape[:3], np.uint8)
    metadata = {"ProtonDensityVolumeCount": n, "Units": "arbitrary"}
    landmarks = scene.landmarks if not absence else ()
    return TrainingCase(Series(data, times, scene.grid.affine, metadata), labels, landmarks, absence or bolus.kind)


def _scene(plan: _Plan, person: Participant, draw: Draws) -> Scene:
    """A slice across the ventricle, somewhere between base and apex, turned by any angle."""
    heart = _heart(person, plan, draw)
    turn, tilts = draw.rng.uniform(-np.pi, np.pi), draw.normal(6.0, 16.0, size=2)
    rows = _turn(2, turn) @ _turn(0, np.deg2rad(tilts[0])) @ _turn(1, np.deg2rad(tilts[1])) @ person.axes
    ventricle = heart.length - heart.base
    level = heart.base + ventricle * draw.uniform(*plan.level)
    place = np.array([-0.35 * heart.outer_radius if plan.shape[0] < 70 else 0.0, 0.0, level]) @ person.axes
    x, y = draw.normal(0.6 * plan.off_centre, 1.5 * plan.off_centre, size=2)
    middle = person.centre + place + x * rows[0] + y * rows[1]
    pixel = draw.uniform(*plan.pixel)
    affine = np.eye(4)
    affine[:3, :3] = rows.T * [pixel, pixel, 10.0]
    affine[:3, 3] = middle - affine[:3, :2] @ ((np.array(plan.shape) - 1) / 2.0)
    grid = Grid((*plan.shape, 1), affine, draw.uniform(*plan.thickness))
    depth = draw.uniform(0.0, 9.0)
    direction = np.array([draw.rng.normal(0.0, 0.04), draw.uniform(0.1, 0.3), -1.0])
    trace = MotionTrace(draw.rng.normal(0.0, depth, STATES), draw.rng.normal(0.0, 0.012, STATES), direction)
    return render_scene(person, heart, trace, grid, list(draw.rng.normal(0.0, 0.15, STATES)))


def _heart(person: Participant, plan: _Plan, draw: Draws) -> HeartShape:
    """The heart in some phase of its beat; among blood-pool cases also such as have little blood to show.

    A thick wall about a small cavity, and a right ventricle that hardly reaches the slice or fills a sliver of it, are
    what networks overlooked in patients.
    """
    heart = person.heart
    if plan is _PLANS[CaseKind.POOLS] and draw.rng.random() < LITTLE_BLOOD_SHARE:
        wall = heart.wall * draw.uniform(0.9, 1.6)
        size, reach = heart.rv_size * draw.uniform(0.55, 1.0), heart.rv_reach * draw.uniform(0.5, 1.0)
        heart = replace(heart, radius=heart.radius + 0.5 * (heart.wall - wall), wall=wall, rv_size=size, rv_reach=reach)
    return heart.contracted(draw.uniform(0.0, 0.9))


def _turn(axis: int, angle: float) -> NDArray[np.float64]:
    first, second = [a for a in range(3) if a != axis]
    matrix = np.eye(3)
    matrix[first, first] = matrix[second, second] = np.cos(angle)
    matrix[first, second], matrix[second, first] = np.sin(angle), -np.sin(angle)
    return matrix


def _times(task: str, n: int, draw: Draws) -> NDArray[np.float64]:
    triggers = sample_triggers(task, n + int(draw.rng.integers(42, 85)), draw.rng.uniform(0.0, 0.12), draw.rng)
    return triggers.times


def _bolus(times: NDArray[np.float64], n: int, absence: str, draw: Draws) -> Bolus:
    """A bolus of any speed and dose; the later the series ends, the later it may come."""
    first, last = float(times[n]), float(times[-1])
    transit, width = draw.uniform(3.4, 8.5), draw.uniform(3.2, 9.0)
    # The left ventricle's peak shall be seen, with some of what follows, and within half a minute.
    latest = min(LAST_PEAK, last - first - 4.0) - transit - 0.65 * width
    arrival = first + max(min(draw.uniform(1.5, 17.0), latest), 0.5)
    peak = 0.0 if absence == "no-bolus" else draw.log_uniform(1.3, 12.0)
    if absence == "late":
        arrival = last + draw.rng.uniform(-2.0, 30.0)
    return Bolus(
        arrival=arrival,
        transit=transit,
        peak=peak,
        width=width,
        shape=draw.uniform(2.0, 5.0),
        dispersion=draw.uniform(0.1, 0.45),
        recirculation=draw.uniform(0.04, 0.5),
        recirculation_delay=draw.uniform(8.0, 22.0),
        plateau=draw.uniform(0.05, 0.35),
        kind="bolus",
    )


def _end(times: NDArray[np.float64], bolus: Bolus, absence: str, draw: Draws) -> int:
    """Volumes that are kept. The left ventricle's foot comes a little after the right one's peak."""
    foot = bolus.arrival + 0.65 * bolus.width + bolus.transit - bolus.width
    if absence == "stopped":
        stop = foot + 0.15 * bolus.width - draw.rng.uniform(0.0, 0.8) * bolus.transit
        return max(int(np.searchsorted(times, stop)), 12)
    needed = int(np.searchsorted(times, foot + bolus.width + 5.0))
    return len(times) if draw.rng.random() < 0.7 else int(draw.rng.integers(min(needed, len(times)), len(times) + 1))


def _signals(
    config: PhantomConfig,
    person: Participant,
    bolus: Bolus,
    times: NDArray[np.float64],
    n: int,
    kind: CaseKind,
    draw: Draws,
) -> NDArray[np.float32]:
    """Signal (sources, t) where the coils' sensitivity is 1."""
    knots = np.union1d(np.arange(min(0.0, bolus.arrival - 1.0), times[-1], 0.4), times)
    at = np.searchsorted(knots, times)
    blood = blood_curves(bolus, knots)
    organs = blood_and_organ_curves(knots, blood, person.haematocrit)
    cp = plasma_concentration(blood["left"], person.haematocrit)
    kinetics = sample_kinetics(
        config.task, person.defects, person.haematocrit, np.random.default_rng(person.personal_seed), draw.rng
    )
    groups = wall_groups()
    # Any one of a group's cells stands for it.
    chosen = [draw.rng.choice(np.flatnonzero(groups == g)) for g in range(SECTORS * LAYERS)]
    parameters = [np.ravel(getattr(kinetics, q))[chosen] for q in ("Fp", "PS", "vp", "ve", "Ta")]
    wall = np.asarray(two_compartment_exchange(knots, cp, *parameters))
    curves = np.concatenate([np.stack([organs[name] for name in ORGANS]), wall.mean(axis=0)[None], wall])[:, at]
    if kind is CaseKind.POOLS and draw.rng.random() < INPUT_SHARE:
        delay, repetition, flip = draw.uniform(0.004, 0.03), draw.uniform(0.001, 0.002), draw.uniform(3.0, 15.0)
        pulses = int(draw.rng.integers(4, 26))
    else:
        delay, repetition, flip = draw.uniform(0.03, 0.13), draw.uniform(0.0018, 0.003), draw.uniform(8.0, 28.0)
        pulses = int(draw.rng.integers(8, 45))
    scanned = protocol(Sequence("FLASH", flip, repetition, pulses, delay, repetition / 2), 0.5 * flip)
    names = [*ORGANS, *["myocardium"] * (1 + SECTORS * LAYERS)]
    signals, densities = np.empty(curves.shape, np.float32), np.empty(len(curves), np.float32)
    heart = draw.log_normal(0.1)
    left_over = draw.uniform(0.0, LEFT_OVER) if draw.rng.random() < LEFT_OVER_SHARE else 0.0
    r1 = relaxivity(config.field_strength)
    for i, (name, curve) in enumerate(zip(names, curves, strict=True)):
        if i <= len(ORGANS):
            # Tissues are brighter or darker than constants say; the wall's groups share one draw.
            own = heart if name in ("left", "right", "aorta") else 1.0
            fatty = draw.log_uniform(0.6, 3.0) if "fat" in name else 1.0
            density = GAIN * draw.log_normal(0.2) * own * fatty * (TISSUES[name].density if name in TISSUES else 0.85)
            t1 = t1_of(name, config.field_strength) * draw.log_normal(0.15)
            taken = draw.log_normal(0.3) if name in TISSUES and TISSUES[name].kinetics else 1.0
            # The agent has spread by then: a tissue holds it in what part of it is outside of cells.
            before = left_over * (1.0 if name in ("left", "right", "aorta") else draw.uniform(0.1, 0.45))
        signals[i] = signal_of(relaxation_rate(taken * curve + before, t1, r1), scanned, n, density)
        densities[i] = density / GAIN
    # A saturation pulse that does not do its work everywhere leaves an image without contrast agent behind.
    leak = draw.uniform(0.0, 0.5) if draw.rng.random() < 0.6 else 0.0
    signals[:, n:] += np.float32(leak * np.ptp(signals[ORGANS.index("left"), n:])) * densities[:, None]
    return signals


def _series(
    scene: Scene, signals: NDArray[np.float32], times: NDArray[np.float64], n: int, absence: str, draw: Draws
) -> NDArray[np.float32]:
    """Images (x, y, 1, t) with coils, artefacts and noise."""
    rng, shape = draw.rng, scene.grid.shape
    parts = scene.parts
    if absence == "no-heart":
        # The ventricles' blood and wall replaced by muscle: everything else stays.
        signals = signals.copy()
        muscle = signals[ORGANS.index("muscle")]
        for i, name in enumerate(ORGANS):
            if name in ("left", "right"):
                signals[i] = muscle
        signals[len(ORGANS) :] = muscle
    state = _states(times, draw)
    image = np.empty((*shape, len(times)), np.float32)
    for s in range(len(parts)):
        image[..., state == s] = parts[s] @ signals[:, state == s]
    if absence == "noise":
        image *= np.float32(rng.uniform(0.0, 0.05))
    # The nearest skin may be many times as bright as the heart.
    image *= np.minimum(scene.sensitivity ** np.float32(draw.uniform(0.0, 3.0)), 8.0)[..., None]
    image *= np.exp(0.15 * random_field(shape, 10.0, rng))[..., None]
    image = disturb(image, n, draw)
    left = signals[ORGANS.index("left")]
    rise = float(left[n:].max() - left[n:].min())
    scale = rise if rise > 0.3 * float(left[n]) else float(signals[:, n:].mean())
    noise = scale / draw.log_uniform(8.0, 150.0)
    if absence == "noise":
        image *= np.float32(rng.uniform(0.0, HIDDEN) * noise / scale)
    # The scanner's own filters blur the picture before or after noise has come in.
    before, after = (draw.uniform(0.0, widest) if rng.random() < share else 0.0 for widest, share in BLUR)
    return blurred(acquire(blurred(image, before), draw.rng.uniform(0.6, 1.0), noise, rng), after)


def _states(times: NDArray[np.float64], draw: Draws) -> NDArray[np.intp]:
    """Breathing state of every volume: breaths of a few seconds, mostly at rest."""
    wave = np.sin(
        2 * np.pi * (times / draw.uniform(3.0, 7.0) + draw.rng.random()) + draw.rng.normal(0, 0.4, len(times))
    )
    return np.digitize(wave, [0.2, 0.75])


def _labels(scene: Scene, kind: CaseKind) -> NDArray[np.uint8]:
    """The tissue that fills most of a voxel."""
    wall, left, right = scene.labels
    labels = np.zeros(wall.shape, np.uint8)
    labels[right > 0.5] = RIGHT_BLOOD
    labels[left > 0.5] = LEFT_BLOOD
    labels[wall > 0.5] = WALL
    return labels
