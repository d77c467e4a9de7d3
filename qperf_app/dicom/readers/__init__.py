"""Readers of vendors' DICOM: which one reads a dataset is told by what is in it, never by a file's name.

A reader turns a dataset into frames. Most of that is the standard's (:mod:`~qperf_app.dicom.readers.standard`); a
vendor's reader adds the few private elements that matter, and nothing else of them is ever looked at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from qperf_app.dicom.frames import FileRef, Frame

if TYPE_CHECKING:
    from pydicom.dataset import Dataset


#: Names of the built-in readers, in the order in which they are asked.
BUILT_IN = ("siemens", "philips", "ge", "united-imaging", "generic")


class Reader(Protocol):
    """Turns a dataset into frames.

    Attributes
    ----------
    name : str
        What ``ImportedFrom`` calls it.
    private : sequence of (creator, group, element)
        Private elements that it needs, such as ``("Philips MR Imaging DD 001", 0x2005, 0x0E)``. Anything else that is
        private is not even read.
    """

    @property
    def name(self) -> str:
        """Name."""
        ...

    @property
    def private(self) -> Sequence[tuple[str, int, int]]:
        """Private elements."""
        ...

    def reads(self, dataset: Dataset) -> bool:
        """Whether the dataset is one of its kind, by content."""
        ...

    def frames(self, dataset: Dataset, file: FileRef) -> list[Frame]:
        """Every image of the dataset; pixels are not there."""
        ...


def built_in() -> tuple[Reader, ...]:
    """The readers that come with the app; the last one reads whatever the standard allows."""
    from qperf_app.dicom.readers.ge import GEReader
    from qperf_app.dicom.readers.generic import GenericReader
    from qperf_app.dicom.readers.philips import PhilipsReader
    from qperf_app.dicom.readers.siemens import SiemensReader
    from qperf_app.dicom.readers.united_imaging import UnitedImagingReader

    return SiemensReader(), PhilipsReader(), GEReader(), UnitedImagingReader(), GenericReader()


def reader_for(dataset: Dataset, readers: Sequence[Reader]) -> Reader:
    """The first reader whose kind the dataset is."""
    return next(reader for reader in readers if reader.reads(dataset))


def private_values(dataset: Any, fields: Mapping[str, Any], wanted: Sequence[tuple[str, int, int]]) -> dict[str, Any]:
    """Values of private elements, of the frame's own groups or else of the file, by their name."""
    from qperf_app.dicom.readers.standard import private_name

    found = {}
    for creator, group, element in wanted:
        name = private_name(creator, group, element)
        if name in fields:
            found[name] = fields[name]
            continue
        try:
            found[name] = dataset.private_block(group, creator)[element].value
        except KeyError:
            continue
    return found
