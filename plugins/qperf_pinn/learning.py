"""Teach the network on curves without labels: what it says of a curve, put through the model, must give the curve."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from qperf_app.methods.kinetic_inputs import usable_curves
from qperf_app.methods.priors import Priors
from qperf_app.physics.backend import common_arrays
from qperf_app.training import Schedule, TrainingLoop, cosine
from qperf_pinn.network import Weights, predict
from qperf_pinn.setting import Setting

Array = NDArray[np.float64]

#: Curves of a step. Fixed, so that one compiled program serves any number.
BATCH = 256


@dataclass(frozen=True)
class Examples:
    """Curves of one scan.

    Parameters
    ----------
    setting : Setting
    data : (n, t) array
        In units of the input's peak, NaN where a sample is missing.
    """

    setting: Setting
    data: Array


def examples_of(setting: Setting, concentration: Array) -> Examples:
    """Curves (n, t), mmol/L, that can be learnt from, in an order of their own: any order gives the same batches."""
    data = np.asarray(concentration, dtype=np.float64) / setting.peak
    data = data[usable_curves(data)]
    return Examples(setting, data[np.lexsort(np.nan_to_num(data).T)])


@dataclass(frozen=True)
class Objective:
    """Minus the logarithm of a voxel's posterior density: Student's t likelihood of its residuals, and the priors.

    The noise's level is unknown; integrating it out under an inverse-gamma prior leaves
    (shape + n / 2) log(scale^2 + squares / 2), so that a noisy curve weighs no more than a quiet one.
    """

    priors: Priors

    def __call__(self, x: Any, fitted: Any, data: Any, present: Any, prior_weight: Any = 1.0) -> Any:
        """(n,) of coordinates (n, 5), model curves, data (any number where none is) and 1 or 0 for each sample."""
        xp, x, fitted, data, present = common_arrays(x, fitted, data, present)
        squares = xp.total(present * (fitted - data) ** 2)
        count = xp.total(present)
        scale = self.priors.noise_scale**2
        misfit = (self.priors.noise_shape + 0.5 * count) * xp.log1p((squares * 0.5) / scale)
        off = (x - xp.like(self.priors.mean, x)) / xp.like(self.priors.sd, x)
        return misfit + 0.5 * prior_weight * xp.total(off**2)


def teach(
    weights: Weights,
    scans: list[Examples],
    objective: Objective,
    steps: int,
    rate: float,
    seed: int,
    prior_weight: float = 1.0,
    say: Callable[[str], None] | None = None,
) -> tuple[Weights, list[float]]:
    """Train on the curves of one or several scans.

    Parameters
    ----------
    weights : list of arrays
        Where to start.
    scans : list of Examples
    objective : Objective
    steps : int
        Each of one batch of one scan; scans take turns.
    rate : float
        Learning rate of Adam (Kingma and Ba 2015, arXiv:1412.6980) at first; it falls to 0 along a cosine.
    seed : int
    prior_weight : float
        0 for no priors.
    say : function, optional
        Told of the progress.

    Returns
    -------
    weights, losses
        Mean objective of the batch of every step.
    """
    network = _Network(weights)
    judges = [_compiled(_Program.of(scan.setting, objective)) for scan in scans]

    def loss(which: int, features: Any, data: Any, present: Any) -> Any:
        x = predict([variable.value for variable in network.trainable_variables], features)
        return judges[which](x, data, present, prior_weight)

    # A step is never longer for one strange batch.
    optimizer = keras.optimizers.Adam(rate, beta_1=0.9, beta_2=0.99, epsilon=1e-7, global_clipnorm=20.0)
    loop = TrainingLoop(network, optimizer, loss, Schedule(1, cosine(rate, 1), 1), seed)
    loop.run(_Turns([_arrays(scan) for scan in scans], steps), say=say)
    return network.get_weights(), loop.losses


class _Network:
    """Plain arrays as the training loop moves them."""

    def __init__(self, weights: Weights) -> None:
        self.trainable_variables = [keras.Variable(w) for w in weights]

    def get_weights(self) -> Weights:
        return [np.array(variable.value) for variable in self.trainable_variables]

    def set_weights(self, weights: Weights) -> None:
        for variable, value in zip(self.trainable_variables, weights, strict=True):
            variable.assign(value)


@dataclass(frozen=True)
class _Turns:
    """One batch of each scan in turn, ``steps`` in all, its curves drawn with replacement."""

    scans: list[tuple[NDArray[np.float32], ...]]
    steps: int

    def __len__(self) -> int:
        return self.steps

    def draw(self, rng: np.random.Generator) -> Iterator[tuple[Any, ...]]:
        """Number of the scan, what the network sees, the curves, and which samples are there."""
        for number in range(self.steps):
            arrays = self.scans[number % len(self.scans)]
            rows = rng.integers(len(arrays[0]), size=BATCH)
            yield number % len(self.scans), *(tf.constant(array[rows]) for array in arrays)


def _arrays(scan: Examples) -> tuple[NDArray[np.float32], ...]:
    """What the network sees, the curves, and 1 or 0 for each sample that is there or not."""
    present = np.isfinite(scan.data)
    data = np.where(present, scan.data, 0.0).astype(np.float32)
    return scan.setting.features(scan.data), data, present.astype(np.float32)


@dataclass(frozen=True)
class _Program:
    """What a compiled step depends on; two are the same where their digests are."""

    digest: str
    setting: Setting = field(compare=False)
    objective: Objective = field(compare=False)

    @classmethod
    def of(cls, setting: Setting, objective: Objective) -> _Program:
        priors = objective.priors
        arrays = (setting.times, setting.grid, setting.plasma, priors.mean, priors.sd)
        numbers = (priors.noise_shape, priors.noise_scale, setting.model)
        content = b"".join(np.ascontiguousarray(a, dtype=np.float64).tobytes() for a in arrays) + repr(numbers).encode()
        return cls(hashlib.sha256(content).hexdigest(), setting, objective)


@lru_cache(maxsize=4)
def _compiled(program: _Program) -> Callable[..., Any]:
    """Mean objective of coordinates (n, 5) against a scan's curves. Compiling takes longer than a hundred steps.

    The network's products are left to the library: compiled ones of its size take five times as long.
    """

    def value_and_slope(x: Any, data: Any, present: Any, prior_weight: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(x)
            fitted = program.setting.curves(common_arrays(x)[0], x)
            loss = tf.reduce_mean(program.objective(x, fitted, data, present, prior_weight))
        return loss, tape.gradient(loss, x)

    judge = tf.function(value_and_slope, jit_compile=True)

    def mean_objective(x: Any, data: Any, present: Any, prior_weight: float) -> Any:
        def judged(x: Any) -> Any:
            loss, slope = judge(x, data, present, tf.constant(prior_weight, tf.float32))
            return loss, lambda upstream: upstream * slope

        return tf.custom_gradient(judged)(x)

    return mean_objective
