"""Signals of every source of a scene: a bolus, what the tissues take up of it, and a sequence that reads them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qperf_app.phantom.bolus import Bolus, blood_curves
from qperf_app.phantom.config import PhantomConfig
from qperf_app.phantom.curves import GAIN
from qperf_app.phantom.participant import Participant
from qperf_app.phantom.perfusion import sample_kinetics
from qperf_app.phantom.scenes import LAYERS, ORGANS, SECTORS, wall_groups
from qperf_app.phantom.sequences import Protocol, protocol, signal_of
from qperf_app.phantom.tissue import TISSUES, blood_and_organ_curves, kind_of, t1_of, t2_of
from qperf_app.physics.constants import native_t2star, relaxivity, t2star_relaxivity, transverse_relaxivity
from qperf_app.physics.conversion import plasma_concentration
from qperf_app.physics.models import two_compartment_exchange
from qperf_app.physics.sequences import ReadOut, Sequence
from qperf_app.physics.signal import relaxation_rate
from qperf_app.training.case_ranges import CaseDraws

#: Sources whose agent is blood's.
_BLOOD = ("left", "right", "aorta", "lung-vessel")
#: Least duration of a catalysation before the first excitation, s.
_CATALYSED = 0.002


def draw_protocol(name: str, draw: CaseDraws) -> Protocol:
    """A sequence of a kind, such as ``tissue-bSSFP``; without saturation where it is a steady state."""
    steady = name.endswith("steady-state")
    readout: ReadOut = "FLASH"
    for one in ("bSSFP", "EPI"):
        readout = one if name.endswith(one) else readout
    spacing, flip = draw.value(name, "spacing"), min(draw.value(name, "flip_angle"), 88.0)
    excitations = draw.whole(name, "excitations")
    if steady:
        dynamic = Sequence(readout, flip, spacing, excitations, echo_time=0.45 * spacing)
        return Protocol(dynamic, Sequence(readout, 0.2 * flip, spacing, excitations, echo_time=0.45 * spacing), (0.0,))
    delay = max(draw.value(name, "delay"), _CATALYSED)
    echo = 0.4 * spacing if readout == "EPI" else 0.5 * spacing
    return protocol(Sequence(readout, flip, spacing, excitations, delay, echo), min(0.5 * flip, 15.0))


def source_signals(
    config: PhantomConfig,
    person: Participant,
    bolus: Bolus,
    times: NDArray[np.float64],
    n: int,
    scanned: Protocol,
    draw: CaseDraws,
) -> NDArray[np.float32]:
    """Signal (sources, t) where the coils' sensitivity is 1, the first ``n`` volumes proton-density weighted."""
    curves = _concentrations(config, person, bolus, times, draw)
    names = [*ORGANS, *["myocardium"] * (1 + SECTORS * LAYERS)]
    field = config.field_strength
    heart, b1 = draw.log_normal(0.1), draw.value("sequences", "b1")
    left_over = draw.value("bolus", "left_over") if draw.happens("bolus", "left_over_share") else 0.0
    rates, densities = np.empty((3, *curves.shape)), np.empty((len(curves), 1))
    for i, (name, curve) in enumerate(zip(names, curves, strict=True)):
        if i <= len(ORGANS):
            # Tissues are brighter or darker than constants say; the wall's groups share one draw.
            own = heart if name in ("left", "right", "aorta") else 1.0
            fatty = draw.value("tissues", "fat") if "fat" in name else 1.0
            density = GAIN * draw.log_normal(0.2) * own * fatty * (TISSUES[name].density if name in TISSUES else 0.85)
            t1, t2 = t1_of(name, field) * draw.log_normal(0.15), t2_of(name, field) * draw.log_normal(0.15)
            taken = draw.log_normal(0.3) if name in TISSUES and TISSUES[name].kinetics else 1.0
            # The agent has spread by then: a tissue holds it in what part of it is outside of cells.
            before = left_over * (1.0 if name in _BLOOD else draw.value("tissues", "extracellular"))
        within = taken * curve + before
        kind = kind_of(name)
        r1 = relaxation_rate(within, t1, relaxivity(field))
        r2 = np.maximum(relaxation_rate(within, t2, transverse_relaxivity(field)), r1)
        star = relaxation_rate(within, native_t2star(kind, field), t2star_relaxivity(kind, field))
        rates[:, i] = r1, r2, np.maximum(star, r2)
        densities[i] = density
    signals = densities * signal_of(rates[0], scanned, n, 1.0, rates[1], rates[2], b1)
    if scanned.dynamic.delay is not None and draw.happens("sequences", "no_saturation_share"):
        # A saturation pulse that does not do its work everywhere leaves an image without contrast agent behind.
        leak = draw.value("sequences", "no_saturation") * np.ptp(signals[ORGANS.index("left"), n:])
        signals[:, n:] += leak * densities / GAIN
    return signals.astype(np.float32)


def _concentrations(
    config: PhantomConfig, person: Participant, bolus: Bolus, times: NDArray[np.float64], draw: CaseDraws
) -> NDArray[np.float64]:
    """Agent in every source, (sources, t), mmol/L: blood from right to left, then what it feeds."""
    knots = np.union1d(np.arange(min(0.0, bolus.arrival - 1.0), times[-1], 0.4), times)
    at = np.searchsorted(knots, times)
    blood = blood_curves(bolus, knots)
    organs = blood_and_organ_curves(knots, blood, person.haematocrit)
    cp = plasma_concentration(blood["left"], person.haematocrit)
    kinetics = sample_kinetics(
        config.task, person.defects, person.haematocrit, np.random.default_rng(person.personal_seed), draw.rng
    )
    groups = wall_groups()
    # Any one of a group's cells stands for it.
    chosen = [draw.rng.choice(np.flatnonzero(groups == g)) for g in range(SECTORS * LAYERS)]
    parameters = [np.ravel(getattr(kinetics, q))[chosen] for q in ("Fp", "PS", "vp", "ve", "Ta")]
    wall = np.asarray(two_compartment_exchange(knots, cp, *parameters))
    return np.concatenate([np.stack([organs[name] for name in ORGANS]), wall.mean(axis=0)[None], wall])[:, at]
