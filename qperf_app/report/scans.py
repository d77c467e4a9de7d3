"""The section of one scan: the series, its motion, its contours and its curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qperf_app.checks.wording import counted
from qperf_app.geometry import resample
from qperf_app.plugins.keys import Acquisition
from qperf_app.plugins.records import Landmark, Series
from qperf_app.plugins.results import Paragraph, ScanResult
from qperf_app.plugins.steps import BLOOD_POOL, INPUT_FUNCTION
from qperf_app.report.curves import blood_curves, features_table, input_function_picture, slice_curves
from qperf_app.report.display import view_of
from qperf_app.report.elements import Columns, Details, Gallery, HostElement, Section, Subheading
from qperf_app.report.motion import (
    brightest_volume,
    frame_pictures,
    motion_in_words,
    movie_edge,
    moving_picture,
    profiles_over_time,
)
from qperf_app.report.outlines import contour_grid, orientation_in_words
from qperf_app.report.studies import handed_in, scan_title

_LEVELS = ((range(1, 7), "basal"), (range(7, 13), "mid"), (range(13, 17), "apical"), (range(17, 18), "apex"))

#: How the input function was acquired, in words.
KINDS: Mapping[Acquisition, str] = {
    "dual sequence": "Dual sequence: the input function comes from a low-resolution series of the same bolus.",
    "dual bolus": "Dual bolus: the input function comes from the series of a small dose, scaled by the doses.",
    "single bolus": "Single bolus: the input function comes from the tissue series itself.",
    "input function alone": "An input-function series alone: there is no tissue to measure flow in.",
}


@dataclass(frozen=True)
class Anatomy:
    """A scan's dynamic series before and after correction, and what was segmented, all on the grid of the series.

    ``before`` is None where there was no correction. ``heart`` (x, y, z) is everything segmented, or None. ``leading``
    proton-density volumes were left out: volumes are numbered as in the series, with them.
    """

    before: Series | None
    after: Series
    masks: dict[str, NDArray[np.bool_]]
    slices: tuple[str, ...]
    leading: int = 0

    @property
    def heart(self) -> NDArray[np.bool_] | None:
        """Union of the masks; None where nothing was segmented."""
        found = [mask for name, mask in self.masks.items() if name != "aif"]
        return np.any(found, axis=0) if found else None


def anatomy_of(scan: ScanResult) -> Anatomy | None:
    """Return what there is to see of a scan; None where no series was left behind."""
    series = scan.corrected or scan.series or scan.aif_corrected
    if series is None or not series.data.size:
        return None
    after = series.dynamic()
    moved = scan.motion is None or bool(np.any(scan.motion.displacement))
    before = scan.series.dynamic() if scan.corrected is not None and scan.series is not None and moved else None
    if before is not None and before.data.shape != after.data.shape:
        before = None
    names = _slice_names(scan, after.data.shape[2])
    return Anatomy(before, after, _masks(scan, after), names, series.n_proton_density)


def _masks(scan: ScanResult, series: Series) -> dict[str, NDArray[np.bool_]]:
    """Bring every mask to the grid of the series; empty ones stay away."""
    masks = {}
    if scan.myocardium is not None and scan.myocardium.mask.shape == series.data.shape[:3]:
        masks["myocardium"] = scan.myocardium.mask.astype(bool)
    if scan.pools is not None and scan.pools.found:
        # An input function that was handed in comes from other voxels, or from none.
        given = INPUT_FUNCTION.name in handed_in(scan)
        for name in ("lv", "rv") if given else ("lv", "rv", "aif"):
            pool = np.asarray(getattr(scan.pools, name), bool)
            masks[name] = resample(pool, scan.pools.affine, series.affine, series.data.shape[:3], project=False)
    return {name: mask for name, mask in masks.items() if mask.any()}


def _slice_names(scan: ScanResult, n: int) -> tuple[str, ...]:
    names = []
    for z in range(n):
        labels = scan.segment_labels
        found = set(np.unique(labels[:, :, z]).tolist()) if labels is not None and labels.shape[2] == n else set()
        level = next((words for numbers, words in _LEVELS if found & set(numbers)), "")
        names.append(f"Slice {z + 1}{', ' if level else ''}{level}")
    return tuple(names)


def scan_section(scan: ScanResult, number: int, anatomy: Anatomy | None) -> Section:
    """Build the section of a scan; what is missing is said, not left out in silence."""
    kind = f" {KINDS[scan.acquisition]}" if scan.acquisition else ""
    if INPUT_FUNCTION.name in handed_in(scan):
        kind = " The input function was handed in."
    elements: list[HostElement] = [Paragraph(f"{scan.label}. {acquisition_in_words(scan)}{kind}")]
    lost = lost_ventricle(scan)
    if lost:
        elements.append(Paragraph(f"{lost[:1].upper()}{lost[1:]}", "warning"))
    if anatomy is None:
        elements.append(Paragraph("No image series of this scan is at hand.", "warning"))
    else:
        elements += _motion_elements(scan, anatomy)
        elements += _contour_elements(scan, anatomy, number)
    elements += _curve_elements(scan, anatomy)
    return Section(scan_title(scan), f"scan-{number}", tuple(elements))


def lost_ventricle(scan: ScanResult) -> str:
    """Say that the left ventricle was not found, and why; empty where it was."""
    reasons = [step.reason for step in scan.steps if step.step == BLOOD_POOL.name and step.state == "not-found"]
    if scan.pools is not None and not scan.pools.found:
        reasons.insert(0, scan.pools.reason)
    if not reasons:
        return ""
    reason = next((reason for reason in reasons if reason), "")
    return f"the left ventricle was not found{': ' if reason else ''}{reason.rstrip('.')}."


def acquisition_in_words(scan: ScanResult) -> str:
    """Describe the series by what its grid, its times and a few technical fields say."""
    series = scan.series or scan.corrected or scan.aif_corrected
    if series is None:
        return ""
    x, y, z, t = series.data.shape
    along, across, apart = series.voxel_size
    words = f"{counted(z, 'slice')} of {x} × {y}, pixels {along:.3g} × {across:.3g} mm"
    # What the image says of the third axis is the way from slice to slice, not how thick they are.
    words += f", slices {apart:.3g} mm apart, {counted(t, 'volume')}" if z > 1 else f", {counted(t, 'volume')}"
    if t > 1:
        words += f" over {series.times[-1] - series.times[0]:.0f} s"
    if series.n_proton_density:
        words += f" ({series.n_proton_density} proton-density weighted)"
    strength = series.metadata.get("MagneticFieldStrength")
    return words + (f", {float(strength):g} T." if strength else ".")


def _motion_elements(scan: ScanResult, anatomy: Anatomy) -> list[HostElement]:
    heart, after = anatomy.heart, anatomy.after
    corrected = anatomy.before is not None
    versions = [anatomy.before, after] if anatomy.before is not None else [after]
    headings = ["Before correction", "After correction"] if corrected else ["Series"]
    wide = view_of(after.affine, after.data.shape, heart, 30.0, 300)
    view = wide.scaled(movie_edge(wide, len(anatomy.slices), len(versions)))
    still_at = brightest_volume(after, anatomy.masks.get("lv"))
    movie = moving_picture(versions, headings, view, anatomy.slices, still_at, anatomy.leading)
    profiles = profiles_over_time(versions, headings, view, anatomy.slices, _centres(anatomy))
    words = f"{motion_in_words(scan.motion, heart)} {orientation_in_words(view)} Grey levels are fixed over time."
    title = "Series before and after motion correction" if corrected else "Series"
    elements: list[HostElement] = [Subheading(title), Paragraph(words), Columns((movie,), (profiles,))]
    series, motion = scan.series, scan.motion
    if series is not None and motion is not None and np.any(motion.displacement):
        pictures, key = frame_pictures(motion, np.asarray(series.times), heart, anatomy.slices)
        caption = "Distance of the heart from its middle position in every volume, and motion that is left in it."
        elements.append(Details("Motion of every volume", (key, Gallery(pictures, caption))))
    return elements


def blood_peak(series: Series, blood: NDArray[np.bool_] | None) -> float | None:
    """Time, s, at which the left ventricle's blood is brightest; None where it is not known."""
    return None if blood is None else float(series.times[brightest_volume(series, blood)])


