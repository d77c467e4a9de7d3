"""What the network is to answer, by kind of label."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qperf_app.methods.exchange_models import ExchangeModel, extracted_flow
from qperf_app.plugins import STATISTICS
from qperf_app.plugins.records import Statistic
from qperf_cnn.labels import MEDIAN, Labels
from qperf_cnn.network import POSITIVE, SCALE, to_coordinates
from qperf_cnn.simulation import Study

Array = NDArray[np.float64]

#: Sources of a single value.
SOURCES = ("truth", "mle", "posterior")


@dataclass(frozen=True)
class Kind:
    """Kind of label: a source, or a mix of two, the first one weighted by ``weight``; ``self`` needs no label."""

    first: str
    second: str = ""
    weight: float = 1.0

    @property
    def sources(self) -> tuple[str, ...]:
        """What must be known of a curve."""
        return tuple(s for s in (self.first, self.second) if s and s != "self")

    @property
    def whole(self) -> bool:
        """Whether the label is a whole posterior, and not a single value."""
        return self.first == "posterior" and not self.second


def statistics_of(kind: Kind) -> list[Statistic]:
    """What the network says beside its value: of a posterior everything, else what its own errors have taught it."""
    if kind.whole:
        return list(STATISTICS)
    return ["std", "q05", "q95"] if kind.first != "self" else []


def read_kind(text: str) -> Kind:
    """Kind of ``truth``, ``mle``, ``posterior``, ``self`` or ``hybrid:WEIGHT[:FIRST:SECOND]`` (``truth`` and ``mle``).

    Raises
    ------
    ValueError
        For anything else.
    """
    name, _, rest = text.partition(":")
    if name in (*SOURCES, "self") and not rest:
        return Kind(name)
    weight, *pair = rest.split(":")
    pair = pair or ["truth", "mle"]
    try:
        share = float(weight)
    except ValueError:
        share = np.nan
    if name != "hybrid" or not 0.0 <= share <= 1.0 or len(pair) != 2 or not set(pair) <= set(SOURCES):
        raise ValueError(
            f"labels is {text!r}; it must be truth, mle, posterior, self or hybrid:WEIGHT[:FIRST:SECOND], with a "
            f"weight of 0 to 1 and two of {', '.join(SOURCES)}"
        )
    return Kind(pair[0], pair[1], share)


def value_of(kind: Kind, study: Study, found: dict[str, Labels]) -> Array:
    """Coordinates (n, 6) that the network's value is to be; NaN where a label is missing."""
    parts = [_value(source, study, found) for source in kind.sources]
    if len(parts) == 1:
        return parts[0]
    return kind.weight * parts[0] + (1.0 - kind.weight) * parts[1]


def _value(source: str, study: Study, found: dict[str, Labels]) -> Array:
    values = true_values(study.truth, study.model) if source == "truth" else found[source].values[:, :, MEDIAN]
    if source == "mle":
        # A fit without priors gives no Ktrans of its own.
        values = true_values(values[:, [0, 1, 3, 4, 5]], study.model)
    return to_coordinates(values)


def true_values(parameters: Array, model: ExchangeModel = "2CXM") -> Array:
    """Quantities (n, 6) of parameters (n, 5)."""
    Fp, PS, vp, ve, Ta = parameters.T
    return np.stack([Fp, PS, extracted_flow(model, Fp, PS), vp, ve, Ta], axis=1)


def spread_of(labels: Labels) -> Array:
    """Logarithm of the relative standard deviation, and distances of quantiles and mean in coordinates, (n, 6, 4)."""
    mean, sd, low, median, high = np.moveaxis(labels.values, 2, 0)
    z = to_coordinates(median)
    log_sd = np.log(np.maximum(sd, 1e-6) / np.where(POSITIVE, np.maximum(median, 1e-6), SCALE))
    below, above = np.maximum(z - to_coordinates(low), 1e-3), np.maximum(to_coordinates(high) - z, 1e-3)
    return np.stack([log_sd, below, above, to_coordinates(mean) - z], axis=2)
