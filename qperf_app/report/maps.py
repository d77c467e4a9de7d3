"""Maps over the anatomy: one colour scale for all that are compared, zoomed to the heart, slices side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from qperf_app.checks.wording import plural
from qperf_app.plugins.quality import QualityGroup, group_of
from qperf_app.plugins.results import QualityMap, Table
from qperf_app.report.backdrops import Backdrop
from qperf_app.report.elements import Drawing, Key, PictureGrid, PictureRow
from qperf_app.report.pictures import GREEN, ORANGE, PURPLE, SKY, VERMILION, YELLOW
from qperf_app.report.scales import ColourScale

#: Colours of the groups of quality codes, in the legend's order.
QUALITY_COLOURS: Mapping[QualityGroup, str] = {
    QualityGroup.FULL: GREEN,
    QualityGroup.FLOW_ONLY: SKY,
    QualityGroup.DOUBTFUL: ORANGE,
    QualityGroup.MOSTLY_BLOOD: VERMILION,
    QualityGroup.NO_VALUE: PURPLE,
    QualityGroup.OWN: YELLOW,
}
_GROUPS = tuple(QUALITY_COLOURS)

#: Heading, map (x, y, z) and backdrop.
MapRow = tuple[str, NDArray[np.floating], Backdrop]


def map_grid(rows: Sequence[MapRow], scale: ColourScale, caption: str, edges: bool = True) -> PictureGrid:
    """Show maps row by row on one colour scale.

    Slices without a map stay away; the columns are those of the row with
    the most slices.
    """
    columns = max((backdrop.shown for _, _, backdrop in rows), key=len)
    names = max((tuple(b.slices[z] for z in b.shown) for _, _, b in rows), key=len)
    shown = []
    for heading, values, backdrop in rows:
        tiles: list[Drawing | None] = []
        for z in columns:
            if z not in backdrop.shown:
                tiles.append(None)
                continue
            alt = f"Map of {scale.title}, {heading}, {backdrop.slices[z]}: {map_in_words(values[:, :, z])}"
            tiles.append(backdrop.tile(z, scale.levels(values[:, :, z]), scale.palette, alt, edges))
        shown.append(PictureRow(heading, tuple(tiles)))
    return PictureGrid(names, tuple(shown), caption, scale.bar(), size="large" if edges else "small")


def map_in_words(values: NDArray[np.floating]) -> str:
    """Describe the values of a slice for those who do not see it."""
    finite = values[np.isfinite(values)]
    return f"median {np.median(finite):.2f} of {finite.size} voxels." if finite.size else "no voxel was estimated."


def quality_grid(heading: str, quality: QualityMap, region: NDArray[np.bool_], backdrop: Backdrop) -> PictureGrid:
    """Show the group of the quality code of every voxel of the region; a group has one colour on the whole page."""
    colours = [[int(colour[k : k + 2], 16) for k in (1, 3, 5)] for colour in ("#000000", *QUALITY_COLOURS.values())]
    step_of = np.zeros(256, np.uint8)
    for code in np.unique(quality.data[region]).tolist():
        step_of[code] = _GROUPS.index(group_of(code, quality.legend.get(code))) + 1
    steps = np.where(region, step_of[quality.data], np.uint8(0))
    tiles = tuple(
        backdrop.tile(
            z, steps[:, :, z], np.array(colours, np.uint8), f"Quality codes, {heading}, {backdrop.slices[z]}."
        )
        for z in backdrop.shown
    )
    return PictureGrid(tuple(backdrop.slices[z] for z in backdrop.shown), (PictureRow(heading, tiles),), size="small")


def quality_key(labelled: Mapping[str, tuple[QualityMap, NDArray[np.bool_]]]) -> Key:
    """Legend of the groups that occur in the regions of the scans, with their codes."""
    found: dict[QualityGroup, set[int]] = {group: set() for group in QUALITY_COLOURS}
    for quality, region in labelled.values():
        for code in np.unique(quality.data[region]).tolist():
            found[group_of(code, quality.legend.get(code))].add(code)
    return Key(
        tuple(
            (
                QUALITY_COLOURS[group],
                "fill",
                f"{group.value} ({plural(len(codes), 'code')} {', '.join(map(str, sorted(codes)))})",
            )
            for group, codes in found.items()
            if codes
        )
    )


def quality_counts(labelled: Mapping[str, tuple[QualityMap, NDArray[np.bool_]]]) -> Table:
    """Count the codes of each scan over its region; a column for each scan."""
    seen = {int(code) for quality, region in labelled.values() for code in np.unique(quality.data[region])}
    codes = sorted({0, *seen})
    legend = {0: "full estimate"}
    for quality, _ in labelled.values():
        legend.update({int(code): words for code, words in quality.legend.items()})
    rows = []
    for code in codes:
        counts = []
        for quality, region in labelled.values():
            inside = quality.data[region]
            n = int((inside == code).sum())
            counts.append(f"{n} ({share_in_words(n, inside.size)})".replace(" ", "\u00a0"))
        rows.append((str(code), legend.get(code, "a code without a meaning in the legend"), *counts))
    return Table(("Code", "Meaning", *labelled), tuple(rows), "Voxels by quality code")


def share_in_words(part: int, whole: int) -> str:
    """Percentage that tells a few from none."""
    percent = 100 * part / max(1, whole)
    return "<\u00a01 %" if 0 < percent < 0.5 else f"{percent:.0f} %"
