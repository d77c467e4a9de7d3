"""The two series of a dual-bolus study against each other: one patient, one agent, two doses, two clocks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from qperf_app.checks.findings import Finding, doubt, refusal
from qperf_app.checks.ranges import is_number
from qperf_app.checks.scan import one_patient, other_words
from qperf_app.checks.timing import TIMING, dynamic_times

Metadata = Mapping[str, Any]
#: Volume, mL, and concentration, mg/mL: their product is the dose.
DOSE_FIELDS = ("ContrastBolusVolume", "ContrastBolusIngredientConcentration")
#: Main dose over small dose. Published studies give 5 to 20 (Christian et al., Radiology 2004;232:677, 1:10).
USUAL_RATIO = (2.0, 25.0)
#: Change of the beats' length, and of the injection's speed, that changes the shape of a bolus.
OTHER_HEART_RATE, OTHER_INJECTION = 0.1, 0.1
#: What can't differ, may be worded otherwise, and what the read-out does.
_SAME_AGENT = ("ContrastBolusIngredient", "ContrastBolusAgent")
_SAME_READ_OUT = ("PulseSequenceType", "ScanningSequence", "SequenceVariant", "MRAcquisitionType")


def dose(metadata: Metadata) -> float:
    """Injected active ingredient, mg; NaN where a field is missing or no number."""
    values = [metadata.get(name) for name in DOSE_FIELDS]
    return float(np.prod([value if is_number(value) else np.nan for value in values]))


def dose_ratio(main: Metadata, prebolus: Metadata) -> float:
    """Dose of the main bolus over that of the prebolus; NaN where either is not known."""
    own = dose(prebolus)
    return dose(main) / own if own > 0 else float("nan")


def dose_findings(files: tuple[str, str], main: Metadata, prebolus: Metadata) -> Iterator[Finding]:
    """Check the doses by whose ratio the input function is scaled.

    Parameters
    ----------
    files : (str, str)
        Sidecars of the tissue series and of the prebolus series.
    """
    for file, metadata in zip(files, (main, prebolus), strict=True):
        for name in DOSE_FIELDS:
            if metadata.get(name) is None:
                yield refusal(file, name, f"{name} is missing: the input function is scaled by the ratio of the doses")
    ratio, fields = dose_ratio(main, prebolus), ", ".join(DOSE_FIELDS)
    doses = f"the dose is {dose(prebolus):.4g} mg, that of the tissue series {dose(main):.4g} mg"
    if ratio <= 1.0:
        yield refusal(files[1], fields, f"{doses}: the prebolus is the smaller one; are the two exchanged?")
    elif ratio < USUAL_RATIO[0] or ratio > USUAL_RATIO[1]:
        yield doubt(
            files[1], fields,
            f"{doses}, {ratio:.3g} times as much; usual are {USUAL_RATIO[0]:g} to {USUAL_RATIO[1]:g} times",
        )  # fmt: skip


def prebolus_findings(file: str, main: Metadata, prebolus: Metadata) -> Iterator[Finding]:
    """Compare the tissue series' metadata with those of its prebolus series, whose sidecar is ``file``."""
    yield from one_patient(file, main, prebolus)
    yield from other_words(file, (*_SAME_AGENT, *_SAME_READ_OUT), main, prebolus)
    rate, own = (metadata.get("ContrastFlowRate") for metadata in (main, prebolus))
    if is_number(rate) and is_number(own) and abs(rate - own) > OTHER_INJECTION * max(rate, own):
        yield doubt(
            file, "ContrastFlowRate",
            f"ContrastFlowRate is {own:g} mL/s, that of the tissue series {rate:g} mL/s: the boluses have two shapes",
        )  # fmt: skip
    times = [dynamic_times(metadata) for metadata in (main, prebolus)]
    if any(t is None or len(t) < 2 for t in times):
        return
    one, other = (float(np.median(np.diff(t))) for t in times if t is not None)
    if abs(one - other) > OTHER_HEART_RATE * max(one, other):
        yield doubt(
            file, TIMING,
            f"{TIMING} has {other:.3g} s between volumes, that of the tissue series {one:.3g} s: with another heart "
            "rate the small bolus passes at another speed than the main one; that is corrected, as if the heart pumped "
            "as much with each beat",
        )  # fmt: skip
