"""From mutual information of pairs of frames to one position for every frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qperf_motion.grid import peak_offset

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
    # The last row is the image that stays.
    shift = np.concatenate([np.full((n_frames, 2), np.nan), np.zeros((1, 2))])
    shift[start] = 0.0
    for t in sorted(range(n_frames), key=lambda t: abs(t - start))[1:]:
        shift[t] = links.place(t, shift)[0]
    for _ in range(_SWEEPS):
        before = shift.copy()
        for t in range(n_frames):
            shift[t] = links.place(t, shift)[0]
        if np.abs(shift - before).max() < _SETTLED:
            break
    information = np.array([links.place(t, shift)[1] for t in range(n_frames)])
    return Positions(shift[:n_frames], information, information > chance)


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
    peaks = [_peak(surface) for surface in surfaces]
    shift, information = found.shift.copy(), found.information.copy()
    shift[:n] = [position for position, _ in peaks]
    information[:n] = [height for _, height in peaks]
    return Positions(shift, information, np.append(information[:n] > chance, found.found[n:]))


@dataclass(frozen=True)
class _Links:
    """Of every frame, its neighbours and the surfaces by its own shift against theirs.

    ``windows`` (surfaces, ., ., n + 1, n + 1) are views of the surfaces, (n, n) with their edges repeated outside: a
    surface that is moved by any shift is four of them, weighed. ``of_frame`` has the neighbours' and the surfaces'
    numbers of each frame.
    """

    windows: NDArray[np.float32]
    of_frame: list[tuple[NDArray[np.intp], NDArray[np.intp]]]

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
        return cls(windows, [(each[:, 0], each[:, 1]) for each in (np.array(m, int).reshape(-1, 2) for m in numbers)])

    def place(self, t: int, shift: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
        """Best shift of a frame against those of its neighbours that have one, and its information there."""
        others, surfaces = self.of_frame[t]
        there = shift[others]
        placed = np.isfinite(there[:, 0])
        if not placed.all():
            there, surfaces = there[placed], surfaces[placed]
        count = len(there)
        if not count:
            return np.zeros(2), 0.0
        ordered = np.sort(there, axis=0)
        centre = np.rint((ordered[(count - 1) // 2] + ordered[count // 2]) / 2)
        offset, peak = _peak(self._mean(surfaces, there - centre))
        return centre + offset, peak

    def _mean(self, surfaces: NDArray[np.intp], by: NDArray[np.float64]) -> NDArray[np.float64]:
        """Mean of surfaces, each moved by its shift (k, 2), pixels, linear in between; edges repeat outside."""
        n, count = self.windows.shape[3] - 1, len(by)
        first = np.minimum(np.maximum(n - by, 0.0), 2.0 * n)
        whole = np.minimum(first.astype(np.intp), 2 * n - 1)
        x, y = ((first - whole) / count).T
        share = 1.0 / count
        weights = np.empty((4, count))
        np.multiply(x * y, count, out=weights[3])
        weights[0] = share - x - y + weights[3]
        np.subtract(y, weights[3], out=weights[1])
        np.subtract(x, weights[3], out=weights[2])
        corners = self.windows[surfaces, whole[:, 0], whole[:, 1]].reshape(count, -1)
        corner = (weights @ corners.astype(np.float64)).reshape(4, n + 1, n + 1)
        mean: NDArray[np.float64] = corner[0, :-1, :-1] + corner[1, :-1, 1:]
        mean += corner[2, 1:, :-1]
        mean += corner[3, 1:, 1:]
        return mean


def _peak(surface: NDArray[np.floating]) -> tuple[NDArray[np.float64], float]:
    """Position of the largest value against the centre, and the value; the centre where the surface is flat."""
    height = float(surface.max())
    return (np.zeros(2) if height - float(surface.min()) < _FLAT else peak_offset(surface)), height
