"""What noise in the scale rho does to concentration curves: the table of docs/signal.md.

Simulates a slice of myocardium at 1.5 T with three proton-density volumes (5 degrees) and 60 saturation-recovery
volumes (12 degrees), Rician noise, T1 varying by 5 % from voxel to voxel, and converts it in several ways. A voxel's
amplitude is the factor that its curve has to the true one, by least squares.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qperf_app.physics import signal
from qperf_app.plugins import RunContext, Series
from qperf_concentration import SaturationRecoveryFlash

SIZE, FRAMES, PROTON_DENSITY = 60, 60, 3
TIMES = np.arange(FRAMES + PROTON_DENSITY, dtype=np.float64) * 0.8
METADATA = {
    "RepetitionTimeExcitation": 0.0023,
    "FlipAngle": [5.0] * PROTON_DENSITY + [12.0] * FRAMES,
    "SaturationDelayTime": 0.1,
    "ExcitationsToKSpaceCenter": 30,
    "MagneticFieldStrength": 1.5,
    "ProtonDensityVolumeCount": PROTON_DENSITY,
}
WAYS: dict[str, dict[str, Any]] = {
    "proton density, voxel by voxel": {"scale_window": 1},
    "proton density, median of 3 x 3 (default)": {"scale_window": 3},
    "proton density, median of 5 x 5": {"scale_window": 5},
    "baseline and native T1, voxel by voxel": {"scale_window": 1, "use_proton_density": False},
    "baseline and native T1, median of 3 x 3": {"scale_window": 3, "use_proton_density": False},
}


def true_curve() -> NDArray[np.float64]:
    """Concentration of myocardium (t,), mmol/L, peak 0.8."""
    late = np.clip(TIMES[:FRAMES] - 10.0, 0.0, None) / 8.0
    return 0.8 * late * np.exp(1.0 - late)


def simulate(snr: float, rng: np.random.Generator) -> Series:
    """Series whose signal is ``snr`` times the noise at peak enhancement."""
    t1 = 1.1 * np.exp(0.05 * rng.normal(size=(SIZE, SIZE, 1)))
    r1 = signal.relaxation_rate(true_curve(), t1[..., None], 5.57)
    dynamic = signal.saturation_recovery_flash(r1, 0.1, 0.0023, 12.0, 30)
    first = signal.spoiled_gradient_echo(1.0 / t1, 0.0023, 5.0, 30)
    clean = np.concatenate([np.repeat(first[..., None], PROTON_DENSITY, axis=-1), dynamic], axis=-1)
    noise = np.median(dynamic.max(axis=-1)) / snr
    data = np.hypot(clean + noise * rng.normal(size=clean.shape), noise * rng.normal(size=clean.shape))
    return Series(data, TIMES, np.diag([2.0, 2.0, 8.0, 1.0]), METADATA)


def rows(seed: int) -> Iterator[str]:
    """Lines of the markdown table."""
    ratios = (10, 20, 40)
    yield "| scale rho from | " + " | ".join(f"SNR {snr}: median | spread" for snr in ratios) + " |"
    yield "| --- |" + " ---: | ---: |" * len(ratios)
    series = [simulate(snr, np.random.default_rng(seed)) for snr in ratios]
    curve = true_curve()
    for name, options in WAYS.items():
        plugin = SaturationRecoveryFlash(SaturationRecoveryFlash.Options(**options))
        cells = []
        for one in series:
            data = plugin.convert(one, "myocardium", RunContext()).data
            amplitude = (data @ curve) / (curve @ curve)
            cells.append(f"{np.nanmedian(amplitude):.3f} | {np.nanstd(amplitude):.3f}")
        yield f"| {name} | " + " | ".join(cells) + " |"


def main() -> None:
    """Print the table, and write it where ``--out`` says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="file for the table")
    arguments = parser.parse_args()
    table = "\n".join(rows(arguments.seed)) + "\n"
    print(table, end="")
    if arguments.out:
        arguments.out.write_text(table)


if __name__ == "__main__":
    main()
