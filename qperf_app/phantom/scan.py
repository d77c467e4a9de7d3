"""One simulated scan with its truth, in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qperf_app.phantom.acquisition import (
    AIF_SEQUENCE,
    TISSUE_SEQUENCE,
    Grid,
    Sequence,
    acquire,
    coil_sensitivity,
    plan_grids,
    signal_of,
)
from qperf_app.phantom.bolus import Bolus, blood_curves, sample_bolus
from qperf_app.phantom.config import PhantomConfig
from qperf_app.phantom.landmarks import insertion_points
from qperf_app.phantom.motion import Deformation, MotionTrace, sample_motion, within_slices
from qperf_app.phantom.participant import Participant, sample_participant
from qperf_app.phantom.perfusion import CELLS, Kinetics, sample_kinetics, tissue_concentration
from qperf_app.phantom.render import LABELS, Renderer, Values
from qperf_app.phantom.tissue import TISSUES, blood_and_organ_curves, t1_of
from qperf_app.phantom.triggering import sample_triggers
from qperf_app.physics.constants import relaxivity
from qperf_app.physics.conversion import plasma_concentration
from qperf_app.physics.signal import relaxation_rate
from qperf_app.plugins import InputFunction, Landmark, Series

#: Signal of fully relaxed blood at the heart under a 90 degree pulse; fills a scanner's 12 bits or so.
GAIN = 20000.0


@dataclass(frozen=True)
class SeriesTruth:
    """What is known of a simulated series; (x, y, z) is its grid.

    Parameters
    ----------
    displacement : (x, y, z, t, 3) float32 array
        World mm within the slice, from each voxel of the reference frame to where the heart's tissue is seen.
    masks : mapping of (x, y, z) bool arrays
        ``myocardium``, ``LV`` and ``RV`` in the reference frame: more than half of the voxel.
    frame_masks : mapping of (x, y, z, t) bool arrays
        The same where they lie in every volume.
    parts : mapping of (x, y, z) float32 arrays
        Part of each voxel, in the reference frame.
    concentration : (x, y, z, t) float32 array
        Mean over the voxel in the reference frame, mmol/L, for the dynamic volumes.
    parameters : mapping of (x, y, z) arrays
        MBF, Fb, Fp, PS, vp, ve, Ta in the myocardium, NaN elsewhere.
    landmarks : tuple of Landmark
        Right-ventricular insertion points in the reference frame.
    """

    displacement: NDArray[np.float32]
    masks: Mapping[str, NDArray[np.bool_]]
    frame_masks: Mapping[str, NDArray[np.bool_]]
    parts: Mapping[str, NDArray[np.float32]]
    concentration: NDArray[np.float32]
    parameters: Mapping[str, NDArray[np.float64]]
    landmarks: tuple[Landmark, ...]


@dataclass(frozen=True)
class Scan:
    """A simulated scan.

    Parameters
    ----------
    config : PhantomConfig
    participant : Participant
    series, truth : mappings
        ``tissue``, and ``aif`` where the acquisition is a dual sequence.
    aif : InputFunction
        In the left ventricle at the dynamic volumes, in whole blood.
    model : str
        Model of the tissue curves.
    kinetics : Kinetics
        Of the wall's cells.
    bolus : Bolus
    motion : MotionTrace
    """

    config: PhantomConfig
    participant: Participant
    series: Mapping[str, Series]
    truth: Mapping[str, SeriesTruth]
    aif: InputFunction
    model: str
    kinetics: Kinetics
    bolus: Bolus
    motion: MotionTrace


#: Share of scans whose tissue is distributed where the model is mixed, so that fitting an exchange model is not always
#: the inverse of the simulation.
DISTRIBUTED_SHARE = 0.25


@dataclass(frozen=True)
class _Curves:
    """Concentrations at the volumes, mmol/L: tissues (t,), cells of the wall (cells, t), and the rest of the heart's
    muscle (t,)."""

    tissues: dict[str, NDArray[np.float64]]
    cells: NDArray[np.float64]
    muscle: NDArray[np.float64]


def simulate_scan(config: PhantomConfig, rng: np.random.Generator, participant: Participant | None = None) -> Scan:
    """Simulate one scan.

    Parameters
    ----------
    config : PhantomConfig
    rng : Generator
        Source of every draw; the same state gives the same scan.
    participant : Participant, optional
        Who is scanned; drawn where none is given. Rest and stress of one person share it.
    """
    person_rng, beat_rng, motion_rng, bolus_rng, tissue_rng, plan_rng, noise_rng = rng.spawn(7)
    person = sample_participant(config, person_rng) if participant is None else participant
    triggers = sample_triggers(config.task, config.frames, config.missed_beats, beat_rng)
    times, n = triggers.times, config.proton_density_frames
    bolus = sample_bolus(
        config.task, config.input_function == "individual", config.abnormal_bolus, times[n], times[-1], bolus_rng
    )
    drawn = "ATH" if tissue_rng.random() < DISTRIBUTED_SHARE else "2CXM"
    model = drawn if config.model == "mixed" else config.model
    kinetics = sample_kinetics(
        config.task, person.defects, person.haematocrit, np.random.default_rng(person.personal_seed), tissue_rng
    )
    shape = person.heart.contracted(float(plan_rng.uniform(0.0, 0.6)))
    grids = plan_grids(config, person, plan_rng)
    motion = sample_motion(config.breathing, triggers, motion_rng)
    motion = within_slices(motion, grids["tissue"].normal, config.through_plane)
    deformation = Deformation(motion, person.torso.dome, person.centre, person.axes)
    renderers = {name: Renderer(person, shape, deformation, grid) for name, grid in grids.items()}
    curves = _concentrations(model, kinetics, bolus, times, person.haematocrit, renderers)

    # The last series is the one that the input function is measured in.
    series, truth, signal = {}, {}, np.empty(0)
    for name, child in zip(grids, noise_rng.spawn(2), strict=False):
        series[name], truth[name], signal = _scan_series(config, name, renderers[name], curves, kinetics, times, child)
    aif = InputFunction(times[n:], curves.tissues["left"][n:], signal)
    return Scan(config, person, series, truth, aif, model, kinetics, bolus, motion)


def _concentrations(
    model: str,
    kinetics: Kinetics,
    bolus: Bolus,
    times: NDArray[np.float64],
    haematocrit: float,
    renderers: Mapping[str, Renderer],
) -> _Curves:
    """Curves of all tissues at the volumes, convolved on a finer grid than theirs."""
    last = times[-1]
    fine = np.concatenate(
        [np.arange(bolus.arrival - 0.5, min(bolus.arrival + 30.0, last), 0.3), np.arange(0, last, 0.8)]
    )
    # Whole milliseconds as the volumes' times are: no two knots differ by a rounding error.
    knots = np.union1d(np.round(fine, 3), times)
    at = np.searchsorted(knots, times)
    blood = blood_curves(bolus, knots)
    levels = np.any([renderer.levels() for renderer in renderers.values()], axis=0)
    cp = plasma_concentration(blood["left"], haematocrit)
    cells = tissue_concentration(model, kinetics, knots, cp, levels)[:, at]
    tissues = {name: curve[at] for name, curve in blood_and_organ_curves(knots, blood, haematocrit).items()}
    # Papillary muscles and the right ventricle's wall: the better half of the left one's.
    healthy = np.median(kinetics.MBF) <= kinetics.MBF
    normal = healthy & np.broadcast_to(levels, CELLS)
    return _Curves(tissues, cells, cells[normal.ravel()].mean(axis=0))


def _signals(config: PhantomConfig, curves: _Curves, sequence: Sequence) -> _Curves:
    """Signals of all tissues where the coils' sensitivity is 1."""
    field, n = config.field_strength, config.proton_density_frames
    r1 = relaxivity(field)

    def signal(concentration: NDArray[np.float64], name: str) -> NDArray[np.float64]:
        rho = GAIN * (TISSUES[name].density if name in TISSUES else 0.9)
        return signal_of(relaxation_rate(concentration, t1_of(name, field), r1), sequence, n, rho)

    return _Curves(
        {name: signal(curve, name) for name, curve in curves.tissues.items()},
        signal(curves.cells, "myocardium"),
        signal(curves.muscle, "myocardium"),
    )