def _centres(anatomy: Anatomy) -> NDArray[np.float64]:
    """Middle of the heart in every slice, voxel coordinates (z, 2); of the image where the heart is not known."""
    mask = next((anatomy.masks[name] for name in ("myocardium", "lv") if name in anatomy.masks), None)
    x, y, z = anatomy.after.data.shape[:3]
    whole = mask.any(axis=2) if mask is not None else np.ones((x, y), bool)
    return np.array(
        [
            np.argwhere(mask[:, :, k] if mask is not None and mask[:, :, k].any() else whole).mean(axis=0)
            for k in range(z)
        ]
    )


def _contour_elements(scan: ScanResult, anatomy: Anatomy, number: int) -> list[HostElement]:
    elements: list[HostElement] = []
    if anatomy.masks:
        landmarks = scan.myocardium.landmarks if scan.myocardium is not None else ()
        region = anatomy.masks.get("myocardium", anatomy.masks.get("lv"))
        elements += _contours_on(
            anatomy.after,
            anatomy.masks,
            landmarks,
            anatomy.slices,
            region,
            "Contours",
            f"scan-{number}-tissue",
            anatomy.leading,
        )
        if "myocardium" in anatomy.masks and not landmarks:
            elements.append(Paragraph("No RV insertion points: no segments and no bull's-eye.", "warning"))
    own_series = scan.aif_corrected
    if own_series is not None and scan.pools is not None and scan.pools.found and _is_apart(scan, own_series, anatomy):
        series = own_series.dynamic()
        pools = {name: getattr(scan.pools, name).astype(bool) for name in ("lv", "rv", "aif")}
        if pools["lv"].shape == series.data.shape[:3]:
            names = tuple(f"Input-function slice {z + 1}" for z in range(series.data.shape[2]))
            elements += _contours_on(
                series,
                pools,
                (),
                names,
                pools["lv"],
                "Blood pools on the input-function series",
                f"scan-{number}-blood",
                own_series.n_proton_density,
            )
    return elements


