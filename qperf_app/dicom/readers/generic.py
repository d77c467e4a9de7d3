"""Vendor-neutral and anonymised DICOM: what the standard's fields say, and no more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from qperf_app.dicom.frames import FileRef, Frame, Header
from qperf_app.dicom.readers.interface import private_values
from qperf_app.dicom.readers.standard import frame, frames_of, header, raw_header

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

#: Headers that a reader remembers, by what stands in the file.
_REMEMBERED = 64


class GenericReader:
    """Reads every MR image of the standard, classic or enhanced."""

    name = "generic"
    private: Sequence[tuple[str, int, int]] = ()

    def __init__(self) -> None:
        # Thousands of images have the same header; it is made once.
        self._headers: dict[tuple[Any, ...], Header] = {}

    def reads(self, dataset: Dataset) -> bool:
        """Always."""
        return True

    def frames(self, dataset: Dataset, file: FileRef) -> list[Frame]:
        """Every image; those of one file share their header where it is the same."""
        shared: list[Header] = []
        result = []
        raw = raw_header(dataset)
        for index, (lookup, own) in enumerate(frames_of(dataset)):
            made = self._headers.get(raw) if raw is not None else None
            made = made or header(lookup)
            found = next((known for known in shared if known == made), None)
            if found is None:
                shared.append(found := made)
            hints = private_values(dataset, own, self.private)
            result.append(self.finish(frame(found, lookup, file, index), hints))
        if raw is not None and shared:
            if len(self._headers) >= _REMEMBERED:
                self._headers.clear()
            self._headers[raw] = shared[0]
        return result

    def finish(self, found: Frame, hints: Mapping[str, Any]) -> Frame:
        """The frame with what private elements, by their names, say of it."""
        return found
