"""What a participant's run left behind, as a report section sees it, and the elements a section is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from qperf_app.plugins.keys import Acquisition
from qperf_app.plugins.records import BloodPools, InputFunction, Motion, Myocardium, Series


@dataclass(frozen=True)
class StepOutcome:
    """How one step of one scan ended.

    ``state`` is ``done``, ``handed-in`` (a derivative dataset had it), ``not-found`` (the plugin says what it looked
    for is not there), ``skipped`` (for want of an earlier result) or ``failed``. ``loaded_files`` are the weights and
    other files that the plugin read: SHA-256 by name. ``doubts`` say why the result of a step that ended well can't be
    right: its numbers are kept, marked wherever they are shown, and left out of the summary.
    """

    step: str
    plugin: str
    state: Literal["done", "handed-in", "not-found", "skipped", "failed"]
    version: str = ""
    reason: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    warnings: tuple[str, ...] = ()
    summary: str = ""
    loaded_files: Mapping[str, str] = field(default_factory=dict)
    doubts: tuple[str, ...] = ()


@dataclass(frozen=True)
class VoxelMap:
    """One quantity over the grid, (x, y, z), NaN where it was not estimated. ``statistic`` None: a point estimate."""

    plugin: str
    model: str
    quantity: str
    units: str
    data: NDArray[np.floating]
    statistic: str | None = None


@dataclass(frozen=True)
class QualityMap:
    """Code of each voxel, (x, y, z) uint8, 0 a full estimate; ``legend`` says what each code means."""

    plugin: str
    data: NDArray[np.uint8]
    legend: Mapping[int, str]


#: Statistics that bound a posterior's 90 % interval.
INTERVAL = ("q05", "q95")


def interval_column(quantity: str, statistic: str) -> str:
    """Column of a segment table with a bound of a quantity's interval, such as ``MBF_q05``."""
    return f"{quantity}_{statistic}"


def is_interval(column: str) -> bool:
    """Tell whether a column holds a bound rather than a quantity."""
    return column.endswith(tuple(f"_{statistic}" for statistic in INTERVAL))


@dataclass(frozen=True)
class SegmentRow:
    """Means of one AHA segment; ``layer`` is ``transmural``, ``endo`` or ``epi``.

    ``values`` maps a quantity's name to its estimate for the segment (NaN where there is none), and
    :func:`interval_column` to the bounds of its 90 % interval where the plugin gives a posterior.
    """

    segment: int
    name: str
    layer: str
    n_voxels: int
    n_estimated: int
    values: Mapping[str, float]


@dataclass(frozen=True)
class SegmentTable:
    """Segments of one kinetics plugin; ``units`` by quantity."""

    plugin: str
    model: str
    rows: tuple[SegmentRow, ...]
    units: Mapping[str, str]


#: Percentiles over a segment's voxels between which its curve is the mean, at each time. A mean, since that averages
#: noise; lopsided, since noise errs to both sides, but what else is in a voxel of muscle is most often blood, which
#: only adds.
CURVE_PERCENTILES = (20, 60)
#: What a segment's curve is, in words.
CURVE_DEFINITION = "the mean between the {}th and the {}th percentile over its voxels at each time".format(
    *CURVE_PERCENTILES
)


@dataclass(frozen=True)
class SegmentCurves:
    """Curves of k AHA segments over the whole wall and one kinetics plugin's fit of them.

    ``measured`` and ``fitted`` are (k, t) in ``units`` at ``times`` (t,) s. Of a posterior, ``predicted_sd`` (k, t) is
    the standard deviation of a curve measured again, and ``flow_draws`` (k, d) draws of MBF, mL/min/g, moved to
    the median over the segment's voxels and scattered by how much these differ.
    """

    plugin: str
    model: str
    units: str
    segments: tuple[int, ...]
    times: NDArray[np.float64]
    measured: NDArray[np.float64]
    fitted: NDArray[np.float64]
    predicted_sd: NDArray[np.float64] | None = None
    flow_draws: NDArray[np.floating] | None = None


@dataclass(frozen=True)
class Haematocrit:
    """The one that a scan was computed with, and where it stood: the series' sidecar, or the configuration."""

    value: float
    source: Literal["sidecar", "configuration"]


@dataclass(frozen=True)
class ScanResult:
    """One tissue series (or a lone input-function series) and all that was made of it; None: not made.

    ``label`` is its BIDS entities without the participant, such as ``ses-A_task-stress_run-1``; ``acquisition`` says
    how its input function was acquired; ``haematocrit`` is the one that was computed with; ``spill_over`` holds the
    shares of the voxels that are blood or fat, ``fLV``, ``fRV``, ``ffat``; ``spleen`` is the first-pass enhancement of
    the spleen over that of the blood, NaN where a reader marked the spleen and it could not be measured.
    """

    label: str
    entities: Mapping[str, str]
    series: Series | None = None
    corrected: Series | None = None
    motion: Motion | None = None
    aif_corrected: Series | None = None
    pools: BloodPools | None = None
    aif: InputFunction | None = None
    aif_features: Mapping[str, float] = field(default_factory=dict)
    myocardium: Myocardium | None = None
    spill_over: tuple[VoxelMap, ...] = ()
    maps: tuple[VoxelMap, ...] = ()
    qc: tuple[QualityMap, ...] = ()
    segments: tuple[SegmentTable, ...] = ()
    segment_curves: tuple[SegmentCurves, ...] = ()
    segment_labels: NDArray[np.integer] | None = None
    steps: tuple[StepOutcome, ...] = ()
    warnings: tuple[str, ...] = ()
    acquisition: Acquisition | Literal[""] = ""
    haematocrit: Haematocrit | None = None
    spleen: float | None = None


@dataclass(frozen=True)
class ParticipantResult:
    """Everything about one participant's run. ``computed``: when its results were computed (ISO 8601), if known."""

    participant: str
    scans: tuple[ScanResult, ...]
    citations: tuple[str, ...] = ()
    boilerplate: str = ""
    configuration: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    seed: int = 0
    computed: str = ""


@dataclass(frozen=True)
class Picture:
    """An image that is embedded in the page. ``alt`` says in words what it shows."""

    data: bytes
    mime: Literal["image/png", "image/gif", "image/webp"]
    alt: str
    caption: str = ""


@dataclass(frozen=True)
class Table:
    """A table; numbers come formatted."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""


@dataclass(frozen=True)
class Paragraph:
    """Plain text; the host escapes it. ``kind`` ``warning`` stands out."""

    text: str
    kind: Literal["text", "warning"] = "text"


Element = Picture | Table | Paragraph
