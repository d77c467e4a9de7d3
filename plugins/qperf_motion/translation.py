"""Translations refined to a fraction of a pixel, each frame against the mean edges of all others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qperf_motion.edges import ComparedEdges, edge_tensors
from qperf_motion.grid import read_shifted

#: Pixels around the present position that a frame may move in one sweep, and the steps of the search.
_REACH, _STEP = 2, 0.25
_SWEEPS = 6
#: How often lost runs are looked for; how far, pixels, and for what gain a frame, in moves, they are moved.
_LOOKS, _FAR, _GAIN = 3, 3.0, 4.0
#: Steps below this, pixels, end the refinement.
_SETTLED = 0.1
#: Correlations count as no more than this: information stays finite.
_HIGHEST = 0.999
#: A frame whose slice lies this far from where the other slices say, in pixels and in usual deviations, is lost.
_LOST, _DEVIATIONS = 2.0, 3.0


def agree_over_slices(
    shifts: Sequence[NDArray[np.float64]], use: Sequence[NDArray[np.bool_]]
) -> list[NDArray[np.float64]]:
    """Put frames that one slice lost where the other slices of the same beat say.

    Slices of one beat share the breath: the shift of one is a linear function of the others', fitted robustly. Only
    what is far off is moved; what a slice shows itself counts more than what its neighbours do.

    Parameters
    ----------
    shifts : sequence of (t, 2) arrays
        Pixels.
    use : sequence of (t,) bool arrays
        Frames the fit may rest on.
    """
    found = [shift.copy() for shift in shifts]
    if len(found) < 2:
        return found
    for _ in range(2):
        for k, shift in enumerate(found):
            others = np.concatenate([other for m, other in enumerate(found) if m != k], axis=1)
            if use[k].sum() <= 2 * others.shape[1]:
                continue
            predicted, spread = _predict(shift, others, use[k])
            lost = np.hypot(*(shift - predicted).T) > max(_DEVIATIONS * spread, _LOST)
            found[k] = np.where(lost[:, None], predicted, shift)
    return found


def _predict(
    target: NDArray[np.float64], others: NDArray[np.float64], use: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], float]:
    """Linear prediction (t, 2) from ``others`` (t, m) with Cauchy weights, and the usual deviation."""
    design = np.concatenate([np.ones((len(others), 1)), others], axis=1)
    weights = use.astype(float)
    prior = 1e-2 * np.eye(design.shape[1])
    predicted, spread = target, 0.0
    for _ in range(8):
        root = np.sqrt(weights)[:, None]
        left = np.concatenate([design * root, prior])
        right = np.concatenate([target * root, np.zeros((len(prior), 2))])
        predicted = design @ np.linalg.lstsq(left, right, rcond=None)[0]
        away = np.hypot(*(target - predicted).T)
        spread = 1.26 * float(np.median(away[use])) + 1e-3
        weights = use / (1 + (away / (2 * spread)) ** 2)
    return predicted, spread


def recover(
    splines: NDArray[np.float32],
    region: NDArray[np.bool_],
    shift: NDArray[np.float64],
    use: NDArray[np.bool_],
    reach: int,
    penalty: float,
) -> NDArray[np.float64]:
    """Bring back runs of frames that lie far off, each to where its edges agree with those of all other frames.

    Frames before the bolus show little that mutual information with a neighbour could hold on to, and a run of them
    that went astray together stays together. Edges between heart and lung are there in every frame: the path over time
    with the largest sum of agreements, over whole pixels up to ``reach``, less ``penalty`` for each move. Only a run
    that it moves far, and that gains much by it, is moved: what lies near is left to :func:`refine_translation`.

    Parameters
    ----------
    splines : (t, x, y) array
        Cubic spline coefficients of the frames.
    shift : (t, 2) array
        Pixels.
    """
    edges = _ShiftedEdges.of(splines, region, shift, use, reach)
    for _ in range(_LOOKS):
        information = edges.information(shift)
        step = np.rint(_best_path(information, shift, penalty / region.sum(), 1.0) - shift)
        step = step - np.median(step[use], axis=0)
        at = np.clip(np.rint(step).astype(int) + reach, 0, 2 * reach)
        gain = information[np.arange(len(at)), at[:, 0], at[:, 1]] - information[:, reach, reach]
        astray = _runs_that_gain(np.hypot(*step.T) > _FAR, gain * region.sum(), _GAIN * penalty)
        if not astray.any():
            break
        shift = np.where(astray[:, None], shift + step, shift)
    return shift


def _runs_that_gain(far: NDArray[np.bool_], gain: NDArray[np.float64], least: float) -> NDArray[np.bool_]:
    """Those frames of ``far`` (t,) whose run gains at least so much a frame."""
    from scipy.ndimage import label, mean

    runs, count = label(far)
    gains = np.append(False, np.atleast_1d(mean(gain, runs, np.arange(1, count + 1))) >= least)
    return np.asarray(gains[runs])


def refine_translation(
    splines: NDArray[np.float32],
    region: NDArray[np.bool_],
    shift: NDArray[np.float64],
    use: NDArray[np.bool_],
    penalty: float,
) -> NDArray[np.float64]:
    """Refine shifts (t, 2) pixels; the median stays where it is.

    The path over time with the largest sum of agreements (as information, -1/2 log(1 - r^2) nats a pixel), less
    ``penalty`` for each move of a pixel or more from one frame to the next, is found exactly on a grid of quarters of a
    pixel. Then references are made anew.

    Parameters
    ----------
    splines : (t, x, y) array
        Cubic spline coefficients of the frames.
    """
    edges = _ShiftedEdges.of(splines, region, shift, use, _REACH)
    for _ in range(_SWEEPS):
        information = edges.information(shift)
        step = _best_path(information, shift, penalty / region.sum()) - shift
        shift = shift + step - np.median(step[use], axis=0)
        if np.abs(step).max() < _SETTLED:
            break
    return shift


@dataclass
class _ShiftedEdges:
    """Edges of frames at their present shifts (t, 2), pixels; a frame is read again only where its shift has changed.

    ``rows`` and ``columns`` are those of the region with all shifts looked for around it.
    """

    splines: NDArray[np.float32]
    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    shift: NDArray[np.float64]
    edges: ComparedEdges

    @classmethod
    def of(
        cls,
        splines: NDArray[np.float32],
        region: NDArray[np.bool_],
        shift: NDArray[np.float64],
        use: NDArray[np.bool_],
        reach: int,
    ) -> _ShiftedEdges:
        """Read frames, given as splines (t, x, y)."""
        low, high = np.argwhere(region).min(axis=0) - reach, np.argwhere(region).max(axis=0) + 1 + reach
        rows, columns = (np.arange(a, b) for a, b in zip(low, high, strict=True))
        margin = reach + 1
        inside = np.pad(region, margin)[low[0] + margin : high[0] + margin, low[1] + margin : high[1] + margin]
        tensors = edge_tensors(read_shifted(splines, shift, rows, columns))
        return cls(splines, rows, columns, shift, ComparedEdges.of(tensors, inside, use, reach))

    def information(self, shift: NDArray[np.float64]) -> NDArray[np.float64]:
        """Information that frames at shifts (t, 2), pixels, share with the mean edges of all others, nats a pixel.

        That of a Gaussian correlation, for whole shifts around the present one: (t, 2 reach + 1, 2 reach + 1).
        """
        moved = (shift != self.shift).any(axis=1)
        if moved.any():
            frames = read_shifted(self.splines[moved], shift[moved], self.rows, self.columns)
            self.edges.put(moved, edge_tensors(frames))
            self.shift = shift
        return np.asarray(-0.5 * np.log(1 - np.minimum(self.edges.agreement(), _HIGHEST) ** 2))


def _best_path(
    information: NDArray[np.float64], shift: NDArray[np.float64], penalty: float, grid: float = _STEP
) -> NDArray[np.float64]:
    """Viterbi's path through the shifts around the present ones.

    A move of a pixel or more costs the same wherever it comes from: the best of all, and else those within a pixel.
    """
    from scipy.ndimage import map_coordinates

    reach = information.shape[1] // 2
    # Between whole pixels the surfaces are interpolated, which needs some of them on either side.
    edge = reach - 0.5 if grid < 1 else float(reach)
    axis = np.arange(-edge, edge + grid / 2, grid)
    n, within = len(axis), round(1 / grid)
    steps = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    # A cubic spline's values are sums of what it was made of, along either axis.
    along = np.stack([map_coordinates(one, [axis + reach], order=3, mode="nearest") for one in np.eye(2 * reach + 1)])
    value = (along.T @ information @ along).reshape(len(information), -1)
    width, near = n + within, np.arange(-within, within + 1)
    moves = np.diff(shift, axis=0) / grid
    x, y = (np.clip(np.rint(move).astype(int), -n, n)[:, None] + near for move in moves.T)
    away = np.hypot(x[:, :, None] - moves[:, 0, None, None], y[:, None] - moves[:, 1, None, None])
    costs = penalty * np.minimum(grid * away, 1)
    padded = np.full((n + 2 * width, n + 2 * width), -np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (n, n))
    best = [value[0]]
    for t, cost in enumerate(costs):
        padded[width : width + n, width : width + n] = best[-1].reshape(n, n)
        moved = windows[(x[t] + width)[:, None], y[t] + width]
        moved -= cost[..., None, None]
        reached = moved.max(axis=(0, 1)).ravel()
        best.append(np.maximum(reached, best[-1].max() - penalty) + value[t + 1])
    path = [int(best[-1].argmax())]
    for t in range(len(shift) - 1, 0, -1):
        away = np.hypot(*(shift[t] + steps[path[-1]] - shift[t - 1] - steps).T)
        path.append(int((best[t - 1] - penalty * np.minimum(away, 1)).argmax()))
    return np.asarray(shift + steps[path[::-1]])
