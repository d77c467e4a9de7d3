"""Learn how far an outline can be trusted: ``python -m qperf_app.training.outline_trust OUT``.

Simulated scans, their true outlines made worse step by step (:mod:`~qperf_app.training.worse_outlines`), and the Dice
of each with the truth. The model (:mod:`~qperf_app.methods.outline_trust`) is fitted by penalised maximum likelihood:
the cross-entropy of Dice and estimate, and a penalty on the steps of each piecewise-linear function, which go one way
where :data:`~qperf_app.methods.outline_trust.FEATURES` says so.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from qperf_app.geometry.masks import dice
from qperf_app.methods.outline_features import Features, SeenSlice, pool_features, seen_slices, wall_features
from qperf_app.methods.outline_trust import FEATURES, TrustModel
from qperf_app.plugins import Series
from qperf_app.training.cases import LEFT_BLOOD, RIGHT_BLOOD, WALL, CaseKind
from qperf_app.training.cine import Anatomies
from qperf_app.training.simulated_cases import simulate_case
from qperf_app.training.worse_outlines import worse_pools, worse_walls

Array = NDArray[np.float64]
What = Literal["wall", "pool"]

#: Ranges of the cases, as a multiple of those that networks are trained on: what is met later is wider.
SPREAD = 1.15
#: Part of the cases that is held out.
HELD_OUT = 0.2
#: Percentiles of a feature at which its function bends.
KNOTS = (2, 10, 30, 50, 70, 90, 98)
#: Penalty on the squared steps of the functions.
PENALTY = 1e-3
#: Most that frames are left apart by motion correction, standard deviation in mm.
LEFT_APART = 1.5
#: Outlines from this Dice on are good ones; below and above these, an estimate has to tell them apart.
GOOD, WRONG, RIGHT = 0.85, 0.6, 0.75
#: Part of the training's wrong outlines that is doubtful: it sets the estimate below which one is.
SENSITIVITY = 0.955
#: What a model's card says of its limits.
LIMITS = (
    "Learnt on simulated scans alone. An outline that is wrong by little (Dice 0.6 to 0.75) is not told for certain; "
    "papillary muscles count as the drawer of the truth counts them."
)


def examples(
    what: What, number: int, seed: int, anatomies: Anatomies | None = None
) -> list[tuple[str, float, Features]]:
    """Outlines of one simulated case: what was done to each, its Dice, its features."""
    rng = np.random.default_rng([seed, number])
    # Blood is outlined in input-function series and, of a single bolus, in tissue series.
    kind = CaseKind.POOLS if what == "pool" and number % 2 == 0 else CaseKind.MUSCLE
    draw = None if anatomies is None else anatomies.draw
    case = simulate_case(kind, rng, SPREAD, absence="", anatomies=draw)
    wall, left, right = (case.labels[..., 0] == label for label in (WALL, LEFT_BLOOD, RIGHT_BLOOD))
    seen = seen_slices(_apart(case.series, rng))
    if not seen or wall.sum() < 20 or left.sum() < 10:
        return []
    return list(outlines_of(what, seen[0], wall, left, right, rng))


def _apart(series: Series, rng: np.random.Generator) -> Series:
    """The series with some motion left from frame to frame, as after a correction."""
    from scipy.ndimage import shift

    data = np.empty_like(series.data)
    by = rng.normal(0.0, rng.uniform(0.0, LEFT_APART), (data.shape[3], 2)) / series.voxel_size[:2]
    for t, (x, y) in enumerate(by):
        data[..., t] = shift(series.data[..., t], (x, y, 0.0), order=1, mode="nearest")
    return series.with_data(data)


def outlines_of(
    what: What,
    seen: SeenSlice,
    wall: NDArray[np.bool_],
    left: NDArray[np.bool_],
    right: NDArray[np.bool_],
    rng: np.random.Generator,
) -> Iterator[tuple[str, float, Features]]:
    """Outlines made worse in a slice whose true masks (x, y) are known; those that show nothing to judge left out."""
    peak = seen.signal.max(axis=-1) - np.median(seen.signal[..., :4], axis=-1)
    if what == "wall":
        for kind, mask in worse_walls(wall, left, right, peak, seen.spacing, rng):
            if (features := wall_features(seen, mask)) is not None:
                yield kind, dice(mask, wall), features
    else:
        for kind, mask in worse_pools(left, right, wall, peak, seen.spacing, rng):
            if (features := pool_features(seen, mask)) is not None:
                yield kind, dice(mask, left), features


def fit(features: Sequence[Features], truth: Array, penalty: float = PENALTY) -> TrustModel:
    """Fit the additive model.

    Parameters
    ----------
    features : sequence of n mappings
    truth : (n,) array
        Dice.
    penalty : float
    """
    from scipy.optimize import minimize

    names = list(features[0])
    values = np.array([[one[name] for name in names] for one in features])
    usual = np.median(values[truth > GOOD], axis=0)
    knots = [_knots(column) for column in values.T]
    ramps = [_ramps(column, at) for column, at in zip(values.T, knots, strict=True)]
    design = np.column_stack([np.ones(len(truth)), *ramps])
    signs = [FEATURES[name][0] for name, at in zip(names, knots, strict=True) for _ in at[1:]]
    bounds = [(None, None), *(((0, None), (None, None), (None, 0))[1 - sign] for sign in signs)]

    def cost(weights: Array) -> tuple[float, Array]:
        logit, steps = design @ weights, np.append(0.0, weights[1:])
        loss = float(np.mean(np.logaddexp(0.0, logit) - truth * logit) + penalty * steps @ steps)
        away = 1.0 / (1.0 + np.exp(-logit)) - truth
        return loss, design.T @ away / len(truth) + 2 * penalty * steps

    start = np.zeros(design.shape[1])
    found = minimize(cost, start, jac=True, bounds=bounds, method="L-BFGS-B", options={"maxiter": 1000}).x
    steps = np.split(found[1:], np.cumsum([len(at) - 1 for at in knots])[:-1])
    bends = [np.append(0.0, np.cumsum(one)) for one in steps]
    middles = [float(np.interp(middle, at, bend)) for middle, at, bend in zip(usual, knots, bends, strict=True)]
    estimated = 1.0 / (1.0 + np.exp(-design @ found))
    return TrustModel(
        round(float(found[0]) + sum(middles), 4),
        round(float(np.quantile(estimated[truth < WRONG], SENSITIVITY)), 3),
        dict(zip(names, knots, strict=True)),
        {name: np.round(bend - middle, 4) for name, bend, middle in zip(names, bends, middles, strict=True)},
    )


def _knots(values: Array) -> Array:
    """Where a feature's function bends; at least two places."""
    found = np.unique(np.round(np.percentile(values, KNOTS), 4))
    return found if len(found) > 1 else found[0] + np.array([0.0, 1.0])


