"""The two-compartment exchange model as a forward model on tabulated features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qperf_app.physics.backend import common_arrays
from qperf_app.physics.conversion import per_second
from qperf_app.physics.models import exchange_response
from qperf_hmc import table


def forward(tables: table.Table, parameters: Sequence[Any]) -> Any:
    """Features (r, n) of Fp, PS (mL/min/mL), vp, ve (mL/mL) and Ta (s), each (n,)."""
    Fp, PS, vp, ve, Ta = parameters
    xp = common_arrays(Fp)[0]
    rates = exchange_response(xp, per_second(Fp), per_second(PS), vp, ve)
    return table.features(tables, rates, Fp, Ta)
