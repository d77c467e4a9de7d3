"""Curves of all tissues of a scan: concentration after one or two injections, and the signal that it gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qperf_app.phantom.bolus import Bolus, blood_curves
from qperf_app.phantom.config import PhantomConfig
from qperf_app.phantom.perfusion import CELLS, Kinetics, tissue_concentration
from qperf_app.phantom.render import Values
from qperf_app.phantom.sequences import Protocol, signal_of
from qperf_app.phantom.tissue import FAT, TISSUES, blood_and_organ_curves, kind_of, t1_of, t2_of
from qperf_app.physics.constants import native_t2star, relaxivity, t2star_relaxivity, transverse_relaxivity
from qperf_app.physics.conversion import plasma_concentration
from qperf_app.physics.signal import relaxation_rate

#: Signal of fully relaxed blood at the heart under a 90 degree pulse; fills a scanner's 12 bits or so.
GAIN = 20000.0


@dataclass(frozen=True)
class Curves:
    """Values over time: tissues (t, ...), cells of the wall (cells, t, ...), and the rest of the heart's muscle
    (t, ...)."""

    tissues: dict[str, NDArray[np.float64]]
    cells: NDArray[np.float64]
    muscle: NDArray[np.float64]

    def at(self, which: Any) -> Curves:
        """The curves at some of their times."""
        return self.map(lambda _, curves, axis: curves[(slice(None),) * axis + (which,)])

    def map(self, change: Callable[[str, NDArray[np.float64], int], NDArray[np.float64]]) -> Curves:
        """Apply ``change(tissue, curves, axis of time)`` to all."""
        return Curves(
            {name: change(name, curve, 0) for name, curve in self.tissues.items()},
            change("myocardium", self.cells, 1),
            change("myocardium", self.muscle, 0),
        )

    def __add__(self, other: Curves) -> Curves:
        tissues = {name: curve + other.tissues[name] for name, curve in self.tissues.items()}
        return Curves(tissues, self.cells + other.cells, self.muscle + other.muscle)

    def values(self, which: Any) -> Values:
        """What the renderer paints with: the curves at one time, or at several."""
        chosen = self.at(which)
        return Values(
            {name: np.asarray(curve, np.float32) for name, curve in chosen.tissues.items()},
            np.asarray(chosen.cells, np.float32),
            np.asarray(chosen.muscle, np.float32),
        )


@dataclass(frozen=True)
class Injection:
    """A bolus, and how long before the series' first volume its own clock began, s."""

    bolus: Bolus
    earlier: float = 0.0


def concentrations(
    model: str,
    kinetics: Kinetics,
    injections: Sequence[Injection],
    times: NDArray[np.float64],
    haematocrit: float,
    levels: NDArray[np.bool_],
) -> Curves:
    """Concentration of all tissues at some times (t,), mmol/L: exchange is linear, and what injections bring adds up.

    ``levels`` (CELLS[2],) are those of the wall's cells that are wanted.
    """
    parts = (_concentrations(model, kinetics, i, times, haematocrit, levels) for i in injections)
    return reduce(lambda first, second: first + second, parts)


def _concentrations(
    model: str,
    kinetics: Kinetics,
    injection: Injection,
    times: NDArray[np.float64],
    haematocrit: float,
    levels: NDArray[np.bool_],
) -> Curves:
    """What one injection brings, convolved on a finer grid than the times wanted."""
    bolus = injection.bolus
    # On the clock of the injection, from before the bolus on.
    own = np.round(times + injection.earlier, 3)
    last = own[-1]
    fine = np.concatenate(
        [np.arange(bolus.arrival - 0.5, min(bolus.arrival + 30.0, last), 0.3), np.arange(0, last, 0.8)]
    )
    # Whole milliseconds as the volumes' times are: no two knots differ by a rounding error.
    knots = np.union1d(np.round(fine, 3), own)
    at = np.searchsorted(knots, own)
    blood = blood_curves(bolus, knots)
    cp = plasma_concentration(blood["left"], haematocrit)
    cells = tissue_concentration(model, kinetics, knots, cp, levels)[:, at]
    tissues = {name: curve[at] for name, curve in blood_and_organ_curves(knots, blood, haematocrit).items()}
    # Papillary muscles and the right ventricle's wall: the better half of the left one's.
    healthy = np.median(kinetics.MBF) <= kinetics.MBF
    normal = healthy & np.broadcast_to(levels, CELLS)
    return Curves(tissues, cells, cells[normal.ravel()].mean(axis=0))


def signals(config: PhantomConfig, curves: Curves, scanned: Protocol, b1: NDArray[np.float64]) -> Curves:
    """Signals (..., t, echo, node) of all tissues where the coils' sensitivity is 1, at nodes (n,) of B1."""
    field, n = config.field_strength, config.proton_density_frames

    def signal(name: str, concentration: NDArray[np.float64], _: int) -> NDArray[np.float64]:
        rho = GAIN * (TISSUES[name].density if name in TISSUES else 0.9)
        if name in FAT:
            rho *= config.fat_brightness
        r1 = relaxation_rate(concentration, t1_of(name, field), relaxivity(field))
        r2 = relaxation_rate(concentration, t2_of(name, field), transverse_relaxivity(field))
        r2star = 0.0 * r2
        if config.decays:
            kind = kind_of(name)
            r2star = relaxation_rate(concentration, native_t2star(kind, field), t2star_relaxivity(kind, field))
        first = np.stack([signal_of(r1, scanned, n, rho, r2, r2star, value) for value in b1], axis=-1)
        later = [echo - scanned.echo_times[0] for echo in scanned.echo_times]
        return np.stack([first * np.exp(-time * r2star)[..., None] for time in later], axis=-2)

    return curves.map(signal)
