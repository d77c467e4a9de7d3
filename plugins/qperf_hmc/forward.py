"""How curves become features: the exchange model's table, or any model as it stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from qperf_app.physics.models import Model

Array = NDArray[np.float64]


class Grid(NamedTuple):
    """Input function on a grid that holds the sample times: times and input (m,), index of the samples (t,)."""

    times: Any
    input: Any
    index: Any


@dataclass(frozen=True)
class Direct:
    """Features are the samples themselves: any model of tensors, at the price of the whole convolution."""

    model: Model

    def __call__(self, tables: Grid, parameters: Sequence[Any]) -> Any:
        """Curves (t, n) of parameters, each (n,)."""
        return tf.transpose(tf.gather(self.model(tables.times, tables.input, *parameters), tables.index, axis=-1))


def make_grid(times: Array, input_times: Array, concentration: Array) -> Grid:
    """Join the input function's grid with the sample times; the input is linear between its samples."""
    joined = np.union1d(input_times, times)
    # A sample time within rounding of a grid point counts as that point.
    joined = joined[np.concatenate([[True], np.diff(joined) > 1e-6])]
    index = np.abs(joined[None, :] - times[:, None]).argmin(axis=1)
    return Grid(joined, np.interp(joined, input_times, concentration, left=0.0), index.astype(np.int32))
