"""The network: from a response deconvolved to parameters and their uncertainty; and how its answer is read."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qperf_app.methods.exchange_models import ExchangeModel, exchange_model
from qperf_app.plugins import STATISTICS
from qperf_app.training import WeightsError, card_of, read_arrays, read_card
from qperf_cnn import scope
from qperf_cnn.features import CHANNELS, LAGS, SCALARS
from qperf_cnn.labels import QUANTITIES

Array = NDArray[np.float64]
FloatArray = NDArray[np.float32]

#: Where each quantity's coordinate is 0, and its unit: of the logarithm, but for the delay. About the priors' medians
#: and standard deviations, but part of what the weights mean: they stay where the priors change.
CENTRE = np.array([np.log(0.8), np.log(0.8), np.log(0.4), np.log(0.06), np.log(0.18), 1.0])
SCALE = np.array([1.0, 1.0, 1.0, 0.5, 1.0, 1.5])
POSITIVE = np.array([name != "Ta" for name in QUANTITIES])
#: Numbers of an answer: for each quantity the median's coordinate, logarithm of the standard deviation, how far both
#: quantiles lie below and above the median, and how far the mean does.
OUTPUTS = len(QUANTITIES) * len(STATISTICS)


#: Lags that a filter of either convolution spans, and how many it moves on by: the first shortens the response to a
#: quarter, the second to half of that.
_SPANS, _STRIDES = (8, 3), (4, 2)
_DENSE = 2


@dataclass(frozen=True)
class Architecture:
    """Filters of both convolutions, and width of the dense layers."""

    filters: tuple[int, int] = (48, 96)
    width: int = 192

    def as_dict(self) -> dict[str, Any]:
        """For the model card."""
        return asdict(self)


def build(architecture: Architecture) -> Any:
    """Keras model from responses and scalars to the answer and to what it is drawn from, (n, width)."""
    import keras
    from keras import layers

    def gelu(x: Any) -> Any:
        # By way of tanh: a third less time than the error function takes, and the same to 1e-3.
        return keras.ops.gelu(x, approximate=True)

    response, scalars = keras.Input((len(LAGS), CHANNELS)), keras.Input((SCALARS,))
    x = response
    for filters, size, step in zip(architecture.filters, _SPANS, _STRIDES, strict=True):
        x = layers.Conv1D(filters, size, strides=step, padding="same", activation=gelu)(x)
    x = layers.Concatenate()([layers.Flatten()(x), scalars])
    for _ in range(_DENSE):
        x = layers.Dense(architecture.width, activation=gelu)(x)
    return keras.Model([response, scalars], [layers.Dense(OUTPUTS)(x), x])


def to_coordinates(values: Array) -> Array:
    """Coordinates of values (..., 6)."""
    return np.asarray((np.where(POSITIVE, np.log(np.maximum(values, 1e-9)), values) - CENTRE) / SCALE)


def from_coordinates(z: Array) -> Array:
    """Values of coordinates (..., 6)."""
    x = CENTRE + SCALE * z
    return np.where(POSITIVE, np.exp(np.minimum(x, 10.0)), x)


def read_answer(answer: NDArray[np.floating]) -> Array:
    """Statistics (n, 6, 5), in the order of STATISTICS, from the network's answer (n, 30)."""
    z, log_sd, low, high, off = np.moveaxis(answer.reshape(len(answer), len(STATISTICS), -1).astype(np.float64), 1, 0)
    median = from_coordinates(z)
    sd = np.exp(np.minimum(log_sd, 5.0)) * np.where(POSITIVE, median, SCALE)
    lower, upper = from_coordinates(z - np.logaddexp(0.0, low)), from_coordinates(z + np.logaddexp(0.0, high))
    return np.stack([from_coordinates(z + off), sd, lower, median, upper], axis=2)


