"""The models of exchange between plasma and interstitium that a kinetics plugin may offer, and their option."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from qperf_app.methods.neighbours import NeighbourOptions
from qperf_app.physics.backend import ArrayLike, common_arrays

ExchangeModel = Literal["2CXM", "ATH"]

#: By their labels in :data:`qperf_app.physics.models.MODELS`.
EXCHANGE_MODELS: tuple[ExchangeModel, ...] = ("2CXM", "ATH")


@dataclass(frozen=True)
class ExchangeModelOptions(NeighbourOptions):
    """The option of a kinetics plugin that takes either model, and that in which neighbours may have a say."""

    model: ExchangeModel = field(
        default="2CXM",
        metadata={
            "help": "2CXM: plasma and interstitium each well mixed; ATH: plug flow along the capillary, the scale of "
            "distributed models (docs/models.md)"
        },
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        exchange_model(self.model)


def exchange_model(name: object) -> ExchangeModel:
    """The model of a label.

    Raises
    ------
    ValueError
        Where it is none of :data:`EXCHANGE_MODELS`.
    """
    for model in EXCHANGE_MODELS:
        if name == model:
            return model
    raise ValueError(f"model is {name!r}; it must be {' or '.join(EXCHANGE_MODELS)}")


def extracted_flow(model: ExchangeModel, Fp: ArrayLike, PS: ArrayLike) -> Any:
    """Ktrans, mL/min/mL: the flow that is extracted, of plasma that is well mixed or passes as a plug.

    Fp PS / (Fp + PS), or Fp (1 - exp(-PS / Fp)) (Crone 1963, doi:10.1111/j.1748-1716.1963.tb02652.x). Arrays or
    tensors.
    """
    xp, Fp, PS = common_arrays(Fp, PS)
    return -Fp * xp.expm1(-PS / Fp) if model == "ATH" else Fp * PS / (Fp + PS)
