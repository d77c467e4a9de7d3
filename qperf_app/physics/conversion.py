"""Plasma and whole blood, volume and mass, minutes and seconds: the formulas that haematocrit and density stand in.

The tracer stays outside the red cells. With haematocrit Hct (large vessels and capillaries alike) the plasma takes up
1 - Hct of the blood, so Cp = Cb / (1 - Hct), Fb = Fp / (1 - Hct) and vb = vp / (1 - Hct).
"""

from __future__ import annotations

from typing import Any

#: Flows and PS are per minute, times are in seconds.
SECONDS_PER_MINUTE = 60.0


def per_second(per_minute: Any) -> Any:
    """Flow, PS or Ktrans in mL/min/mL as mL/s/mL."""
    return per_minute / SECONDS_PER_MINUTE


def plasma_concentration(blood_concentration: Any, haematocrit: float) -> Any:
    """Concentration in plasma, Cp = Cb / (1 - Hct), mmol/L."""
    return blood_concentration / (1.0 - haematocrit)


def blood_flow(plasma_flow: Any, haematocrit: float) -> Any:
    """Blood flow Fb = Fp / (1 - Hct), mL blood/min/mL tissue, from plasma flow Fp, mL plasma/min/mL tissue."""
    return plasma_flow / (1.0 - haematocrit)


def plasma_flow(blood_flow: Any, haematocrit: float) -> Any:
    """Plasma flow Fp = Fb (1 - Hct), mL plasma/min/mL tissue."""
    return blood_flow * (1.0 - haematocrit)


def blood_volume(plasma_volume: Any, haematocrit: float) -> Any:
    """Blood volume vb = vp / (1 - Hct), mL/mL tissue."""
    return plasma_volume / (1.0 - haematocrit)


def myocardial_blood_flow(blood_flow: Any, density: float) -> Any:
    """MBF, mL blood/min/g tissue, from Fb, mL blood/min/mL tissue, and the tissue's density, g/mL."""
    return blood_flow / density
