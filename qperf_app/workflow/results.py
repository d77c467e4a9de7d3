"""Read a participant's published files back into records, and write the report from them."""

from __future__ import annotations

import platform
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from qperf_app.bids import records, segment_curves
from qperf_app.bids.images import read_image, read_json, sidecar_path
from qperf_app.bids.index import sidecar
from qperf_app.bids.segment_tables import read_segments
from qperf_app.bids.spleen import read_spleen_share
from qperf_app.bids.whole import replace_text
from qperf_app.plugins import (
    MapKey,
    Motion,
    Myocardium,
    ParticipantResult,
    QualityMap,
    ScanResult,
    SegmentCurves,
    SegmentTable,
    Series,
    VoxelMap,
)
from qperf_app.plugins.keys import Role
from qperf_app.plugins.manager import PluginRegistry, load_plugins
from qperf_app.plugins.steps import (
    BLOOD_POOL,
    INPUT_FUNCTION,
    JOINT_INPUT_FUNCTION,
    KINETICS,
    MOTION_CORRECTION,
    MYOCARDIUM,
    REPORT_SECTION,
    SEGMENT_VALUES,
    SEGMENTS,
    SPILL_OVER,
    SPLEEN,
)
from qperf_app.workflow.boilerplate import citations, methods_text
from qperf_app.workflow.status import ScanRecord, StepRecord, read_status

#: Packages whose versions the report gives.
REPORTED_PACKAGES = ("qperf-app", "numpy", "scipy", "nibabel", "nipype", "scikit-image")
#: Of a scan that an earlier run computed, of a series that was taken out of the dataset since.
_GONE = (
    "Its series is no longer in the dataset: these are results of an earlier run. If it was a wrong one, delete them."
)


def write_report(
    out_dir: Path, bids_dir: Path, participant: str, disable: Collection[str] = ()
) -> tuple[Path, dict[str, tuple[str, ...]]]:
    """Render ``sub-X.html`` from what is published.

    Returns
    -------
    path, dict
        The page, and what it warns of each scan, by label, beyond failed steps and doubtful results.
    """
    from qperf_app.report import render_report
    from qperf_app.report.studies import studies_of
    from qperf_app.report.warnings import remarks_of

    registry = load_plugins(disable)
    result = load_participant(out_dir, bids_dir, participant, registry)
    sections = [plugin.cls() for plugin in registry.of_step(REPORT_SECTION.name)]
    path = out_dir / f"sub-{participant}.html"
    replace_text(path, render_report(result, sections))
    said = remarks_of(result, studies_of(result.scans))
    remarks = {scan.label: dict.fromkeys(text for label, text in said if label == scan.label) for scan in result.scans}
    return path, {label: tuple(texts) for label, texts in remarks.items()}


def load_participant(
    out_dir: Path, bids_dir: Path | None, participant: str, registry: PluginRegistry
) -> ParticipantResult:
    """Read all that is published of a participant."""
    from qperf_app.report.studies import handed_in

    status = read_status(out_dir, participant)
    with ThreadPoolExecutor(max(1, len(status.scans))) as readers:
        scans = tuple(readers.map(lambda scan: _load_scan(out_dir, bids_dir, scan), status.scans))
    steps = [step for scan in scans for step in scan.steps]
    configuration = out_dir / f"sub-{participant}" / f"sub-{participant}_config.yaml"
    return ParticipantResult(
        participant=participant,
        scans=scans,
        citations=citations(steps, registry),
        boilerplate=methods_text(
            steps, registry, [scan.acquisition for scan in scans if INPUT_FUNCTION.name not in handed_in(scan)]
        ),
        configuration=configuration.read_text(encoding="utf-8") if configuration.is_file() else "",
        versions=software_versions(),
        seed=status.seed,
        computed=status.computed,
    )


def software_versions() -> dict[str, str]:
    """Versions of Python and of the packages that make the numbers."""
    versions = {"Python": platform.python_version()}
    for package in REPORTED_PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "unknown"
    return versions


