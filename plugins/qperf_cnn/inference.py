"""From curves to parameters with a trained network: features, one compiled call, and what to make of the answer."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from qperf_cnn import network, scope
from qperf_cnn.features import Features, build_filters, extract
from qperf_cnn.responses import curves as curves_of

Array = NDArray[np.float64]

#: Curves of one call, filled up, so that the network is compiled once.
BATCH = 1024
_PARAMETERS = [0, 1, 3, 4, 5]


class Estimates(NamedTuple):
    """``values`` (n, 6, 4): mean, standard deviation and quantiles of each quantity; ``fitted`` (n, t) curves of the
    means; ``outside`` (n,), curves that the network was not trained for."""

    values: Array
    fitted: Array
    outside: NDArray[np.bool_]


def estimate(path: Path, times: Array, curves: Array, input_times: Array, plasma: Array) -> Estimates:
    """Estimate from curves (n, t), NaN where a frame is missing, and the input function in plasma, mmol/L."""
    trained = network.load(path)
    present = np.isfinite(curves)
    values, fitted = np.empty((len(curves), 6, 4)), np.empty(curves.shape)
    outside = np.empty(len(curves), dtype=bool)
    # Curves with the same frames share their filters.
    patterns, group = np.unique(present, axis=0, return_inverse=True)
    for k, pattern in enumerate(patterns):
        rows = np.flatnonzero(group.reshape(-1) == k)
        filters = build_filters(times[pattern], input_times, plasma)
        features = extract(filters, curves[rows][:, pattern])
        answer, hidden = run(path, features)
        values[rows] = network.read_answer(answer)
        fitted[rows] = curves_of(times, input_times, plasma, values[rows][:, _PARAMETERS, 0])
        missed = scope.misfit(curves[rows], fitted[rows], features, filters.peak)
        outside[rows] = scope.outside(trained.scope, features, hidden, missed, values[rows, -1, 0])
    return Estimates(values, fitted, outside)


def run(path: Path, features: Features) -> tuple[Array, Array]:
    """Answer (n, 24) and last layer (n, w) for features."""
    stat = path.stat()
    call, parts = _compiled(path, (stat.st_mtime_ns, stat.st_size)), []
    for first in range(0, len(features.scalars), BATCH):
        piece = [a[first : first + BATCH] for a in features]
        lacking = BATCH - len(piece[0])
        padded = [np.concatenate([a, np.repeat(a[:1], lacking, axis=0)]) if lacking else a for a in piece]
        parts.append([a.numpy()[: BATCH - lacking] for a in call(*(tf.constant(a) for a in padded))])
    answer, hidden = (np.concatenate(column).astype(np.float64) for column in zip(*parts, strict=True))
    return answer, hidden


@functools.lru_cache(maxsize=2)
def _compiled(path: Path, _: tuple[int, int]) -> Callable[..., Any]:
    model = network.load(path).model

    @functools.partial(tf.function, jit_compile=True, autograph=False)
    def call(responses: Any, scalars: Any) -> Any:
        return model([responses, scalars], training=False)

    found: Callable[..., Any] = call
    return found
