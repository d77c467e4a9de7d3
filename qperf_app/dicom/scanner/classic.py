"""An image in a file: MR Image Storage."""

from __future__ import annotations

from pydicom.dataset import Dataset
from pydicom.uid import MRImageStorage

from qperf_app.dicom.scanner.acquisition import Shot, StoredSeries
from qperf_app.dicom.scanner.clock import STUDY_START
from qperf_app.dicom.scanner.headers import Study, decimal, decimals, new_file, set_fields, set_pixels, stored_pixels


def classic_image(study: Study, series: StoredSeries, shot: Shot, instance: int) -> Dataset:
    """One image as a dataset."""
    manner, scaling = study.manner, study.scaling(series)
    dataset = new_file(study, series, MRImageStorage, instance)
    rows, columns, slices = series.spacing
    set_fields(dataset, {
        "MRAcquisitionType": "2D",
        "EchoTime": 1e3 * series.metadata.get("EchoTime", 0.0),
        "EchoTrainLength": 1,
        "NumberOfAverages": 1,
        "FlipAngle": shot.flip_angle,
        "SliceThickness": float(series.metadata.get("SliceThickness", slices)),
        "SpacingBetweenSlices": float(slices),
        "PixelSpacing": [decimal(rows), decimal(columns)],
        "ImagePositionPatient": decimals(shot.position),
        "ImageOrientationPatient": decimals(shot.orientation),
    })  # fmt: skip
    set_fields(dataset, manner.image(series, shot, STUDY_START))
    stored = stored_pixels(shot.pixels, scaling, manner.signed)
    set_pixels(dataset, stored)
    if scaling is not None:
        slope, intercept = scaling.header or (scaling.slope, scaling.intercept)
        set_fields(dataset, {
            "RescaleSlope": float(slope), "RescaleIntercept": float(intercept), "RescaleType": "US"
        })  # fmt: skip
        if manner.private is not None:
            manner.private(dataset, series, shot, scaling)
    low, high = int(stored.min()), int(stored.max())
    # The window is in rescaled values.
    slope, intercept = (dataset.RescaleSlope, dataset.RescaleIntercept) if scaling else (1.0, 0.0)
    dataset.WindowCenter = decimal(slope * (low + high) / 2 + intercept)
    dataset.WindowWidth = decimal(max(slope * (high - low), 1.0))
    return dataset
