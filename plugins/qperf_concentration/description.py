"""A sequence that metadata do not hold, described in a YAML file with the names of the metadata."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import BaseModel

#: Type of each field that a description may have.
FIELDS: Mapping[str, Any] = {
    "PulseSequenceType": str,
    "RepetitionTimeExcitation": float,
    "EchoTime": float,
    "FlipAngle": float | list[float],
    "SaturationDelayTime": float,
    "SaturationEfficiency": float,
    "ExcitationsToKSpaceCenter": int,
    "SpoilingRFPhaseIncrement": float,
    "Catalysation": str,
    "CatalysationExcitations": int,
}


def read_description(path: str) -> dict[str, Any]:
    """Fields that a YAML file gives; they stand over those of a series' metadata.

    Raises
    ------
    ValueError
        One line that names the file and the field, where it can't be read, is no mapping, or has a field that is not
        of :data:`FIELDS` or not of its type.
    """
    import yaml
    from pydantic import ValidationError

    from qperf_app.methods.yaml_files import load_yaml

    try:
        content = load_yaml(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path}: not a YAML file") from None
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: not a YAML file: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected fields with values, such as SaturationDelayTime: 0.1")
    try:
        return _model().model_validate(content).model_dump(exclude_unset=True)
    except ValidationError as error:
        first = error.errors()[0]
        field = str(first["loc"][0]) if first["loc"] else ""
        known = f"; known are {', '.join(FIELDS)}" if first["type"] == "extra_forbidden" else ""
        raise ValueError(f"{path}: {field}: {first['msg']}, got {first['input']!r}{known}") from None


def _model() -> type[BaseModel]:
    from pydantic import ConfigDict, create_model

    fields: dict[str, Any] = {name: (kind | None, None) for name, kind in FIELDS.items()}
    config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
    return create_model("SequenceDescription", __config__=config, **fields)