def _values(curves: _Curves, which: Any) -> Values:
    """The curves at one volume, or at several, for the renderer."""
    return Values(
        {name: np.asarray(curve[which], np.float32) for name, curve in curves.tissues.items()},
        np.asarray(curves.cells[:, which], np.float32),
        np.asarray(curves.muscle[which], np.float32),
    )


def _scan_series(
    config: PhantomConfig,
    name: str,
    renderer: Renderer,
    curves: _Curves,
    kinetics: Kinetics,
    times: NDArray[np.float64],
    rng: np.random.Generator,
) -> tuple[Series, SeriesTruth, NDArray[np.float64]]:
    """One series as scanned, its truth, and the noise-free signal of its left ventricle's blood after saturation."""
    sequence = AIF_SEQUENCE if name == "aif" else TISSUE_SEQUENCE
    signals = _signals(config, curves, sequence)
    person, grid, n = renderer.participant, renderer.grid, config.proton_density_frames
    sensitivity = coil_sensitivity(person.torso, person.centre, person.coil_exponent, grid.world())
    seen = np.empty((*grid.shape, len(times)), np.float32)
    moving = np.empty((len(LABELS), *seen.shape), bool)
    for frame in range(len(times)):
        view = renderer.view(frame)
        seen[..., frame] = renderer.image(frame, view, _values(signals, frame)) * sensitivity
        moving[..., frame] = renderer.labels(view) > 0.5
    truth, cells = _truth(renderer, curves, kinetics, moving, n)

    chamber = truth.masks["LV"]
    blood = (float(sensitivity[chamber].mean()) if chamber.any() else 1.0) * signals.tissues["left"][n:]
    if name == "aif":
        noise = (blood.max() - blood[0]) / config.aif_cnr
    else:
        wall = signals.cells[cells[cells >= 0], n:] * sensitivity[cells >= 0][:, None]
        noise = _largest_rise(wall) / config.cnr
    data = acquire(seen, config.phase_resolution, noise, rng)
    metadata = _metadata(config, sequence, grid, person.haematocrit, times)
    return Series(data, times, grid.affine, metadata), truth, blood


