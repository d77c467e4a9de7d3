"""Step ``concentration``: from signal to gadolinium concentration."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from qperf_app.physics.sequences import ReadOut, named_readout
from qperf_app.plugins.checks import PluginResultError, check_kind, check_mask, check_numbers
from qperf_app.plugins.interface import Plugin
from qperf_app.plugins.records import (
    CONCENTRATION_UNITS,
    RELATIVE_UNITS,
    SIGNAL_UNITS,
    ConcentrationSeries,
    RunContext,
    Series,
)
from qperf_app.plugins.steps.motion_correction import MOTION_CORRECTION
from qperf_app.plugins.steps.spec import AUTO, DerivativeFile, FileKind, Read, Slot, StepSpec

#: Fields that say a series was made to be quantified; with one of them, all that conversion needs is asked for. No
#: DICOM header has them, so that an imported series is without until its scanner protocol is filled in.
QUANTITATIVE_FIELDS = ("SaturationDelayTime", "ExcitationsToKSpaceCenter")


class ConcentrationPlugin(Plugin):
    """Step ``concentration``.

    A plugin that inverts an equation may also have ``signal_equation(series) -> SignalEquation | None``: the equation
    that blood's signal follows in this series, None where it is not one for all volumes after saturation. With it the
    host estimates the input function of a single bolus, whose signal saturates, instead of converting it.

    One that converts voxel by voxel may have ``convert_within(series, where, tissue, context)``: what ``convert`` gives
    in the voxels ``where`` (x, y, z), NaN elsewhere, in less time.
    """

    @abstractmethod
    def convert(
        self, series: Series, tissue: Literal["blood", "myocardium"], context: RunContext
    ) -> ConcentrationSeries:
        """Turn signal into concentration, for an input function (shape (1, 1, 1, t), blood) and for the tissue."""


def check_concentration(result: Any, series: Series) -> ConcentrationSeries:
    """Values for the dynamic volumes, in mmol/L or proportional to it; NaN exactly where invalid is True."""
    result = check_kind(result, ConcentrationSeries)
    shape = series.dynamic().data.shape
    check_numbers("data", result.data, shape)
    check_mask("invalid", result.invalid, shape)
    if result.native_t1 is not None:
        check_numbers("native_t1", result.native_t1, shape[:3])
    if (np.isnan(result.data) != result.invalid).any():
        raise PluginResultError("data must be NaN exactly where invalid is True")
    if result.units not in (CONCENTRATION_UNITS, RELATIVE_UNITS):
        raise PluginResultError(f"units are {result.units!r}, not {CONCENTRATION_UNITS!r} or {RELATIVE_UNITS!r}")
    checked: ConcentrationSeries = result
    return checked


#: The plugin that needs no sequence, and gives relative concentration.
RELATIVE_CONVERTER = "linear"
#: What to do with relative flow; ends the warning that says why it is.
RELATIVE_ADVICE = "Until then compare regions, not patients."
#: The plugin for each read-out whose signal is known.
CONVERTERS: Mapping[ReadOut, str] = {"FLASH": "sr-flash", "bSSFP": "sr-bssfp", "EPI": "sr-epi"}


def choose_by_metadata(series: Sequence[Mapping[str, Any]]) -> tuple[list[str], tuple[str, ...]]:
    """Choose the plugin for each series of a scan from its metadata, and say what the reader must know.

    A series in mmol/L is taken as it is. One of signal has the plugin of the read-out that its metadata name, which
    asks for all it needs. Where no series has a field of :data:`QUANTITATIVE_FIELDS`, or the read-out of one is not
    known, only relative enhancement is left for all of the scan: ``linear``, with the reason as a warning.
    """
    is_signal = [metadata.get("Units", SIGNAL_UNITS) != CONCENTRATION_UNITS for metadata in series]
    of_signal = [metadata for metadata, signal in zip(series, is_signal, strict=True) if signal]
    named = [named_readout(metadata) for metadata in of_signal]
    converters = [CONVERTERS[one.readout] for one in named if one.readout is not None]
    unknown = next((one.reason for one in named if one.readout is None), "")
    quantitative = any(field in metadata for metadata in of_signal for field in QUANTITATIVE_FIELDS)
    relative = bool(unknown) or not quantitative
    chosen = iter([RELATIVE_CONVERTER] * len(named) if relative else converters)
    names = [next(chosen) if signal else "identity" for signal in is_signal]
    if not of_signal or not relative:
        return names, ()
    missing = f"{', '.join(QUANTITATIVE_FIELDS)} are missing"
    reason = unknown if quantitative else missing
    told = "concentration is relative (linear in the signal), flow is not absolute"
    return names, (f"{_sentence(reason)}: {told}. Complete the sidecar to make it so. {RELATIVE_ADVICE}",)


def _sentence(phrase: str) -> str:
    return phrase[0].upper() + phrase[1:]


CONCENTRATION = StepSpec(
    name="concentration",
    summary="signal to concentration",
    slot=Slot(
        hook="qperf_concentration",
        interface=ConcentrationPlugin,
        method="convert",
        check=check_concentration,
        default=(AUTO,),
        choose=choose_by_metadata,
        without_fields="--concentration linear does without, with relative flow",
        phrase="Signal was converted to gadolinium concentration by {}",
    ),
    reads=(Read("series", MOTION_CORRECTION.name),),
    files={"conc": DerivativeFile("desc-conc_dce.nii.gz", FileKind.CONCENTRATION)},
    hand_ins=("conc",),
    leaves_out_frames=True,
    runner="qperf_app.workflow.runners.concentration:run",
)
