"""The network, from what it sees of a curve to the model's coordinates; plain arrays, NumPy or TensorFlow."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qperf_app.physics.backend import common_arrays
from qperf_app.training import WeightsError, read_arrays, read_card
from qperf_pinn.setting import FEATURES, LOWER, UPPER

#: Weights and offsets of the layers in turn.
Weights = list[NDArray[np.float32]]

WIDTH, LAYERS = 96, 3


def random_weights(seed: int, start: NDArray[np.float64]) -> Weights:
    """Random weights; the untrained network says about ``start`` (5,) of every curve."""
    rng = np.random.default_rng(seed)
    sizes = (FEATURES, *(WIDTH,) * LAYERS, len(LOWER))
    weights: Weights = []
    for fan_in, fan_out in pairwise(sizes):
        weights.append((rng.standard_normal((fan_in, fan_out)) / np.sqrt(fan_in)).astype(np.float32))
        weights.append(np.zeros(fan_out, np.float32))
    share = (start - LOWER) / (UPPER - LOWER)
    weights[-2] *= np.float32(0.3)
    weights[-1][:] = np.log(share / (1.0 - share))
    return weights


def predict(weights: Any, features: Any) -> Any:
    """Coordinates (n, 5), inside their bounds, of curves shown as (n, features)."""
    xp, x, *layers = common_arrays(features, *weights)
    for i in range(0, len(layers), 2):
        x = xp.dense(x, layers[i]) + layers[i + 1]
        if i + 2 < len(layers):
            # Swish (Ramachandran et al. 2017, arXiv:1710.05941): smooth, as what it stands for is.
            x = x / (1.0 + xp.exp(-x))
    return xp.like(LOWER, x) + xp.like(UPPER - LOWER, x) / (1.0 + xp.exp(-x))


def read_network(path: Path, model: str) -> Weights:
    """Weights of a network for a model, from a file and the card beside it.

    Raises
    ------
    WeightsError
        Where they can't be read or belong to another network or model; the message names the file.
    """
    of = read_card(path).get("model")
    if of != model:
        raise WeightsError(f"{path}: weights for the model {of}, not {model}")
    weights = read_arrays(path)
    like = random_weights(0, 0.5 * (LOWER + UPPER))
    if [w.shape for w in weights] != [w.shape for w in like] or not all(np.isfinite(w).all() for w in weights):
        raise WeightsError(f"{path}: its arrays are not those of a network of pinn")
    return weights
