r"""Tracer-kinetic models: concentration in tissue from concentration in the artery.

Every model is a pure function of ``times`` (t,), s; the input (t,) or (..., t), mmol/L (``cp`` in plasma, ``cb`` in
whole blood); and its parameters, each of batch shape (...,): flows, PS and Ktrans in mL/min/mL, volumes in mL/mL, bolus
delay ``Ta`` in s. The result is (..., t), mmol/L. Convolutions are exact for an input that is linear between samples
(:mod:`qperf_app.physics.convolution`). NumPy arrays and TensorFlow tensors both work, and every model keeps its limit
where rates coincide or a parameter is 0.

Names follow OSIPI's CAPLEX (Dickie et al. 2024, doi:10.1002/mrm.29840); equations follow Sourbron and Buckley 2013
(doi:10.1002/nbm.2940) unless a function says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from qperf_app.physics.backend import ArrayLike, common_arrays
from qperf_app.physics.conversion import per_second
from qperf_app.physics.convolution import exponential_convolution, interpolate
from qperf_app.physics.fermi import fermi

# Stands in for a volume or flow of 0 in a denominator; what it changes in a curve is of this relative order.
_TINY = 1e-9


def _arrays(times: ArrayLike, cp: ArrayLike, Ta: ArrayLike, *parameters: ArrayLike) -> tuple[Any, ...]:
    """Arrays of one kind: operations, times, input, times at the artery (..., t), parameters."""
    xp, t, c, Ta, *rest = common_arrays(times, cp, Ta, *parameters)
    return (xp, t, c, t - Ta[..., None], *rest)


def exchange_response(xp: Any, Fp: Any, PS: Any, vp: Any, ve: Any) -> tuple[Any, Any, Any]:
    r"""Residue function of the 2CXM as R(t) = Fp [(1 - E) exp(-K+ t) + E exp(-K- t)].

    Parameters are per second. With a = (Fp + PS) / vp and b = PS / ve the rates are the roots of
    (K - a)(K - b) = PS^2 / (vp ve), and E = (b + PS / vp - K-) / (K+ - K-). Since K- <= b + PS / vp <= K+, both
    weights lie in [0, 1]: the sum stays well conditioned where the rates coincide (only as PS -> 0), and any E serves.

    Returns
    -------
    K+, K-, E
        1/s, 1/s and 1.
    """
    vp, ve = xp.maximum(vp, _TINY), xp.maximum(ve, _TINY)
    a, b = (Fp + PS) / vp, PS / ve
    coupling = PS / vp * b
    difference = a - b
    root = xp.sqrt(xp.maximum(difference * difference + 4.0 * coupling, _TINY * _TINY))
    fast = 0.5 * (a + b + root)
    slow = Fp / vp * b / xp.maximum(fast, _TINY)  # the roots' product is Fp PS / (vp ve)
    # b - K- without cancellation: (a - K-)(b - K-) = coupling, and a - K- = K+ - b.
    above = 0.5 * (root + xp.abs(difference))
    gap = xp.where(difference > 0.0, coupling / above, above)
    return fast, slow, (PS / vp + gap) / root


def two_compartment_exchange(
    times: ArrayLike, cp: ArrayLike, Fp: ArrayLike, PS: ArrayLike, vp: ArrayLike, ve: ArrayLike, Ta: ArrayLike = 0.0
) -> Any:
    """Two-compartment exchange model (2CXM): well-mixed plasma and interstitium.

    Parameters
    ----------
    times, cp
        (t,) s; (t,) or (..., t) mmol/L in plasma.
    Fp, PS, vp, ve, Ta
        (...,): plasma flow and permeability-surface product, mL/min/mL; plasma and interstitial volume, mL/mL;
        delay, s.

    Returns
    -------
    (..., t) array
        mmol/L. PS = 0 gives the one-compartment model, vp = 0 Tofts with Ktrans = Fp PS / (Fp + PS).
    """
    xp, t, c, at, Fp, PS, vp, ve = _arrays(times, cp, Ta, Fp, PS, vp, ve)
    Fp, PS = per_second(Fp), per_second(PS)
    fast, slow, weight = exchange_response(xp, Fp, PS, vp, ve)
    convolved = exponential_convolution(xp.stack([fast, slow]), t, c, at)
    weight = weight[..., None]
    return Fp[..., None] * ((1.0 - weight) * convolved[0] + weight * convolved[1])


def two_compartment_uptake(
    times: ArrayLike, cp: ArrayLike, Fp: ArrayLike, PS: ArrayLike, vp: ArrayLike, Ta: ArrayLike = 0.0
) -> Any:
    """Two-compartment uptake model: the 2CXM before anything flows back (ve -> infinity).

    R(t) = Fp [(1 - E) exp(-t (Fp + PS) / vp) + E] with E = PS / (Fp + PS). Units as in
    :func:`two_compartment_exchange`.
    """
    xp, t, c, at, Fp, PS, vp = _arrays(times, cp, Ta, Fp, PS, vp)
    Fp, PS = per_second(Fp), per_second(PS)
    total = Fp + PS
    extracted = (PS / xp.maximum(total, _TINY))[..., None]
    washed = exponential_convolution(total / xp.maximum(vp, _TINY), t, c, at)
    kept = exponential_convolution(0.0, t, c, at)
    return Fp[..., None] * ((1.0 - extracted) * washed + extracted * kept)


def extended_tofts(
    times: ArrayLike, cp: ArrayLike, Ktrans: ArrayLike, ve: ArrayLike, vp: ArrayLike, Ta: ArrayLike = 0.0
) -> Any:
    """Extended Tofts model, C = vp cp + Ktrans exp(-t Ktrans / ve) * cp (Tofts 1997, doi:10.1002/jmri.1880070113)."""
    _, t, c, at, vp = _arrays(times, cp, Ta, vp)
    return vp[..., None] * interpolate(t, c, at) + tofts(times, cp, Ktrans, ve, Ta)


def tofts(times: ArrayLike, cp: ArrayLike, Ktrans: ArrayLike, ve: ArrayLike, Ta: ArrayLike = 0.0) -> Any:
    """Tofts model, C = Ktrans exp(-t Ktrans / ve) * cp (Tofts and Kermode 1991, doi:10.1002/mrm.1910170208)."""
    xp, t, c, at, Ktrans, ve = _arrays(times, cp, Ta, Ktrans, ve)
    Ktrans = per_second(Ktrans)
    return Ktrans[..., None] * exponential_convolution(Ktrans / xp.maximum(ve, _TINY), t, c, at)


def patlak(times: ArrayLike, cp: ArrayLike, Ktrans: ArrayLike, vp: ArrayLike, Ta: ArrayLike = 0.0) -> Any:
    """Patlak model: vp cp plus the running integral of Ktrans cp (Patlak 1983, doi:10.1038/jcbfm.1983.1)."""
    _, t, c, at, Ktrans, vp = _arrays(times, cp, Ta, Ktrans, vp)
    uptake = per_second(Ktrans)[..., None] * exponential_convolution(0.0, t, c, at)
    return vp[..., None] * interpolate(t, c, at) + uptake


def one_compartment(times: ArrayLike, cp: ArrayLike, Fp: ArrayLike, vp: ArrayLike, Ta: ArrayLike = 0.0) -> Any:
    """One well-mixed compartment: C = Fp exp(-t Fp / vp) * cp, where vp is all the volume that the tracer reaches."""
    return tofts(times, cp, Fp, vp, Ta)


def adiabatic_tissue_homogeneity(
    times: ArrayLike, cp: ArrayLike, Fp: ArrayLike, PS: ArrayLike, ve: ArrayLike, vp: ArrayLike, Ta: ArrayLike = 0.0
) -> Any:
    """Adiabatic tissue homogeneity: plug flow through the capillary, then a well-mixed interstitium.

    A distributed model (St. Lawrence and Lee 1998, doi:10.1097/00004647-199812000-00011). With transit time
    Tc = vp / Fp and extraction E = 1 - exp(-PS / Fp), R is Fp up to Tc and E Fp exp(-(t - Tc) E Fp / ve) from there.
    Units as in :func:`two_compartment_exchange`.
    """
    xp, t, c, at, Fp, PS, ve, vp = _arrays(times, cp, Ta, Fp, PS, ve, vp)
    Fp, PS = per_second(Fp), per_second(PS)
    flow = xp.maximum(Fp, _TINY)
    extracted = -xp.expm1(-PS / flow)
    after = at - (vp / flow)[..., None]
    passing = exponential_convolution(0.0, t, c, at) - exponential_convolution(0.0, t, c, after)
    leaving = exponential_convolution(extracted * Fp / xp.maximum(ve, _TINY), t, c, after)
    return Fp[..., None] * (passing + extracted[..., None] * leaving)


@dataclass(frozen=True)
class Parameter:
    """A model parameter: its CAPLEX name where there is one, unit and meaning."""

    name: str
    units: str
    meaning: str


@dataclass(frozen=True)
class Model:
    """A model as data, so that samplers, fitters and phantoms can treat any of them alike.

    ``function(times, input, *parameters)`` takes the parameters in this order; ``input_kind`` says whether the input
    is the concentration in plasma or in whole blood.
    """

    name: str
    parameters: tuple[Parameter, ...]
    function: Callable[..., Any]
    input_kind: Literal["plasma", "blood"] = "plasma"

    def __call__(self, times: ArrayLike, concentration: ArrayLike, *parameters: ArrayLike) -> Any:
        return self.function(times, concentration, *parameters)


_FP = Parameter("Fp", "mL/min/mL", "plasma flow")
_FB = Parameter("Fb", "mL/min/mL", "blood flow")
_PS = Parameter("PS", "mL/min/mL", "permeability-surface area product")
_KTRANS = Parameter("Ktrans", "mL/min/mL", "volume transfer constant")
_VP = Parameter("vp", "mL/mL", "plasma volume fraction")
_VE = Parameter("ve", "mL/mL", "interstitial volume fraction")
_TA = Parameter("Ta", "s", "arterial bolus delay")
_WIDTH = Parameter("width", "s", "shoulder of the Fermi response")
_RATE = Parameter("rate", "1/s", "steepness of the Fermi response")

#: Every model under the label that stands in file names.
MODELS: dict[str, Model] = {
    model.name: model
    for model in (
        Model("2CXM", (_FP, _PS, _VP, _VE, _TA), two_compartment_exchange),
        Model("2CUM", (_FP, _PS, _VP, _TA), two_compartment_uptake),
        Model("ETM", (_KTRANS, _VE, _VP, _TA), extended_tofts),
        Model("Tofts", (_KTRANS, _VE, _TA), tofts),
        Model("Patlak", (_KTRANS, _VP, _TA), patlak),
        Model("1CM", (_FP, _VP, _TA), one_compartment),
        Model("ATH", (_FP, _PS, _VE, _VP, _TA), adiabatic_tissue_homogeneity),
        Model("Fermi", (_FB, _WIDTH, _RATE, _TA), fermi, input_kind="blood"),
    )
}
