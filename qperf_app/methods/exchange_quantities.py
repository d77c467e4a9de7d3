"""What the exchange model's parameters say of the tissue, under the names and units of the maps."""

from __future__ import annotations

from typing import Any

from qperf_app.methods.exchange_models import extracted_flow
from qperf_app.physics import conversion
from qperf_app.plugins.records import TissueConstants


def exchange_quantities(
    Fp: Any, PS: Any, vp: Any, ve: Any, Ta: Any, constants: TissueConstants, Ktrans: Any = None
) -> dict[str, tuple[str, Any]]:
    """Unit and values of every quantity, in the order of the maps.

    Parameters
    ----------
    Fp, PS, vp, ve, Ta
        Arrays of one shape: mL/min/mL, mL/min/mL, mL/mL, mL/mL, s. Quantities in proportion to one parameter may be
        given any of its statistics.
    constants : TissueConstants
    Ktrans : array, optional
        mL/min/mL; Fp PS / (Fp + PS) where it is not given, which holds for values and draws and for no other statistic.
    """
    Fb = conversion.blood_flow(Fp, constants.haematocrit)
    return {
        "MBF": ("mL/min/g", conversion.myocardial_blood_flow(Fb, constants.density)),
        "Fb": ("mL/min/mL", Fb),
        "Fp": ("mL/min/mL", Fp),
        "PS": ("mL/min/mL", PS),
        "Ktrans": ("mL/min/mL", extracted_flow("2CXM", Fp, PS) if Ktrans is None else Ktrans),
        "vp": ("mL/mL", vp),
        "vb": ("mL/mL", conversion.blood_volume(vp, constants.haematocrit)),
        "ve": ("mL/mL", ve),
        "Ta": ("s", Ta),
    }