def _ramps(values: Array, knots: Array) -> Array:
    """Between each knot and the next, 0 before it to 1 behind it, (n, k - 1)."""
    low, high = knots[:-1], knots[1:]
    return np.asarray(np.clip((values[:, None] - low) / (high - low), 0.0, 1.0))


def figures(estimated: Array, truth: Array, trusted: float) -> dict[str, float]:
    """How well wrong outlines are told from right ones, and how far estimates lie from the truth."""
    wrong, right = truth < WRONG, truth > RIGHT
    return {
        "sensitivity": round(float(np.mean(estimated[wrong] < trusted)), 4),
        "false alarms": round(float(np.mean(estimated[right] < trusted)), 4),
        "mean absolute error": round(float(np.mean(np.abs(estimated - truth))), 4),
    }


def train(what: What, count: int, seed: int, nprocs: int, cine: Path | None = None) -> dict[str, object]:
    """A model's file: title, data, figures on held-out cases, limits, functions."""
    work = partial(examples, what, seed=seed, anatomies=None if cine is None else Anatomies(cine))
    if nprocs > 1:
        with ProcessPoolExecutor(nprocs, get_context("spawn")) as pool:
            cases = list(pool.map(work, range(count), chunksize=8))
    else:
        cases = [work(number) for number in range(count)]
    held = round(count * (1 - HELD_OUT))
    learnt, kept = ([one for case in part for one in case] for part in (cases[:held], cases[held:]))
    model = fit([f for _, _, f in learnt], np.array([d for _, d, _ in learnt]))
    estimated, truth = (np.array(v) for v in zip(*((model.dice(f), d) for _, d, f in kept), strict=True))
    return {
        "title": f"Estimated Dice of the left ventricle's {'wall' if what == 'wall' else 'blood'} in a slice",
        "data": {"simulated cases": count, "outlines": len(learnt), "held out": len(kept)},
        "command": f"python -m qperf_app.training.outline_trust OUT --cases {count} --seed {seed}"
        f"{' --anatomy CINE' if cine else ''}",
        "figures": figures(estimated, truth, model.trusted),
        "limits": LIMITS,
        **model.as_dict(),
    }


def main() -> None:
    """Learn both models."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, metavar="OUT", help="folder for the models; shipped: qperf_app/methods")
    parser.add_argument("--cases", type=int, default=400, help="simulated cases, a fifth of them held out")
    parser.add_argument("--seed", type=int, default=77)
    parser.add_argument("--anatomy", type=Path, metavar="CINE", help="cine images to make a part of the cases on")
    parser.add_argument("--nprocs", type=int, default=1)
    args = parser.parse_args()
    kinds: tuple[What, ...] = ("wall", "pool")
    for what in kinds:
        content = train(what, args.cases, args.seed, args.nprocs, args.anatomy)
        print(what, content["figures"], flush=True)
        path = args.out / f"outline_trust_{what}.json"
        path.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
