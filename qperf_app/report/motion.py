"""The series before and after motion correction: moving picture, profile over time, and the size of the motion."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from qperf_app.checks.wording import counted
from qperf_app.plugins.records import Motion, Series
from qperf_app.report import svg
from qperf_app.report.curves import TIME, mean_curve
from qperf_app.report.display import View
from qperf_app.report.elements import Drawing, Key, LineStyle, Movie, PictureGrid, PictureRow
from qperf_app.report.pictures import (
    BLUE,
    ORANGE,
    VERMILION,
    encode,
    encode_animation,
    grey,
    window,
    write,
)
from qperf_app.report.plots import Axes, limits_of, plot

#: The myocardium is brightest within this time from the peak of the left ventricle's blood, s.
FIRST_PASS_SECONDS = 12.0
#: ms between the frames of a moving picture.
FRAME_MILLISECONDS = 130
#: Most frames of a moving picture, and most pixels of one frame; more than that is thinned out or shown smaller.
MOST_FRAMES, MOST_PIXELS = 120, 300_000


def moving_picture(
    versions: Sequence[Series],
    headings: Sequence[str],
    view: View,
    slices: Sequence[str],
    still_at: int,
    leading: int = 0,
) -> Movie:
    """Show the versions of a series beside each other, a row for each slice, all with the same grey levels.

    Parameters
    ----------
    versions : sequence of Series
        On one grid with the same times; proton-density volumes left out.
    headings : sequence of str
        What each version is.
    view : View
    slices : sequence of str
        Name of each slice.
    still_at : int
        Volume of the still.
    leading : int
        Proton-density volumes that were left out; they count in the numbers of the volumes.
    """
    every = -(-len(versions[0].times) // MOST_FRAMES)
    shown = range(0, len(versions[0].times), every)
    levels = [_levels(versions, view, z) for z in range(len(slices))]
    frames = _frames(versions, view, slices, levels, shown)
    what = f"{' and '.join(headings)}, {counted(len(slices), 'slice')}, {counted(len(frames), 'volume')}"
    return Movie(
        encode_animation(frames, FRAME_MILLISECONDS, f"Moving picture of the first pass: {what}."),
        encode(frames[still_at // every], f"One volume of the first pass: {what}.", quality=75),
        tuple(float(versions[0].times[t]) for t in shown),
        tuple(leading + t + 1 for t in shown),
        leading + len(versions[0].times),
        still_at // every,
        tuple(headings),
        tuple(slices),
    )


def movie_edge(view: View, n_slices: int, n_versions: int) -> int:
    """Pixels along the edge of one panel: twice the voxels that it shows, within the limit of a frame.

    More would not show more; the page enlarges it.
    """
    top, left, bottom, right = view.box
    voxels = max((bottom - top), (right - left)) * max(view.layout.spacing) / min(view.layout.spacing)
    return int(max(120, min(2 * voxels, 300, np.sqrt(MOST_PIXELS / (n_slices * n_versions)))))


def _levels(versions: Sequence[Series], view: View, z: int) -> tuple[float, float]:
    """Grey levels of a slice, the same for all volumes and versions; blood at its peak is white, tissue is grey."""
    top, left, bottom, right = (round(edge) for edge in view.box)
    shown = [view.layout.image(version.data[:, :, z])[top:bottom, left:right] for version in versions]
    return window(np.concatenate([np.ravel(values) for values in shown]), high=98.5)


def _frames(
    versions: Sequence[Series], view: View, slices: Sequence[str], levels: Sequence[tuple[float, float]], shown: range
) -> list[NDArray[np.uint8]]:
    """Sheets (rows, columns) of the volumes that are shown, the time written into the last row.

    Large enough to be read at the few pixels of a panel: where the browser can't take the film apart it stands nowhere
    else. The slices are named by the page.
    """
    height, width, gap = *view.size, 4
    sheet_size = len(slices) * (height + gap) - gap, len(versions) * (width + gap) - gap
    sheets = np.full((len(shown), *sheet_size), 255, np.uint8)
    for z in range(len(slices)):
        for column, version in enumerate(versions):
            panels = sheets[:, z * (height + gap) :][:, :height, column * (width + gap) :][:, :, :width]
            steps = grey(view.layout.image(version.data[:, :, z]), levels[z])
            for k, t in enumerate(shown):
                panels[k] = view.render_grey(steps[..., t])
    for k, t in enumerate(shown):
        _stamp(sheets[k, -height:, :width], _written(f"{versions[0].times[t]:.1f} s", view.size, (5, height - 5), "ls"))
    return list(sheets)


def _written(words: str, size: tuple[int, int], at: tuple[float, float], anchor: str) -> NDArray[np.uint8]:
    """White words with a dark rim on mid grey, which :func:`_stamp` sees through."""
    from PIL import Image

    stamp = Image.new("L", size[::-1], 128)
    write(stamp, at, words, max(14.0, size[1] / 11), anchor, "white")
    return np.asarray(stamp)


def _stamp(panel: NDArray[np.uint8], stamp: NDArray[np.uint8]) -> None:
    np.copyto(panel, stamp, where=stamp != 128)


def profiles_over_time(
    versions: Sequence[Series], headings: Sequence[str], view: View, slices: Sequence[str], centre: NDArray[np.floating]
) -> PictureGrid:
    """Draw the vertical line through the heart's centre, volume by volume from left to right (M-mode).

    ``centre`` holds voxel coordinates (x, y), shape (z, 2).
    """
    rows = []
    for z, name in enumerate(slices):
        column = int(np.clip(view.points(centre[z][None])[0, 0], 0, view.size[1] - 1))
        lines = [_profile(version.data[:, :, z], view, column) for version in versions]
        levels = window(np.concatenate([line.ravel() for line in lines]))
        pictures = tuple(
            encode(grey(_stretch(line), levels), f"Profile over time through the heart, {name}, {heading}.", quality=80)
            for line, heading in zip(lines, headings, strict=True)
        )
        rows.append(PictureRow(name, pictures))
    up, down = view.layout.up, view.layout.down
    caption = (
        "Profile over time: the vertical line through the middle of the heart, one column for each volume. Still "
        f"anatomy makes straight bands; steps and waves are motion that is left. Top {up}, bottom {down}."
    )
    return PictureGrid(tuple(headings), tuple(rows), caption)


def _profile(slice_series: NDArray[np.floating], view: View, column: int) -> NDArray[np.float32]:
    """Values along the column of voxels below a picture column over time, (rows, t)."""
    from PIL import Image

    top, left, bottom, right = view.box
    at = int(left + (column + 0.5) * (right - left) / view.size[1])
    line = np.ascontiguousarray(np.nan_to_num(view.layout.image(slice_series)[:, at]), dtype=np.float32)
    size = (line.shape[1], view.size[0])
    return np.asarray(Image.fromarray(line).resize(size, Image.Resampling.BICUBIC, (0, top, line.shape[1], bottom)))


def _stretch(line: NDArray[np.floating]) -> NDArray[np.floating]:
    """Widen each volume so that the profile is about one and a half times as wide as high; no smoothing over time."""
    times = max(1, round(1.5 * line.shape[0] / line.shape[1]))
    return np.repeat(line, times, axis=1)


def motion_in_words(motion: Motion | None, region: NDArray[np.bool_] | None) -> str:
    """Say how far the heart was from its median position over slices and volumes."""
    if motion is None:
        return "How far the heart moved is not known: there is no displacement."
    if not np.any(motion.displacement):
        return "The displacement of every volume is zero: the series is as it was acquired."
    shifts = np.concatenate(_shifts(motion, region))
    left = int((~np.asarray(motion.corrected)).sum())
    words = (
        f"Distance of the heart from its middle position: median {np.median(shifts):.1f} mm, "
        f"95th percentile {np.percentile(shifts, 95):.1f} mm, largest {shifts.max():.1f} mm."
    )
    if left:
        words += f" {left} of {motion.corrected.size} slice images could not be corrected and are left as they were."
    if motion.residual is not None and np.isfinite(motion.residual).any():
        rest = motion.residual[np.asarray(motion.corrected) & np.isfinite(motion.residual)]
        if rest.size:
            words += (
                f" Left after correction by the method's own reckoning: median {np.median(rest):.1f} mm, "
                f"95th percentile {np.percentile(rest, 95):.1f} mm over slice images."
            )
    return words


def frame_pictures(
    motion: Motion, times: NDArray[np.floating], region: NDArray[np.bool_] | None, slices: Sequence[str]
) -> tuple[tuple[Drawing, ...], Key]:
    """Draw what motion correction did to every volume, one picture for each slice, all with the same axis.

    How far the heart was from its middle position, what is left by the method's own reckoning, and which volumes could
    not be corrected. ``times`` (t,) are those of all volumes, proton-density volumes included.
    """
    shifts = _shifts(motion, region)
    top = max(1.0, float(np.max(shifts)))
    if motion.residual is not None and np.isfinite(motion.residual).any():
        top = max(top, float(np.nanmax(motion.residual)))
    pictures = []
    for z, name in enumerate(slices):
        axes = Axes((48, 24, 370, 180), limits_of(times, 0.02), (0.0, 1.08 * top))
        axes.line(times, shifts[z], BLUE, 1.2)
        axes.dots(times, shifts[z], BLUE, 1.7)
        if motion.residual is not None:
            axes.line(times, motion.residual[z], ORANGE)
        lost = ~np.asarray(motion.corrected[z])
        if lost.any():
            axes.parts.append(svg.crosses(axes.points(times[lost], np.zeros(lost.sum())), VERMILION, 3.5))
        axes.frame(TIME, "Motion (mm)", name)
        count = f"{int(lost.sum())} of {len(lost)} volumes could not be corrected"
        words = f"Motion of every volume in {name}: up to {shifts[z].max():.1f} mm; {count}."
        pictures.append(plot(axes, 380, 216, words))
    entries: list[tuple[str, LineStyle, str]] = [(BLUE, "solid", "before correction")]
    entries += [(ORANGE, "solid", "left after it")] if motion.residual is not None else []
    entries += [] if np.all(motion.corrected) else [(VERMILION, "cross", "not corrected")]
    return tuple(pictures), Key(tuple(entries))


def _shifts(motion: Motion, region: NDArray[np.bool_] | None) -> list[NDArray[np.float64]]:
    """Length of the mean displacement over the region, mm, from its median over time, (t,) for each slice."""
    shifts = []
    for z in range(motion.displacement.shape[2]):
        field = motion.displacement[:, :, z]
        inside = region[:, :, z] if region is not None and region[:, :, z].any() else np.ones(field.shape[:2], bool)
        mean = field[inside].astype(np.float64).mean(axis=0)
        shifts.append(np.linalg.norm(mean - np.median(mean, axis=0), axis=1))
    return shifts


def brightest_volume(series: Series, region: NDArray[np.bool_] | None, since: float | None = None) -> int:
    """Volume at which the region (or, without one, the whole image) is brightest.

    With ``since`` (s), only what follows within the first pass counts: later volumes may be as bright again.
    """
    inside = series.data[region] if region is not None and region.any() else series.data.reshape(-1, len(series.times))
    curve = np.nan_to_num(mean_curve(inside))
    if since is not None:
        near = (series.times >= since) & (series.times <= since + FIRST_PASS_SECONDS)
        curve = np.where(near, curve, -np.inf) if near.any() else curve
    return int(np.argmax(curve))
