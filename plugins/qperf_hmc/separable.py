"""Models that are linear in two coefficients once two numbers and a delay are given, as the grid needs them.

A separable nonlinear least-squares problem (Golub and Pereyra 1973, doi:10.1137/0710036): the two coefficients are
integrated out, or drawn, given the three, and on a grid over the three the curves at unit coefficient, the members, are
the same for every voxel of a scan. The three are u and v, logarithms of rates or times, and the delay. What is drawn of
the coefficients are two logarithms, ``first`` and ``second``, chosen by each model so that between (u, v, Ta, first,
second) and the model's own coordinates the determinant of the derivatives is 1, everywhere: densities carry over.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from qperf_hmc import table
from qperf_hmc.amplitudes import Evidence, Peak, Prior

Array = NDArray[np.float64]
FloatArray = NDArray[np.float32]


class Members(NamedTuple):
    """Members on a grid (u, v, delay).

    ``first`` (u, delay, r) and ``second`` (v, late, r) at unit coefficient; ``late`` (u, delay) is where among its own
    delays the second member of a cell lies.
    """

    first: FloatArray
    second: FloatArray
    late: NDArray[np.intp]


class Interpolant(NamedTuple):
    """A family of two numbers as polynomials about the centres (n,) and (m,) of cells: coefficients (n * m, 6 * r).

    They are those of 1, x, y, x^2, y^2 and xy, where x and y reach from -1 to 1 within a cell.
    """

    coefficients: Any
    centres: tuple[Array, Array]

    @classmethod
    def of(cls, tables: table.Table, log_rate: Array, delay: Array) -> Interpolant:
        """Of the members of rates and delays about cells of even width.

        They go through the members at the centre and the middles of a cell's sides; with xy through those at its
        corners.
        """
        rates, delays = halves(log_rate), halves(delay)
        return cls.through(table.family(tables, np.exp(rates), delays), (log_rate, delay))

    @classmethod
    def through(cls, h: Array, centres: tuple[Array, Array]) -> Interpolant:
        """Through members (2 n + 1, 2 m + 1, r) at the cells' corners, centres and middles of sides."""
        centre, left, right = h[1::2, 1::2], h[:-1:2, 1::2], h[2::2, 1::2]
        below, above = h[1::2, :-1:2], h[1::2, 2::2]
        twist = h[2::2, 2::2] - h[2::2, :-1:2] - h[:-1:2, 2::2] + h[:-1:2, :-1:2]
        parts = (
            centre, 0.5 * (right - left), 0.5 * (above - below), 0.5 * (right + left) - centre,
            0.5 * (above + below) - centre, 0.25 * twist,
        )  # fmt: skip
        rows = np.stack(parts, axis=2).reshape(centre.shape[0] * centre.shape[1], -1).astype(np.float32)
        return cls(tf.constant(rows), centres)

    def at(self, along: FloatArray, across: FloatArray) -> Any:
        """Members (n, r) at numbers (n,) of the first and the second axis."""
        (i, x), (j, y) = (_locate(a, centres) for a, centres in zip((along, across), self.centres, strict=True))
        return _polynomial(tf.gather(self.coefficients, i * len(self.centres[1]) + j), x, y)


def halves(centres: Array) -> Array:
    """Ends and middles (2 n + 1,) of cells of even width, from their centres (n,)."""
    half = 0.5 * (centres[1] - centres[0])
    return np.linspace(centres[0] - half, centres[-1] + half, 2 * len(centres) + 1)


def _locate(value: FloatArray, centres: Array) -> tuple[NDArray[np.int32], FloatArray]:
    """Cell of every value, and where in it, -1 to 1."""
    position = (value - np.float32(centres[0])) / np.float32(centres[1] - centres[0])
    at = np.clip(np.rint(position), 0, len(centres) - 1).astype(np.int32)
    return at, (2.0 * (position - at)).astype(np.float32)


@functools.partial(tf.function, jit_compile=True, autograph=False)
def _polynomial(rows: Any, x: Any, y: Any) -> Any:
    """Members (n, r) from polynomials (n, 6 * r) at x, y (n,)."""
    c = tf.unstack(tf.reshape(rows, [x.shape[0], 6, -1]), axis=1)
    x, y = x[:, None], y[:, None]
    return c[0] + x * (c[1] + x * c[3] + y * c[5]) + y * (c[2] + y * c[4])


class Separable(ABC):
    """A model on such a grid. Its parameters are in the order of :data:`qperf_app.physics.models.MODELS`.

    ``ranks`` of the table's bases over rates, delays and times; ``peaks`` is how many modes the coefficients may have,
    ``stored`` the level of the octree up to which the members' products are stored, and ``reach`` how much more a cell
    may hold than its centre says, in standard deviations of the logarithms of octants' masses.
    """

    ranks: ClassVar[tuple[int, int, int]]
    peaks: ClassVar[int]
    stored: ClassVar[int]
    reach: ClassVar[float]

    @abstractmethod
    def forward(self, tables: table.Table, parameters: Sequence[Any]) -> Any:
        """Features (r, n) of physical parameters, each (n,)."""

    @abstractmethod
    def delays(self, delays: tuple[float, float], longest: float) -> tuple[float, float]:
        """Range of the table's delays, s, from that of Ta; no delay of ``longest`` or more shows in the samples."""

    @abstractmethod
    def place(self, x: Array) -> tuple[Array, Array, Array]:
        """u, v and Ta (n,) of the model's coordinates (5, n)."""

    @abstractmethod
    def allowed(self, u: Any, v: Any) -> Any:
        """Whether there is a model of u, v."""

    @abstractmethod
    def members(self, tables: table.Table, u: Array, v: Array, delay: Array) -> Members:
        """Members at the centres of a level's cells."""

    @abstractmethod
    def interpolants(self, tables: table.Table, u: Array, v: Array, delay: Array) -> tuple[Interpolant, Interpolant]:
        """What :meth:`members_at` reads, from the cells of a fine level."""

    @abstractmethod
    def members_at(self, interpolants: tuple[Interpolant, Interpolant], point: FloatArray) -> tuple[Any, Any]:
        """Both members (n, r) at points (3, n)."""

    @abstractmethod
    def start(self, evidence: Evidence, prior: Prior) -> Any:
        """Where climbs to the modes begin: ``first`` of all starts, then ``second``, (2 * peaks, n)."""

    @abstractmethod
    def modes(self, evidence: Evidence, prior: Prior, u: Any, v: Any, start: Sequence[Any]) -> Peak:
        """Modes of ``first`` and ``second``, some of which may be the same, from a start of each: (peaks, n)."""

    def given(self, evidence: Evidence, prior: Prior, u: Any, v: Any, peaks: Peak, peak: Peak, second: Any) -> Peak:
        """``peak``, one or all of the ``peaks``, as it is for ``first`` once ``second`` (n,) is given.

        Unchanged, as a normal density has it, unless overridden: where ``first`` does not follow ``second`` along a
        straight line. What comes back then depends on ``second`` alone, and is the same for all peaks.
        """
        return peak

    @abstractmethod
    def coefficients(self, first: Any, second: Any) -> tuple[Any, Any]:
        """Coefficients of the members, 1/s."""

    @abstractmethod
    def parameters(self, u: Any, v: Any, first: Any, second: Any) -> tuple[Any, Any, Any, Any]:
        """Logarithms of the first four parameters, flow and PS in 1/s."""
