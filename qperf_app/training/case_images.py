"""Images of a scene: what breathing, coils, artefacts, filters and noise make of the sources' signals."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from qperf_app.phantom.acquisition import acquire
from qperf_app.phantom.artefacts import blurred, disturb, random_field
from qperf_app.phantom.scenes import ORGANS, Scene
from qperf_app.training.case_ranges import CaseDraws

#: Contrast of a heart that noise hides, as a part of the noise of one voxel and volume.
_HIDDEN = 0.1
#: Images are scaled so that the heart's is at most this many times outshone by the skin.
_BRIGHTEST = 8.0


def images(
    scene: Scene, signals: NDArray[np.float32], times: NDArray[np.float64], n: int, absence: str, draw: CaseDraws
) -> NDArray[np.float32]:
    """Images (x, y, 1, t) of the sources' signals (sources, t); see ``simulate_case`` for ``absence``."""
    rng, shape = draw.rng, scene.grid.shape
    parts = scene.parts
    if absence == "no-heart":
        # The ventricles' blood and wall replaced by muscle: everything else stays.
        signals = signals.copy()
        muscle = signals[ORGANS.index("muscle")]
        for i, name in enumerate(ORGANS):
            if name in ("left", "right"):
                signals[i] = muscle
        signals[len(ORGANS) :] = muscle
    state = _states(times, draw)
    image = np.empty((*shape, len(times)), np.float32)
    for s in range(len(parts)):
        image[..., state == s] = parts[s] @ signals[:, state == s]
    if absence == "noise":
        image *= np.float32(rng.uniform(0.0, 0.05))
    # The nearest skin may be many times as bright as the heart.
    image *= np.minimum(scene.sensitivity ** np.float32(draw.value("images", "coils")), _BRIGHTEST)[..., None]
    image *= np.exp(0.15 * random_field(shape, 10.0, rng))[..., None]
    image = disturb(image, n, draw)
    left = signals[ORGANS.index("left")]
    rise = float(left[n:].max() - left[n:].min())
    scale = rise if rise > 0.05 * float(left[n:].max()) else float(signals[:, n:].mean())
    noise = scale / draw.value("images", "noise")
    if absence == "noise":
        image *= np.float32(rng.uniform(0.0, _HIDDEN) * noise / scale)
    # The scanner's own filters blur the picture before or after noise has come in.
    before, after = (
        draw.value("images", f"blur_{when}") if draw.happens("images", f"blur_{when}_share") else 0.0
        for when in ("before", "after")
    )
    seen = acquire(blurred(image, before), min(draw.value("images", "phase_resolution"), 1.0), noise, rng)
    return blurred(seen, after)


def _states(times: NDArray[np.float64], draw: CaseDraws) -> NDArray[np.intp]:
    """Breathing state of every volume: breaths of a few seconds, mostly at rest."""
    phase = times / draw.value("breathing", "period") + draw.rng.random()
    wave = np.sin(2 * np.pi * phase + draw.rng.normal(0, 0.4, len(times)))
    return np.digitize(wave, [0.2, 0.75])
