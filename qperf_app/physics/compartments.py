"""Linear compartment models as matrices: dx/dt = A x + b c(t), tissue = w x + d c(t).

Every state is an amount of tracer per volume of tissue, mmol/L, so that a transfer takes from one state what it gives
to another: the columns of A sum to minus what leaves. :func:`qperf_app.physics.linear_response.solve` solves any of
them. A model of one's own is a few lines with :func:`transfer`.

Flows, PS and Ktrans are in mL/min/mL and volumes in mL/mL, as in :mod:`qperf_app.physics.models`; what stands in the
matrices is per second.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qperf_app.physics.backend import ArrayLike, common_arrays
from qperf_app.physics.conversion import per_second

# Stands in for a volume of 0 in a denominator.
_TINY = 1e-9


@dataclass(frozen=True)
class LinearSystem:
    """A linear model with m states, for parameters of batch shape (...,).

    Parameters
    ----------
    rates : (..., m, m) array
        A, 1/s.
    inflow : (..., m) array
        b, 1/s: what a unit of input adds to each state in a second.
    readout : (..., m) array
        w: how much of each state the tissue's concentration holds.
    direct : (...,) array or None
        d: share of the input that the tissue shows at once.
    """

    rates: Any
    inflow: Any
    readout: Any
    direct: Any = None


def transfer(size: int, *moves: tuple[int, int | None]) -> NDArray[np.float64]:
    """Matrix (size, size) of unit transfers from one state to another, or out of the tissue where that is None."""
    matrix = np.zeros((size, size))
    for source, target in moves:
        matrix[source, source] -= 1.0
        if target is not None:
            matrix[target, source] += 1.0
    return matrix


def one_compartment(Fp: ArrayLike, vp: ArrayLike) -> LinearSystem:
    """One well-mixed space, ``1CM``; with Ktrans and ve in place of Fp and vp it is ``Tofts``."""
    xp, Fp, vp = common_arrays(Fp, vp)
    Fp = per_second(Fp)
    return _system(xp, 1, [(Fp / xp.maximum(vp, _TINY), [(0, None)])], Fp)


def extended_tofts(Ktrans: ArrayLike, ve: ArrayLike, vp: ArrayLike) -> LinearSystem:
    """Interstitium fed by plasma that follows the artery at once, ``ETM``."""
    xp, Ktrans, ve, vp = common_arrays(Ktrans, ve, vp)
    Ktrans = per_second(Ktrans)
    return _system(xp, 1, [(Ktrans / xp.maximum(ve, _TINY), [(0, None)])], Ktrans, vp)


def two_compartment_uptake(Fp: ArrayLike, PS: ArrayLike, vp: ArrayLike) -> LinearSystem:
    """Plasma, and an interstitium that keeps what it takes up, ``2CUM``."""
    xp, Fp, PS, vp = common_arrays(Fp, PS, vp)
    Fp, PS, vp = per_second(Fp), per_second(PS), xp.maximum(vp, _TINY)
    return _system(xp, 2, [(Fp / vp, [(0, None)]), (PS / vp, [(0, 1)])], Fp)


def two_compartment_exchange(Fp: ArrayLike, PS: ArrayLike, vp: ArrayLike, ve: ArrayLike) -> LinearSystem:
    """Plasma and interstitium, each well mixed, ``2CXM``."""
    return capillary(Fp, PS, vp, ve, segments=1)


def capillary(Fp: ArrayLike, PS: ArrayLike, vp: ArrayLike, ve: ArrayLike, segments: int = 20) -> LinearSystem:
    """Distributed model: plasma flows through a row of segments, each of which exchanges with interstitium of its own.

    One segment is the 2CXM. Many approach plug flow along the capillary with an interstitium that does not mix along
    it (BTEX; Bassingthwaighte et al. 1989, doi:10.1161/01.RES.65.4.997): transit times spread by 1 / sqrt(segments) of
    their mean.

    Parameters
    ----------
    Fp, PS, vp, ve
        (...,) of the whole tissue; ``PS`` and the volumes are shared evenly among the segments.
    segments : int

    Returns
    -------
    LinearSystem
        States: plasma of each segment in the direction of flow, then interstitium of each.
    """
    if segments < 1:
        raise ValueError(f"segments is {segments}; it must be at least 1")
    xp, Fp, PS, vp, ve = common_arrays(Fp, PS, vp, ve)
    Fp, PS, vp, ve = per_second(Fp), per_second(PS), xp.maximum(vp, _TINY), xp.maximum(ve, _TINY)
    n = segments
    flowing = [(i, i + 1 if i + 1 < n else None) for i in range(n)]
    moves: list[tuple[Any, list[tuple[int, int | None]]]] = [
        (n * Fp / vp, flowing),
        (PS / vp, [(i, n + i) for i in range(n)]),
        (PS / ve, [(n + i, i) for i in range(n)]),
    ]
    return _system(xp, 2 * n, moves, Fp)


def _system(
    xp: Any, size: int, moves: list[tuple[Any, list[tuple[int, int | None]]]], inflow: Any, direct: Any = None
) -> LinearSystem:
    """System whose first state is fed and whose states all lie in the tissue."""
    rates = sum(rate[..., None, None] * xp.like(transfer(size, *pairs), rate) for rate, pairs in moves)
    first = inflow[..., None] * xp.like(np.eye(size)[0], inflow)
    return LinearSystem(rates, first, 0.0 * first + 1.0, direct)


@dataclass(frozen=True)
class CompartmentModel:
    """A model by its matrices: ``system(*parameters)`` takes them in the order of ``parameters``."""

    name: str
    parameters: tuple[str, ...]
    system: Callable[..., LinearSystem]


#: Models under the labels of :data:`qperf_app.physics.models.MODELS`, and the distributed ``BTEX``.
SYSTEMS: dict[str, CompartmentModel] = {
    model.name: model
    for model in (
        CompartmentModel("2CXM", ("Fp", "PS", "vp", "ve"), two_compartment_exchange),
        CompartmentModel("2CUM", ("Fp", "PS", "vp"), two_compartment_uptake),
        CompartmentModel("ETM", ("Ktrans", "ve", "vp"), extended_tofts),
        CompartmentModel("Tofts", ("Ktrans", "ve"), one_compartment),
        CompartmentModel("1CM", ("Fp", "vp"), one_compartment),
        CompartmentModel("BTEX", ("Fp", "PS", "vp", "ve"), capillary),
    )
}
