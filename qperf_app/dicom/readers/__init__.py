"""Readers of vendors' DICOM: which one reads a dataset is told by what is in it, never by a file's name.

A reader turns a dataset into frames. Most of that is the standard's (:mod:`~qperf_app.dicom.readers.standard`); a
vendor's reader adds the few private elements that matter, and nothing else of them is ever looked at.
"""
