"""What the network sees of a curve: its response function, deconvolved at three strengths, whatever the scan.

The best linear estimate of the response from a curve, given how responses of the model vary and how much
noise there is (a Wiener filter), is one matrix product for all voxels of a scan. It takes out the input function and
the sample times, irregular or not, so that the network need know nothing of either. Three assumed noise levels trade
resolution against noise; what each leaves uncertain goes along, for that does depend on the scan.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qperf_app.methods.exchange_models import ExchangeModel
from qperf_app.methods.kinetic_inputs import even_input
from qperf_app.methods.noise import lag_one_autocorrelation
from qperf_app.physics.conversion import SECONDS_PER_MINUTE
from qperf_cnn.responses import tent_averages, tent_convolutions
from qperf_cnn.simulation import draw_parameters

Array = NDArray[np.float64]
FloatArray = NDArray[np.float32]

#: Lags of the response, s: evenly where it rises and falls, wider apart where it only decays.
LAGS = np.concatenate([np.arange(-2.0, 8.0, 0.5), 8.0 + 0.5 * np.cumsum(1.12 ** np.arange(1, 25))])
#: Noise levels assumed, as parts of the input function's peak.
LEVELS = (0.001, 0.004, 0.016)
#: Channels of the response and numbers beside it.
CHANNELS, SCALARS = 2 * len(LEVELS), len(LEVELS) + 5
#: What is added to the logarithm of a residual's size, which brings it to about 0.
RESIDUAL_SHIFT = 6.0
_DRAWS = 8192
# mL/min/mL: about here the responses are scaled from a line to a logarithm.
_BEND = 0.3


class Filters(NamedTuple):
    """What turns curves of one scan into features.

    ``forward`` (t, l) makes a curve of a response, relative to the input function's peak; ``estimates``, one (l, t) for
    each level, a response of a curve; ``offsets`` (l,) each; ``spread`` (l, levels) what stays uncertain.
    """

    peak: float
    forward: Array
    estimates: list[Array]
    offsets: list[Array]
    spread: Array
    scan: Array


class Features(NamedTuple):
    """``responses`` (n, l, channels) and ``scalars`` (n, s) float32."""

    responses: FloatArray
    scalars: FloatArray


def build_filters(times: Array, input_times: Array, plasma: Array, model: ExchangeModel = "2CXM") -> Filters:
    """Filters for curves at ``times`` (t,) with the input function (m,), mmol/L in plasma, at ``input_times``, s."""
    grid, cp = even_input(input_times, plasma, times[-1] - LAGS[0])
    peak = float(cp.max())
    forward = tent_convolutions(grid, cp / peak, times, LAGS)
    mean, covariance = _response_prior(model)
    estimates: list[Array] = []
    offsets: list[Array] = []
    spread: list[Array] = []
    for level in LEVELS:
        across = forward @ covariance
        gain = np.linalg.solve(across @ forward.T + level**2 * np.eye(len(times)), across).T
        estimates.append(np.asarray(gain, np.float64))
        offsets.append(mean - gain @ (forward @ mean))
        left = np.diag(covariance) - np.einsum("lt,tl->l", gain, across)
        spread.append(np.sqrt(np.maximum(left, 1e-16)))
    spacing, length = float(np.median(np.diff(times))), float(times[-1] - times[0])
    # About 0 for a scan of 60 frames, 1 s apart, over a minute.
    scan = np.log([len(times) / 60.0, spacing, length / 60.0])
    return Filters(peak, forward, estimates, offsets, np.stack(spread, axis=1), scan)


def extract(filters: Filters, curves: Array) -> Features:
    """Features of curves (n, t), mmol/L, without gaps."""
    y = curves / filters.peak
    n = len(y)
    responses = np.empty((n, len(LAGS), CHANNELS), dtype=np.float32)
    scalars = np.empty((n, SCALARS), dtype=np.float32)
    for k, (gain, offset) in enumerate(zip(filters.estimates, filters.offsets, strict=True)):
        response = y @ gain.T + offset
        responses[..., k] = np.arcsinh((response * (SECONDS_PER_MINUTE / _BEND)).astype(np.float32))
        residual = y - response @ filters.forward.T
        scalars[:, k] = log_size(residual) + RESIDUAL_SHIFT
        if k == 1:
            scalars[:, len(LEVELS)] = lag_one_autocorrelation(residual)
    responses[..., len(LEVELS) :] = np.log(filters.spread * SECONDS_PER_MINUTE)
    scalars[:, len(LEVELS) + 1] = log_size(y) + 3.0
    scalars[:, len(LEVELS) + 2 :] = filters.scan
    return Features(responses, scalars)


def log_size(values: Array) -> Array:
    """Logarithm (n,) of the root mean square of rows (n, t)."""
    size: Array = np.log(np.sqrt(np.einsum("nt,nt->n", values, values) / values.shape[1]) + 1e-6)
    return size


@functools.lru_cache(maxsize=2)
def _response_prior(model: ExchangeModel) -> tuple[Array, Array]:
    """Mean (l,) and covariance (l, l) of responses at the lags, 1/s, over the range of parameters that is learnt."""
    response = tent_averages(draw_parameters(np.random.default_rng(0), _DRAWS), LAGS, model)
    covariance = np.cov(response.T)
    return response.mean(axis=0), covariance + 1e-6 * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
