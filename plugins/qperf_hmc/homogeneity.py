r"""The adiabatic tissue homogeneity model (ATH) in coordinates in which flow and PS can be taken out.

With the transit time Tc = vp / Fp, the extraction E = 1 - exp(-PS / Fp) and the return rate k = E Fp / ve its curve is

.. math:: F_p\,[I(t - T_a) - I(t - T_a - T_c)] + E F_p\,C(k;\, t - T_a - T_c)

where I is the input's integral and C its convolution with exp(-k t)
(:func:`qperf_app.physics.models.adiabatic_tissue_homogeneity`): linear in Fp and E Fp. The grid is over log Tc, log k
and Ta. Between these with log Fp, log PS and the model's own coordinates, log Fp, log PS, log vp = log Fp + log Tc,
log ve = log E Fp - log k and Ta, the determinant of the derivatives is 1, everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from qperf_app.physics.conversion import per_second
from qperf_hmc import table
from qperf_hmc.amplitudes import (
    Evidence,
    Expansion,
    Peak,
    Prior,
    climb,
    least_squares,
    likelihood,
    likely_flow,
    with_prior,
)
from qperf_hmc.separable import FloatArray, Interpolant, Members, Separable, halves

Array = NDArray[np.float64]

# Extractions within which a climb starts, and PS / Fp from which hardly anything is left to extract.
_EXTRACTIONS, _SATURATED = (0.05, 0.95), 3.0
# Steps along log Fp where log PS is given, and the longest.
_STEPS_ALONG, _LONGEST_ALONG = 4, 1.0
# PS / Fp up to which exponentials are taken: from there all is extracted, to the last digit of single precision.
_ALL_EXTRACTED = 40.0
# Delays of the second member lie this close, s: no cell's is off by more than half of it.
_LATE = 0.06
# Cells of the polynomials, along log k and along the delay, s: both wider than the grid's finest, since a curve is
# smooth in them.
_RATE_CELLS, _DELAY_CELL = 96, 0.125


class Homogeneity(Separable):
    """The ATH; ``first`` and ``second`` are the logarithms of Fp and PS, 1/s."""

    # Delays as long as the scan take more functions of delay and of time than some seconds: a short transit is the
    # difference of two that lie close.
    ranks = (12, 80, 40)
    peaks = 2
    stored = 2
    # Its ridges are narrow: a cell that one passes through may say little at its centre.
    reach = 2.0

    def forward(self, tables: table.Table, parameters: Sequence[Any]) -> Any:
        """Features (r, n) of Fp, PS (mL/min/mL), ve, vp (mL/mL) and Ta (s), each (n,)."""
        Fp, PS, ve, vp, Ta = parameters
        flow, extraction = per_second(Fp), -tf.math.expm1(-PS / Fp)
        none = table.rate_factors(tables, tf.zeros_like(flow))
        (arrived,) = table.members(tables, [none * flow], Ta)
        back = table.rate_factors(tables, extraction * flow / ve) * (extraction * flow)
        (gone,) = table.members(tables, [back - none * flow], Ta + vp / flow)
        return arrived + gone

    def delays(self, delays: tuple[float, float], longest: float) -> tuple[float, float]:
        """Those of Ta + Tc that show."""
        return delays[0], max(delays[1], longest)

    def place(self, x: Array) -> tuple[Array, Array, Array]:
        """Logarithms of Tc (s) and k (1/s), and Ta."""
        Fp, PS, ve, vp = np.exp(x[:4])
        flow, extraction = per_second(Fp), -np.expm1(-PS / Fp)
        return np.log(vp / flow), np.log(extraction * flow / ve), x[4]

    def allowed(self, u: Any, v: Any) -> Any:
        """Any transit time goes with any rate: true in the shape of both."""
        return (u > v) | (u <= v)

    def members(self, tables: table.Table, u: Array, v: Array, delay: Array) -> Members:
        """What passes within Tc, and what comes back after it; the second's delays are on a grid of their own."""
        own = np.arange(delay[0], _latest(tables), _LATE)
        late = _nearest(own, delay + np.exp(u)[:, None])
        integral = table.family(tables, np.zeros(1), own)[0].astype(np.float32)
        first = integral[_nearest(own, delay)] - integral[late]
        return Members(first, table.family(tables, np.exp(v), own).astype(np.float32), late)

    def interpolants(self, tables: table.Table, u: Array, v: Array, delay: Array) -> tuple[Interpolant, Interpolant]:
        """Of the input's integral and of its convolutions, over all delays."""
        half = 0.5 * (v[1] - v[0])
        edges = np.linspace(v[0] - half, v[-1] + half, _RATE_CELLS + 1)
        own = np.arange(delay[0], _latest(tables) + _DELAY_CELL, _DELAY_CELL)
        integral = np.repeat(table.family(tables, np.zeros(1), halves(own)), 5, axis=0)
        return (
            Interpolant.through(integral, (np.arange(2.0), own)),
            Interpolant.of(tables, 0.5 * (edges[1:] + edges[:-1]), own),
        )

    def members_at(self, interpolants: tuple[Interpolant, Interpolant], point: FloatArray) -> tuple[Any, Any]:
        """What passes within Tc, and what comes back after it."""
        transit, rate, delay = point
        integral, convolved = interpolants
        late = np.minimum(delay + np.exp(transit), np.float32(integral.centres[1][-1]))
        none = np.zeros_like(delay)
        return integral.at(none, delay) - integral.at(none, late), convolved.at(rate, late)

    def start(self, evidence: Evidence, prior: Prior) -> Any:
        """Least squares, and those with all extracted."""
        flow, extracted = least_squares(evidence, prior)
        extraction = tf.clip_by_value(tf.exp(extracted - flow), *_EXTRACTIONS)
        own = flow + tf.math.log(-tf.math.log1p(-extraction))
        together = (evidence.y1 + evidence.y2) / (evidence.h11 + 2.0 * evidence.h12 + evidence.h22)
        return tf.stack([flow, tf.math.log(likely_flow(together, prior)), own, flow])

    def modes(self, evidence: Evidence, prior: Prior, u: Any, v: Any, start: Sequence[Any]) -> Peak:
        """The mode, and the middle of what lies where PS no longer shows and only its prior ends it.

        From the ``start``, log Fp (2, n) and log PS (2, n). A curve says of PS no more than E: the density may have a
        long shoulder beside its mode, which would be far out in the tail of any draws about that.
        """
        (first, saturated), (second, _) = map(tf.unstack, start)
        beyond = tf.maximum(prior.mean[1], saturated + np.float32(np.log(_SATURATED)))
        starts = tf.stack([first, saturated]), tf.stack([second, beyond])
        return climb(lambda a, b: _held(_expand(evidence, prior, u, v, a, b), prior), *starts)

    def given(self, evidence: Evidence, prior: Prior, u: Any, v: Any, peaks: Peak, peak: Peak, second: Any) -> Peak:
        """Climb along log Fp: along the shoulder its mode bends."""
        first, curvature = peaks.first[0], peaks.l11[0]
        for _ in range(_STEPS_ALONG):
            _, (slope, _), (curvature, *_) = _expand(evidence, prior, u, v, first, second)
            first += tf.clip_by_value(slope / curvature, -_LONGEST_ALONG, _LONGEST_ALONG)
        return peak._replace(first=first, l11=tf.sqrt(curvature), l21=tf.zeros_like(first))

    def coefficients(self, first: Any, second: Any) -> tuple[Any, Any]:
        """Fp and E Fp."""
        flow = tf.exp(first)
        return flow, -flow * tf.math.expm1(-tf.exp(second - first))

    def parameters(self, u: Any, v: Any, first: Any, second: Any) -> tuple[Any, Any, Any, Any]:
        """Logarithms of Fp (1/s), PS (1/s), ve, vp."""
        extraction = -tf.math.expm1(-tf.exp(second - first))
        return first, second, first + tf.math.log(extraction) - v, first + u


