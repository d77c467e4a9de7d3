"""Concentration from saturation-recovery FLASH by inverting the signal equation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from qperf_app.physics import constants, signal
from qperf_app.physics.baseline import baseline_frames, bolus_curve
from qperf_app.plugins import (
    CONCENTRATION_UNITS,
    ConcentrationPlugin,
    ConcentrationSeries,
    Resources,
    RunContext,
    Series,
)
from qperf_concentration.sequence import FlashSequence, metadata_problems, option_problems

#: Rounds in which the proton-density reference and the native R1, which depend on each other weakly, settle.
_ROUNDS = 4


@dataclass(frozen=True)
class SaturationRecoveryOptions:
    """Options of ``sr-flash``."""

    relaxivity: float | None = field(
        default=None, metadata={"help": "r1 of the contrast agent, L/mmol/s; by field strength where not given"}
    )
    blood_t1: float | None = field(
        default=None, metadata={"help": "native T1 of blood, s; by field strength where not given"}
    )
    myocardium_t1: float | None = field(
        default=None, metadata={"help": "native T1 of myocardium, s; by field strength where not given"}
    )
    baseline_frames: int | None = field(
        default=None, metadata={"help": "volumes before the contrast agent; found from the data where not given"}
    )
    use_proton_density: bool = field(
        default=True, metadata={"help": "scale by the proton-density volumes where there are some"}
    )
    scale_window: int | None = field(
        default=None,
        metadata={
            "help": "side, in voxels, of the in-plane median that steadies the scale rho, 1 for none; where not given, "
            "none with proton-density volumes and 3 without"
        },
    )
    minimum_sensitivity: float = field(
        default=signal.MINIMUM_SENSITIVITY,
        metadata={"help": "a signal is saturated where its relative change per relative change of R1 is below this"},
    )


class SaturationRecoveryFlash(ConcentrationPlugin):
    """Inverts the saturation-recovery FLASH equation voxel by voxel.

    The scale rho of a voxel comes from its proton-density volumes where there are some, so that its native T1 is
    measured; otherwise from its baseline and the native T1 of the tissue. The mean R1 before contrast is subtracted,
    so that the concentration starts at zero either way.
    """

    name = "sr-flash"
    version = "1.0"
    summary = "Inverts the saturation-recovery FLASH signal equation, with proton-density reference where there is one."
    citations = (
        "Cernicanu A, Axel L. Acad Radiol 2006;13:686-693.",
        "Kellman P, et al. J Cardiovasc Magn Reson 2017;19:43. doi:10.1186/s12968-017-0355-5",
    )
    requires = (
        "RepetitionTimeExcitation",
        "FlipAngle",
        "SaturationDelayTime",
        "ExcitationsToKSpaceCenter",
        "MagneticFieldStrength",
    )
    Options = SaturationRecoveryOptions

    def problems(self, metadata: Mapping[str, Any], shape: tuple[int, int, int, int]) -> Sequence[str]:
        """Name contradictory fields, a field strength without constants, options that make no sense."""
        problems = metadata_problems(metadata, shape[3])
        field_strength = metadata.get("MagneticFieldStrength")
        needed = (self.options.relaxivity, self.options.blood_t1, self.options.myocardium_t1)
        if isinstance(field_strength, int | float) and None in needed:
            try:
                constants.nominal_field(field_strength)
            except ValueError as error:
                problems.append(f"{error}; give the options relaxivity, blood_t1 and myocardium_t1 for another field")
        for name in ("relaxivity", "blood_t1", "myocardium_t1", "minimum_sensitivity"):
            value = getattr(self.options, name)
            if value is not None and not value > 0:
                problems.append(f"option {name} is {value:g}; it must be above 0")
        window = self.options.scale_window
        if window is not None and (window < 1 or window % 2 == 0):
            problems.append(f"option scale_window is {window}; it must be odd and above 0")
        return [*problems, *option_problems(self.options.baseline_frames, shape[3])]

    def resources(self, shape: tuple[int, int, int, int]) -> Resources:
        """Eight arrays of doubles the size of the series, on one thread."""
        return Resources(memory_gb=0.3 + 8 * 8 * float(np.prod(shape, dtype=np.float64)) / 2**30)

    def convert(
        self, series: Series, tissue: Literal["blood", "myocardium"], context: RunContext
    ) -> ConcentrationSeries:
        """Invert the signal equation and subtract the mean R1 before contrast.

        A voxel and time is invalid where the equation gives no R1 (no signal, or saturated), and everywhere in a
        voxel that has no usable baseline.
        """
        for problem in self.problems(series.metadata, series.data.shape):
            raise ValueError(problem)
        sequence = FlashSequence.of(series.metadata, series.data.shape[3])
        r1_per_mmol, native_t1 = self._constants(series.metadata["MagneticFieldStrength"], tissue)
        dynamic = series.dynamic().data
        n_baseline = self.options.baseline_frames or baseline_frames(bolus_curve(dynamic))
        rho = self._scale(series.data, sequence, n_baseline, 1.0 / native_t1)[..., None]
        rates = np.empty(dynamic.shape)
        flips = sequence.flip_angles[sequence.n_proton_density :]
        for flip in np.unique(flips):
            rates[..., flips == flip] = self._invert(dynamic[..., flips == flip], sequence, flip, rho)
        before = _finite_mean(rates[..., :n_baseline])
        data = signal.concentration_from_rate(rates, before[..., None], r1_per_mmol)
        return ConcentrationSeries(data, CONCENTRATION_UNITS, np.isnan(data))

    def _constants(self, field_strength: float, tissue: Literal["blood", "myocardium"]) -> tuple[float, float]:
        """Relaxivity (L/mmol/s) and native T1 (s): the options', or those of the field strength."""
        t1 = self.options.blood_t1 if tissue == "blood" else self.options.myocardium_t1
        return (
            constants.relaxivity(field_strength) if self.options.relaxivity is None else self.options.relaxivity,
            constants.native_t1(tissue, field_strength) if t1 is None else t1,
        )

    def _invert(
        self, data: NDArray[np.floating], sequence: FlashSequence, flip: float, rho: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """R1, NaN where there is none."""
        return signal.relaxation_rate_from_saturation_recovery(
            data,
            sequence.delay,
            sequence.repetition_time,
            float(flip),
            sequence.n_pulses,
            rho,
            self.options.minimum_sensitivity,
        )[0]

    def _scale(
        self, data: NDArray[np.floating], sequence: FlashSequence, n_baseline: int, native_r1: float
    ) -> NDArray[np.float64]:
        """rho of every voxel, (x, y, z), from proton density where there is some, otherwise from the baseline.

        The proton-density signal depends a little on R1 as well, which is measured against rho: a few rounds settle
        both. Where the baseline gives no R1, that of the tissue stands in. The noise of rho multiplies a whole curve:
        a median steadies it where that gains more than the edges of the thin wall lose (docs/signal.md).
        """
        n = sequence.n_proton_density
        baseline = data[..., n : n + n_baseline].mean(axis=-1, dtype=np.float64)
        flip = float(np.median(sequence.flip_angles[n : n + n_baseline]))
        if not n or not self.options.use_proton_density:
            relaxed = signal.saturation_recovery_flash(
                native_r1, sequence.delay, sequence.repetition_time, flip, sequence.n_pulses
            )
            baseline = _median(baseline, self.options.scale_window or 3)
            return np.where(baseline > 0, baseline / relaxed, np.nan)
        reference = _median(data[..., :n].sum(axis=-1, dtype=np.float64), self.options.scale_window or 1)
        rates = np.full(reference.shape, native_r1)
        for _ in range(_ROUNDS):
            relaxed = sum(
                signal.spoiled_gradient_echo(rates, sequence.repetition_time, angle, sequence.n_pulses)
                for angle in sequence.flip_angles[:n]
            )
            rho = np.where(reference > 0, reference / relaxed, np.nan)
            measured = self._invert(baseline, sequence, flip, rho)
            rates = np.where(np.isnan(measured), native_r1, measured)
        return rho


def _median(volume: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    """In-plane median of a volume."""
    from scipy.ndimage import median_filter

    return volume if side == 1 else median_filter(volume, (side, side, 1), mode="nearest")


def _finite_mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over the last axis of the values that are not NaN; NaN where there is none."""
    finite = ~np.isnan(values)
    count = finite.sum(axis=-1)
    total = np.where(finite, values, 0.0).sum(axis=-1)
    return np.asarray(np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0))
