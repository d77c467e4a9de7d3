r"""Solve linear compartment models by analytic steps: exact for an input that is linear between its samples.

Over an interval of width h the state moves by the exponential of an augmented matrix (Van Loan 1978,
doi:10.1109/TAC.1978.1101743),

.. math:: \exp \begin{pmatrix} hA & hb & 0 \\ 0 & 0 & 1 \\ 0 & 0 & 0 \end{pmatrix}
   = \begin{pmatrix} \Phi & h\varphi_1(hA)b & h\varphi_2(hA)b \\ & 1 & 1 \\ & & 1 \end{pmatrix}, \qquad
   x_{k+1} = \Phi x_k + h\varphi_1(hA)b\,c_k + h\varphi_2(hA)b\,(c_{k+1} - c_k),

which needs no inverse of A: eigenvalues may coincide or vanish. The input is **zero before its first sample** and keeps
its last value after the last one, as in :mod:`qperf_app.physics.convolution`.

:func:`solve` takes any times. :class:`EvenSolver` takes an input on an even grid once and then many batches of models,
two exponentials each, which is what a fit needs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qperf_app.physics.backend import ArrayLike, common_arrays
from qperf_app.physics.compartments import LinearSystem
from qperf_app.physics.convolution import interpolate
from qperf_app.physics.matrix_exponential import expm1

Array = NDArray[np.float64]


def solve(
    system: LinearSystem,
    times: ArrayLike,
    concentration: ArrayLike,
    Ta: ArrayLike = 0.0,
    at: ArrayLike | None = None,
    squarings: int | None = None,
) -> Any:
    """Tissue curves of a linear model.

    Parameters
    ----------
    system : LinearSystem
        Of batch shape (...,).
    times : (t,) array of numbers
        Sample times of the input, s, strictly increasing.
    concentration : (t,) or (..., t) array
        Input, mmol/L.
    Ta : (...,) array
        Bolus delay, s.
    at : (n,) array of numbers, optional
        When the tissue is sampled, s; ``times`` where it is not given.
    squarings : int, optional
        See :func:`~qperf_app.physics.matrix_exponential.expm1`.

    Returns
    -------
    (..., n) array
        mmol/L; exact up to rounding, differentiable in the system, the input and the delay.
    """
    knots = np.asarray(times, dtype=np.float64)
    points = knots if at is None else np.asarray(at, dtype=np.float64)
    width = np.diff(knots)
    even = bool(np.ptp(width) <= 1e-9 * width[0])
    direct = 0.0 if system.direct is None else system.direct
    xp, A, b, w, c, delay, d = common_arrays(system.rates, system.inflow, system.readout, concentration, Ta, direct)
    grid, widths = xp.like(knots, A), xp.like(width, A)
    rise = c[..., 1:] - c[..., :-1]
    step = _step(xp, A, b, widths[:1] if even else widths, squarings)
    pushed = step.held * c[..., :-1, None] + step.rising * rise[..., None]
    states = _states(xp, step.move, pushed)

    reading = xp.like(points, A) - delay[..., None]
    index = xp.interval(grid, reading)
    elapsed = xp.maximum(reading - xp.take(grid, index), 0.0)
    # What the input rises by until then: its slope, 0 after the last sample, times the time elapsed.
    since = xp.take(xp.append_zero(rise / widths), index) * elapsed
    rest = _step(xp, A, b, elapsed, squarings)
    before = xp.stack([xp.take(states[..., i], index) for i in range(A.shape[-1])], -1)
    state = xp.contract(rest.move, before) + rest.held * xp.take(c, index)[..., None] + rest.rising * since[..., None]
    result = xp.contract(state, w)
    result = xp.where(reading < grid[0], 0.0 * result, result)
    return result if system.direct is None else result + d[..., None] * interpolate(grid, c, reading)


@dataclass(frozen=True)
class _Step:
    """What an interval does: ``move`` (..., m, m) to the state, ``held`` (..., m) by the input at its start, ``rising``
    (..., m) by what the input rises over the interval."""

    move: Any
    held: Any
    rising: Any


def _step(xp: Any, A: Any, b: Any, width: Any, squarings: int | None) -> _Step:
    """Step of systems (...,) over widths (n,) or (..., n): arrays of batch shape (..., n)."""
    m = A.shape[-1]
    width = width[..., None, None]
    top = xp.join([width * A[..., None, :, :], width * b[..., None, :, None], 0.0 * width * b[..., None, :, None]], -1)
    chain = np.zeros((2, m + 2))
    chain[0, m + 1] = 1.0
    moved = expm1(xp, xp.join([top, xp.like(chain, A) + 0.0 * top[..., :1, :]], -2), squarings)
    return _Step(moved[..., :m, :m] + xp.like(np.eye(m), A), moved[..., :m, m], moved[..., :m, m + 1])


def _states(xp: Any, move: Any, pushed: Any) -> Any:
    """Solve x[0] = 0, x[k + 1] = move[k] x[k] + pushed[k]: (..., t, m) of ``pushed`` (..., t - 1, m).

    By doubling (Hillis and Steele 1986, doi:10.1145/7902.7903), as the backend's linear recurrence. A ``move``
    (..., 1, m, m) that serves all intervals is squared once for each doubling.
    """
    n, shift, one = pushed.shape[-2], 1, move.shape[-3] == 1
    total = pushed + 0.0 * move[..., 0]
    while shift < n:
        earlier = xp.contract(move if one else move[..., shift:, :, :], total[..., :-shift, :])
        total = xp.join([total[..., :shift, :], total[..., shift:, :] + earlier], -2)
        if one:
            move = xp.matmul(move, move)
        else:
            joined = xp.matmul(move[..., shift:, :, :], move[..., :-shift, :, :])
            move = xp.join([move[..., :shift, :, :], joined], -3)
        shift *= 2
    return xp.join([0.0 * total[..., :1, :], total], -2)


class EvenSolver:
    """Solver for one input on an even grid and one set of sample times: many models, cheap for each.

    On an even grid a linear model is a filter: its taps are ``w Phi^k g``, with ``g`` the effect of one sample of the
    input. Powers of Phi are split into two short runs (k = n a + b), so that even a model of forty states costs a few
    dozen products of matrix and vector, and all curves follow by one product with a matrix that depends on the input
    only. The delay takes a second exponential, over the fraction of an interval that it leaves, and a shift.

    Curves are exact on the grid; sample times between its points are reached by cubic interpolation (Lagrange), whose
    error at a spacing of 0.25 s is a ten-thousandth of a curve's peak or less.

    Parameters
    ----------
    times : (t,) array of numbers
        Evenly spaced, s; reaching at least from the first to the last of ``at`` less the earliest delay.
    concentration : (t,) array of numbers
        Input, mmol/L.
    at : (n,) array of numbers
        When the tissue is sampled, s.
    delays : (earliest, latest)
        Limits of the delay, s.
    squarings : int, optional
        See :func:`~qperf_app.physics.matrix_exponential.expm1`; should be given where graphs are compiled.

    Raises
    ------
    ValueError
        Where the grid is not even.
    """

    def __init__(
        self,
        times: ArrayLike,
        concentration: ArrayLike,
        at: ArrayLike,
        delays: tuple[float, float],
        squarings: int | None = None,
    ) -> None:
        knots, points = np.asarray(times, dtype=np.float64), np.asarray(at, dtype=np.float64)
        width = np.diff(knots)
        if np.ptp(width) > 1e-6 * width[0]:
            raise ValueError("the input's times are not evenly spaced")
        self.step, self.squarings = float(width.mean()), squarings
        self._least = math.floor(delays[0] / self.step)
        self._shifts = math.floor(delays[1] / self.step) - self._least + 1
        positions = (points - knots[0]) / self.step
        c = np.asarray(concentration, dtype=np.float64)
        self._basis, self._runs = _basis(c, positions, self._least, self._shifts)

    def __call__(self, system: LinearSystem, Ta: ArrayLike) -> Any:
        """Tissue curves (..., n), mmol/L, of systems and delays of batch shape (...,)."""
        if system.direct is not None:
            raise ValueError("a model that shows its input at once is left to solve()")
        xp, A, b, w, delay = common_arrays(system.rates, system.inflow, system.readout, Ta)
        steps = xp.floor(delay / self.step)
        rest = 1.0 - (delay / self.step - steps)
        # One exponential over a whole interval and one over what the delay leaves of it.
        widths = self.step * xp.stack([0.0 * rest + 1.0, rest], -1)
        moved = _step(xp, A, b, widths, self.squarings)
        # The interval that is read from goes before the whole ones.
        rising = rest * xp.contract(moved.rising[..., 1:, :], w)[..., 0]
        now = xp.stack([xp.contract(moved.held[..., 1:, :], w)[..., 0] - rising, rising], -1)
        read = xp.matmul(w[..., None, :], moved.move[..., 1, :, :])
        ends = xp.stack([moved.held - moved.rising, moved.rising], -1)[..., 0, :, :]
        before = _powers(xp, read, moved.move[..., 0, :, :], ends, self._runs)
        taps = xp.join([now[..., None, :], before], -2)
        taps = _delayed(xp, taps, steps - float(self._least), self._shifts)
        return xp.contract_pairs(taps, xp.like(self._basis, A))


def _runs(count: int) -> tuple[int, int]:
    """Two powers of two, much alike, whose product is the smallest that is at least ``count``."""
    doublings = max(0, math.ceil(math.log2(count)))
    return 2 ** (doublings // 2), 2 ** (doublings - doublings // 2)


def _powers(xp: Any, rows: Any, move: Any, columns: Any, runs: tuple[int, int]) -> Any:
    """``rows move^k columns`` for k below the product of ``runs``: (..., k, 2) of (..., 1, m) and (..., m, 2)."""
    for _ in range(runs[0].bit_length() - 1):
        columns = xp.join([columns, xp.matmul(move, columns)], -1)
        move = xp.matmul(move, move)
    for _ in range(runs[1].bit_length() - 1):
        rows = xp.join([rows, xp.matmul(rows, move)], -2)
        move = xp.matmul(move, move)
    return xp.in_pairs(xp.matmul(rows, columns))


def _delayed(xp: Any, taps: Any, steps: Any, shifts: int) -> Any:
    """Taps (..., k, 2) later by ``steps`` (...,) whole intervals, of which there are 0 to ``shifts`` - 1.

    Bit by bit, each a choice between two arrays: compiles to vector code where a gather would not.
    """
    steps = xp.minimum(xp.maximum(steps, 0.0), shifts - 1.0)
    for bit in range((shifts - 1).bit_length()):
        gap = 0.0 * xp.join([taps[..., :1, :]] * 2**bit, -2)
        odd = xp.floor(steps / 2.0**bit) - 2.0 * xp.floor(steps / 2.0 ** (bit + 1)) > 0.5
        taps = xp.where(odd[..., None, None], xp.join([gap, taps], -2), xp.join([taps, gap], -2))
    return taps


def _basis(c: Array, positions: Array, least: int, shifts: int) -> tuple[Array, tuple[int, int]]:
    """Matrix (taps, 2, n) from taps to samples at ``positions`` (n,), in intervals from the input's first sample.

    Tap l stands for the interval ``least`` + 1 + l before a grid point; its two columns for the input at the interval's
    start and end. Returns as well the two runs of powers that make the taps.
    """
    base = np.floor(positions).astype(int)
    u = positions - base
    weights = [
        -u * (u - 1) * (u - 2) / 6,
        (u + 1) * (u - 1) * (u - 2) / 2,
        -(u + 1) * u * (u - 2) / 2,
        (u + 1) * u * (u - 1) / 6,
    ]
    reach = 2 ** (shifts - 1).bit_length() - 1
    runs = _runs(max(1, int(base.max()) + 2 - least))
    result = np.zeros((1 + math.prod(runs) + reach, 2, len(positions)))
    taps = np.arange(len(result))[:, None]
    for offset, weight in zip(range(-1, 3), weights, strict=True):
        interval = base + offset - least - 1 - taps
        for end in (0, 1):
            sample = c[np.clip(interval + end, 0, len(c) - 1)]
            result[:, end] += weight * np.where(interval >= 0, sample, 0.0)
    return result, runs
