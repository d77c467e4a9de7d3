"""From mutual information of pairs of frames to one position for every frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qperf_motion.grid import peak_offsets

#: Rounds over all frames at most, and the largest change of a position, pixels, that ends them.
_SWEEPS, _SETTLED = 12, 0.02
#: Information that varies less than this over all shifts says nothing, nats.
_FLAT = 1e-4


@dataclass(frozen=True)
class Positions:
    """Where the heart lies in each frame.

    ``shift`` (t, 2) pixels: pixel p of the common position is pixel p + shift of the frame. ``information`` (t,) is
    the mean mutual information with the neighbours there, nats, less the penalty of moving. ``found`` (t,) is False
    where that is no more than frames share by chance.
    """

    shift: NDArray[np.float64]
    information: NDArray[np.float64]
    found: NDArray[np.bool_]


def unplaced(n_frames: int) -> Positions:
    """Positions of frames that nothing is known of."""
    return Positions(np.zeros((n_frames, 2)), np.zeros(n_frames), np.zeros(n_frames, bool))


def neighbour_pairs(n_frames: int, neighbours: int) -> list[tuple[int, int]]:
    """Pairs of frames up to ``neighbours`` apart."""
    return [(i, i + lag) for lag in range(1, neighbours + 1) for i in range(n_frames - lag)]


def prefer_rest(
    surfaces: NDArray[np.float32], offsets: NDArray[np.intp], step: float, penalty: float
) -> NDArray[np.float32]:
    """Take ``penalty`` nats off every shift that moves a frame against its neighbour by ``step`` pixels or more.

    Less for less. Where frames hold little (no contrast has come yet, low resolution) information differs between
    shifts by chance alone, and the largest value would be a random walk; a real breath pays the penalty many times.

    Parameters
    ----------
    surfaces : (pairs, 2 reach + 1, 2 reach + 1) array
    offsets : (pairs, 2) array
        Shift between the two frames that has been taken out before.
    """
    reach = surfaces.shape[1] // 2
    axis = np.arange(-reach, reach + 1)
    x, y = offsets[:, 0, None, None] + axis[:, None], offsets[:, 1, None, None] + axis[None, :]
    return (surfaces - penalty * np.minimum(np.hypot(x, y) / step, 1)).astype(np.float32)


def chain(
    n_frames: int,
    pairs: Sequence[tuple[int, int]],
    surfaces: NDArray[np.float32],
    chance: float,
    anchors: NDArray[np.float32] | None = None,
) -> Positions:
    """Place frames one after another, from the best-linked one outwards, then settle all of them together.

    Each frame goes where the sum of the mutual information with the frames already placed is largest. A frame that is
    linked to several others doesn't pass its own error on, as it would in a chain of single links, and a bad frame (a
    cough, an ectopic beat) is bridged. Sweeps over all frames, each against all its neighbours on both sides, then
    take out the drift.

    Parameters
    ----------
    n_frames : int
    pairs : sequence of (i, j)
    surfaces : (pairs, 2 reach + 1, 2 reach + 1) array
        From :func:`~qperf_motion.mutual_information.information_surfaces`.
    chance : float
        Mutual information that tells a frame from noise, nats.
    anchors : (t, 2 reach + 1, 2 reach + 1) array, optional
        Information of an image that stays where it is with every frame, times the image's weight as a neighbour.
    """
    links = _Links.of(n_frames, pairs, surfaces, anchors)
    strength = np.zeros(n_frames)
    np.add.at(strength, np.array(pairs, int).reshape(-1, 2), surfaces.max(axis=(1, 2), initial=-np.inf)[:, None])
    start = int(strength.argmax())
    shift = links.nowhere()
    shift[start] = 0.0
    farthest = max((abs(i - j) for i, j in pairs), default=0)
    for away in range(1, max(start + 1, n_frames - start)):
        two = [t for t in (start - away, start + away) if 0 <= t < n_frames]
        # On both sides at a time, once they are too far apart to be linked.
        for t in [two] if 2 * away > farthest else [[t] for t in two]:
            shift[t] = links.place(np.array(t), shift[links.others[t]])[0]
    shift = _settled(links, shift, farthest)
    _, information = links.place(np.arange(n_frames), shift[links.others])
    return Positions(shift[:n_frames], information, information > chance)


def _settled(links: _Links, shift: NDArray[np.float64], farthest: int) -> NDArray[np.float64]:
    """Place each frame after the other anew, until no position changes any more.

    What a sweep does to a frame hangs on the frames before it in the same sweep, and on those behind it in the sweep
    before, none of which is more than ``farthest`` away. So the next sweep can follow that many frames behind, and
    frames that wait for nothing are placed together: one of each sweep.
    """
    n_frames = len(links.others)
    sweeps = np.repeat(shift[None], _SWEEPS + 1, axis=0)
    behind = farthest + 1
    for step in range(n_frames + behind * (_SWEEPS - 1)):
        sweep = np.arange(max(0, -(-(step - n_frames + 1) // behind)), min(_SWEEPS - 1, step // behind) + 1)
        t = step - behind * sweep
        others = links.others[t]
        sweeps[sweep + 1, t] = links.place(t, sweeps[sweep[:, None] + (others < t[:, None]), others])[0]
    changes = np.abs(np.diff(sweeps[:, :n_frames], axis=0)).max(axis=(1, 2), initial=0.0)
    return np.asarray(sweeps[1 + int(np.argmax(np.append(changes[:-1] < _SETTLED, True)))])


def place_leading(found: Positions, surfaces: NDArray[np.float32], chance: float) -> Positions:
    """Place the first frames anew, each by its mutual information with an image of all others.

    Parameters
    ----------
    found : Positions
    surfaces : (n, 2 reach + 1, 2 reach + 1) array
        Information of the image in the common position with each of the first n frames.
    chance : float
        Mutual information that tells a frame from noise, nats.
    """
    n = len(surfaces)
    shift, information = found.shift.copy(), found.information.copy()
    shift[:n], information[:n] = _peaks(surfaces.astype(np.float64))
    return Positions(shift, information, np.append(information[:n] > chance, found.found[n:]))


@dataclass(frozen=True)
class _Links:
    """Of every frame, its neighbours and the surfaces by its own shift against theirs.

    ``windows`` (surfaces, ., ., n + 1, n + 1) are views of the surfaces, (n, n) with their edges repeated outside: a
    surface that is moved by any shift is four of them, weighed. ``others`` and ``surfaces`` (t, m) have the neighbours'
    and the surfaces' numbers of each frame; the image that stays follows the frames, and after it comes what stands for
    a neighbour that is not there.
    """

    windows: NDArray[np.float32]
    others: NDArray[np.intp]
    surfaces: NDArray[np.intp]

    @classmethod
    def of(
        cls,
        n_frames: int,
        pairs: Sequence[tuple[int, int]],
        surfaces: NDArray[np.float32],
        anchors: NDArray[np.float32] | None,
    ) -> _Links:
        """Links of both frames of every pair, and of every frame with the image that stays, number ``n_frames``."""
        numbers: list[list[tuple[int, int]]] = [[] for _ in range(n_frames)]
        for k, (i, j) in enumerate(pairs):
            numbers[j].append((i, k))
            numbers[i].append((j, len(pairs) + k))
        every = [surfaces, surfaces[:, ::-1, ::-1]]
        if anchors is not None:
            every.append(anchors)
            for t in range(n_frames):
                numbers[t].append((n_frames, 2 * len(pairs) + t))
        n = surfaces.shape[1]
        padded = np.pad(np.concatenate(every), ((0, 0), (n, n), (n, n)), mode="edge")
        windows = np.lib.stride_tricks.sliding_window_view(padded, (n + 1, n + 1), axis=(1, 2))
        most = max(map(len, numbers))
        filled = np.array([each + [(n_frames + 1, 0)] * (most - len(each)) for each in numbers], int)
        return cls(windows, *np.moveaxis(filled.reshape(n_frames, most, 2), -1, 0))

    def nowhere(self) -> NDArray[np.float64]:
        """Positions of frames of which none is placed yet, of the image that stays, and of what is not there."""
        shift = np.full((len(self.others) + 2, 2), np.nan)
        shift[-2] = 0.0
        return shift

    def place(self, t: NDArray[np.intp], there: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Best shifts of frames (k,) against those of their neighbours, (k, m, 2), and their information there.

        Neighbours whose shift is NaN have none yet.
        """
        placed = np.isfinite(there[..., 0])
        count = placed.sum(axis=1)
        if not count.all():
            return np.zeros((len(t), 2)), np.zeros(len(t))
        each, ordered = np.arange(len(t)), np.sort(there, axis=1)
        centre = np.rint((ordered[each, (count - 1) // 2] + ordered[each, count // 2]) / 2)
        by = np.where(placed[..., None], there - centre[:, None], 0.0)
        offset, peak = _peaks(self._means(self.surfaces[t], by, placed / count[:, None]))
        return centre + offset, peak

    def _means(
        self, surfaces: NDArray[np.intp], by: NDArray[np.float64], share: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Means of surfaces (k, m), each moved by its shift (k, m, 2), pixels, linear in between; edges repeat outside.

        ``share`` (k, m) is the part of each in its mean.
        """
        n = self.windows.shape[3] - 1
        first = np.minimum(np.maximum(n - by, 0.0), 2.0 * n)
        whole = np.minimum(first.astype(np.intp), 2 * n - 1)
        x, y = np.moveaxis(first - whole, -1, 0)
        weights = np.stack([(1 - x) * (1 - y), (1 - x) * y, x * (1 - y), x * y], axis=1) * share[:, None]
        corners = self.windows[surfaces, whole[..., 0], whole[..., 1]].reshape(*surfaces.shape, -1)
        corner = (weights @ corners.astype(np.float64)).reshape(len(surfaces), 4, n + 1, n + 1)
        mean: NDArray[np.float64] = corner[:, 0, :-1, :-1] + corner[:, 1, :-1, 1:]
        mean += corner[:, 2, 1:, :-1]
        mean += corner[:, 3, 1:, 1:]
        return mean


def _peaks(surfaces: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Positions of the largest value of surfaces (k, n, n) against their centre, and the values.

    The centre where a surface is flat.
    """
    values = surfaces.reshape(len(surfaces), -1)
    height = values.max(axis=1)
    flat = height - values.min(axis=1) < _FLAT
    return np.where(flat[:, None], 0.0, peak_offsets(surfaces)), height
