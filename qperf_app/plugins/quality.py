"""The codes of a quality map, with one meaning each whichever plugin gives them."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, IntEnum
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

#: Codes 1 to 15 are sums of these: parameters that the curve leaves open while flow is known.
OPEN_PARAMETERS: Mapping[str, int] = {"PS": 1, "vp": 2, "ve": 4, "Ta": 8}
#: Codes from here to 254 are a plugin's own; it says in ``qc_legend`` what they mean.
FIRST_OWN_CODE = 128


class QualityCode(IntEnum):
    """Why a voxel's estimate is not a full one. 25 to 127 are kept for codes to come."""

    FULL = 0
    FLOW_NOT_IDENTIFIABLE = 16
    POOR_FIT = 17
    NOT_CONVERGED = 18
    NO_ENHANCEMENT = 19
    NOT_FINITE = 20
    OUT_OF_SCOPE = 21
    AT_BOUND = 22
    FEW_DRAWS = 23
    MOSTLY_BLOOD = 24
    OUTSIDE = 255


class QualityGroup(Enum):
    """What a reader needs to know of a voxel before its code: each group has one colour. The value says it in words."""

    FULL = "full estimate"
    FLOW_ONLY = "flow only: other parameters are open"
    DOUBTFUL = "flow in doubt or not identifiable"
    MOSTLY_BLOOD = "no value: mostly blood or fat"
    NO_VALUE = "no value: other reasons"
    OWN = "the plugin's own codes"


_GROUPS: Mapping[int, QualityGroup] = {
    QualityCode.FULL: QualityGroup.FULL,
    **dict.fromkeys(range(1, 16), QualityGroup.FLOW_ONLY),
    QualityCode.FLOW_NOT_IDENTIFIABLE: QualityGroup.DOUBTFUL,
    QualityCode.POOR_FIT: QualityGroup.DOUBTFUL,
    QualityCode.NOT_CONVERGED: QualityGroup.DOUBTFUL,
    QualityCode.NO_ENHANCEMENT: QualityGroup.NO_VALUE,
    QualityCode.NOT_FINITE: QualityGroup.NO_VALUE,
    QualityCode.OUT_OF_SCOPE: QualityGroup.NO_VALUE,
    QualityCode.AT_BOUND: QualityGroup.DOUBTFUL,
    QualityCode.FEW_DRAWS: QualityGroup.DOUBTFUL,
    QualityCode.MOSTLY_BLOOD: QualityGroup.MOSTLY_BLOOD,
    QualityCode.OUTSIDE: QualityGroup.NO_VALUE,
}

_MEANINGS: Mapping[int, str] = {
    QualityCode.FULL: "full estimate",
    QualityCode.FLOW_NOT_IDENTIFIABLE: "flow not identifiable: the curve hardly narrows it",
    QualityCode.POOR_FIT: "the model does not describe the curve",
    QualityCode.NOT_CONVERGED: "the fit, or the chains, did not converge",
    QualityCode.NO_ENHANCEMENT: "no enhancement above the noise",
    QualityCode.NOT_FINITE: "too few finite frames",
    QualityCode.OUT_OF_SCOPE: "unlike the curves that the method was made for: not estimated",
    QualityCode.AT_BOUND: "flow at the end of its range",
    QualityCode.FEW_DRAWS: "the neighbours contradict the curve: too few draws of the posterior are left",
    QualityCode.MOSTLY_BLOOD: "most of the voxel is blood or fat: too little muscle to tell its flow",
    QualityCode.OUTSIDE: "outside the myocardium",
}


def meaning(code: int) -> str | None:
    """What a code of the host's says; None for a plugin's own."""
    if 0 < code < 16:
        names = next(
            names
            for size in range(1, len(OPEN_PARAMETERS) + 1)
            for names in combinations(OPEN_PARAMETERS, size)
            if sum(OPEN_PARAMETERS[name] for name in names) == code
        )
        return "not identifiable: " + ", ".join(names)
    return _MEANINGS.get(code)


def contradicts(code: int, words: str) -> bool:
    """Whether a plugin's words for a code differ from the host's. What 0 is called is the plugin's affair."""
    return code != QualityCode.FULL and meaning(code) not in (None, words)


def group_of(code: int, words: str | None = None) -> QualityGroup:
    """Group of a code; ``words`` are those of the map's own legend. A code that they give another meaning is its own.

    So is one that the host does not know, 128 to 254 above all.
    """
    if words is not None and contradicts(code, words):
        return QualityGroup.OWN
    return _GROUPS.get(code, QualityGroup.OWN)


def legend(codes: NDArray[np.integer]) -> dict[int, str]:
    """Meanings of the host's codes that occur, and of 0, in order: the ``qc_legend`` of a plugin that uses them."""
    found = {code: meaning(code) for code in sorted({0, *np.unique(codes).tolist()})}
    return {code: text for code, text in found.items() if text is not None}