def _is_apart(scan: ScanResult, series: Series, anatomy: Anatomy) -> bool:
    """Whether the pools were found in images that the tissue's contours don't show."""
    return scan.acquisition == "dual bolus" or not _same_grid(series, anatomy)


def _same_grid(series: Series, anatomy: Anatomy) -> bool:
    after = anatomy.after
    return series.data.shape[:3] == after.data.shape[:3] and np.allclose(series.affine, after.affine, atol=1e-3)


def _contours_on(
    series: Series,
    masks: dict[str, NDArray[np.bool_]],
    landmarks: Sequence[Landmark],
    slices: Sequence[str],
    region: NDArray[np.bool_] | None,
    title: str,
    key: str,
    leading: int,
) -> list[HostElement]:
    since = None if region is masks.get("lv") else blood_peak(series, masks.get("lv"))
    at = brightest_volume(series, region, since)
    heart = np.any([mask for name, mask in masks.items() if name != "aif"], axis=0)
    view = view_of(series.affine, series.data.shape, heart, 22.0, 420)
    what = "myocardium" if region is masks.get("myocardium") else "LV blood"
    volume = f"volume {leading + at + 1} of {leading + len(series.times)}"
    when = f"{volume} at {series.times[at]:.1f} s, where the {what} is brightest"
    grid, legend = contour_grid(series.data[..., at], masks, landmarks, series.affine, view, slices, when, key)
    return [Subheading(title), legend, grid]


def _curve_elements(scan: ScanResult, anatomy: Anatomy | None) -> list[HostElement]:
    elements: list[HostElement] = [Subheading("Arterial input function")]
    if scan.aif is None:
        elements.append(Paragraph("There is no input function.", "warning"))
    else:
        elements.append(
            Columns(
                (input_function_picture(scan.aif, scan.aif_features),),
                (features_table(scan.aif_features, scan.aif.units),)
                if scan.aif_features
                else (Paragraph("The features of its first pass were not determined."),),
            )
        )
    return [*elements, *(_signal_elements(scan, anatomy) if anatomy is not None else ())]


def _signal_elements(scan: ScanResult, anatomy: Anatomy) -> list[HostElement]:
    """Signal of blood and wall over time. Of a dual sequence the blood is that of its own series, which it is shown in.

    A prebolus is another passage: its blood is not put beside the wall.
    """
    masks, own, pools = anatomy.masks, scan.aif_corrected, scan.pools
    blood, caption = None, "Mean signal over time, all slices on one axis."
    if scan.acquisition == "dual sequence" and own is not None and pools is not None and pools.found:
        series = own.dynamic()
        curves = blood_curves(series, pools) if pools.lv.shape == series.data.shape[:3] else {}
        blood = (np.asarray(series.times, float), curves) if curves else None
    if blood is not None:
        masks = {name: mask for name, mask in masks.items() if name not in ("lv", "rv")}
        caption += (
            " Blood is that of the input-function series, another sequence: its curves are brought to the height of "
            "the picture. Compare times, not heights."
        )
    pictures, key = slice_curves(anatomy.after, masks, anatomy.slices, blood)
    if not pictures:
        return []
    title = "Blood and myocardium" if blood is not None or {"lv", "rv"} & set(masks) else "Myocardium"
    return [Subheading(title), key, Gallery(pictures, caption)]
