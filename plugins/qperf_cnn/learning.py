"""What the training loop is given: batches of curves, the loss for each kind of label, validation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qperf_app.methods.exchange_models import ExchangeModel, extracted_flow
from qperf_app.plugins import STATISTICS
from qperf_cnn import network
from qperf_cnn.simulation import concentration

FloatArray = NDArray[np.float32]

# Errors of the median count in units of the posterior's spread, with this much added, in coordinates.
_LEAST_SPREAD = 0.05
_BELOW, _ABOVE = 0.05, 0.95
# Held-out curves that are looked at together.
_VALIDATED = 4096


@dataclass(frozen=True)
class Scans:
    """Curves of scans of n curves in all, padded to one number of frames.

    ``times`` (s, t) s; ``plasma`` (s, t) and ``curves`` (n, t) relative to the input function's peak; ``weights``
    (n, t), one over the noise, 0 where padded; ``first`` (s + 1,) row of each scan, and of the end.
    """

    times: FloatArray
    plasma: FloatArray
    curves: FloatArray
    weights: FloatArray
    first: NDArray[np.intp]


@dataclass(frozen=True)
class Examples:
    """Features and targets of n curves.

    Parameters
    ----------
    responses : (n, l, channels) float16 array
    scalars : (n, s) float32 array
    value : (n, 6) float32 array
        Coordinates that the network's value is to be: of the median, or of the one value that a label has.
    spread : (n, 6, 4) float32 array or None
        Logarithm of the relative standard deviation, and distances of both quantiles and of the mean from the median,
        in coordinates; None where the label is a single value and the spread is learnt from its own errors.
    scans : Scans or None
        The curves themselves, where the network is to learn from how well it explains them.
    """

    responses: NDArray[np.float16]
    scalars: FloatArray
    value: FloatArray
    spread: FloatArray | None
    scans: Scans | None = None

    def __len__(self) -> int:
        return len(self.scalars)


def distilled(answer: Any, value: Any, spread: Any) -> Any:
    """Loss against a labeller's median, standard deviation, quantiles and mean.

    Huber's loss of each, in units of the posterior's own spread: what matters of an error is how it compares with it.
    """
    import tensorflow as tf

    z, log_sd, low, high, off = _split(answer)
    unit = _LEAST_SPREAD + 0.3 * (spread[..., 1] + spread[..., 2])
    parts = (
        _huber((z - value) / unit),
        _huber(log_sd - spread[..., 0]),
        _huber((tf.math.softplus(low) - spread[..., 1]) / unit),
        _huber((tf.math.softplus(high) - spread[..., 2]) / unit),
        _huber((off - spread[..., 3]) / unit),
    )
    return tf.reduce_mean(parts[0] + 0.3 * tf.add_n(parts[1:]), axis=1)


def regressed(answer: Any, value: Any) -> Any:
    """Loss against single values: squared error of the value, and what tells of its own errors.

    Standard deviation by the Gaussian likelihood, quantiles by the pinball loss (Koenker and Bassett 1978,
    doi:10.2307/1913643). Neither pulls at the value.
    """
    import tensorflow as tf

    z, log_sd, low, high, _ = _split(answer)
    still = tf.stop_gradient(z)
    error = value - z
    fixed = tf.stop_gradient(error)
    likelihood = log_sd + 0.5 * tf.square(fixed) * tf.exp(-2.0 * log_sd)
    below, above = value - (still - tf.math.softplus(low)), value - (still + tf.math.softplus(high))
    pinball = tf.maximum(_BELOW * below, (_BELOW - 1.0) * below) + tf.maximum(_ABOVE * above, (_ABOVE - 1.0) * above)
    return tf.reduce_mean(tf.square(error) + 0.1 * likelihood + pinball, axis=1)


def explained(kinetics: ExchangeModel, answer: Any, times: Any, plasma: Any, curves: Any, weights: Any) -> Any:
    """Loss without labels: squared residual of the answer's own curve, in units of the noise, through the model."""
    import tensorflow as tf

    z = _split(answer)[0]
    x = z * network.SCALE.astype(np.float32) + network.CENTRE.astype(np.float32)
    # Of the quantities, Ktrans is no parameter of its own.
    Fp, PS, _, vp, ve = (tf.exp(tf.clip_by_value(v, -9.0, 4.0)) for v in tf.unstack(x[:, :5], axis=1))
    found = concentration(kinetics, times, plasma, {"Fp": Fp, "PS": PS, "vp": vp, "ve": ve, "Ta": x[:, 5]})
    squares = tf.reduce_sum(tf.square(weights * (curves - found)), axis=1)
    # Ktrans follows from the others; beyond that nothing is said of it.
    follows = tf.math.log(tf.stop_gradient(extracted_flow(kinetics, Fp, PS)))
    follows = (follows - network.CENTRE[2]) / network.SCALE[2]
    count = tf.reduce_sum(tf.cast(weights > 0.0, tf.float32), axis=1)
    return squares / count + tf.square(z[:, 2] - tf.cast(follows, tf.float32))


