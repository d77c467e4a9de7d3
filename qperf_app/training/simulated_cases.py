"""Simulated training cases: wide draws of everything a scan may be like, on small motion-corrected series.

A network that is to work on patients has to see more variety than patients have: anatomy, sequences, bolus shapes,
slice places, intensities and artefacts are all drawn from ranges wider than published ones (``case_ranges.yaml``). The
anatomy is the phantom's, whose truth is exact, or a real one's (:mod:`qperf_app.training.anatomy`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from qperf_app.phantom.acquisition import Grid
from qperf_app.phantom.bolus import Bolus
from qperf_app.phantom.config import PhantomConfig
from qperf_app.phantom.heart import HeartShape
from qperf_app.phantom.motion import MotionTrace
from qperf_app.phantom.participant import Participant, sample_participant
from qperf_app.phantom.scenes import Scene, render_scene
from qperf_app.phantom.triggering import sample_triggers
from qperf_app.plugins import Series
from qperf_app.training.anatomy import Anatomy
from qperf_app.training.anatomy_scenes import anatomy_scene
from qperf_app.training.case_images import images
from qperf_app.training.case_ranges import CaseDraws
from qperf_app.training.case_signals import draw_protocol, source_signals
from qperf_app.training.cases import LEFT_BLOOD, RIGHT_BLOOD, WALL, CaseKind, TrainingCase

#: Why there is no left ventricle to be found: no contrast at all, a bolus that comes too late, a series that stops too
#: soon, no heart in the slice, noise.
ABSENCES = ("no-bolus", "late", "stopped", "no-heart", "noise")
#: The left ventricle's peak is followed by this long, s, in a series that counts as one with a bolus.
_FOLLOWED = 4.0
#: Breathing states of a scene.
_STATES = 3
#: Field of view about the heart of a myocardium case, mm, and grid of a blood-pool case.
_FIELD, _GRID = 152.0, (64, 48)
#: Section of the ranges for each kind.
_SECTION: dict[CaseKind, str] = {CaseKind.POOLS: "pools", CaseKind.MUSCLE: "myocardium"}


def simulate_case(
    kind: CaseKind,
    rng: np.random.Generator,
    spread: float = 1.0,
    absence: str | None = None,
    anatomies: Callable[[np.random.Generator], Anatomy] | None = None,
    share: float | None = None,
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
    anatomies : function, optional
        Draws a real slice, on which a part of the cases is made.
    share : float, optional
        That part; the file's where it is not given.

    Returns
    -------
    TrainingCase
        One slice, already free of the heart's motion but for what a correction leaves. Empty labels where no left
        ventricle should be found. Its name is why, or that of the anatomy.
    """
    draw = CaseDraws(rng, spread)
    if kind is CaseKind.MUSCLE:
        absence = ""
    elif absence is None:
        absence = str(rng.choice(ABSENCES)) if draw.happens("cases", "absent") else ""
    config = PhantomConfig(
        task="stress" if rng.random() < 0.5 else "rest", field_strength=3.0 if rng.random() < 0.5 else 1.5
    )
    person = sample_participant(config, rng)
    real = rng.random() < (draw.ranges["cases"]["real_anatomy"] if share is None else share)
    anatomy = anatomies(rng) if anatomies is not None and real else None
    scene = _scene(kind, person, draw) if anatomy is None else _real_scene(kind, anatomy, draw)
    n = draw.whole("sequences", "weighted_frames")
    use = "input" if kind is CaseKind.POOLS and draw.happens("sequences", "input_share") else "tissue"
    sequence = f"{use}-{draw.one_of('sequences', use)}"
    scanned = draw_protocol(sequence, draw)
    times = _times(config.task, n, scanned.dynamic.delay is None, draw)
    bolus = _bolus(times, n, absence, draw)
    times = times[: _end(times, n, bolus, absence, draw)]
    signals = source_signals(config, person, bolus, times, n, scanned, draw)
    data = images(scene, signals, times, n, absence, draw)
    labels = _labels(scene) if not absence else np.zeros(data.shape[:3], np.uint8)
    metadata = {"ProtonDensityVolumeCount": n, "Units": "arbitrary"}
    landmarks = scene.landmarks if not absence else ()
    name, place = ("phantom", "phantom") if anatomy is None else (anatomy.name, "cine")
    series = Series(data, times, scene.grid.affine, metadata)
    return TrainingCase(series, labels, landmarks, absence or name, absence or f"{place} {sequence}")


def _grid_of(kind: CaseKind, draw: CaseDraws) -> tuple[tuple[int, int], float]:
    """Shape and edge of a voxel, mm, of a slice of a kind."""
    pixel = draw.value(_SECTION[kind], "pixel")
    across = round(_FIELD / pixel)
    return (_GRID if kind is CaseKind.POOLS else (across, across)), pixel


def _real_scene(kind: CaseKind, given: Anatomy, draw: CaseDraws) -> Scene:
    """A real slice."""
    shape, pixel = _grid_of(kind, draw)
    return anatomy_scene(given, shape, pixel, draw.value(_SECTION[kind], "off_centre"), draw)


