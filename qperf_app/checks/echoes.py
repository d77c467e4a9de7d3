"""The two echoes of an input-function series against each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qperf_app.checks.findings import Finding, refusal
from qperf_app.checks.ranges import is_number

#: What both echoes of an excitation share.
_SHARED = (
    "VolumeTiming", "SliceTiming", "ProtonDensityVolumeCount", "FlipAngle", "RepetitionTimeExcitation",
    "SaturationDelayTime", "ExcitationsToKSpaceCenter", "Units",
)  # fmt: skip
#: Ratio of the second echo's signal to the first one's from which it is brighter, noise of the mean over a pool aside.
_BRIGHTER = 1.02


def brighter_echo(first: NDArray[np.floating], second: NDArray[np.floating]) -> str:
    """Say so where the second echo of blood is brighter than the first, about the bolus' peak; else empty.

    Parameters
    ----------
    first, second : (t,) arrays
        Mean signal of the dynamic volumes.
    """
    low, high = float(np.median(first[: max(2, len(first) // 8)])), float(first.max())
    peak = first > 0.5 * (low + high)
    ratio = float(second[peak].mean() / first[peak].mean()) if high > low and peak.any() else 0.0
    if ratio < _BRIGHTER:
        return ""
    return (
        f"the second echo of the blood is {ratio:.2f} times as bright as the first about the bolus' peak, where it has "
        "decayed: were the two images exchanged, or scaled each by itself?"
    )


def echo_findings(file: str, first: Mapping[str, Any], second: Mapping[str, Any]) -> Iterator[Finding]:
    """Check the metadata of two echoes.

    Parameters
    ----------
    file : str
        Sidecar of the second echo, which the findings are about.
    """
    early, late = (metadata.get("EchoTime") for metadata in (first, second))
    if not is_number(early) or not is_number(late):
        yield refusal(file, "EchoTime", f"EchoTime is {early!r} and {late!r}; each of two echoes has its own")
    elif not 0 <= early < late:
        yield refusal(file, "EchoTime", f"EchoTime is {late:g} s, of the first echo {early:g} s: not after it")
    for name in _SHARED:
        if first.get(name) != second.get(name):
            yield refusal(file, name, f"{name} is not that of the first echo")
