"""Do outlines hold where real series are as another scanner, patient or protocol would have made them?

Takes the free-breathing series of subjects 01 to 06, aligned by the drawn masks, changes one thing at a time, and
outlines each by the plugins ``ensemble``: ``python -m benchmarks.outline_changes DATA``. 07 to 14 are kept for a test.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.outline_trust import CHAINS, outlined
from benchmarks.records import Column, Row, Table, argument_parser, publish, weights_of
from benchmarks.segmentation_real import BY_HAND, SUBJECTS, Case, mlperf_cases
from qperf_app.training.outline_trust import RIGHT, WRONG
from qperf_segmentation import EnsembleMyocardium

#: Seed of the noise that is added.
SEED = 1
#: Volumes before the bolus arrives, in every one of the series.
BASELINE = 6
#: The left ventricle is found where its Dice is over this.
FOUND = 0.3

Array = NDArray[np.floating]


def main() -> None:
    """Publish the table."""
    parser = argument_parser(__doc__)
    parser.add_argument("data", type=Path, help="folder of the measurement data")
    parser.add_argument("--subjects", nargs="+", default=list(SUBJECTS), help="labels of the series")
    args = parser.parse_args()
    publish([changes_table(list(mlperf_cases(args.data, BY_HAND, args.subjects)))], args, seed=SEED)


def changes_table(cases: Sequence[Case]) -> Table:
    """All changes."""
    columns = (
        Column("change"),
        Column("series", format="d"),
        Column("LV found", format="d"),
        Column("wall Dice, median", format=".3f"),
        Column("least", format=".2f"),
        Column("wrong", format="d"),
        Column("wrong and not doubtful", format="d"),
        Column("right and doubtful", format="d"),
    )
    rows = [
        (name, len(cases), *_scores([measured(change(case)) for case in cases])) for name, change in CHANGES.items()
    ]
    title = "Outlines of real series that were changed"
    weights = weights_of(EnsembleMyocardium())
    return Table(
        "outline-changes", title, columns, tuple(rows), "wrong is a Dice below 0.6, right one above 0.75.", weights
    )


def measured(case: Case) -> tuple[float, float, bool]:
    """Dice of the left ventricle's blood and of the wall, and whether either is doubtful or not found."""
    assert case.wall is not None
    left, wall, _, doubts, _ = outlined(case.series, case.series, case.lv, case.wall, CHAINS["`ensemble`"])
    return left, wall, doubts > 0


def _scores(found: Sequence[tuple[float, float, bool]]) -> Row:
    left, wall, doubtful = (np.array(values) for values in zip(*found, strict=True))
    wrong, right = wall < WRONG, wall > RIGHT
    counts = (wrong, wrong & ~doubtful, right & doubtful)
    return int((left > FOUND).sum()), float(np.median(wall)), float(wall.min()), *(int(n.sum()) for n in counts)


def _frames(step: int = 1, share: float = 1.0) -> Callable[[Case], Case]:
    """Keep every so many images of the first part of the series."""

    def change(case: Case) -> Case:
        kept = slice(0, int(share * len(case.series.times)), step)
        return replace(
            case, series=replace(case.series, data=case.series.data[..., kept], times=case.series.times[kept])
        )

    return change


def _clock(factor: float) -> Callable[[Case], Case]:
    """Let everything take so many times as long."""
    return lambda case: replace(case, series=replace(case.series, times=factor * case.series.times))


def _values(of: Callable[[Array, Case], Array]) -> Callable[[Case], Case]:
    """Change the signal (x, y, z, t)."""
    return lambda case: replace(case, series=case.series.with_data(of(case.series.data, case).astype(np.float32)))


def _noise(factor: float) -> Callable[[Array, Case], Array]:
    """Add so many times the noise that the series has before the bolus; the signal stays a magnitude."""

    def of(data: Array, _: Case) -> Array:
        differences = np.diff(data[..., :BASELINE], axis=-1)
        noise = float(np.median(np.abs(differences))) * 1.4826 / np.sqrt(2.0)
        return np.asarray(np.abs(data + np.random.default_rng(SEED).normal(0.0, factor * noise, data.shape)))

    return of


def _enhancement(of: Callable[[Array, float], Array]) -> Callable[[Array, Case], Array]:
    """Change what the signal rises by; ``of`` is told how much the left ventricle's blood rises."""

    def change(data: Array, case: Case) -> Array:
        before = data[..., :BASELINE].mean(axis=-1, keepdims=True)
        rise = data - before
        return np.asarray(before + of(rise, float(np.median(rise[case.lv].max(axis=-1)))))

    return change