@dataclass(frozen=True)
class Trained:
    """A trained network: kernels and biases of its layers in the order of Keras, scope and model of its training."""

    weights: tuple[Array, ...]
    scope: scope.Scope
    model: ExchangeModel

    def __call__(self, responses: FloatArray, scalars: FloatArray) -> tuple[Array, Array]:
        """What :func:`build` answers with these weights, (n, 30) and (n, width), in NumPy.

        A few products of matrices, for which TensorFlow needn't be loaded. In double precision how many threads a
        product is summed on does not show in what is written, in single precision it would.
        """
        layers = list(zip(self.weights[::2], self.weights[1::2], strict=True))
        x: Array = responses.astype(np.float64)
        for (kernel, bias), stride in zip(layers[: len(_STRIDES)], _STRIDES, strict=True):
            x = _gelu(_windows(x, len(kernel), stride) @ kernel.reshape(-1, len(bias)) + bias)
        x = np.concatenate([x.reshape(len(x), -1), scalars], axis=1)
        for kernel, bias in layers[len(_STRIDES) : -1]:
            x = _gelu(x @ kernel + bias)
        kernel, bias = layers[-1]
        return x @ kernel + bias, x


def _windows(x: Array, span: int, stride: int) -> Array:
    """What each filter of a convolution of x (n, l, c) sees, (n, steps, span c), padded as ``padding="same"`` does."""
    steps = -(-x.shape[1] // stride)
    lacking = max((steps - 1) * stride + span - x.shape[1], 0)
    padded = np.pad(x, ((0, 0), (lacking // 2, lacking - lacking // 2), (0, 0)))
    seen = np.lib.stride_tricks.sliding_window_view(padded, span, axis=1)[:, ::stride]
    return np.ascontiguousarray(seen.swapaxes(2, 3)).reshape(len(x), steps, -1)


def _gelu(x: Array) -> Array:
    """Gaussian error linear unit by way of tanh, as :func:`build` has it."""
    root = np.sqrt(2.0 / np.pi)
    # In place: arrays of this size cost more to make than to compute with.
    y = x * x
    y *= 0.044715 * root
    y += root
    y *= x
    np.tanh(y, out=y)
    y += 1.0
    y *= x
    y *= 0.5
    return y


def shapes(architecture: Architecture) -> list[tuple[int, ...]]:
    """Shapes of the weights."""
    shapes: list[tuple[int, ...]] = []
    channels, steps = CHANNELS, len(LAGS)
    for filters, span, stride in zip(architecture.filters, _SPANS, _STRIDES, strict=True):
        shapes += [(span, channels, filters), (filters,)]
        channels, steps = filters, -(-steps // stride)
    before = steps * channels + SCALARS
    for width in (*[architecture.width] * _DENSE, OUTPUTS):
        shapes += [(before, width), (width,)]
        before = width
    return shapes


def load(path: Path) -> Trained:
    """Load a trained network; once per process.

    Raises
    ------
    WeightsError
        Where the files are missing, damaged, or of another network.
    """
    stat = path.stat() if path.exists() else None
    return _load(path, (stat.st_mtime_ns, stat.st_size) if stat else (0, 0))


@lru_cache(maxsize=2)
def _load(path: Path, _: tuple[int, int]) -> Trained:
    card, arrays = read_card(path), read_arrays(path)
    try:
        given = card["architecture"]
        architecture = Architecture(tuple(int(f) for f in given["filters"]), int(given["width"]))  # type: ignore[arg-type]
        own = len(arrays) - scope.COUNT
        weights = tuple(array.astype(np.float64) for array in arrays[:own])
        if [array.shape for array in weights] != (wanted := shapes(architecture)):
            raise ValueError(f"shapes {[array.shape for array in weights]} instead of {wanted}")
        known = scope.from_arrays([a.astype(np.float64) for a in arrays[own:]])
    except (KeyError, TypeError, AttributeError) as error:
        raise WeightsError(f"{card_of(path)}: no model card that can be read ({error})") from None
    except ValueError as error:
        raise WeightsError(f"{path}: its arrays don't fit the architecture of its card ({error})") from None
    try:
        # A card that says nothing is of a network that was taught the 2CXM.
        model = exchange_model(card.get("model", "2CXM"))
    except ValueError as error:
        raise WeightsError(f"{card_of(path)}: {error}") from None
    return Trained(weights, known, model)
