"""What a scanner measured, image by image, before a vendor's header is put on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from qperf_app.dicom.geometry import slice_plane
from qperf_app.plugins import Series

Kind = Literal["tissue", "aif", "prebolus", "proton-density"]

#: R wave to the first image of a beat, and from one image of a beat to the next, s: the input function comes first.
TRIGGER_DELAY, SHOT, AIF_DELAY = 0.100, 0.150, 0.020
#: Start of the first scan and distance of the scans, s from the start of the study; a pre-bolus comes before its scan.
FIRST_SCAN, BETWEEN_SCANS, BEFORE_SCAN = 600.0, 900.0, 180.0


@dataclass(frozen=True)
class Acquisition:
    """A series as it was measured.

    Parameters
    ----------
    series : Series
        Its metadata are those of a raw dataset (``bids_spec/``).
    task : str
        ``rest`` or ``stress``.
    kind : {"tissue", "aif", "prebolus"}
    """

    series: Series
    task: str
    kind: Kind = "tissue"


@dataclass(frozen=True)
class StudyOptions:
    """How a study is stored, apart from the vendor's manner.

    Parameters
    ----------
    proton_density : {"inside", "apart"}
        The leading volumes in the series itself, or in one of their own.
    beats_per_volume : int
        Beats over which the slices of a volume are interleaved; the others' triggers lie evenly before the next volume.
    tilt : float
        Degrees from one slice's orientation to the next one's; 0 for parallel slices. Only headers turn, not pixels.
    rescale : (slope, intercept), optional
        Of all series, in place of the vendor's own.
    identity : mapping of str
        DICOM keyword to value, of the patient and whoever is named in a study; obviously made-up where not given.

    Raises
    ------
    ValueError
        Naming the option that is out of range.
    """

    proton_density: Literal["inside", "apart"] = "inside"
    beats_per_volume: int = 1
    tilt: float = 0.0
    rescale: tuple[float, float] | None = None
    identity: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.proton_density not in ("inside", "apart"):
            raise ValueError(f"proton_density is {self.proton_density!r}; it must be inside or apart")
        if self.beats_per_volume < 1:
            raise ValueError(f"beats_per_volume is {self.beats_per_volume}; it must be at least 1")
        if self.rescale is not None and self.rescale[0] <= 0:
            raise ValueError(f"rescale slope is {self.rescale[0]}; it must be greater than 0")


@dataclass(frozen=True)
class Shot:
    """One image.

    Parameters
    ----------
    frame, slice : int
        From 0, in the series that it is stored in.
    time : float
        s from the first trigger of the scan to this image.
    delay : float
        s from the R wave to this image.
    interval : float
        s from this R wave to the next one.
    flip_angle : float
        Degrees.
    saturated : bool
        False for proton density.
    pixels : (rows, columns) float array
    position : (3,) array
        Centre of the first pixel, mm in the patient frame of DICOM (LPS+).
    orientation : (6,) array
        Direction along a row, then along a column.
    """

    frame: int
    slice: int
    time: float
    delay: float
    interval: float
    flip_angle: float
    saturated: bool
    pixels: NDArray[np.floating]
    position: NDArray[np.float64]
    orientation: NDArray[np.float64]


@dataclass(frozen=True)
class StoredSeries:
    """A series as it will be stored.

    Parameters
    ----------
    number : int
        ``SeriesNumber``.
    kind, task : str
    start : float
        s from the start of the study to the first trigger.
    shots : tuple of Shot
        By time.
    frames, slices : int
    spacing : (3,) array
        mm between rows, columns and slices.
    metadata : mapping
        Of the raw series.
    """

    number: int
    kind: Kind
    task: str
    start: float
    shots: tuple[Shot, ...]
    frames: int
    slices: int
    spacing: NDArray[np.float64]
    metadata: Mapping[str, Any]

    @property
    def has_agent(self) -> bool:
        """Whether contrast agent was given, as far as the metadata say."""
        return self.kind != "proton-density" and "ContrastBolusIngredient" in self.metadata

    @property
    def maximum(self) -> float:
        """Largest value of all images."""
        return float(max(shot.pixels.max() for shot in self.shots))


def plan_series(acquisitions: Sequence[Acquisition], options: StudyOptions) -> list[StoredSeries]:
    """Series of a study, in the order in which they are stored."""
    tasks = sorted({acquisition.task for acquisition in acquisitions}, reverse=True)
    planned = []
    for acquisition in acquisitions:
        start = FIRST_SCAN + BETWEEN_SCANS * tasks.index(acquisition.task)
        start -= BEFORE_SCAN if acquisition.kind == "prebolus" else 0.0
        planned += [(start, acquisition, kind, shots) for kind, shots in _stored(acquisition, options)]
    planned.sort(key=lambda plan: plan[0])
    return [_series(10 * (n + 1), *plan) for n, plan in enumerate(planned)]


def _series(number: int, start: float, acquisition: Acquisition, kind: Kind, shots: tuple[Shot, ...]) -> StoredSeries:
    columns, rows, slices = acquisition.series.voxel_size
    first = shots[0].frame
    return StoredSeries(
        number=number,
        kind=kind,
        task=acquisition.task,
        start=start,
        shots=tuple(replace(shot, frame=shot.frame - first) for shot in shots),
        frames=shots[-1].frame - first + 1,
        slices=acquisition.series.data.shape[2],
        spacing=np.array([rows, columns, slices]),
        metadata=acquisition.series.metadata,
    )


def _stored(acquisition: Acquisition, options: StudyOptions) -> Iterator[tuple[Kind, tuple[Shot, ...]]]:
    """The shots of each series that an acquisition is stored as."""
    shots = tuple(_shots(acquisition, options))
    if options.proton_density == "inside" or acquisition.series.n_proton_density == 0:
        yield acquisition.kind, shots
        return
    weighted = tuple(shot for shot in shots if not shot.saturated)
    yield "proton-density", weighted
    yield acquisition.kind, shots[len(weighted) :]


def _shots(acquisition: Acquisition, options: StudyOptions) -> Iterator[Shot]:
    series = acquisition.series
    n_slices, n_frames = series.data.shape[2:]
    beats = min(options.beats_per_volume, n_slices)
    first = AIF_DELAY if acquisition.kind == "aif" else TRIGGER_DELAY
    steps = np.diff(series.times)
    steps = np.append(steps, steps[-1])
    flips = np.broadcast_to(np.asarray(series.metadata.get("FlipAngle", 0.0), float), (n_frames,))
    planes = [slice_plane(series.affine, k, options.tilt * (k - (n_slices - 1) / 2)) for k in range(n_slices)]
    weighted = series.n_proton_density
    for frame in range(n_frames):
        interval = float(steps[frame]) / beats
        # By time within the volume: beat by beat, and in a beat one slice after the other.
        for k in sorted(range(n_slices), key=lambda k: (k % beats, k)):
            beat, delay = k % beats, first + SHOT * (k // beats)
            yield Shot(
                frame, k, float(series.times[frame]) + beat * interval + delay, delay, interval, float(flips[frame]),
                frame >= weighted, series.data[:, :, k, frame].T, *planes[k],
            )  # fmt: skip