HOMOGENEITY = Homogeneity()


def _latest(tables: table.Table) -> float:
    """The last delay of a table, s."""
    return float(tables.first_delay + (tables.delay.shape[1] - 2) * table.DELAY_SPACING)


def _nearest(grid: Array, value: Array) -> NDArray[np.intp]:
    """Index of the points of an even grid that values lie next to, the ends for those beyond."""
    return np.asarray(np.clip(np.rint((value - grid[0]) / (grid[1] - grid[0])), 0, len(grid) - 1), dtype=np.intp)


def _held(expansion: Expansion, prior: Prior) -> Expansion:
    """Hold log PS of the second of two points where it is, with the width of its prior."""
    value, (g1, g2), (c11, c21, c22) = expansion
    first = tf.constant([[True], [False]])
    return Expansion(
        value,
        (g1, tf.where(first, g2, 0.0)),
        (c11, tf.where(first, c21, 0.0), tf.where(first, c22, 1.0 / (prior.sd[1] * prior.sd[1]))),
    )


def _expand(evidence: Evidence, prior: Prior, u: Any, v: Any, first: Any, second: Any) -> Expansion:
    """Likelihood and prior about log Fp and log PS."""
    ratio = tf.minimum(tf.exp(second - first), _ALL_EXTRACTED)
    extraction = -tf.math.expm1(-ratio)
    # How the logarithm of E changes with that of PS / Fp.
    rise = ratio / tf.math.expm1(ratio)
    extracted = first + tf.math.log(extraction)
    found = (first, second, extracted - v, first + u)
    slopes = ((1.0, 0.0), (0.0, 1.0), (1.0 - rise, rise), (1.0, 0.0))
    value, (g1, g2), (c11, c21, c22) = likelihood(evidence, prior, tf.exp(first), tf.exp(extracted))
    rest = 1.0 - rise
    by_logarithms = Expansion(
        value,
        (g1 + rest * g2, rise * g2),
        (c11 + 2.0 * rest * c21 + rest * rest * c22, rise * (c21 + rest * c22), rise * rise * c22),
    )
    return with_prior(by_logarithms, prior, found, slopes)
