"""What the enhancement of the spleen under stress, over that at rest, says of its flow.

Simulated pairs of boluses, the signal of spleen and left ventricular blood after saturation, and the shares that
:func:`qperf_app.physics.spleen.first_pass_enhancement` finds: of the signal, and of a concentration that takes the
images before the bolus for those of tissue without contrast agent, as a conversion without proton-density images does.

Run from the root of the repository: ``python -m benchmarks.spleen``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmarks.records import Column, Row, Table, argument_parser, publish
from qperf_app.phantom.bolus import blood_curves, sample_bolus
from qperf_app.phantom.tissue import TISSUES
from qperf_app.physics.conversion import plasma_concentration
from qperf_app.physics.models import two_compartment_exchange
from qperf_app.physics.spleen import NoEnhancementError, first_pass_enhancement

Array = NDArray[np.float64]
#: s between volumes, of 57.
INTERVALS = {"rest": 0.95, "stress": 0.65}
VOLUMES = 57
#: Time from saturation to the centre of k-space, s; relaxivity, L/mmol/s; R1 without contrast agent, 1/s.
DELAY, RELAXIVITY = 0.1, 4.5
NATIVE_R1 = {"spleen": 1 / 1.06, "blood": 1 / 1.5}
#: Contrast agent that an earlier injection left in the blood, mmol/L, and how much of it is in a mL of the spleen.
LEFT_OVER, IN_SPLEEN = 0.4, 0.4 / 0.58
NOISE, HAEMATOCRIT = 0.02, 0.42
FLOWS = (1.0, 0.6, 0.3)


def main() -> None:
    """Publish the table."""
    parser = argument_parser(__doc__)
    parser.add_argument("--pairs", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    rows: list[Row] = []
    for remaining in ("", "rest", "stress"):
        for flow in FLOWS:
            rng = np.random.default_rng(args.seed)
            pairs = [
                shares("stress", flow, remaining == "stress", rng) / shares("rest", 1.0, remaining == "rest", rng)
                for _ in range(args.pairs)
            ]
            middle = np.nanmedian(pairs, axis=0)
            spread = 100 * np.nanstd(np.log(pairs), axis=0)
            when = {"": "nowhere", "rest": "at rest", "stress": "under stress"}[remaining]
            rows.append((when, flow, *((100 * float(m), float(s)) for m, s in zip(middle, spread, strict=True))))
    columns = (
        Column("agent left over"),
        Column("flow under stress over that at rest", format="g"),
        Column("number (SD) by signal", "%", "{:.0f} ({:.0f})"),
        Column("by concentration without proton density", "%", "{:.0f} ({:.0f})"),
    )
    title = f"Enhancement of the spleen under stress over that at rest, {args.pairs} pairs"
    publish([Table("spleen", title, columns, tuple(rows))], args, seed=args.seed)


def shares(task: str, flow: float, left_over: bool, rng: np.random.Generator) -> Array:
    """The spleen's enhancement over the blood's by signal and by concentration, (2,); NaN where none is found."""
    times = np.arange(VOLUMES) * INTERVALS[task]
    fine = np.arange(0.0, 60.0, 0.1)
    blood = blood_curves(sample_bolus(task, True, 0.0, 0.0, 60.0, rng), fine)
    kinetics = list(TISSUES["spleen"].kinetics)
    kinetics[0] *= flow
    plasma = plasma_concentration(blood["aorta"], HAEMATOCRIT)
    remaining = LEFT_OVER if left_over else 0.0
    concentration = {
        "spleen": np.interp(times, fine, two_compartment_exchange(fine, plasma, *kinetics)) + IN_SPLEEN * remaining,
        "blood": np.interp(times, fine, blood["left"]) + remaining,
    }
    gain = rng.uniform(0.8, 1.25)
    signal = {
        name: gain * (1.0 - np.exp(-DELAY * (NATIVE_R1[name] + RELAXIVITY * c))) for name, c in concentration.items()
    }
    signal["spleen"] = signal["spleen"] + NOISE * np.ptp(signal["spleen"]) * rng.standard_normal(VOLUMES)
    converted = {name: _converted(curve, NATIVE_R1[name], times) for name, curve in signal.items()}
    found = []
    for curves in (signal, converted):
        try:
            found.append(first_pass_enhancement(times, curves["spleen"], curves["blood"]).share)
        except NoEnhancementError:
            found.append(np.nan)
    return np.array(found)


def _converted(signal: Array, native: float, times: NDArray[np.floating]) -> Array:
    """Concentration, the first images taken for those of tissue without contrast agent."""
    scale = np.median(signal[times < 5.0]) / (1.0 - np.exp(-DELAY * native))
    r1 = -np.log(np.maximum(1.0 - signal / scale, 1e-3)) / DELAY
    return np.asarray((r1 - native) / RELAXIVITY)


if __name__ == "__main__":
    main()
