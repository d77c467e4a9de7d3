"""Vendor-neutral and anonymised DICOM: what the standard's fields say, and no more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from qperf_app.dicom.frames import FileRef, Frame, Header
from qperf_app.dicom.readers import private_values
from qperf_app.dicom.readers.standard import frame, frames_of, header

if TYPE_CHECKING:
    from pydicom.dataset import Dataset


class GenericReader:
    """Reads every MR image of the standard, classic or enhanced."""

    name = "generic"
    private: Sequence[tuple[str, int, int]] = ()

    def reads(self, dataset: Dataset) -> bool:
        """Always."""
        return True

    def frames(self, dataset: Dataset, file: FileRef) -> list[Frame]:
        """Every image; those of one file share their header where it is the same."""
        shared: list[Header] = []
        result = []
        for index, (lookup, own) in enumerate(frames_of(dataset)):
            made = header(dataset, lookup)
            found = next((known for known in shared if known == made), None)
            if found is None:
                shared.append(found := made)
            hints = private_values(dataset, own, self.private)
            result.append(self.finish(frame(found, lookup, file, index), hints))
        return result

    def finish(self, found: Frame, hints: Mapping[str, Any]) -> Frame:
        """The frame with what private elements, by their names, say of it."""
        return found
