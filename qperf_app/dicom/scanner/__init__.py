"""Perfusion series as the scanners of several vendors store them: for tests, and for who has no scanner at hand."""

from qperf_app.dicom.scanner.acquisition import Acquisition, StudyOptions
from qperf_app.dicom.scanner.manners import MANNERS
from qperf_app.dicom.scanner.study import write_dataset_as_dicom, write_study

__all__ = ["MANNERS", "Acquisition", "StudyOptions", "write_dataset_as_dicom", "write_study"]