def _scene(kind: CaseKind, person: Participant, draw: CaseDraws) -> Scene:
    """A slice across the phantom's ventricle, somewhere between base and apex, turned by any angle."""
    section = _SECTION[kind]
    heart = _heart(person, draw)
    turn, tilts = draw.rng.uniform(-np.pi, np.pi), draw.normal(6.0, 16.0, size=2)
    rows = _turn(2, turn) @ _turn(0, np.deg2rad(tilts[0])) @ _turn(1, np.deg2rad(tilts[1])) @ person.axes
    ventricle = heart.length - heart.base
    level = heart.base + ventricle * draw.value(section, "level")
    place = np.array([-0.35 * heart.outer_radius if kind is CaseKind.POOLS else 0.0, 0.0, level]) @ person.axes
    off_centre = draw.value(section, "off_centre")
    x, y = draw.normal(0.6 * off_centre, 1.5 * off_centre, size=2)
    middle = person.centre + place + x * rows[0] + y * rows[1]
    shape, pixel = _grid_of(kind, draw)
    affine = np.eye(4)
    affine[:3, :3] = rows.T * [pixel, pixel, 10.0]
    affine[:3, 3] = middle - affine[:3, :2] @ ((np.array(shape) - 1) / 2.0)
    grid = Grid((*shape, 1), affine, draw.value(section, "thickness"))
    depth = draw.value("breathing", "depth")
    direction = np.array([draw.rng.normal(0.0, 0.04), draw.uniform(0.1, 0.3), -1.0])
    trace = MotionTrace(draw.rng.normal(0.0, depth, _STATES), draw.rng.normal(0.0, 0.012, _STATES), direction)
    left_over = draw.rng.normal(0.0, draw.ranges["breathing"]["left_over"], _STATES)
    return render_scene(person, heart, trace, grid, list(left_over))


def _heart(person: Participant, draw: CaseDraws) -> HeartShape:
    """The heart in some phase of its beat, now and then one with little blood to show.

    A thick wall about a small cavity, and a right ventricle that hardly reaches the slice or fills a sliver of it, are
    what networks overlooked in patients.
    """
    heart = person.heart
    if draw.happens("phantom", "little_blood"):
        wall = heart.wall * draw.value("phantom", "wall")
        # No wall closes the cavity.
        wall = min(wall, heart.wall + 1.4 * heart.radius)
        size = heart.rv_size * draw.value("phantom", "right_size")
        reach = heart.rv_reach * draw.value("phantom", "right_reach")
        heart = replace(heart, radius=heart.radius + 0.5 * (heart.wall - wall), wall=wall, rv_size=size, rv_reach=reach)
    return heart.contracted(min(draw.value("phantom", "contraction"), 1.0))


def _turn(axis: int, angle: float) -> NDArray[np.float64]:
    first, second = [a for a in range(3) if a != axis]
    matrix = np.eye(3)
    matrix[first, first] = matrix[second, second] = np.cos(angle)
    matrix[first, second], matrix[second, first] = np.sin(angle), -np.sin(angle)
    return matrix


def _times(task: str, n: int, ungated: bool, draw: CaseDraws) -> NDArray[np.float64]:
    """Times of the volumes: one for every beat, every second or third, or on a clock of their own."""
    frames = draw.whole("times", "frames")
    if ungated:
        return np.asarray(np.round(np.arange(n + frames) * draw.value("times", "ungated"), 3))
    every = int(draw.one_of("times", "beats"))
    # Fewer images where each takes more beats; the series lasts longer all the same.
    frames = max(round(frames / every**0.5), int(draw.ranges["times"]["fewest"]))
    triggers = sample_triggers(task, every * (n + frames), draw.value("times", "missed"), draw.rng)
    return triggers.times[::every]


def _bolus(times: NDArray[np.float64], n: int, absence: str, draw: CaseDraws) -> Bolus:
    """A bolus of any speed and dose, early or late; the longer a series, the later it may come."""
    first, last = float(times[n]), float(times[-1])
    slow = draw.value("bolus", "slow") if draw.happens("bolus", "slow_share") else 1.0
    transit, width = slow * draw.value("bolus", "transit"), slow * draw.value("bolus", "width")
    # The left ventricle's peak shall be seen, with some of what follows.
    latest = last - first - _FOLLOWED - transit - 0.65 * width
    wanted = draw.value("bolus", "late_arrival" if draw.happens("bolus", "late_share") else "arrival")
    arrival = first + max(min(wanted, latest), 0.5)
    if absence == "late":
        arrival = last + draw.rng.uniform(-2.0, 30.0)
    return Bolus(
        arrival=arrival,
        transit=transit,
        peak=0.0 if absence == "no-bolus" else draw.value("bolus", "peak"),
        width=width,
        shape=draw.value("bolus", "shape"),
        dispersion=draw.value("bolus", "dispersion"),
        recirculation=draw.value("bolus", "recirculation"),
        recirculation_delay=slow * draw.value("bolus", "recirculation_delay"),
        plateau=draw.value("bolus", "plateau"),
        kind="bolus",
    )


def _end(times: NDArray[np.float64], n: int, bolus: Bolus, absence: str, draw: CaseDraws) -> int:
    """Volumes that are kept. The left ventricle's foot comes a little after the right one's peak."""
    foot = bolus.arrival + 0.65 * bolus.width + bolus.transit - bolus.width
    if absence == "stopped":
        stop = foot + 0.15 * bolus.width - draw.rng.uniform(0.0, 0.8) * bolus.transit
        return max(int(np.searchsorted(times, stop)), n + 8)
    needed = int(np.searchsorted(times, foot + bolus.width + _FOLLOWED + 1.0))
    whole = draw.happens("times", "whole")
    return len(times) if whole else int(draw.rng.integers(min(needed, len(times)), len(times) + 1))


def _labels(scene: Scene) -> NDArray[np.uint8]:
    """The tissue that fills most of a voxel."""
    wall, left, right = scene.labels
    labels = np.zeros(wall.shape, np.uint8)
    labels[right > 0.5] = RIGHT_BLOOD
    labels[left > 0.5] = LEFT_BLOOD
    labels[wall > 0.5] = WALL
    return labels
