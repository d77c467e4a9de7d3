"""What the plugins of the family share: work in canonical order, pools first, then slice by slice.

Bringing the series to canonical order first (:func:`qperf_app.geometry.canonical_order`) makes masks independent of how
an image is stored: ties between equal values and the rounding of sums fall the same way.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from qperf_app.geometry import Reorientation, canonical_order
from qperf_app.plugins import (
    BloodPoolPlugin,
    BloodPools,
    InputFunction,
    Landmark,
    Myocardium,
    MyocardiumPlugin,
    RunContext,
    Series,
)
from qperf_segmentation.enhancement import MIN_VOLUMES
from qperf_segmentation.prior import Note, ventricles_of

XUE_2020 = (
    "Xue H, Tseng E, Knott KD, et al. Automated detection of left ventricle in arterial input function images for "
    "inline perfusion mapping using deep learning: A study of 15,000 patients. Magn Reson Med 2020;84:2788-2800. "
    "doi:10.1002/mrm.28291"
)


class CanonicalBloodPool(BloodPoolPlugin):
    """Finds blood pools in canonical order."""

    citations: ClassVar[tuple[str, ...]] = (XUE_2020,)

    def find(self, series: Series, context: RunContext) -> BloodPools:
        """Find the ventricles' blood in a motion-corrected series, or say that the left one is not there.

        Parameters
        ----------
        series : Series
            One slice or several, with or without proton-density volumes. Signal or concentration.
        context : RunContext
            Nothing is drawn at random.

        Returns
        -------
        BloodPools
            ``aif`` lies in the slice with the largest left pool, the one with the least partial volume.
        """
        order = canonical_order(series.affine)
        pools = self.find_in_order(series.reordered(order))
        return replace(pools.reordered(order.inverse), affine=series.affine)

    @abstractmethod
    def find_in_order(self, series: Series) -> BloodPools:
        """Find the pools of a series in canonical order."""


def not_found(series: Series, reason: str) -> BloodPools:
    """Return the answer "not found"."""
    empty = np.zeros(series.data.shape[:3], dtype=bool)
    return BloodPools(empty, empty.copy(), empty.copy(), series.affine, found=False, reason=reason)


@dataclass(frozen=True)
class SliceOutline:
    """Wall (x, y) of one slice, its insertion points, why it should not be trusted, and its Dice as far as known."""

    wall: NDArray[np.bool_]
    landmarks: tuple[Landmark, ...] = ()
    doubts: tuple[str, ...] = ()
    estimated_dice: float = np.nan


#: Outlines a slice from the pools on its grid and its index, or says why there is no wall.
SliceOutliner = Callable[[BloodPools, int], SliceOutline | str]


class SliceWiseMyocardium(MyocardiumPlugin):
    """Outlines the myocardium slice by slice, in canonical order, wherever there is left-ventricular blood."""

    pool_finder: ClassVar[type[BloodPoolPlugin]]

    def segment(
        self, series: Series, pools: BloodPools | None, aif: InputFunction | None, context: RunContext
    ) -> Myocardium:
        """Outline the myocardium on a motion-corrected tissue series.

        Parameters
        ----------
        series : Series
            Signal or concentration; proton-density volumes are left out.
        pools : BloodPools or None
            On any grid. On another one they only say where to look; without them the pools are looked for.
        aif : InputFunction or None
            Not used.
        context : RunContext
            Nothing is drawn at random.

        Returns
        -------
        Myocardium
            At most one closed ring in a slice. Empty, with a warning, where no left ventricle is found.
        """
        order = canonical_order(series.affine)
        given = None if pools is None else pools.reordered(canonical_order(pools.affine))
        return self._segment(series.reordered(order), given, context, order.inverse)

    def _segment(
        self, series: Series, given: BloodPools | None, context: RunContext, back: Reorientation
    ) -> Myocardium:
        wall: NDArray[np.bool_] = np.zeros(series.data.shape[:3], dtype=bool)
        outline = self.outliner(series)
        if outline is None:
            few = f"fewer than {MIN_VOLUMES} dynamic volumes: no myocardium"
            return Myocardium(back.apply(wall), warnings=(few,))
        pools, notes = ventricles_of(series, given, self.pool_finder(), context)
        landmarks: list[Landmark] = []
        estimated = np.full(wall.shape[2], np.nan)
        for k in range(series.data.shape[2]) if pools is not None else ():
            assert pools is not None
            found = outline(pools, k) if pools.lv[..., k].any() else "no left-ventricular blood, so no myocardium"
            if isinstance(found, str):
                notes.append((k, found))
                continue
            wall[..., k], estimated[k] = found.wall, found.estimated_dice
            landmarks += found.landmarks
            notes += [(k, doubt) for doubt in found.doubts]
        thought = tuple(back.apply_to_slices(estimated).tolist()) if np.isfinite(estimated).any() else ()
        return Myocardium(back.apply(wall), *_as_stored(landmarks, notes, back, series.data.shape[2]), thought)

    @abstractmethod
    def outliner(self, series: Series) -> SliceOutliner | None:
        """What outlines the slices of a series in canonical order; None where it has too few volumes."""


def _as_stored(
    landmarks: Iterable[Landmark], notes: Iterable[Note], back: Reorientation, n_slices: int
) -> tuple[tuple[Landmark, ...], tuple[str, ...]]:
    """Landmarks, and notes as warnings, by the slices' numbers in storage and in their order."""
    moved = [replace(point, slice=back.slice_index(point.slice, n_slices)) for point in landmarks]
    numbered = [(-1 if k is None else back.slice_index(k, n_slices), text) for k, text in notes]
    numbered.sort(key=lambda note: note[0])
    warnings = tuple(text if k < 0 else f"slice {k + 1}: {text}" for k, text in numbered)
    return tuple(sorted(moved, key=lambda point: point.slice)), warnings
