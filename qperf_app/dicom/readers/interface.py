"""What a reader of DICOM is, and how it comes by its private elements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from qperf_app.dicom.frames import FileRef, Frame
from qperf_app.dicom.readers.standard import private_name

if TYPE_CHECKING:
    from pydicom.dataset import Dataset


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


def private_values(dataset: Any, fields: Mapping[str, Any], wanted: Sequence[tuple[str, int, int]]) -> dict[str, Any]:
    """Values of private elements, of the frame's own groups or else of the file, by their name."""
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
