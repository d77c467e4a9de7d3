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