def _load_scan(out_dir: Path, bids_dir: Path | None, scan: ScanRecord) -> ScanResult:
    def files(record: StepRecord | None) -> dict[Role, Path]:
        """Files that are still there."""
        paths = {} if record is None else {role: out_dir / path for role, path in record.paths.items()}
        return {role: path for role, path in paths.items() if path.is_file()}

    of_aif = files(scan.find(MOTION_CORRECTION.name, series="aif"))
    motion = files(scan.find(MOTION_CORRECTION.name)) if scan.tissue else of_aif
    joint = files(scan.find(JOINT_INPUT_FUNCTION.name)).get("joint")
    aif = joint or files(scan.find(INPUT_FUNCTION.name)).get("aif")
    pools = files(scan.find(BLOOD_POOL.name))
    kinetics = {record.key.plugin: files(record) for record in scan.of_step(KINETICS.name)}
    values = [(record.key.plugin, files(record)) for record in scan.of_step(SEGMENT_VALUES.name)]
    return ScanResult(
        label=scan.label,
        entities=scan.entities,
        acquisition=scan.acquisition,
        haematocrit=scan.haematocrit,
        series=_raw(bids_dir, scan.series),
        corrected=_series(motion.get("preproc")),
        motion=_motion(motion.get("xfm")),
        aif_corrected=_series(of_aif.get("preproc")),
        pools=records.read_pools(pools) if "lv" in pools else None,
        aif=records.read_aif(aif) if aif else None,
        aif_features=_features(aif) if aif else {},
        myocardium=_myocardium(files(scan.find(MYOCARDIUM.name))),
        spill_over=_fractions(scan.find(SPILL_OVER.name), files(scan.find(SPILL_OVER.name))),
        maps=tuple(m for plugin, roles in kinetics.items() for m in _maps(plugin, roles)),
        qc=tuple(_quality(plugin, roles["qc"]) for plugin, roles in kinetics.items() if "qc" in roles),
        segments=tuple(_segment_tables(values, kinetics)),
        segment_curves=tuple(_segment_curves(values, kinetics)),
        segment_labels=_labels(files(scan.find(SEGMENTS.name)).get("dseg")),
        steps=tuple(record.outcome for record in scan.steps),
        warnings=(*scan.warnings, *((_GONE,) if bids_dir is not None and scan.is_gone(bids_dir) else ())),
        spleen=read_spleen_share(files(scan.find(SPLEEN.name))),
    )


def _raw(bids_dir: Path | None, name: str) -> Series | None:
    if bids_dir is None or not (bids_dir / name).is_file():
        return None
    return records.read_series(bids_dir / name, sidecar(bids_dir / name, bids_dir))


def _series(path: Path | None) -> Series | None:
    return records.read_series(path) if path else None


def _motion(path: Path | None) -> Motion | None:
    return records.read_motion(path) if path else None


def _features(path: Path) -> dict[str, float]:
    sidecar = read_json(sidecar_path(path))
    names = ["foot", "peak", "valley", "duration", "area", "peak_value"]
    names += ["peak_value_log_sd"] if "peak_value_log_sd" in sidecar else []
    return {name: float("nan") if sidecar.get(name) is None else float(sidecar[name]) for name in names}


def _myocardium(roles: Mapping[Role, Path]) -> Myocardium | None:
    if "myocardium" not in roles:
        return None
    landmarks = records.read_landmarks(roles["landmarks"]) if "landmarks" in roles else ()
    return Myocardium(records.read_mask(roles["myocardium"]), landmarks)


def _maps(plugin: str, files: Mapping[Role, Path]) -> list[VoxelMap]:
    return [
        VoxelMap(plugin, key.model, key.quantity, _units(path), read_image(path)[0], key.statistic or None)
        for key, path in files.items()
        if isinstance(key, MapKey)
    ]


def _fractions(record: StepRecord | None, files: Mapping[Role, Path]) -> tuple[VoxelMap, ...]:
    """Each neighbour's share of the voxels, without its standard deviation."""
    plugin = record.outcome.plugin if record else ""
    shares = [(n, files[f"fraction-{n}"]) for n in records.NEIGHBOURS if f"fraction-{n}" in files]
    return tuple(VoxelMap(plugin, "mixture", f"f{name}", _units(path), read_image(path)[0]) for name, path in shares)


def _units(path: Path) -> str:
    return str(read_json(sidecar_path(path)).get("Units", ""))


def _quality(plugin: str, path: Path) -> QualityMap:
    levels = read_json(sidecar_path(path)).get("Levels", {})
    return QualityMap(plugin, read_image(path, np.uint8)[0], {int(code): str(text) for code, text in levels.items()})


def _labels(path: Path | None) -> Any:
    return read_image(path, np.uint8)[0] if path else None


_Files = Mapping[Role, Path]


def _segment_tables(values: Iterable[tuple[str, _Files]], kinetics: Mapping[str, _Files]) -> list[SegmentTable]:
    return [read_segments(plugin, _model(kinetics, plugin), files) for plugin, files in values if "transmural" in files]


def _segment_curves(values: Iterable[tuple[str, _Files]], kinetics: Mapping[str, _Files]) -> list[SegmentCurves]:
    return [
        segment_curves.read_segment_curves(plugin, _model(kinetics, plugin), files)
        for plugin, files in values
        if segment_curves.CURVES in files
    ]


def _model(kinetics: Mapping[str, _Files], plugin: str) -> str:
    """Model of a plugin, told from its maps."""
    return next((key.model for key in kinetics.get(plugin, {}) if isinstance(key, MapKey)), "")
