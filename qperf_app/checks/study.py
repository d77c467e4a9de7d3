"""Series beside each other in a study: rest and stress of one session, and the same voxels under two names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qperf_app.checks.findings import Finding, doubt, refusal
from qperf_app.checks.ranges import is_number, numbers
from qperf_app.checks.timing import TIMING, are_even, dynamic_times

Metadata = Mapping[str, Any]
#: One patient in one magnet: share by which values may differ all the same. Blood that was drawn twice in a session
#: has a haematocrit that differs by some hundredths.
_OF_THE_SESSION = {"MagneticFieldStrength": 0.05, "Haematocrit": 0.08}
#: What a protocol has in common for rest and stress, and by what share it differs for certain.
_OF_THE_PROTOCOL, _APART = (
    ("SaturationDelayTime", "InversionTime", "FlipAngle", "RepetitionTimeExcitation", "ExcitationsToKSpaceCenter"),
    0.05,
)
#: A heart under stress that is so much slower than at rest, and the time between volumes, s, from which on each may
#: take two beats: a heart under a vasodilator seldom beats faster than every 0.45 s.
SLOWER, TWO_BEATS = 1.15, 0.9
#: Times, s, that differ by less are the same: they are written to the millisecond.
SAME_TIMES = 1e-4


def rest_and_stress_findings(file: str, rest: Metadata, stress: Metadata) -> Iterator[Finding]:
    """Compare the metadata of two series of one kind, tissue or input function, that a session has of both tasks.

    Parameters
    ----------
    file : str
        Sidecar of the series under stress, which the findings are about.
    """
    for name, share in _OF_THE_SESSION.items():
        if _differ(rest, stress, name, share):
            yield refusal(
                file, name,
                f"{name} is {stress[name]:g} under stress and {rest[name]:g} at rest in one session: correct one of "
                "them",
            )  # fmt: skip
    for name in _OF_THE_PROTOCOL:
        one, other = (numbers(metadata.get(name)) for metadata in (rest, stress))
        if one and other and any(abs(one[k] - other[k]) > _APART * max(abs(one[k]), abs(other[k])) for k in (0, -1)):
            values = [" and ".join(f"{v:g}" for v in dict.fromkeys((v[0], v[-1]))) for v in (other, one)]
            yield doubt(
                file, name,
                f"{name} is {values[0]} under stress and {values[1]} at rest; one protocol is usual for both",
            )  # fmt: skip
    times = [t for m in (rest, stress) if (t := dynamic_times(m)) is not None and len(t) > 1]
    intervals = [float(np.median(np.diff(t))) for t in times]
    if len(times) == 2 and _same_intervals(*times) and not are_even(times[1]):
        yield doubt(
            file, TIMING,
            f"{TIMING} has the very intervals of the series at rest, {intervals[0]:.3g} s; no heart beats alike twice: "
            "were the times copied?",
        )  # fmt: skip
    if len(intervals) == 2 and SLOWER * intervals[0] < intervals[1] < TWO_BEATS:
        yield doubt(
            file, TIMING,
            f"a beat takes {intervals[1]:.3g} s under stress and {intervals[0]:.3g} s at rest ({TIMING}), where the "
            "heart is the slower one: are rest and stress exchanged?",
        )  # fmt: skip


def digest(data: NDArray[np.floating]) -> str:
    """Digest of the values and the shape of an image."""
    # Images are stored with the first axis fastest: the transpose needs no copy.
    return f"{data.shape} {blake2b(np.ascontiguousarray(data.T).data, digest_size=16).hexdigest()}"


def same_voxels_finding(file: str, others: Sequence[str]) -> Finding:
    """The series holds what others hold too, of which the first are named."""
    more = f" and {len(others) - 3} more" if len(others) > 3 else ""
    return doubt(
        file, "",
        f"holds the very values of {', '.join(others[:3])}{more}: is one of them a copy under a wrong name?",
    )  # fmt: skip


def _same_intervals(one: NDArray[np.float64], other: NDArray[np.float64]) -> bool:
    """Whether volumes follow each other alike, as far as the shorter series goes."""
    count = min(len(one), len(other))
    return np.allclose(np.diff(one[:count]), np.diff(other[:count]), rtol=0, atol=SAME_TIMES)


def _differ(one: Metadata, other: Metadata, name: str, share: float) -> bool:
    a, b = one.get(name), other.get(name)
    return is_number(a) and is_number(b) and abs(a - b) > share * max(abs(a), abs(b))
