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
    links = _links(n_frames, pairs, surfaces)
    strength = np.array([sum(float(surface.max()) for _, surface in links[t]) for t in range(n_frames)])
    if anchors is not None:
        for t, surface in enumerate(anchors):
            links[t].append((n_frames, surface))
    start = int(strength.argmax())
    # The last row is the image that stays.
    shift = np.concatenate([np.full((n_frames, 2), np.nan), np.zeros((1, 2))])
    shift[start] = 0.0
    for t in sorted(range(n_frames), key=lambda t: abs(t - start))[1:]:
        shift[t] = _place(links[t], shift)[0]
    for _ in range(_SWEEPS):
        before = shift.copy()
        for t in range(n_frames):
            shift[t] = _place(links[t], shift)[0]
        if np.abs(shift - before).max() < _SETTLED:
            break
    information = np.array([_place(links[t], shift)[1] for t in range(n_frames)])
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


Link = tuple[int, NDArray[np.float32]]


def _links(n_frames: int, pairs: Sequence[tuple[int, int]], surfaces: NDArray[np.float32]) -> list[list[Link]]:
    """Of every frame, its neighbours and the surfaces by its own shift against theirs."""
    links: list[list[Link]] = [[] for _ in range(n_frames)]
    for (i, j), surface in zip(pairs, surfaces, strict=True):
        links[j].append((i, surface))
        links[i].append((j, surface[::-1, ::-1]))
    return links


def _place(links: Sequence[Link], shift: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """Best shift of one frame against those of its neighbours that have one, and its information there."""
    placed = [(other, surface) for other, surface in links if np.isfinite(shift[other, 0])]
    if not placed:
        return np.zeros(2), 0.0
    there = shift[[other for other, _ in placed]]
    centre = np.round(np.median(there, axis=0))
    total = np.mean(_moved(np.stack([surface for _, surface in placed]), there - centre), axis=0)
    offset, peak = _peak(total)
    return centre + offset, peak


def _moved(surfaces: NDArray[np.float32], by: NDArray[np.float64]) -> NDArray[np.float32]:
    """Move each surface (n, a, b) by its shift (n, 2), pixels, linear in between; edges repeat outside.

    To the last bit what ``scipy.ndimage.shift`` gives with ``order=1, mode="nearest"`` for one after another, in a
    tenth of the time: there are twenty thousand in a series.
    """
    rows, columns = (_linear(by[:, axis], surfaces.shape[axis + 1]) for axis in (0, 1))
    surface = np.arange(len(surfaces))[:, None, None]
    total: float | NDArray[np.float64] = 0.0
    for i, along in rows:
        for j, across in columns:
            corner = surfaces[surface, i[:, :, None], j[:, None, :]].astype(np.float64)
            total = total + corner * along[:, :, None] * across[:, None, :]
    return np.asarray(total, np.float32)


def _linear(by: NDArray[np.float64], n: int) -> tuple[tuple[NDArray[np.intp], NDArray[np.float64]], ...]:
    """Of n pixels read from ``by`` (m,) before each: the pixel below and the one above, (m, n), with their weights."""
    at = np.clip(np.arange(n) - by[:, None], 0, n - 1)
    below = np.floor(at).astype(np.intp)
    part = at - below
    return (below, 1.0 - part), (np.minimum(below + 1, n - 1), part)


def _peak(surface: NDArray[np.floating]) -> tuple[NDArray[np.float64], float]:
    """Position of the largest value against the centre, and the value; the centre where the surface is flat."""
    height = float(surface.max())
    return (np.zeros(2) if np.ptp(surface) < _FLAT else peak_offset(surface)), height
