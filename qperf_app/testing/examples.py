"""Small, made-up inputs of every step: a beating ring with a bolus that passes RV, LV and wall."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qperf_app.physics.models import two_compartment_exchange
from qperf_app.plugins import (
    CONCENTRATION_UNITS,
    BloodPools,
    InputFunction,
    Landmark,
    ParticipantResult,
    ScanResult,
    Series,
    StepOutcome,
    TissueCurves,
)

#: Sequence values of the example series; its signal is made with them, up to noise.
METADATA: dict[str, Any] = {
    "RepetitionTimeExcitation": 0.0022,
    "EchoTime": 0.0011,
    "SaturationDelayTime": 0.09,
    "ExcitationsToKSpaceCenter": 20,
    "MagneticFieldStrength": 1.5,
    "FlipAngle": 12.0,
    "Haematocrit": 0.42,
    "Units": "arbitrary",
}
AFFINE = np.diag([-3.0, -3.0, 8.0, 1.0])
_CENTRE = (17, 16)


def example_aif(n: int = 40, delay: float = 10.0) -> InputFunction:
    """Whole-blood input function: a first pass of 4 mmol/L with recirculation, one sample a beat (0.85 s)."""
    times = np.arange(n, dtype=np.float64) * 0.85
    since = np.clip(times - delay, 0.0, None)
    first = (since / 4.0) ** 2 * np.exp(2.0 - 2.0 * since / 4.0)
    return InputFunction(times, 4.0 * first + 0.6 * (1.0 - np.exp(-since / 8.0)))


def example_curves(n_voxels: int = 12, noise: float = 0.01, seed: int = 0) -> TissueCurves:
    """Tissue curves of the exchange model with blood flows from 0.6 to 3 mL/min/mL."""
    aif = example_aif()
    flow = np.linspace(0.6, 3.0, n_voxels)
    clean = two_compartment_exchange(
        aif.times, aif.in_plasma(0.42), flow * 0.58, np.full(n_voxels, 1.0), np.full(n_voxels, 0.06),
        np.full(n_voxels, 0.16), np.full(n_voxels, 0.5),
    )  # fmt: skip
    noisy = clean + np.random.default_rng(seed).normal(0.0, noise, clean.shape)
    voxels = np.stack([np.arange(n_voxels), np.zeros(n_voxels), np.zeros(n_voxels)], axis=1).astype(np.intp)
    return TissueCurves(noisy, aif.times, voxels, AFFINE)


def example_masks(shape: tuple[int, int] = (36, 32)) -> dict[str, NDArray[np.bool_]]:
    """Masks (x, y) of the example heart: ``lv``, ``rv``, ``myocardium``."""
    x, y = np.meshgrid(*map(np.arange, shape), indexing="ij")
    radius = np.hypot(x - _CENTRE[0], y - _CENTRE[1])
    lv, wall = radius < 4.5, (radius >= 4.5) & (radius < 8.0)
    rv = (np.hypot((x - 6.5) / 0.8, y - _CENTRE[1]) < 6.0) & (radius >= 8.5)
    return {"lv": lv, "rv": rv, "myocardium": wall}


def example_series(concentration: bool = False, seed: int = 0, moving: bool = True) -> Series:
    """One slice of the example heart over 40 beats, moving by up to a voxel or still; signal, or concentration."""
    from qperf_app.physics.constants import native_t1, relaxivity
    from qperf_app.physics.signal import relaxation_rate, saturation_recovery_flash

    aif = example_aif()
    masks = example_masks()
    tissue = two_compartment_exchange(aif.times, aif.in_plasma(0.42), 0.8, 1.0, 0.06, 0.16, 0.5)
    earlier = example_aif(delay=5.0).concentration
    values = np.zeros((*masks["lv"].shape, 1, len(aif.times)))
    native = np.full(masks["lv"].shape, native_t1("myocardium", 1.5))
    for name, curve in (("myocardium", tissue), ("lv", aif.concentration), ("rv", earlier)):
        values[masks[name], 0] = curve
    for name in ("lv", "rv"):
        native[masks[name]] = native_t1("blood", 1.5)
    metadata = {**METADATA, "VolumeTiming": aif.times.tolist()}
    if concentration:
        noisy = values + np.random.default_rng(seed).normal(0.0, 0.01, values.shape)
        return Series(noisy.astype(np.float32), aif.times, AFFINE, {**metadata, "Units": CONCENTRATION_UNITS})
    rates = relaxation_rate(values, native[:, :, None, None], relaxivity(1.5))
    signal = 1000.0 * saturation_recovery_flash(
        rates, METADATA["SaturationDelayTime"], METADATA["RepetitionTimeExcitation"], METADATA["FlipAngle"],
        METADATA["ExcitationsToKSpaceCenter"],
    )  # fmt: skip
    outside = ~(masks["lv"] | masks["rv"] | masks["myocardium"])
    signal[outside] *= 0.3
    for frame in range(signal.shape[-1] if moving else 0):
        signal[..., frame] = np.roll(signal[..., frame], round(np.sin(frame / 3.0)), axis=1)
    noise = np.random.default_rng(seed).normal(0.0, 0.5, signal.shape)
    return Series(np.abs(signal + noise).astype(np.float32), aif.times, AFFINE, metadata)


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


def example_participant() -> ParticipantResult:
    """A participant with one scan, for a report section."""
    series = example_series()
    scan = ScanResult(
        label="task-rest", entities={"task": "rest"}, series=series, corrected=series, pools=example_pools(),
        aif=example_aif(), steps=(StepOutcome("motion-correction", "none", "done"),),
    )  # fmt: skip
    return ParticipantResult("01", (scan,))
