"""Small, made-up inputs of every step: a beating ring with a bolus that passes RV, LV and wall."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qperf_app.physics.models import two_compartment_exchange
from qperf_app.physics.sequences import ReadOut
from qperf_app.plugins import (
    CONCENTRATION_UNITS,
    BloodPools,
    ConcentrationSeries,
    InputFunction,
    Landmark,
    Myocardium,
    ParticipantResult,
    ScanResult,
    Series,
    StepOutcome,
    TissueCurves,
)

#: Sequence values of the example series; its signal is made with them, up to noise.
METADATA: dict[str, Any] = {
    "PulseSequenceType": "Saturation-recovery FLASH",
    "RepetitionTimeExcitation": 0.0022,
    "SaturationDelayTime": 0.09,
    "ExcitationsToKSpaceCenter": 20,
    "MagneticFieldStrength": 1.5,
    "FlipAngle": 12.0,
    "Haematocrit": 0.42,
    "Units": "arbitrary",
}
AFFINE = np.diag([-3.0, -3.0, 8.0, 1.0])
_CENTRE = (17, 16)
#: Frames of the example before contrast arrives anywhere in it.
_NATIVE_FRAMES = 6


def example_aif(n: int = 40, delay: float = 10.0) -> InputFunction:
    """Whole-blood input function: a first pass of 4 mmol/L with recirculation, one sample a beat (0.85 s)."""
    times = np.arange(n, dtype=np.float64) * 0.85
    since = np.clip(times - delay, 0.0, None)
    first = (since / 4.0) ** 2 * np.exp(2.0 - 2.0 * since / 4.0)
    return InputFunction(times, 4.0 * first + 0.6 * (1.0 - np.exp(-since / 8.0)))


def example_curves(n_voxels: int = 12, noise: float = 0.01, seed: int = 0) -> TissueCurves:
    """Tissue curves of the exchange model with blood flows from 0.6 to 3 mL/min/mL."""
    aif = example_aif()
    flow = example_flow(n_voxels) * 1.05
    clean = two_compartment_exchange(
        aif.times, aif.in_plasma(0.42), flow * 0.58, np.full(n_voxels, 1.0), np.full(n_voxels, 0.06),
        np.full(n_voxels, 0.16), np.full(n_voxels, 0.5),
    )  # fmt: skip
    noisy = clean + np.random.default_rng(seed).normal(0.0, noise, clean.shape)
    voxels = np.stack([np.arange(n_voxels), np.zeros(n_voxels), np.zeros(n_voxels)], axis=1).astype(np.intp)
    return TissueCurves(noisy, aif.times, voxels, AFFINE)


def curves_without_bolus(n_voxels: int = 12) -> TissueCurves:
    """Curves that no contrast agent ever reaches: zero throughout."""
    curves = example_curves(n_voxels)
    return replace(curves, concentration=np.zeros_like(curves.concentration))


def example_flow(n_voxels: int = 12) -> NDArray[np.float64]:
    """True MBF of :func:`example_curves`, mL/min/g, at a tissue density of 1.05 g/mL."""
    return np.linspace(0.6, 3.0, n_voxels) / 1.05


def example_masks(shape: tuple[int, int] = (36, 32)) -> dict[str, NDArray[np.bool_]]:
    """Masks (x, y) of the example heart: ``lv``, ``rv``, ``myocardium``."""
    x, y = np.meshgrid(*map(np.arange, shape), indexing="ij")
    radius = np.hypot(x - _CENTRE[0], y - _CENTRE[1])
    lv, wall = radius < 4.5, (radius >= 4.5) & (radius < 8.0)
    rv = (np.hypot((x - 6.5) / 0.8, y - _CENTRE[1]) < 6.0) & (radius >= 8.5)
    return {"lv": lv, "rv": rv, "myocardium": wall}


def example_concentration() -> NDArray[np.float64]:
    """True concentration of the still example heart, (x, y, 1, t) mmol/L; zero outside it."""
    aif, masks = example_aif(), example_masks()
    tissue = two_compartment_exchange(aif.times, aif.in_plasma(0.42), 0.8, 1.0, 0.06, 0.16, 0.5)
    values = np.zeros((*masks["lv"].shape, 1, len(aif.times)))
    right = example_aif(delay=5.0).concentration
    for name, curve in (("myocardium", tissue), ("lv", aif.concentration), ("rv", right)):
        values[masks[name], 0] = curve
    return values


def example_displacement(whole_voxels: bool = True, n: int = 40) -> NDArray[np.float64]:
    """Where the heart of each frame lies, (t, 3) mm in the world frame: it breathes along y and sways along x.

    The corrected voxel at p is to be read from p + displacement. The axes of the example run against the world's, so
    that a voxel's shift and its millimetres differ in sign.
    """
    frames = np.arange(n)
    voxels = np.stack([1.2 * np.sin(frames / 2.2), 2.2 * np.sin(frames / 3.0), np.zeros(n)], axis=1)
    return np.asarray((np.round(voxels) if whole_voxels else voxels) @ AFFINE[:3, :3].T)


def example_series(
    concentration: bool = False,
    seed: int = 0,
    displacement: NDArray[np.float64] | None = None,
    readout: ReadOut = "FLASH",
) -> Series:
    """One slice of the example heart over 40 beats: signal of a read-out after saturation, or concentration.

    Its frames lie where ``displacement`` (t, 3), world mm, says (:func:`example_displacement`); still where it is None.
    """
    times = example_aif().times
    metadata = {**_sequence(readout), "VolumeTiming": times.tolist()}
    if concentration:
        metadata["Units"] = CONCENTRATION_UNITS
    clean, noise = (example_concentration(), 0.01) if concentration else (_example_signal(readout), 0.5)
    if displacement is not None:
        clean = _moved(clean, displacement)
    noisy = clean + np.random.default_rng(seed).normal(0.0, noise, clean.shape)
    return Series((noisy if concentration else np.abs(noisy)).astype(np.float32), times, AFFINE, metadata)


def series_without_bolus(concentration: bool = False, seed: int = 0, readout: ReadOut = "FLASH") -> Series:
    """The example heart before any contrast agent arrives, over 40 beats: nothing but noise changes."""
    series = example_series(concentration, seed, readout=readout)
    still = np.repeat(series.data[..., :1], len(series.times), axis=3).astype(np.float64)
    noise = np.random.default_rng(seed + 1).normal(0.0, 0.01 if concentration else 0.5, still.shape)
    return series.with_data((still + noise if concentration else np.abs(still + noise)).astype(np.float32))


def _sequence(readout: ReadOut) -> dict[str, Any]:
    """Metadata of a read-out; the signal of FLASH, which has no echo time, is that of the closed equation."""
    echo = {} if readout == "FLASH" else {"EchoTime": METADATA["RepetitionTimeExcitation"] / 2}
    return {**METADATA, "PulseSequenceType": f"Saturation-recovery {readout}", **echo}


def _example_signal(readout: ReadOut) -> NDArray[np.float64]:
    """Saturation-recovery signal of the still heart without noise, dimmer outside it."""
    from qperf_app.physics.sequences import Relaxation, sequence_of, signal_of_tissue

    masks, field = example_masks(), METADATA["MagneticFieldStrength"]
    sequence = sequence_of(_sequence(readout), METADATA["FlipAngle"])
    concentration, blood = example_concentration(), (masks["lv"] | masks["rv"])[:, :, None, None]
    of_blood, of_muscle = (
        signal_of_tissue(sequence, tissue, tissue.r1 + tissue.r1_relaxivity * concentration)
        for tissue in (Relaxation.of("blood", field), Relaxation.of("myocardium", field))
    )
    signal = 1000.0 * np.where(blood, of_blood, of_muscle)
    signal[~(masks["lv"] | masks["rv"] | masks["myocardium"])] *= 0.3
    return np.asarray(signal)


def _moved(data: NDArray[np.float64], displacement: NDArray[np.float64]) -> NDArray[np.float64]:
    """Frames of (x, y, z, t) moved by mm; the mean over a voxel of what has moved by a part of one is linear in it."""
    from scipy.ndimage import shift

    voxels = displacement @ np.linalg.inv(AFFINE[:3, :3]).T
    frames = [shift(data[..., t], voxels[t], order=1, mode="nearest") for t in range(data.shape[3])]
    return np.stack(frames, axis=3)


def example_pools() -> BloodPools:
    """Blood pools of the example heart."""
    masks = example_masks()
    lv, rv = masks["lv"][:, :, None], masks["rv"][:, :, None]
    return BloodPools(lv, rv, lv, AFFINE)


def example_landmarks() -> tuple[Landmark, ...]:
    """Insertion points of the example heart, world mm."""
    points = {"RVInsertionAnterior": (11, 11), "RVInsertionInferior": (11, 21)}
    return tuple(
        Landmark(name, 0, tuple((AFFINE @ [x, y, 0, 1])[:3].tolist()))  # type: ignore[arg-type]
        for name, (x, y) in points.items()
    )


def mixed_series(inner: float = 0.4, next_to_it: float = 0.1) -> tuple[Series, NDArray[np.float64]]:
    """The example series with left ventricular blood in the inner layers of the wall, and its true fractions (x, y, 1).

    Blood and muscle mix in the signal, where that of blood saturates.
    """
    series, masks = example_series(), example_masks()
    radius = np.hypot(*(np.indices(masks["lv"].shape) - np.reshape(_CENTRE, (2, 1, 1))))
    true = np.where(radius < 5.5, inner, np.where(radius < 6.2, next_to_it, 0.0)) * masks["myocardium"]
    blood = series.data[masks["lv"], 0].mean(axis=0)
    mixed = (1.0 - true[..., None, None]) * series.data + true[..., None, None] * blood
    return series.with_data(mixed.astype(np.float32)), true[..., None]


def example_myocardium() -> Myocardium:
    """Wall of the example heart, with its insertion points."""
    return Myocardium(example_masks()["myocardium"][:, :, None], example_landmarks())


def example_conversion(series: Series, where: NDArray[np.bool_] | None = None) -> ConcentrationSeries:
    """Concentration in the example's muscle: the signal equation inverted, the frames before contrast native."""
    from qperf_app.physics import constants, signal

    if series.units == CONCENTRATION_UNITS:
        return ConcentrationSeries(series.data, CONCENTRATION_UNITS, np.isnan(series.data))
    field = METADATA["MagneticFieldStrength"]
    names = ("SaturationDelayTime", "RepetitionTimeExcitation", "FlipAngle", "ExcitationsToKSpaceCenter")
    delay, spacing, flip, pulses = (METADATA[name] for name in names)
    native = 1.0 / constants.native_t1("myocardium", field)
    before = series.data[..., :_NATIVE_FRAMES].mean(axis=-1, keepdims=True, dtype=np.float64)
    rho = before / signal.saturation_recovery_flash(native, delay, spacing, flip, pulses)
    rates, invalid = signal.relaxation_rate_from_saturation_recovery(series.data, delay, spacing, flip, pulses, rho)
    data = signal.concentration_from_rate(rates, native, constants.relaxivity(field))
    return ConcentrationSeries(data, CONCENTRATION_UNITS, invalid)


def example_participant() -> ParticipantResult:
    """A participant with one scan, for a report section."""
    series = example_series()
    scan = ScanResult(
        label="task-rest", entities={"task": "rest"}, series=series, corrected=series, pools=example_pools(),
        aif=example_aif(), steps=(StepOutcome("motion-correction", "none", "done"),),
    )  # fmt: skip
    return ParticipantResult("01", (scan,))
