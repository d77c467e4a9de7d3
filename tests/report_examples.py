"""A small participant with known numbers, for the tests of the report."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from qperf_app.geometry import SEGMENT_NAMES
from qperf_app.plugins import (
    BloodPools,
    InputFunction,
    Landmark,
    Motion,
    Myocardium,
    ParticipantResult,
    QualityMap,
    ScanResult,
    SegmentRow,
    SegmentTable,
    Series,
    StepOutcome,
    VoxelMap,
)

SHAPE, TWO_SLICES = (40, 44, 1), (40, 44, 2)
TIMES = np.arange(12) * 0.9 + 0.3
#: Right, posterior and superior of the patient lie along the axes; the heart's middle is at the origin of the world.
AFFINE = np.array([[2.0, 0, 0, -38.0], [0, 2.0, 0, -42.0], [0, 0, 8.0, -4.0], [0, 0, 0, 1]])
RV_AT = np.array([-20.0, 8.0])
LEGEND = {0: "full estimate", 128: "flow could not be told from the delay"}
#: Flow of the segments under stress; all others have 2.6. At rest every segment has 0.8.
LOW_FLOW = {4: 1.0, 10: 1.2}


def world(affine: np.ndarray = AFFINE, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """World mm (x, y, z, 3) of every voxel."""
    return np.moveaxis(np.indices(shape), 0, -1) @ affine[:3, :3].T + affine[:3, 3]


def regions(affine: np.ndarray = AFFINE, shape: tuple[int, ...] = SHAPE) -> dict[str, np.ndarray]:
    """A ring of myocardium around the world's origin, its cavity, and a right ventricle to the patient's left front."""
    mm = world(affine, shape)
    radius = np.hypot(mm[..., 0], mm[..., 1])
    beside = np.hypot(mm[..., 0] + RV_AT[0], mm[..., 1] - RV_AT[1])
    return {"lv": radius < 9, "myocardium": (radius >= 9) & (radius < 17), "rv": (beside < 8) & (radius >= 17)}


def scan(task: str = "stress", affine: np.ndarray = AFFINE, shape: tuple[int, ...] = SHAPE, **other: Any) -> ScanResult:
    """One complete scan; ``other`` replaces fields of the result."""
    masks = regions(affine, shape)
    curves = {"rv": 900 * bump(3.0), "lv": 1000 * bump(5.0), "myocardium": 150 + 250 * bump(8.0)}
    data = np.full((*shape, len(TIMES)), 80.0)
    for name, curve in curves.items():
        data[masks[name]] = curve
    data += 40 * (world(affine, shape)[..., 1, None] > 30)
    labels = np.where(masks["myocardium"], np.where(np.arange(shape[2]) == 0, 4, 10), 0).astype(np.uint8)
    flow = np.where(masks["myocardium"], 0.8 if task == "rest" else 2.6, np.nan)
    moved = np.zeros((*shape, len(TIMES), 3), np.float32)
    moved[..., 4, 1] = 6.0
    series = Series(data.astype(np.float32), TIMES, affine, {"MagneticFieldStrength": 1.5})
    marks = tuple(
        Landmark(name, z, (-14.0, y, float(world(affine, shape)[0, 0, z, 2])))
        for z in range(shape[2])
        for name, y in (("RVInsertionAnterior", 9.0), ("RVInsertionInferior", -9.0))
    )
    aif = InputFunction(TIMES, 5 * bump(5.0), 1000 * bump(5.0))
    complete = ScanResult(
        label=f"task-{task}",
        entities={"task": task},
        series=series.with_data(np.roll(series.data, 2, axis=1)),
        corrected=series,
        motion=Motion(moved, np.ones((shape[2], len(TIMES)), bool)),
        pools=BloodPools(masks["lv"], masks["rv"], masks["lv"], affine),
        aif=aif,
        aif_features={"foot": 2.1, "peak": 5.0, "valley": float("nan"), "duration": 6.25, "area": 17.5},
        myocardium=Myocardium(masks["myocardium"], marks),
        maps=(
            VoxelMap("nlls", "2cxm", "MBF", "mL/min/g", flow),
            VoxelMap("nlls", "2cxm", "vp", "mL/mL", flow * 0.03),
        ),
        qc=(QualityMap("nlls", np.zeros(shape, np.uint8), LEGEND),),
        segments=(segments(task),),
        segment_labels=labels,
        steps=(
            StepOutcome("motion-correction", "chained", "done", "1.2", options={"radius": 3}, seconds=4.25),
            StepOutcome("myocardium", "expert", "handed-in"),
        ),
    )
    return dataclasses.replace(complete, **other)


def bare_scan(
    task: str = "stress", affine: np.ndarray = AFFINE, shape: tuple[int, ...] = SHAPE, **other: Any
) -> ScanResult:
    """A scan with a flow map and little else, which is drawn sooner."""
    full = scan(task, affine, shape, **other)
    bare: dict[str, Any] = {
        "series": full.corrected,
        "aif": None,
        "aif_features": {},
        "segments": (),
        "qc": (),
        "pools": None,
    }
    bare |= {"corrected": None, "motion": None, "maps": full.maps[:1]}
    return dataclasses.replace(full, **{**bare, **other})


def bump(at: float, width: float = 1.4) -> np.ndarray:
    """A passage of contrast agent, 1 at its peak."""
    return np.exp(-(((TIMES - at) / width) ** 2))


def segments(task: str) -> SegmentTable:
    """Segments 1 to 12 with the inner layer 0.1 below the outer one; segment 12 could not be estimated."""
    rows = []
    for number in range(1, 13):
        flow = 0.8 if task == "rest" else LOW_FLOW.get(number, 2.6)
        flow = float("nan") if number == 12 else flow
        for layer, shift in (("transmural", 0.0), ("endo", -0.05), ("epi", 0.05)):
            n = 0 if number == 12 else 10
            rows.append(SegmentRow(number, SEGMENT_NAMES[number], layer, 10, n, {"MBF": flow + shift, "vp": 0.08}))
    return SegmentTable("nlls", "2cxm", tuple(rows), {"MBF": "mL/min/g", "vp": "mL/mL"})


def participant(*scans: ScanResult, **other: Any) -> ParticipantResult:
    """A participant with these scans, or with a rest and a stress scan."""
    complete = ParticipantResult(
        "07",
        scans or (scan("rest", shape=TWO_SLICES), scan("stress", shape=TWO_SLICES)),
        citations=("Cerqueira MD et al. Circulation 2002;105:539.",),
        boilerplate="The series were corrected for motion.\n\nFlow was estimated.",
        configuration="kinetics:\n- name: nlls\n",
        versions={"qperf-app": "0.1"},
        seed=4711,
    )
    return dataclasses.replace(complete, **other)
