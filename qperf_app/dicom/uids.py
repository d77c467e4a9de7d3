"""Unique identifiers that follow from what they name, so that two runs write the same bytes."""

from __future__ import annotations

import uuid

from pydicom.uid import UID

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_OID, "qperf-app")


def derived_uid(*parts: object) -> UID:
    """UID below 2.25 (DICOM PS3.5 B.2: a UUID as an integer) that is a function of ``parts``."""
    return UID(f"2.25.{uuid.uuid5(_NAMESPACE, '|'.join(str(part) for part in parts)).int}")