def _saturated(rise: Array, peak: float) -> Array:
    """Blood saturates at half of its peak."""
    bent = 0.5 * peak * (1.0 - np.exp(-np.clip(rise, 0.0, None) / (0.5 * peak)))
    return np.where(rise > 0, bent, rise)


def _coil(factor: float, axis: int) -> Callable[[Array, Case], Array]:
    """Let the coil's sensitivity change by a factor across the field of view."""

    def of(data: Array, _: Case) -> Array:
        shape = [data.shape[axis] if k == axis else 1 for k in range(4)]
        gain = np.exp(np.log(factor) * np.linspace(-0.5, 0.5, data.shape[axis]))
        return np.asarray(data * gain.reshape(shape))

    return of


def _places(of: Callable[[Array], Array], matrix: NDArray[np.float64] | None = None) -> Callable[[Case], Case]:
    """Bring images and masks (x, y, ...) elsewhere; ``matrix`` leads from the new voxels to the old ones."""

    def change(case: Case) -> Case:
        images = np.stack([of(image) for image in np.moveaxis(case.series.data, -1, 0)], axis=-1)
        affine = case.series.affine if matrix is None else case.series.affine @ matrix
        assert case.wall is not None
        lv, wall = (of(mask.astype(np.float32)) > 0.5 for mask in (case.lv, case.wall))
        return replace(
            case, series=replace(case.series, data=images.astype(np.float32), affine=affine), lv=lv, wall=wall
        )

    return change


def _rotated(degrees: float) -> Callable[[Case], Case]:
    return _places(lambda image: ndimage.rotate(image, degrees, axes=(0, 1), reshape=False, order=1, mode="nearest"))


def _pixels(size: float) -> Callable[[Case], Case]:
    """Read the image on pixels of another size, mm."""

    def change(case: Case) -> Case:
        ratio = size / case.series.voxel_size[:2]
        blur = [0.5 * float(np.sqrt(max(0.0, r**2 - 1.0))) for r in ratio]

        def of(image: Array) -> Array:
            smooth = ndimage.gaussian_filter(image, (*blur, 0.0))
            return np.asarray(ndimage.zoom(smooth, (*(1.0 / ratio), 1.0), order=1, grid_mode=True, mode="nearest"))

        return _places(of, np.diag([*ratio, 1.0, 1.0]))(case)

    return change


def _cut(aside: Sequence[float]) -> Callable[[Case], Case]:
    """Keep 60 % of the field of view, its middle as many of its half widths away from the ventricle's."""

    def change(case: Case) -> Case:
        size = np.array(case.lv.shape[:2])
        width = (0.6 * size).astype(int)
        middle = np.array(ndimage.center_of_mass(case.lv[..., 0])) + np.array(aside) * width / 2
        start = np.clip(middle - width / 2, 0, size - width).astype(int)
        window = tuple(slice(a, a + n) for a, n in zip(start, width, strict=True))
        matrix = np.eye(4)
        matrix[:2, 3] = start
        return _places(lambda image: image[window], matrix)(case)

    return change


CHANGES: Mapping[str, Callable[[Case], Case]] = {
    "nothing": lambda case: case,
    "turned by 40 degrees": _rotated(40.0),
    "turned by 180 degrees": _rotated(180.0),
    "mirrored": _places(lambda image: image[::-1]),
    "every second image": _frames(2),
    "every third image": _frames(3),
    "the first 60 % of the images": _frames(share=0.6),
    "a bolus 1.6 times as slow": _clock(1.6),
    "a bolus 1.4 times as fast": _clock(0.7),
    "2 times the noise more": _values(_noise(2.0)),
    "4 times the noise more": _values(_noise(4.0)),
    "half of the dose": _values(_enhancement(lambda rise, _: 0.5 * rise)),
    "a quarter of the dose": _values(_enhancement(lambda rise, _: 0.25 * rise)),
    "saturated at half of the peak": _values(_enhancement(_saturated)),
    "a coil 4 times as near on one side": _values(_coil(4.0, 0)),
    "a coil 4 times as near in front": _values(_coil(0.25, 1)),
    "pixels of 3 mm": _pixels(3.0),
    "pixels of 1.2 mm": _pixels(1.2),
    "60 % of the field of view": _cut((0.0, 0.0)),
    "60 % of the field of view, aside": _cut((0.4, -0.3)),
}


if __name__ == "__main__":
    main()
