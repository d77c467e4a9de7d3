"""Perfusion of the myocardium: kinetic parameters over the wall, defects in coronary territories, tissue curves.

The wall is divided into small cells by angle, depth and level. Each has its own parameters and curve, and a voxel takes
those of the cell its tissue belongs to wherever motion carries it; the truth is exact in every voxel.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from qperf_app.phantom.shapes import Array, truncated_normal
from qperf_app.physics.conversion import plasma_flow
from qperf_app.physics.convolution import exponential_convolution
from qperf_app.physics.models import MODELS

#: Cells around the ventricle, from the inner to the outer surface, and from base to apex.
CELLS = (60, 5, 9)

# Centre and half width, rad, of the territories that the coronary arteries supply in the AHA's assignment
# (Cerqueira et al., Circulation 2002;105:539): segments 1, 2, 7, 8, 13, 14 / 3, 4, 9, 10, 15 / 5, 6, 11, 12, 16.
TERRITORIES: dict[str, tuple[float, float]] = {
    "LAD": (np.deg2rad(120.0), np.deg2rad(60.0)),
    "RCA": (np.deg2rad(240.0), np.deg2rad(60.0)),
    "LCX": (np.deg2rad(0.0), np.deg2rad(60.0)),
}
#: Density of myocardium, g/mL.
DENSITY = 1.05


@dataclass(frozen=True)
class Defect:
    """Reduced flow in part of a coronary territory.

    Parameters
    ----------
    kind : str
        ``ischaemia`` or ``infarct``.
    territory : str
        ``LAD``, ``RCA`` or ``LCX``.
    centre, half_width : float
        Angle about the ventricle's axis, rad.
    level, half_length : float
        Along the axis, as a fraction of the way from base (0) to apex (1).
    depth : float
        Part of the wall that is affected, from the inside: 1 is transmural.
    rest, stress : float
        MBF in the core, mL/min/g.
    """

    kind: str
    territory: str
    centre: float
    half_width: float
    level: float
    half_length: float
    depth: float
    rest: float
    stress: float


@dataclass(frozen=True)
class Kinetics:
    """Parameters of every cell, arrays of shape ``CELLS``; flows and PS in mL/min/mL, MBF in mL/min/g, Ta in s."""

    MBF: NDArray[np.float64]
    Fb: NDArray[np.float64]
    Fp: NDArray[np.float64]
    PS: NDArray[np.float64]
    vp: NDArray[np.float64]
    ve: NDArray[np.float64]
    Ta: NDArray[np.float64]

    def items(self) -> list[tuple[str, NDArray[np.float64]]]:
        """Names and arrays."""
        return [(field.name, getattr(self, field.name)) for field in fields(self)]


#: A distributed voxel is no single capillary in plug flow, as in the multiple-pathway models of the heart (Kroll et
#: al., Am J Physiol 1996;271:H1643; King et al., Ann Biomed Eng 1996;24:352): the flows of its parallel capillaries
#: differ, and the bolus is smeared in the arterioles, a mixing volume in series. Relative standard deviation and number
#: of the flows; volume in mL/mL: a third of the heart's 12 mL of blood per 100 g is in arteries (Kaul and Ito,
#: Circulation 2004;109:146).
CAPILLARY_DISPERSION, N_CAPILLARIES, ARTERIOLAR_VOLUME = 0.55, 5, 0.04

#: Units of the parameters.
UNITS = {
    "MBF": "mL/min/g",
    "Fb": "mL/min/mL",
    "Fp": "mL/min/mL",
    "PS": "mL/min/mL",
    "vp": "mL/mL",
    "ve": "mL/mL",
    "Ta": "s",
}


def sample_defects(pathology: str, rng: np.random.Generator) -> tuple[Defect, ...]:
    """Draw one or two defects. Ischaemia shows under stress only, an infarct at rest too; flow falls down to 0.3."""
    if pathology == "none":
        return ()
    names = rng.permutation(list(TERRITORIES))[: 1 + int(rng.random() < 0.3)]
    defects = []
    for name in names:
        centre, half_width = TERRITORIES[name]
        stress = float(rng.uniform(0.3, 0.9) if pathology == "infarct" else rng.uniform(0.3, 1.6))
        rest = float(rng.uniform(0.3, 0.45) if pathology == "infarct" else rng.uniform(0.5, 0.7))
        defects.append(
            Defect(
                kind=pathology,
                territory=str(name),
                centre=float(centre + rng.uniform(-0.35, 0.35) * half_width),
                half_width=float(half_width * rng.uniform(0.45, 0.9)),
                level=float(rng.uniform(0.25, 0.75)),
                half_length=float(rng.uniform(0.2, 0.5)),
                # Ischaemia and infarction start at the endocardium.
                depth=float(rng.uniform(0.3, 0.6) if rng.random() < 0.5 else 1.0),
                rest=min(rest, stress),
                stress=stress,
            )
        )
    return tuple(defects)


def _cell_centres() -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    angle = (np.arange(CELLS[0]) + 0.5) * 2.0 * np.pi / CELLS[0]
    depth, level = ((np.arange(n) + 0.5) / n for n in CELLS[1:])
    return tuple(np.meshgrid(angle, depth, level, indexing="ij"))  # type: ignore[return-value]


def cell_index(x: Array, y: Array, depth: Array, level: Array) -> NDArray[np.intp]:
    """Flat index of the cell at heart coordinates x, y (mm), depth from the inner surface and level (both 0 to 1)."""
    turn = np.arctan2(y, x) * np.float32(0.5 / np.pi)
    around = ((turn % 1.0) * CELLS[0]).astype(np.intp) % CELLS[0]
    inward = np.clip((depth * CELLS[1]).astype(np.intp), 0, CELLS[1] - 1)
    along = np.clip((level * CELLS[2]).astype(np.intp), 0, CELLS[2] - 1)
    return (around * CELLS[1] + inward) * CELLS[2] + along


def defect_weight(defect: Defect) -> NDArray[np.float64]:
    """How much each cell is affected, 0 to 1, with soft borders."""
    angle, depth, level = _cell_centres()
    around = np.abs((angle - defect.centre + np.pi) % (2.0 * np.pi) - np.pi)
    weight = _inside(around - defect.half_width, 0.08)
    weight *= _inside(np.abs(level - defect.level) - defect.half_length, 0.05)
    return weight * _inside(depth - defect.depth, 0.06) if defect.depth < 1.0 else weight


def _inside(distance: NDArray[np.float64], width: float) -> NDArray[np.float64]:
    """Logistic step from 1 inside (a negative distance) to 0 outside."""
    soft: NDArray[np.float64] = 1.0 / (1.0 + np.exp(np.clip(distance / width, -50.0, 50.0)))
    return soft


def _smooth_field(rng: np.random.Generator) -> NDArray[np.float64]:
    """Random field over the cells, of unit variance, that changes over a segment or so."""
    angle, depth, level = _cell_centres()
    field = np.zeros(CELLS)
    for order in range(1, 5):
        amplitude, phase = rng.normal(0.0, 1.0 / order), rng.uniform(0.0, 2.0 * np.pi)
        field += amplitude * np.cos(order * angle + phase + rng.normal(0.0, 1.5) * level + rng.normal(0.0, 0.5) * depth)
    return field / float(np.sqrt(0.5 * sum(1.0 / order**2 for order in range(1, 5))))


def sample_kinetics(
    task: str, defects: tuple[Defect, ...], haematocrit: float, personal: np.random.Generator, rng: np.random.Generator
) -> Kinetics:
    """Draw the parameters of every cell; ``personal`` draws what rest and stress share, ``rng`` the flow of the scan.

    MBF of normal tissue 0.65 +- 0.13 at rest and 2.9 +- 0.6 mL/min/g under stress, with 8 % of regional variation and
    a transmural gradient that turns round under stress. PS, vp and ve lie about the published segment means of
    two-compartment fits in patients (van Herten et al., Med Image Anal 2022;78:102399), the interstitium about an
    extracellular volume of a quarter, that of an infarct larger.
    """
    stress = task == "stress"
    _, depth, _ = _cell_centres()
    regional, surface, interstitium, delay = (_smooth_field(personal) for _ in range(4))
    PS0 = truncated_normal(personal, 0.62, 0.15, 0.25, 1.1)
    vp0 = truncated_normal(personal, 0.065, 0.012, 0.035, 0.10)
    ve0 = truncated_normal(personal, 0.17, 0.025, 0.11, 0.25)
    transmural, late = personal.uniform(0.4, 1.2), personal.uniform(0.0, 1.2)

    mean = truncated_normal(rng, 2.9, 0.6, 1.4, 4.8) if stress else truncated_normal(rng, 0.65, 0.13, 0.35, 1.1)
    # Mean 1 over the wall; more flow at the inside at rest, a little less under stress.
    gradient = 1.0 + (0.16 if stress else -0.16) * transmural * (depth - 0.5)
    normal = mean * gradient * np.maximum(1.0 + 0.08 * regional, 0.5)
    flow, scar, affected = normal, np.zeros(CELLS), np.zeros(CELLS)
    for defect in defects:
        weight = defect_weight(defect)
        level = min(defect.stress if stress else defect.rest, mean)
        flow = flow + weight * (np.minimum(level, flow) - flow)
        affected = np.maximum(affected, weight)
        if defect.kind == "infarct":
            scar = np.maximum(scar, weight)
    flow = np.maximum(flow, 0.2)
    Fb = flow * DENSITY
    # Capillary recruitment: surface and plasma volume rise with flow, more slowly than it.
    PS = PS0 * (flow / 0.65) ** 0.3 * np.exp(0.08 * surface)
    vp = vp0 * (flow / mean) ** 0.2 * (1.25 if stress else 1.0)
    ve = ve0 * np.exp(0.06 * interstitium)
    # What collaterals supply comes late.
    Ta = rng.uniform(0.3, 1.2) + 0.15 * np.abs(delay) + late * affected
    return Kinetics(
        MBF=flow,
        Fb=Fb,
        Fp=plasma_flow(Fb, haematocrit),
        PS=PS * (1.0 - 0.3 * scar),
        vp=np.clip(vp * (1.0 - 0.35 * scar), 0.015, 0.15),
        ve=np.clip(ve * (1.0 + 1.4 * scar), 0.08, 0.55),
        Ta=Ta,
    )


def tissue_concentration(
    model: str, kinetics: Kinetics, times: NDArray[np.float64], cp: NDArray[np.float64], levels: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Concentration of the cells.

    Parameters
    ----------
    model : str
        Label of a model in :data:`qperf_app.physics.models.MODELS`.
    times, cp : (t,) arrays
        s, and plasma concentration, mmol/L; the input counts as linear in between.
    levels : (CELLS[2],) bool array
        The levels that are wanted.

    Returns
    -------
    (CELLS[0] * CELLS[1] * CELLS[2], t) array
        mmol/L, by flat cell index; 0 where not wanted.
    """
    chosen = MODELS[model]
    parameters = {p.name: getattr(kinetics, p.name)[..., levels] for p in chosen.parameters}
    result = np.zeros((*CELLS, len(times)))
    if model == "2CXM":
        result[:, :, levels] = chosen(times, cp, *parameters.values())
    else:
        # Per s; the vessels carry whole blood, and flow turns their content over.
        turnover = kinetics.Fb[..., levels] / ARTERIOLAR_VOLUME / 60.0
        dispersed = turnover[..., None] * exponential_convolution(turnover, times, cp)
        for share in capillary_flows():
            pathway = {**parameters, "Fp": share * parameters["Fp"]}
            result[:, :, levels] += chosen(times, dispersed, *pathway.values())
        result /= len(capillary_flows())
    return result.reshape(-1, len(times))


def capillary_flows() -> NDArray[np.float64]:
    """Flows of a distributed voxel's parallel capillaries over their mean: log-normal quantiles, their mean is 1."""
    spread = np.sqrt(np.log1p(CAPILLARY_DISPERSION**2))
    flows: NDArray[np.float64] = np.exp(spread * ndtri((np.arange(N_CAPILLARIES) + 0.5) / N_CAPILLARIES))
    return flows / float(flows.mean())
