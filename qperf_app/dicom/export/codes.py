"""Codes of what is exported. Where DICOM's own context groups, SNOMED CT or UCUM have none, a private one is used.

Quantities are those of CID 7180 (Abstract Multi-dimensional Image Model Component Semantics) as far as they go,
segments those of CID 3717 (Left Ventricle Myocardial Wall 17 Segment Model). The private scheme is ``99QPERF``.
"""

from __future__ import annotations

from collections.abc import Mapping

from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

#: Designator of the private scheme (PS3.16 chapter 8: private ones begin with 99).
SCHEME = "99QPERF"
#: Name under which the ratio of stress to rest is exported.
RESERVE = "MPR"

MYOCARDIUM = Code("74281007", "SCT", "Myocardium")

_RELATIVE_FLOW: Code = codes.DCM.RelativeRegionalBloodFlow
_NO_UNITS: Code = codes.UCUM.NoUnits
_QUANTITIES: Mapping[str, Code] = {
    "MBF": codes.DCM.AbsoluteRegionalBloodFlow,
    "Fb": codes.DCM.AbsoluteRegionalBloodFlow,
    "Fp": Code("Fp", SCHEME, "Plasma flow"),
    "PS": Code("PS", SCHEME, "Permeability-surface area product"),
    "Ktrans": codes.DCM.Ktrans,
    "vp": codes.DCM.Vp,
    "vb": codes.DCM.AbsoluteRegionalBloodVolume,
    "ve": codes.DCM.Ve,
    "Ta": codes.DCM.BolusArrivalTime,
    # No code is of the muscle's reserve; the artery's is the same ratio, of flow under stress to flow at rest.
    RESERVE: codes.DCM.CoronaryFlowReserve,
}
_STATISTICS: Mapping[str, Code] = {
    "mean": codes.SCT.Mean,
    "std": codes.SCT.StandardDeviation,
    "q05": Code("Q05", SCHEME, "5th percentile, lower bound of the 90 % interval"),
    "q50": codes.SCT.Median,
    "q95": Code("Q95", SCHEME, "95th percentile, upper bound of the 90 % interval"),
}
#: Task to the state of the heart (CID 3101).
STATES: Mapping[str, Code] = {"rest": codes.SCT.RestingState, "stress": codes.SCT.CardiacStressState}

_SEGMENTS = (
    ("264850008", "left ventricle basal anterior segment"),
    ("396482007", "left ventricle basal anteroseptal segment"),
    ("396646008", "left ventricle basal inferoseptal segment"),
    ("264846001", "left ventricle basal inferior segment"),
    ("396652009", "left ventricle basal inferolateral segment"),
    ("396654005", "left ventricle basal anterolateral segment"),
    ("264848000", "left ventricle mid anterior segment"),
    ("396647004", "left ventricle mid anteroseptal segment"),
    ("396649001", "left ventricle mid inferoseptal segment"),
    ("264847005", "left ventricle mid inferior segment"),
    ("396655006", "left ventricle mid inferolateral segment"),
    ("396656007", "left ventricle mid anterolateral segment"),
    ("264844003", "left ventricle apical anterior segment"),
    ("264845002", "left ventricle apical septal segment"),
    ("264849008", "left ventricle apical inferior segment"),
    ("264853005", "left ventricle apical lateral segment"),
    ("128564006", "Apex of left ventricle"),
)


def quantity_code(quantity: str, relative: bool) -> Code:
    """Code of a quantity; of flow that is known but for a factor, where ``relative``."""
    if relative and quantity in ("MBF", "Fb"):
        return _RELATIVE_FLOW
    return _QUANTITIES.get(quantity, Code(quantity[:16], SCHEME, quantity[:64]))


def statistic_code(statistic: str) -> Code:
    """Code of a statistic of a posterior."""
    return _STATISTICS[statistic]


def segment_code(number: int) -> Code:
    """Code of an AHA segment, 1 to 17."""
    value, meaning = _SEGMENTS[number - 1]
    return Code(value, "SCT", meaning)


def unit_code(units: str) -> Code:
    """Unit as UCUM; the app's units are written as UCUM writes them.

    Raises
    ------
    ValueError
        For what can't be a code of UCUM.
    """
    # UCUM has no unit of information but the bit.
    if units in ("", "1", "nat", "arbitrary"):
        return _NO_UNITS
    if not units.isascii() or not units.isprintable() or " " in units or len(units) > 16:
        raise ValueError(f"the unit {units!r} is no code of UCUM")
    return Code(units, "UCUM", units)