def _largest_rise(signal: NDArray[np.float64]) -> float:
    """Largest rise of the mean of curves (n, t) over its first value; 0 where there are none."""
    if not len(signal):
        return 0.0
    mean = signal.mean(axis=0)
    return float(mean.max() - mean[0])


def _truth(
    renderer: Renderer, curves: _Curves, kinetics: Kinetics, moving: NDArray[np.bool_], n_weighted: int
) -> tuple[SeriesTruth, NDArray[np.intp]]:
    """The truth, and the cell of every voxel of the myocardium, -1 elsewhere."""
    view = renderer.view(None)
    parts = dict(zip(LABELS, renderer.labels(view), strict=True))
    masks = {name: part > 0.5 for name, part in parts.items()}
    cells = np.where(masks["myocardium"], renderer.cells(view), -1)
    parameters = {}
    for name, values in kinetics.items():
        parameters[name] = np.where(cells >= 0, values.ravel()[cells], np.nan)
    truth = SeriesTruth(
        displacement=renderer.displacement(),
        masks=masks,
        frame_masks=dict(zip(LABELS, moving, strict=True)),
        parts=parts,
        concentration=renderer.image(None, view, _values(curves, np.s_[n_weighted:]), texture=False),
        parameters=parameters,
        landmarks=insertion_points(renderer.shape, renderer.deformation, renderer.grid),
    )
    return truth, cells


def _metadata(
    config: PhantomConfig, sequence: Sequence, grid: Grid, haematocrit: float, times: NDArray[np.float64]
) -> dict[str, Any]:
    """Sidecar of a series."""
    n = config.proton_density_frames
    flips: float | list[float] = sequence.flip_angle
    if n:
        flips = [sequence.proton_density_flip_angle] * n + [sequence.flip_angle] * (len(times) - n)
    return {
        "TaskName": config.task,
        "Modality": "MR",
        "BodyPart": "HEART",
        "MagneticFieldStrength": config.field_strength,
        "MRAcquisitionType": "2D",
        "PulseSequenceType": "Saturation-recovery FLASH",
        "VolumeTiming": [float(t) for t in times],
        "RepetitionTimeExcitation": sequence.repetition_time,
        "EchoTime": sequence.echo_time,
        "FlipAngle": flips,
        "SaturationDelayTime": sequence.delay,
        "ExcitationsToKSpaceCenter": sequence.n_pulses,
        "ProtonDensityVolumeCount": n,
        "SliceThickness": grid.thickness,
        "ContrastBolusIngredient": "GADOLINIUM",
        "Haematocrit": haematocrit,
        "Units": "arbitrary",
    }
