"""What one scan's fit works with: its input on an even grid, its times, and how a curve is shown to the network."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qperf_app.methods import kinetic_inputs
from qperf_app.physics.compartments import capillary
from qperf_app.physics.conversion import SECONDS_PER_MINUTE, per_second
from qperf_app.physics.linear_response import EvenSolver
from qperf_app.physics.matrix_exponential import squarings_for
from qperf_app.plugins import InputFunction, TissueCurves

Array = NDArray[np.float64]

NAMES = ("Fp", "PS", "vp", "ve", "Ta")
#: Coordinates are log Fp, log PS, log vp, log ve (mL/min/mL and mL/mL) and Ta (s), each between these bounds.
LOWER = np.append(np.log([0.01, 0.001, 0.005, 0.005]), -1.0)
UPPER = np.append(np.log([10.0, 10.0, 0.4, 0.8]), 6.0)
#: Segments of the capillary by the option ``model``; one segment is the exchange model.
SEGMENTS = {"2CXM": 1, "BTEX": 20}
# Lags at which the network sees the tissue's response to an instantaneous bolus, s: dense where capillaries empty.
_LAGS = np.concatenate([np.arange(-2.0, 8.0, 0.5), np.geomspace(8.0, 80.0, 12)])
# Smoothing of that response, relative to what the input's energy says about it.
_RIDGE = 3e-4
#: Values of a curve that the network sees.
FEATURES = len(_LAGS)


@dataclass(frozen=True)
class Setting:
    """An input function and sample times.

    Parameters
    ----------
    times : (t,) array
        Of the tissue, s.
    grid, plasma : (m,) arrays
        Input in plasma on an even grid, in units of its peak.
    peak : float
        The input's peak, mmol/L.
    model : str
        Key of :data:`SEGMENTS`.
    """

    times: Array
    grid: Array
    plasma: Array
    peak: float
    model: str = "2CXM"

    @classmethod
    def of(cls, curves: TissueCurves, aif: InputFunction, haematocrit: float, model: str) -> Setting:
        """The setting of a scan, its input reaching as far as the earliest delay needs."""
        times = np.asarray(curves.times, dtype=np.float64)
        grid, plasma = kinetic_inputs.even_input(aif.times, aif.in_plasma(haematocrit), times[-1] - LOWER[-1])
        peak = float(np.max(plasma))
        return cls(times, grid, plasma / peak, peak, model)

    @cached_property
    def solver(self) -> EvenSolver:
        """Solver for the input, with halvings enough for the fastest rates within the bounds."""
        segments, (flow, surface) = SEGMENTS[self.model], per_second(np.exp(UPPER[:2]))
        fastest = 2.0 * max((segments * flow + surface) / np.exp(LOWER[2]), surface / np.exp(LOWER[3]))
        halvings = squarings_for(fastest * float(self.grid[1] - self.grid[0]))
        return EvenSolver(self.grid, self.plasma, self.times, (LOWER[-1], UPPER[-1]), halvings)

    def curves(self, xp: Any, x: Any) -> Any:
        """Model curves (n, t), in units of the input's peak, of coordinates (n, 5)."""
        Fp, PS, vp, ve = (xp.exp(x[..., i]) for i in range(4))
        return self.solver(capillary(Fp, PS, vp, ve, SEGMENTS[self.model]), x[..., 4])

    def features(self, data: Array) -> NDArray[np.float32]:
        """What the network sees of curves (n, t) in units of the input's peak: their impulse responses, (n, features).

        A curve depends on its input function; the response of the tissue to an instantaneous bolus, mL/min/mL, does
        not. It is found by ridge regression on hat functions over the lags, which are convolved with the input. So a
        network that one participant's curves have taught reads another's. Missing samples are put in by interpolation.
        """
        response = SECONDS_PER_MINUTE * self._without_gaps(data) @ self._inverse.T
        return (np.sign(response) * np.log1p(np.abs(response))).astype(np.float32)

    @cached_property
    def _inverse(self) -> Array:
        """Matrix (lags, t) from a curve to its response, 1/s."""
        step = float(self.grid[1] - self.grid[0])
        fine = np.arange(_LAGS[0], _LAGS[-1] + step, step)
        hats = np.stack([np.interp(fine, _LAGS, row, right=0.0) for row in np.eye(FEATURES)])
        reading = self.times[:, None] - fine
        design = step * np.interp(reading, self.grid, self.plasma, left=0.0) @ hats.T
        # Neighbouring lags resemble each other: their difference is what the ridge keeps small.
        rough = np.diff(np.eye(FEATURES), axis=0)
        energy = step * float((self.plasma**2).sum())
        normal = design.T @ design + _RIDGE * len(self.times) * energy * (rough.T @ rough + 0.01 * np.eye(FEATURES))
        inverse: Array = np.asarray(np.linalg.solve(normal, design.T), dtype=np.float64)
        return inverse

    def _without_gaps(self, data: Array) -> Array:
        """Curves with missing samples interpolated in time."""
        result = np.array(data, dtype=np.float64)
        for row in np.flatnonzero(~np.isfinite(result).all(axis=1)):
            there = np.isfinite(result[row])
            result[row] = np.interp(self.times, self.times[there], result[row, there])
        return result
