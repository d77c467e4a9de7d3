"""Which excitation reads the centre of k-space."""

from __future__ import annotations

from math import ceil
from typing import Literal


def excitations_to_centre(
    phase_lines: int,
    partial_fourier: float = 1.0,
    acceleration: float = 1.0,
    echoes_per_excitation: int = 1,
    order: Literal["linear", "centric"] = "linear",
) -> int:
    """``ExcitationsToKSpaceCenter``, counted from 1, of a Cartesian read-out.

    Parameters
    ----------
    phase_lines : int
        Phase-encoding lines of the full matrix.
    partial_fourier : float
        Share of the lines that is acquired, above 0.5; those left out come before the centre.
    acceleration : float
        Of parallel imaging: each ``acceleration``-th line is acquired. Reference lines acquired with the image count as
        excitations and are not known here.
    echoes_per_excitation : int
        Of (hybrid) EPI: the echoes of one excitation are as many segments of k-space apart as there are excitations.
    order : {"linear", "centric"}
        From one edge of k-space to the other, or from the centre outwards.

    Raises
    ------
    ValueError
        Where an argument is outside of what it can be.
    """
    if phase_lines < 1 or not 0.5 < partial_fourier <= 1 or acceleration < 1 or echoes_per_excitation < 1:
        raise ValueError(
            f"{phase_lines} lines, partial Fourier {partial_fourier:g}, acceleration {acceleration:g} and "
            f"{echoes_per_excitation} echoes per excitation describe no read-out"
        )
    if order == "centric":
        return 1
    before = phase_lines // 2 - (phase_lines - ceil(phase_lines * partial_fourier))
    acquired = ceil(ceil(phase_lines * partial_fourier) / acceleration)
    return int(before / acceleration) % ceil(acquired / echoes_per_excitation) + 1
