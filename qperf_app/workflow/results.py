"""Read a participant's published files back into records, and write the report from them."""

from __future__ import annotations

import platform
from collections.abc import Collection, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from qperf_app.bids import records, segment_curves
from qperf_app.bids.dataset import replace_text
from qperf_app.bids.images import read_image, read_json, sidecar_path
from qperf_app.bids.index import sidecar
from qperf_app.bids.names import parse_entities
from qperf_app.bids.segment_tables import read_segments
from qperf_app.plugins import (
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
from qperf_app.plugins.manager import PluginRegistry, load_plugins
from qperf_app.workflow.boilerplate import citations, methods_text
from qperf_app.workflow.tasks import load_step

#: Packages whose versions the report gives.
REPORTED_PACKAGES = ("qperf-app", "numpy", "scipy", "nibabel", "nipype", "scikit-image")


def write_report(out_dir: Path, bids_dir: Path, participant: str, disable: Collection[str] = ()) -> Path:
    """Render ``sub-X.html`` from what is published."""
    from qperf_app.report import render_report

    registry = load_plugins(disable)
    result = load_participant(out_dir, bids_dir, participant, registry)
    sections = [plugin.cls() for plugin in registry.of_step("report-section")]
    path = out_dir / f"sub-{participant}.html"
    replace_text(path, render_report(result, sections))
    return path


def load_participant(out_dir: Path, bids_dir: Path, participant: str, registry: PluginRegistry) -> ParticipantResult:
    """Read all that is published of a participant."""
    from qperf_app.workflow.publish import status_path

    status = read_json(status_path(out_dir, participant))
    scans = tuple(_load_scan(out_dir, bids_dir, scan) for scan in status["scans"])
    steps = [step for scan in scans for step in scan.steps]
    configuration = out_dir / f"sub-{participant}" / f"sub-{participant}_config.yaml"
    return ParticipantResult(
        participant=participant,
        scans=scans,
        citations=citations(steps, registry),
        boilerplate=methods_text(steps, registry),
        configuration=configuration.read_text(encoding="utf-8") if configuration.is_file() else "",
        versions=software_versions(),
        seed=int(status["seed"]),
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


def _load_scan(out_dir: Path, bids_dir: Path, scan: Mapping[str, Any]) -> ScanResult:
    files: dict[str, dict[str, Path]] = {
        name: {role: out_dir / path for role, path in roles.items() if (out_dir / path).is_file()}
        for name, roles in scan["files"].items()
    }
    tissue, aif_series = scan["tissue"], scan["aif"]
    motion_name = "motion-correction" if tissue else "aif-motion-correction"
    motion = files.get(motion_name, {})
    aif = files.get("input-function", {}).get("aif")
    pools = files.get("blood-pool", {})
    kinetics = {name.split(":", 1)[1]: roles for name, roles in files.items() if name.startswith("kinetics:")}
    aif_corrected = files.get("aif-motion-correction", {}).get("preproc") if aif_series else None
    return ScanResult(
        label=scan["label"],
        entities=scan["entities"],
        series=_raw(bids_dir, tissue or aif_series),
        corrected=_series(motion.get("preproc")),
        motion=_motion(motion.get("xfm")),
        aif_corrected=_series(aif_corrected),
        pools=records.read_pools(pools) if "lv" in pools else None,
        aif=records.read_aif(aif) if aif else None,
        aif_features=_features(aif) if aif else {},
        myocardium=_myocardium(files.get("myocardium", {})),
        maps=tuple(m for plugin, roles in kinetics.items() for m in _maps(plugin, roles)),
        qc=tuple(_quality(plugin, roles["qc"]) for plugin, roles in kinetics.items() if "qc" in roles),
        segments=tuple(_segment_tables(files)),
        segment_curves=tuple(_segment_curves(files)),
        segment_labels=_labels(files.get("segments", {}).get("dseg")),
        steps=tuple(load_step(step) for step in scan["steps"].values()),
        warnings=tuple(scan["warnings"]),
    )


def _raw(bids_dir: Path, name: str) -> Series | None:
    path = bids_dir / name
    return records.read_series(path, sidecar(path, bids_dir)) if path.is_file() else None


def _series(path: Path | None) -> Series | None:
    return records.read_series(path) if path else None


def _motion(path: Path | None) -> Motion | None:
    return records.read_motion(path) if path else None


def _features(path: Path) -> dict[str, float]:
    sidecar = read_json(sidecar_path(path))
    names = ("foot", "peak", "valley", "duration", "area", "peak_value")
    return {name: float("nan") if sidecar.get(name) is None else float(sidecar[name]) for name in names}


def _myocardium(roles: Mapping[str, Path]) -> Myocardium | None:
    if "myocardium" not in roles:
        return None
    landmarks = records.read_landmarks(roles["landmarks"]) if "landmarks" in roles else ()
    return Myocardium(records.read_mask(roles["myocardium"]), landmarks)


def _maps(plugin: str, roles: Mapping[str, Path]) -> list[VoxelMap]:
    found = []
    for role, path in roles.items():
        if role.startswith("map:"):
            _, model, quantity, statistic = role.split(":")
            units = str(read_json(sidecar_path(path)).get("Units", ""))
            found.append(VoxelMap(plugin, model, quantity, units, read_image(path)[0], statistic or None))
    return found


def _quality(plugin: str, path: Path) -> QualityMap:
    levels = read_json(sidecar_path(path)).get("Levels", {})
    return QualityMap(plugin, read_image(path, np.uint8)[0], {int(code): str(text) for code, text in levels.items()})


def _labels(path: Path | None) -> Any:
    return read_image(path, np.uint8)[0] if path else None


def _segment_tables(files: Mapping[str, Mapping[str, Path]]) -> list[SegmentTable]:
    return [read_segments(*_method(files, name), roles) for name, roles in _segment_files(files, "transmural")]


def _segment_curves(files: Mapping[str, Mapping[str, Path]]) -> list[SegmentCurves]:
    found = _segment_files(files, segment_curves.CURVES)
    return [segment_curves.read_segment_curves(*_method(files, name), roles) for name, roles in found]


def _segment_files(files: Mapping[str, Mapping[str, Path]], role: str) -> list[tuple[str, Mapping[str, Path]]]:
    """Steps that summarised a plugin's segments, with their files, where there is one of ``role``."""
    return [(name, roles) for name, roles in files.items() if name.startswith("segment-values:") and role in roles]


def _method(files: Mapping[str, Mapping[str, Path]], name: str) -> tuple[str, str]:
    """Plugin and model of a step that summarised segments."""
    plugin = name.split(":", 1)[1]
    maps = files.get(f"kinetics:{plugin}", {})
    return plugin, next((parse_entities(p.name)["model"] for r, p in maps.items() if r.startswith("map:")), "")
