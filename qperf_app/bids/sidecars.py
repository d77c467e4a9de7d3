"""Metadata of derivatives: what every sidecar says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qperf_app.bids.names import folder_of
from qperf_app.methods.wider_intervals import is_but_for_a_factor

#: Name of the raw dataset in BIDS URIs and dataset links.
RAW = "raw"

#: Fields of the raw series that stay true after motion correction.
CARRIED_FIELDS = (
    "MagneticFieldStrength",
    "PulseSequenceType",
    "RepetitionTimeExcitation",
    "EchoTime",
    "FlipAngle",
    "SaturationDelayTime",
    "SaturationEfficiency",
    "SpoilingRFPhaseIncrement",
    "Catalysation",
    "CatalysationExcitations",
    "ExcitationsToKSpaceCenter",
    "ProtonDensityVolumeCount",
    "Haematocrit",
    "ContrastBolusIngredient",
    "ContrastBolusVolume",
    "ContrastBolusIngredientConcentration",
    "SliceTiming",
    "SliceEncodingDirection",
    "TaskName",
)


def describe(description: str, units: str, sources: Sequence[str], **fields: Any) -> dict[str, Any]:
    """Sidecar of a table or mask."""
    return {"Description": description, "Units": units, "Sources": list(sources), **fields}


def quantity_in_words(quantity: str, units: str) -> str:
    """A quantity, and that its unit is that of its scan alone, where it is."""
    factor = " but for a factor (comparable within this scan alone)" if is_but_for_a_factor(quantity, units) else ""
    return f"{quantity}{factor}"


def describe_image(description: str, units: str, sources: Sequence[str], **fields: Any) -> dict[str, Any]:
    """Sidecar of an image. The schema requires ``SkullStripped`` of every derivative MR image, hearts too."""
    return {**describe(description, units, sources, **fields), "SkullStripped": False}


def carried(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The raw series' fields that a corrected series keeps; nothing that could identify a person is among them."""
    return {key: metadata[key] for key in CARRIED_FIELDS if key in metadata}


def own_uri(name: str) -> str:
    """BIDS URI of a file of this name in the derivative dataset itself."""
    return f"bids::{folder_of(name)}/{name}"
