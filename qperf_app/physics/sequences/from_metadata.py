"""A sequence from a series' metadata."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from qperf_app.physics.sequences.readout import named_readout
from qperf_app.physics.sequences.sequence import ReadOut, Sequence

#: Fields without which there is no sequence.
REQUIRED = ("RepetitionTimeExcitation", "FlipAngle", "SaturationDelayTime", "ExcitationsToKSpaceCenter")


def sequence_of(metadata: Mapping[str, Any], flip_angle: float, readout: ReadOut | None = None) -> Sequence:
    """Sequence of a dynamic volume; its ``proton_density`` is that of a proton-density volume with this flip angle.

    Parameters
    ----------
    metadata : mapping
        BIDS metadata: ``SaturationDelayTime``, ``RepetitionTimeExcitation`` and ``ExcitationsToKSpaceCenter`` must be
        there. ``EchoTime`` may be (of several the first; without it the echo of a balanced read-out is at TR/2, and the
        decay of another is neglected), and so may ``SaturationEfficiency`` (else 1), ``SpoilingRFPhaseIncrement``
        (ideal spoiling), ``Catalysation`` (half-alpha) and ``CatalysationExcitations`` (0).
    flip_angle : float
        Of the volume, degrees.
    readout : str, optional
        The one that the metadata name where not given.

    Raises
    ------
    ValueError
        Where the read-out is not known or the values describe no sequence.
    KeyError
        Where a field is missing.
    """
    if readout is None:
        named = named_readout(metadata)
        if named.readout is None:
            raise ValueError(named.reason)
        readout = named.readout
    balanced = readout == "bSSFP"
    echoes = metadata.get("EchoTime")
    spacing, increment = float(metadata["RepetitionTimeExcitation"]), metadata.get("SpoilingRFPhaseIncrement")
    return Sequence(
        readout=readout,
        flip_angle=flip_angle,
        spacing=spacing,
        n_excitations=int(metadata["ExcitationsToKSpaceCenter"]),
        delay=float(metadata["SaturationDelayTime"]),
        echo_time=(spacing / 2 if balanced else 0.0) if echoes is None else float(np.min(echoes)),
        saturation_efficiency=float(metadata.get("SaturationEfficiency", 1.0)),
        catalysation=metadata.get("Catalysation", "half-alpha"),
        ramp_excitations=int(metadata.get("CatalysationExcitations", 0)),
        spoiling_increment=None if increment is None else float(increment),
    )
