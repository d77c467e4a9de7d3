"""Write studies: files in folders with neutral names, and a whole raw dataset in a vendor's manner."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

from pydicom.dataset import Dataset

from qperf_app.bids.index import SeriesFile, find_series, list_participants, sidecar
from qperf_app.bids.records import read_series
from qperf_app.dicom.scanner.acquisition import Acquisition, Kind, Shot, StoredSeries, StudyOptions, plan_series
from qperf_app.dicom.scanner.classic import classic_image
from qperf_app.dicom.scanner.enhanced import enhanced_image
from qperf_app.dicom.scanner.headers import Study
from qperf_app.dicom.scanner.manners import MANNERS, Manner

_KINDS: dict[str, Kind] = {"aif": "aif", "prebolus": "prebolus"}


def write_study(
    folder: Path,
    acquisitions: Sequence[Acquisition],
    manner: str,
    patient: str = "01",
    name: str = "",
    options: StudyOptions | None = None,
) -> list[Path]:
    """Write the series of one patient's study.

    Parameters
    ----------
    folder : Path
        Made where it isn't there. Each series gets a folder of its own in it.
    acquisitions : sequence of Acquisition
    manner : str
        A key of ``MANNERS``.
    patient : str
        Label of the participant.
    name : str
        What the identifiers are derived from, beside the manner and the patient: the same name, the same bytes.
    options : StudyOptions, optional

    Returns
    -------
    list of Path
        The files.
    """
    study = Study(f"{name}|{manner}|{patient}", patient, MANNERS[manner], options or StudyOptions())
    written = []
    for series in plan_series(acquisitions, study.options):
        place = folder / f"{series.number:03d}"
        place.mkdir(parents=True)
        for number, dataset in enumerate(_files(study, series), start=1):
            for keyword, value in study.options.identity.items():
                setattr(dataset, keyword, value)
            path = place / f"{number:05d}.dcm"
            dataset.save_as(path, enforce_file_format=True)
            written.append(path)
    return written


def write_dataset_as_dicom(
    dataset: Path, out: Path, manner: str, name: str = "", options: StudyOptions | None = None
) -> list[Path]:
    """Write every participant of a raw dataset as a study in ``out/sub-<label>[/ses-<label>]``.

    Raises
    ------
    DatasetError
        Where a series can't be read.
    """
    written = []
    for label in list_participants(dataset):
        found = find_series(dataset, participants=[label])
        for session, files in groupby(found, key=lambda series: series.entities.get("ses", "")):
            acquisitions = [_acquisition(dataset, file) for file in files]
            place = out / f"sub-{label}" / (f"ses-{session}" if session else "")
            written += write_study(place, acquisitions, manner, label, f"{name}|{session}", options)
    return written


def _acquisition(dataset: Path, file: SeriesFile) -> Acquisition:
    kind = _KINDS.get(file.entities.get("acq", ""), "tissue")
    return Acquisition(read_series(file.path, sidecar(file.path, dataset)), file.entities["task"], kind)


def _files(study: Study, series: StoredSeries) -> Iterator[Dataset]:
    manner, shots = study.manner, _numbered(study.manner, series)
    if manner.files == "image":
        for number, shot in enumerate(shots, start=1):
            yield classic_image(study, series, shot, number)
    elif manner.files == "series":
        yield enhanced_image(study, series, shots, 1)
    else:
        for number, (_, group) in enumerate(groupby(shots, key=lambda shot: shot.frame), start=1):
            yield enhanced_image(study, series, list(group), number)


def _numbered(manner: Manner, series: StoredSeries) -> list[Shot]:
    """Images in the order in which the vendor numbers them."""
    if manner.slices_first:
        return sorted(series.shots, key=lambda shot: (shot.slice, shot.frame))
    return sorted(series.shots, key=lambda shot: (shot.frame, shot.slice))
