"""The two echoes of an input-function series against each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from qperf_app.checks.findings import Finding, refusal
from qperf_app.checks.ranges import is_number

#: What both echoes of an excitation share.
_SHARED = (
    "VolumeTiming", "SliceTiming", "ProtonDensityVolumeCount", "FlipAngle", "RepetitionTimeExcitation",
    "SaturationDelayTime", "ExcitationsToKSpaceCenter", "Units",
)  # fmt: skip


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
