"""Concentration from a saturation-recovery series by inverting its signal: what all read-outs have in common."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from qperf_app.physics import constants, sequences, signal
from qperf_app.physics.baseline import baseline_frames, bolus_curve
from qperf_app.physics.sequences import REQUIRED, NamedReadOut, ReadOut, Relaxation, named_readout
from qperf_app.plugins import (
    CONCENTRATION_UNITS,
    ConcentrationPlugin,
    ConcentrationSeries,
    Resources,
    RunContext,
    Series,
    SignalEquation,
)
from qperf_app.plugins.digests import file_digests
from qperf_concentration.description import read_description
from qperf_concentration.sequence import SeriesSequences, metadata_problems, option_problems

Tissue = Literal["blood", "myocardium"]

#: Rounds in which the proton-density reference and the native R1, which depend on each other weakly, settle.
_ROUNDS = 4
#: Sensitivity at which the table for an estimate by the signal's own likelihood ends.
_LEAST_SENSITIVITY = 1e-4


@dataclass(frozen=True)
class SaturationRecoveryOptions:
    """Options of ``sr-flash``, ``sr-bssfp`` and ``sr-epi``."""

    relaxivity: float | None = field(
        default=None,
        metadata={
            "help": "r1 of the contrast agent, L/mmol/s; by field strength where not given",
            "range": (0.1, 100.0),
        },
    )
    blood_t1: float | None = field(
        default=None,
        metadata={"help": "native T1 of blood, s; by field strength where not given", "range": (0.1, 10.0)},
    )
    myocardium_t1: float | None = field(
        default=None,
        metadata={"help": "native T1 of myocardium, s; by field strength where not given", "range": (0.1, 10.0)},
    )
    baseline_frames: int | None = field(
        default=None,
        metadata={
            "help": "volumes before the contrast agent; found from the data where not given",
            "range": (1, math.inf),
        },
    )
    use_proton_density: bool = field(
        default=True, metadata={"help": "scale by the proton-density volumes where there are some"}
    )
    scale_window: int | None = field(
        default=None,
        metadata={
            "help": "side, in voxels, of the in-plane median that steadies the scale rho, 1 for none; where not given, "
            "none with proton-density volumes and 3 without",
            "range": (1, 99),
        },
    )
    minimum_sensitivity: float = field(
        default=signal.MINIMUM_SENSITIVITY,
        metadata={
            "help": "a signal is saturated where its relative change per relative change of R1 is below this",
            "range": (1e-4, 1.0),
        },
    )
    t2star_correction: Literal["auto", "off"] = field(
        default="auto",
        metadata={"help": "auto: a spoiled signal decays until EchoTime (r2* of blood, r2 of muscle); off: not"},
    )
    blood_t2star_relaxivity: float | None = field(
        default=None,
        metadata={"help": "r2* of blood, L/mmol/s; by field strength where not given", "range": (0.1, 1000.0)},
    )
    sequence: str = field(
        default="", metadata={"help": "YAML file of sequence values that stand over those of the metadata"}
    )

    def __post_init__(self) -> None:
        if self.scale_window is not None and self.scale_window % 2 == 0:
            raise ValueError(f"option 'scale_window' is {self.scale_window}; it must be odd, 1 to 99")


class SaturationRecovery(ConcentrationPlugin):
    """Inverts the signal of a saturation-recovery read-out voxel by voxel.

    The scale rho of a voxel comes from its proton-density volumes where there are some, so that its native T1 is
    measured; otherwise from its baseline and the native T1 of the tissue. The mean R1 before contrast is subtracted,
    so that the concentration starts at zero either way. Subclasses name the read-out.
    """

    readout: ClassVar[ReadOut]
    requires: ClassVar[tuple[str, ...]] = (*REQUIRED, "MagneticFieldStrength")
    Options = SaturationRecoveryOptions

    def __init__(self, options: Any = None) -> None:
        super().__init__(options)
        # An instance asks the metadata for what its description leaves open; a bad one is told by ``problems``.
        try:
            described = tuple(read_description(self.options.sequence)) if self.options.sequence else ()
        except ValueError:
            described = self.requires
        self.requires = tuple(n for n in type(self).requires if n not in described)  # type: ignore[misc]

    def loaded_files(self) -> Mapping[str, str]:
        """The description of the sequence, where there is one."""
        return file_digests(Path(self.options.sequence)) if self.options.sequence else {}

    def problems(self, metadata: Mapping[str, Any], shape: tuple[int, int, int, int]) -> Sequence[str]:
        """Name another read-out, contradictory fields, a field strength without constants, options without sense."""
        try:
            metadata = self._described(metadata)
        except ValueError as error:
            return [f"option sequence: {error}"]
        problems = [*self._readout_problems(named_readout(metadata)), *self._constant_problems(metadata)]
        problems += metadata_problems(self._relevant(metadata), shape[3], self.readout)
        return [*problems, *option_problems(self.options.baseline_frames, shape[3])]

    def resources(self, shape: tuple[int, int, int, int]) -> Resources:
        """Eight arrays of doubles the size of the series, on one thread."""
        return Resources(memory_gb=0.3 + 8 * 8 * float(np.prod(shape, dtype=np.float64)) / 2**30)

    def convert(self, series: Series, tissue: Tissue, context: RunContext) -> ConcentrationSeries:
        """Invert the signal and subtract the mean R1 before contrast.

        A voxel and time is invalid where there is no R1 (no signal, or saturated), and everywhere in a voxel that has
        no usable baseline.
        """
        return self.convert_within(series, np.ones(series.data.shape[:3], bool), tissue, context)

    def convert_within(
        self, series: Series, where: NDArray[np.bool_], tissue: Tissue, context: RunContext
    ) -> ConcentrationSeries:
        """Convert the voxels ``where`` (x, y, z); the others help to find the bolus, and are NaN."""
        for problem in self.problems(series.metadata, series.data.shape):
            raise ValueError(problem)
        metadata = self._relevant(self._described(series.metadata))
        relaxation = self._relaxation(metadata["MagneticFieldStrength"], tissue)
        of_volumes = SeriesSequences.of(metadata, series.data.shape[3], self.readout)
        data, before = self._concentration(series, where, of_volumes, relaxation)
        summary = ""
        if tissue == "blood" and self.readout != "bSSFP" and of_volumes.volumes[0].echo_time:
            still = tuple(replace(sequence, echo_time=0.0) for sequence in of_volumes.volumes)
            without, _ = self._concentration(series, where, replace(of_volumes, volumes=still), relaxation)
            summary = _size(data, without)
        measured = of_volumes.n_proton_density and self.options.use_proton_density
        native_t1 = np.where(before > 0, 1.0 / np.where(before > 0, before, 1.0), np.nan) if measured else None
        return ConcentrationSeries(data, CONCENTRATION_UNITS, np.isnan(data), summary, native_t1)

    def signal_equation(self, series: Series) -> SignalEquation | None:
        """Equation of the series' volumes for blood; None where those after saturation are not all the same."""
        metadata = self._relevant(self._described(series.metadata))
        of_volumes = SeriesSequences.of(metadata, series.data.shape[3], self.readout)
        if len(set(of_volumes.dynamic)) > 1:
            return None
        relaxation = self._relaxation(metadata["MagneticFieldStrength"], "blood")
        table = sequences.signal_table(of_volumes.dynamic[0], relaxation, 1.0, _LEAST_SENSITIVITY)
        n = of_volumes.n_proton_density if self.options.use_proton_density else 0
        weighted = [
            sequences.signal_of_tissue(sequence.proton_density, relaxation, table.r1)
            for sequence in of_volumes.volumes[:n]
        ]
        relaxed = np.mean(weighted, axis=0) if n else np.full_like(table.r1, np.nan)
        return SignalEquation(table.r1, table.values, relaxed, relaxation.r1, relaxation.r1_relaxivity)

    def _described(self, metadata: Mapping[str, Any]) -> Mapping[str, Any]:
        """Metadata with the values of the description over them."""
        return {**metadata, **read_description(self.options.sequence)} if self.options.sequence else metadata

    def _relevant(self, metadata: Mapping[str, Any]) -> Mapping[str, Any]:
        """Metadata without an echo time that the signal is not to decay by."""
        corrected = self.options.t2star_correction == "auto" and _known_field(metadata.get("MagneticFieldStrength"))
        if corrected or self.readout == "bSSFP":
            return metadata
        return {name: value for name, value in metadata.items() if name != "EchoTime"}

    def _readout_problems(self, named: NamedReadOut) -> list[str]:
        """Say that the metadata name another read-out, or several; where they name none, the user has by the plugin."""
        if named.contradictory:
            return [f"{named.reason}; {self.name} converts {self.readout} after saturation only"]
        if named.readout not in (None, self.readout):
            fields = ", ".join(named.fields)
            return [f"{fields}: the read-out is {named.readout}, {self.name} converts {self.readout} only"]
        return []

    def _constant_problems(self, metadata: Mapping[str, Any]) -> list[str]:
        """Say that there are no constants for the field, in place of which options would serve a spoiled read-out."""
        field_strength = metadata.get("MagneticFieldStrength")
        needed = (self.options.relaxivity, self.options.blood_t1, self.options.myocardium_t1)
        balanced = self.readout == "bSSFP"
        if not isinstance(field_strength, int | float) or (None not in needed and not balanced):
            return []
        try:
            constants.nominal_field(field_strength)
        except ValueError as error:
            ways = "; give the options relaxivity, blood_t1 and myocardium_t1 for another field"
            return [f"{error}{'' if balanced else ways}"]
        return []

    def _relaxation(self, field_strength: float, tissue: Tissue) -> Relaxation:
        """Relaxation of the tissue: the options' or that of the field strength; without decay where that's unknown."""
        options = self.options
        t1 = options.blood_t1 if tissue == "blood" else options.myocardium_t1
        known = _known_field(field_strength)
        found = Relaxation.of(tissue, field_strength) if known else Relaxation(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
        star = options.blood_t2star_relaxivity if tissue == "blood" and known else None
        return replace(
            found,
            r1=found.r1 if t1 is None else 1.0 / t1,
            r1_relaxivity=found.r1_relaxivity if options.relaxivity is None else options.relaxivity,
            r2star_relaxivity=found.r2star_relaxivity if star is None else star,
        )

    def _concentration(
        self, series: Series, where: NDArray[np.bool_], of_volumes: SeriesSequences, relaxation: Relaxation
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Concentration of the dynamic volumes and R1 before contrast (x, y, z), NaN where there is none."""
        whole = series.dynamic().data
        n_baseline = self.options.baseline_frames or baseline_frames(bolus_curve(whole))
        dynamic, rho = whole[where], self._scale(series.data, where, of_volumes, n_baseline, relaxation)[:, None]
        alike = list(dict.fromkeys(of_volumes.dynamic))
        rates = self._invert(dynamic, alike[0], relaxation, rho) if len(alike) == 1 else np.empty(dynamic.shape)
        for sequence in alike if len(alike) > 1 else ():
            frames = np.array([other == sequence for other in of_volumes.dynamic])
            rates[..., frames] = self._invert(dynamic[..., frames], sequence, relaxation, rho)
        before = _finite_mean(rates[:, :n_baseline])
        found = signal.concentration_from_rate(rates, before[:, None], relaxation.r1_relaxivity)
        return _placed(found, where), _placed(before, where)

    def _invert(
        self,
        data: NDArray[np.floating],
        sequence: sequences.Sequence,
        relaxation: Relaxation,
        rho: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """R1, NaN where there is none."""
        found = sequences.relaxation_rate(
            data, sequence, relaxation, rho=rho, minimum_sensitivity=self.options.minimum_sensitivity
        )
        return found[0]

    def _scale(
        self,
        data: NDArray[np.floating],
        where: NDArray[np.bool_],
        of_volumes: SeriesSequences,
        n_baseline: int,
        relaxation: Relaxation,
    ) -> NDArray[np.float64]:
        """rho of the n voxels ``where``, (n,), from proton density where there is some, otherwise from the baseline.

        The proton-density signal depends a little on R1 as well, which is measured against rho: a few rounds settle
        both. Where the baseline gives no R1, that of the tissue stands in. The noise of rho multiplies a whole curve:
        a median steadies it where that gains more than the edges of the thin wall lose (docs/signal.md).
        """
        n = of_volumes.n_proton_density
        baseline = data[..., n : n + n_baseline].mean(axis=-1, dtype=np.float64)
        before = of_volumes.dynamic[:n_baseline]
        middle = replace(before[0], flip_angle=float(np.median([sequence.flip_angle for sequence in before])))
        if not n or not self.options.use_proton_density:
            relaxed = sequences.signal_of_tissue(middle, relaxation, relaxation.r1)
            baseline = _median(baseline, self.options.scale_window or 3)[where]
            return np.where(baseline > 0, baseline / relaxed, np.nan)
        reference = _median(data[..., :n].sum(axis=-1, dtype=np.float64), self.options.scale_window or 1)[where]
        baseline = baseline[where]
        rates = np.full(reference.shape, relaxation.r1)
        for _ in range(_ROUNDS):
            relaxed = np.zeros(rates.shape)
            for sequence in of_volumes.volumes[:n]:
                relaxed += sequences.signal_of_tissue(sequence.proton_density, relaxation, rates)
            rho = np.where(reference > 0, reference / relaxed, np.nan)
            measured = self._invert(baseline, middle, relaxation, rho)
            rates = np.where(np.isnan(measured), relaxation.r1, measured)
        return rho


def _placed(values: NDArray[np.float64], where: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Values (n, ...) of the voxels ``where`` in an array (x, y, z, ...) that is NaN elsewhere."""
    if where.all():
        return values.reshape(*where.shape, *values.shape[1:])
    placed = np.full((*where.shape, *values.shape[1:]), np.nan)
    placed[where] = values
    return placed


def _known_field(field_strength: Any) -> bool:
    """Whether there are constants for a field strength."""
    try:
        constants.nominal_field(field_strength)
    except (ValueError, TypeError):
        return False
    return True


def _size(data: NDArray[np.float64], without: NDArray[np.float64]) -> str:
    """What the correction for T2* makes of the peak, as a phrase; empty where there is no peak."""
    if np.isnan(data).all() or np.isnan(without).all():
        return ""
    return f"T2* correction: peak {np.nanmax(data) / np.nanmax(without) - 1.0:+.1%}"


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