def _split(answer: Any) -> list[Any]:
    import tensorflow as tf

    shape = [-1, len(STATISTICS), answer.shape[-1] // len(STATISTICS)]
    parts: list[Any] = tf.unstack(tf.reshape(answer, shape), axis=1)
    return parts


def _huber(x: Any) -> Any:
    import tensorflow as tf

    size = tf.abs(x)
    return tf.where(size < 1.0, 0.5 * x * x, size - 0.5)


def loss_of(model: Any, kinetics: ExchangeModel = "2CXM") -> Callable[..., Any]:
    """Loss (n,) of each curve of a batch, by what its targets are; ``kinetics`` is what curves follow."""

    def each(responses: Any, scalars: Any, *target: Any) -> Any:
        answer = model([responses, scalars])[0]
        if len(target) == 4:
            return explained(kinetics, answer, *target)
        return regressed(answer, *target) if len(target) == 1 else distilled(answer, *target)

    return each


@dataclass(frozen=True)
class CurveBatches:
    """Batches of ``size`` curves, or of the curves of one scan where they go through the model."""

    examples: Examples
    size: int

    def __len__(self) -> int:
        scans, n = self.examples.scans, len(self.examples)
        return len(scans.first) - 1 if scans is not None else n // min(self.size, n)

    def draw(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        """Every curve once, but for those that would not fill the last batch."""
        return (_batch(self.examples, rows) for rows in _parts(self.examples, self.size, rng))


def validation_of(each: Callable[..., Any], held: Examples) -> Callable[[], dict[str, float]]:
    """What measures the mean loss of held-out curves."""
    import tensorflow as tf

    compiled = tf.function(each, reduce_retracing=True)

    def validate() -> dict[str, float]:
        parts = _parts(held, _VALIDATED, None)
        losses = [compiled(*_batch(held, part)).numpy() for part in parts]
        return {"validation": float(np.concatenate(losses).mean())}

    return validate


def _parts(examples: Examples, size: int, rng: np.random.Generator | None) -> list[NDArray[np.intp]]:
    """Rows of each step, drawn anew: any of the curves, or scan by scan where they go through the model."""
    if examples.scans is not None:
        first = examples.scans.first
        scans = np.arange(len(first) - 1) if rng is None else rng.permutation(len(first) - 1)
        return [np.arange(first[k], first[k + 1]) for k in scans]
    n = len(examples)
    if rng is None:
        return [np.arange(k, min(k + size, n)) for k in range(0, n, size)]
    order, size = rng.permutation(n), min(size, n)
    return [np.sort(order[k : k + size]) for k in range(0, n - size + 1, size)]


def _batch(examples: Examples, rows: NDArray[np.intp]) -> tuple[Any, ...]:
    import tensorflow as tf

    arrays = [examples.responses[rows].astype(np.float32), examples.scalars[rows]]
    scans = examples.scans
    if scans is not None:
        scan = int(np.searchsorted(scans.first, rows[0], side="right")) - 1
        arrays += [scans.times[scan], scans.plasma[scan], scans.curves[rows], scans.weights[rows]]
    else:
        arrays += [examples.value[rows]] + ([] if examples.spread is None else [examples.spread[rows]])
    return tuple(tf.constant(a) for a in arrays)
