"""Readers: chosen by content, a third party's first; what the header gives in odd ways."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset

from qperf_app.dicom.frames import FileRef, Frame
from qperf_app.dicom.metadata import field_strength
from qperf_app.dicom.readers.generic import GenericReader
from qperf_app.dicom.readers.installed import BUILT_IN, reader_for
from qperf_app.dicom.readers.standard import private_name
from qperf_app.dicom.scan import scan_files
from qperf_app.dicom.scanner import write_study
from qperf_app.plugins import hookimpl
from qperf_app.plugins.manager import register
from tests.test_dicom_import import phantom, rest  # noqa: F401

CLOCK = ("ACME MR 1", 0x0019, 0x42)


class AcmeReader(GenericReader):
    """A scanner that tells time in a private element."""

    name = "acme"
    private = (CLOCK,)

    def reads(self, dataset: Dataset) -> bool:
        return "ACME" in str(dataset.get("Manufacturer"))

    def finish(self, found: Frame, hints: Mapping[str, Any]) -> Frame:
        return replace(found, clocks={**found.clocks, "ACME clock": float(hints[private_name(*CLOCK)])})


def module(reader: Any) -> EntryPoint:
    """An entry point of a module whose hook returns ``reader``."""
    made = ModuleType("acme_plugin")
    made.qperf_dicom_reader = hookimpl(lambda: reader, specname="qperf_dicom_reader")
    sys.modules["acme_plugin"] = made
    return EntryPoint("acme", "acme_plugin", "qperf_app")


def test_a_third_partys_reader_comes_in_by_the_hook_and_before_the_built_in_ones(rest, tmp_path):  # noqa: F811
    registry = register([module(AcmeReader())])
    assert not registry.broken and list(registry.dicom_readers) == ["acme"]
    path = write_study(tmp_path, rest[:1], "siemens")[0]
    ds = pydicom.dcmread(path)
    ds.Manufacturer = "ACME"
    ds.private_block(0x0019, "ACME MR 1", create=True).add_new(0x42, "DS", "12.5")
    ds.save_as(path)
    frames, problems = scan_files([FileRef(str(path))], others=tuple(registry.dicom_readers.values()))
    assert not problems and frames[0].clocks["ACME clock"] == 12.5
    frames, _ = scan_files([FileRef(str(path))])
    assert "ACME clock" not in frames[0].clocks


class NoFrames:
    name = "no-frames"
    private = ()

    def reads(self, dataset: Dataset) -> bool:
        return False


class BadPrivate(AcmeReader):
    private = ("0019,1042",)


class BadName(AcmeReader):
    name = "Acme Reader"


@pytest.mark.parametrize(
    ("reader", "reason"), [(NoFrames(), "'frames'"), (BadPrivate(), "private"), (BadName(), "name"), (7, "name")]
)
def test_a_broken_reader_is_named_and_left_out(reader, reason):
    registry = register([module(reader)])
    assert not registry.dicom_readers and reason in registry.broken[0].reason


def test_two_readers_of_one_name(tmp_path):
    registry = register([module((AcmeReader(), AcmeReader()))])
    assert list(registry.dicom_readers) == ["acme"] and "already there" in registry.broken[0].reason


@pytest.mark.parametrize(
    ("manufacturer", "name"),
    [("SIEMENS", "siemens"), ("Siemens Healthineers", "siemens"), ("Philips Medical Systems", "philips"),
     ("GE MEDICAL SYSTEMS", "ge"), ("UIH", "united-imaging"), ("", "generic"), ("Genuine Imaging", "generic")],
)  # fmt: skip
def test_the_reader_is_chosen_by_content(manufacturer, name):
    ds = Dataset()
    ds.Manufacturer = manufacturer
    assert reader_for(ds, BUILT_IN).name == name


@pytest.mark.parametrize(
    ("values", "expected"),
    [({"MagneticFieldStrength": 1.5}, 1.5), ({"MagneticFieldStrength": 2.89362}, 2.89362),
     ({"MagneticFieldStrength": 15000.0}, 1.5), ({"MagneticFieldStrength": 5500.0}, 0.55),
     ({"MagneticFieldStrength": 3000.0}, 3.0), ({"ImagingFrequency": 63.641895}, 1.5),
     ({"ImagingFrequency": 123.25}, 3.0), ({"ImagingFrequency": 638639460.0}, 0.0), ({}, 0.0)],
)  # fmt: skip
def test_field_strength_in_whatever_unit(values, expected):
    assert field_strength(values)[0] == pytest.approx(expected)


def test_a_private_element_counts_only_under_its_creator(rest, tmp_path: Path):  # noqa: F811
    path = write_study(tmp_path, rest[:1], "philips")[0]
    frames, _ = scan_files([FileRef(str(path))])
    assert frames[0].slope != 1.0
    ds = pydicom.dcmread(path)
    ds[0x2005, 0x0010].value = "SOMEBODY ELSE"
    ds.save_as(path)
    frames, _ = scan_files([FileRef(str(path))])
    assert frames[0].slope == pytest.approx(float(ds.RescaleSlope))
