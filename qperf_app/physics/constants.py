"""Constants of contrast agent and tissue that depend on the field strength, each with its source."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

Tissue = Literal["blood", "myocardium"]

#: Largest distance, T, between a scanner's stated field and the field of a constant ("1.494" and "2.894" are 1.5, 3).
FIELD_TOLERANCE = 0.15

#: Longitudinal relaxivity r1 of gadobutrol, L/mmol/s, as this project takes it. Measured in human plasma at 37 C: 4.78
#: (1.5 T) and 4.97 (3 T), in blood at 3 T 3.47 (Szomolanyi et al., Invest Radiol 2019;54:559). An error of r1 scales
#: all concentrations alike, and cancels in flow, where blood and tissue share it.
RELAXIVITY: Mapping[float, float] = {1.5: 5.57, 3.0: 4.92}

#: T1 without contrast agent, s, as this project takes it. Measured in volunteers: blood 1.58 (1.5 T) and 1.66 (3 T),
#: myocardium 1.07 and 1.22 (Sharma et al., J Magn Reson Imaging 2006;23:323).
NATIVE_T1: Mapping[Tissue, Mapping[float, float]] = {
    "blood": {1.5: 1.7, 3.0: 2.0},
    "myocardium": {1.5: 1.1, 3.0: 1.3},
}

#: Transverse relaxivity r2 of gadobutrol, L/mmol/s, in plasma at 37 C (Rohrer et al., Invest Radiol 2005;40:715).
TRANSVERSE_RELAXIVITY: Mapping[float, float] = {1.5: 6.1, 3.0: 7.1}

#: T2 without contrast agent, s: blood in vitro (Stanisz et al., Magn Reson Med 2005;54:507), myocardium pooled over 42
#: studies (Hanson et al., Radiology 2020;297:344).
NATIVE_T2: Mapping[Tissue, Mapping[float, float]] = {
    "blood": {1.5: 0.290, 3.0: 0.275},
    "myocardium": {1.5: 0.052, 3.0: 0.046},
}

#: T2* without contrast agent, s: arterial blood at 3 T by R2* = 7 + 122 (1 - Y) with a saturation Y of 0.97 (Blockley
#: et al., Proc ISMRM 2006;2516), at 1.5 T with half of the oxygenation's share; myocardium at 3 T 0.024 (Roy et al., J
#: Cardiovasc Magn Reson 2017;19:72), at 1.5 T 0.035 as this project takes it. It multiplies the signal of all frames
#: alike and cancels with the scale rho.
NATIVE_T2STAR: Mapping[Tissue, Mapping[float, float]] = {
    "blood": {1.5: 0.113, 3.0: 0.094},
    "myocardium": {1.5: 0.035, 3.0: 0.024},
}

#: Relaxivity r2* of blood in the left ventricle, L/mmol/s: T2* of 10 ms at the bolus' peak of 3.5 to 4.4 mmol/L, 1.5 T
#: (Kellman et al., J Cardiovasc Magn Reson 2017;19:43), less the native R2*. It holds the field around the bolus as
#: well; blood in a tube has half of it (7.6 C + 0.57 C^2, van Osch et al., Magn Reson Med 2003;49:1067). No value of
#: the heart at 3 T was found: that of 1.5 T stands in, a lower bound as far as susceptibility goes.
BLOOD_T2STAR_RELAXIVITY: Mapping[float, float] = {1.5: 23.0, 3.0: 23.0}


def nominal_field(field: float) -> float:
    """Nominal field strength, T, of a scanner's stated one.

    Raises
    ------
    ValueError
        Where there are no constants for it.
    """
    for nominal in RELAXIVITY:
        if abs(field - nominal) <= FIELD_TOLERANCE:
            return nominal
    known = " and ".join(f"{nominal:g} T" for nominal in RELAXIVITY)
    raise ValueError(f"MagneticFieldStrength is {field:g} T; relaxivity and native T1 are known at {known} only")


def relaxivity(field: float) -> float:
    """Longitudinal relaxivity r1, L/mmol/s, at a field strength in T.

    Raises
    ------
    ValueError
        Where there is no constant for this field.
    """
    return RELAXIVITY[nominal_field(field)]


def native_t1(tissue: Tissue, field: float) -> float:
    """T1 before contrast, s, of ``"blood"`` or ``"myocardium"`` at a field strength in T.

    Raises
    ------
    ValueError
        Where there is no constant for this field or tissue.
    """
    if tissue not in NATIVE_T1:
        raise ValueError(f"no native T1 for tissue {tissue!r}; known are {', '.join(NATIVE_T1)}")
    return NATIVE_T1[tissue][nominal_field(field)]


def transverse_relaxivity(field: float) -> float:
    """Transverse relaxivity r2, L/mmol/s, at a field strength in T; raises as :func:`relaxivity`."""
    return TRANSVERSE_RELAXIVITY[nominal_field(field)]


def native_t2(tissue: Tissue, field: float) -> float:
    """T2 before contrast, s; parameters and errors as of :func:`native_t1`."""
    return NATIVE_T2[tissue][nominal_field(field)]


def native_t2star(tissue: Tissue, field: float) -> float:
    """T2* before contrast, s; parameters and errors as of :func:`native_t1`."""
    return NATIVE_T2STAR[tissue][nominal_field(field)]


def t2star_relaxivity(tissue: Tissue, field: float) -> float:
    """Relaxivity r2*, L/mmol/s: that of blood in the ventricle; of myocardium, where none was measured, r2."""
    field = nominal_field(field)
    return BLOOD_T2STAR_RELAXIVITY[field] if tissue == "blood" else TRANSVERSE_RELAXIVITY[field]
