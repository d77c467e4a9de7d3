"""AHA segments: their voxels, one curve for each, and medians of maps over them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from qperf_app.plugins import SegmentRow, SegmentTable
from qperf_app.plugins.results import CURVE_PERCENTILE


def segment_regions(
    labels: NDArray[np.integer], affine: NDArray[np.float64]
) -> list[tuple[tuple[int, str], NDArray[np.bool_]]]:
    """Every segment, transmural and by layer: its number and layer, and its voxels."""
    from qperf_app.geometry.segments import label_layers

    layers = label_layers(labels > 0, affine)
    parts: tuple[tuple[str, NDArray[np.bool_]], ...] = (
        ("transmural", labels > 0),
        ("endo", layers == 1),
        ("epi", layers == 2),
    )
    segments = np.unique(labels[labels > 0]).tolist()
    return [((k, layer), where & (labels == k)) for layer, where in parts for k in segments]


def segment_curve(curves: NDArray[np.floating]) -> NDArray[np.float64]:
    """Percentile ``CURVE_PERCENTILE`` over curves (n, t) at each time, missing samples left out.

    Blood, whose concentration is ten times that of muscle, lies in the voxels at the wall's borders, and with breathing
    through the slice in others at other times. It would decide a mean; it moves a median less, and a percentile below
    it less still. Noise is averaged before the fit: the median of many fits of noisy curves is not the flow, since the
    error of a fit is lopsided.

    Parameters
    ----------
    curves : (n, t) array

    Returns
    -------
    (t,) array
        NaN where no curve has a sample.
    """
    finite = np.where(np.isfinite(curves), curves, np.nan).astype(np.float64)
    result = np.full(finite.shape[1], np.nan)
    some = np.isfinite(finite).any(axis=0)
    result[some] = np.nanpercentile(finite[:, some], CURVE_PERCENTILE, axis=0)
    return result


def segment_medians(
    plugin: str,
    model: str,
    maps: Mapping[str, NDArray[np.floating]],
    units: Mapping[str, str],
    labels: NDArray[np.integer],
    affine: NDArray[np.float64],
) -> SegmentTable:
    """Median of every quantity over each segment, transmural and by layer; voxels without an estimate are left out.

    The median, since voxels at the wall's borders share their volume with blood, whose concentration is ten times that
    of muscle: few of them, with flows far too high, would decide a mean.

    Parameters
    ----------
    maps, units
        (x, y, z) values and their unit by quantity.
    labels : (x, y, z) integer array
        AHA segment of each voxel, 0 for none.

    Returns
    -------
    SegmentTable
        ``n_estimated`` counts the voxels that have the first quantity.
    """
    from qperf_app.geometry.segments import SEGMENT_NAMES

    first = next(iter(maps))
    rows = []
    for (segment, layer), inside in segment_regions(labels, affine):
        values = {quantity: _median(data[inside]) for quantity, data in maps.items()}
        estimated = int(np.isfinite(maps[first][inside]).sum())
        rows.append(SegmentRow(segment, SEGMENT_NAMES[segment], layer, int(inside.sum()), estimated, values))
    return SegmentTable(plugin, model, tuple(rows), dict(units))


def _median(values: NDArray[np.floating]) -> float:
    finite = values[np.isfinite(values)].astype(np.float64)
    return float(np.median(finite)) if finite.size else float("nan")
