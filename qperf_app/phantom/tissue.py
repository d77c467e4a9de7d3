"""Tissues of the chest: relaxation times, proton densities, and how contrast agent reaches them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qperf_app.physics.constants import Tissue as Kind
from qperf_app.physics.constants import native_t1, native_t2, nominal_field
from qperf_app.physics.conversion import plasma_concentration
from qperf_app.physics.models import two_compartment_exchange


@dataclass(frozen=True)
class Tissue:
    """One tissue.

    Parameters
    ----------
    t1 : tuple of two floats, or str
        T1 before contrast, s, at 1.5 and 3 T; or the tissue whose T1 among the physics' constants it is.
    t2 : tuple of two floats, or str
        T2 before contrast, s, likewise.
    density : float
        Proton density relative to blood.
    texture : float
        Relative standard deviation of the proton density within the tissue.
    supply : str
        Blood curve that feeds it; empty for none.
    kinetics : tuple of five floats
        Fp, PS (mL/min/mL), vp, ve and Ta (s) of its exchange with that blood; empty where it is the blood.
    """

    t1: tuple[float, float] | Kind
    t2: tuple[float, float] | Kind
    density: float
    texture: float = 0.0
    supply: str = ""
    kinetics: tuple[float, ...] = ()


#: Tissues of fat.
FAT = ("fat", "heart-fat")
#: T1 and T2 of the organs: Stanisz et al., Magn Reson Med 2005;54:507 and de Bazelaire et al., Radiology 2004;230:652.
#: Perfusion of the organs other than the heart is of the right order only: it makes them light up when they should.
TISSUES: dict[str, Tissue] = {
    "air": Tissue((1.0, 1.0), (1.0, 1.0), 0.0),
    "right": Tissue("blood", "blood", 1.0, supply="right"),
    "left": Tissue("blood", "blood", 1.0, supply="left"),
    "aorta": Tissue("blood", "blood", 1.0, supply="aorta"),
    "lung-vessel": Tissue("blood", "blood", 0.9, supply="lung"),
    "lung": Tissue((1.1, 1.2), (0.040, 0.040), 0.14, 0.2, "lung", (3.0, 0.05, 0.25, 0.1, 0.0)),
    "muscle": Tissue((1.01, 1.41), (0.044, 0.050), 0.85, 0.10, "aorta", (0.06, 0.05, 0.02, 0.10, 3.0)),
    "fat": Tissue((0.34, 0.38), (0.058, 0.068), 0.95, 0.08, "aorta", (0.02, 0.02, 0.01, 0.02, 3.0)),
    "heart-fat": Tissue((0.34, 0.38), (0.058, 0.068), 0.75, 0.08, "aorta", (0.02, 0.02, 0.01, 0.02, 2.0)),
    "marrow": Tissue((0.55, 0.59), (0.049, 0.049), 0.80, 0.12, "aorta", (0.12, 0.10, 0.04, 0.12, 2.0)),
    "liver": Tissue((0.59, 0.81), (0.046, 0.034), 0.80, 0.06, "aorta", (0.6, 0.5, 0.10, 0.20, 7.0)),
    "spleen": Tissue((1.06, 1.33), (0.079, 0.061), 0.90, 0.06, "aorta", (0.9, 0.5, 0.20, 0.20, 1.0)),
    "stomach": Tissue((1.4, 1.7), (0.200, 0.200), 0.5, 0.35),
}


def blood_and_organ_curves(
    times: NDArray[np.float64], blood: dict[str, NDArray[np.float64]], haematocrit: float
) -> dict[str, NDArray[np.float64]]:
    """Concentration (t,) of every tissue but the myocardium, mmol/L.

    ``blood`` holds the curves of :func:`qperf_app.phantom.bolus.blood_curves` at ``times``.
    """
    curves = {}
    for name, tissue in TISSUES.items():
        if not tissue.supply:
            curves[name] = np.zeros_like(times)
        elif not tissue.kinetics:
            curves[name] = blood[tissue.supply]
        else:
            cp = plasma_concentration(blood[tissue.supply], haematocrit)
            curves[name] = np.asarray(two_compartment_exchange(times, cp, *tissue.kinetics))
    return curves


def t1_of(name: str, field: float) -> float:
    """T1 of a tissue (or of ``myocardium``) before contrast, s."""
    value = TISSUES[name].t1 if name in TISSUES else "myocardium"
    return native_t1(value, field) if isinstance(value, str) else _at(value, field)


def t2_of(name: str, field: float) -> float:
    """T2 of a tissue (or of ``myocardium``) before contrast, s."""
    value = TISSUES[name].t2 if name in TISSUES else "myocardium"
    return native_t2(value, field) if isinstance(value, str) else _at(value, field)


def kind_of(name: str) -> Kind:
    """``blood``, or ``myocardium`` for all else: whose T2* and r2* a tissue takes."""
    return "blood" if name in TISSUES and TISSUES[name].t1 == "blood" else "myocardium"


def _at(values: tuple[float, float], field: float) -> float:
    return values[0] if nominal_field(field) == 1.5 else values[1]
