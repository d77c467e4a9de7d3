"""What is learnt from: labelled series, and participants' own curves."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from qperf_app.plugins import InputFunction, Landmark, Series, TissueConstants, TissueCurves

#: Values of a case's labels.
NOTHING, LEFT_BLOOD, RIGHT_BLOOD, WALL = 0, 1, 2, 3

#: Simulated cases from this number on are for validation, never for training; a multiple of ten times as much that is
#: added to a number leaves it what it is.
HELD_OUT = 1_000_000


class CaseKind(Enum):
    """What a case is to teach: where the ventricles' blood is, or where the muscle around it is."""

    POOLS = "pools"
    MUSCLE = "muscle"


@dataclass(frozen=True)
class TrainingCase:
    """A motion-corrected series and what is to be seen in it.

    Parameters
    ----------
    series : Series
    labels : (x, y, z) uint8 array
        0 nothing, 1 left blood, 2 right blood, 3 wall of the left ventricle.
    landmarks : tuple of Landmark
        Insertion points of the right ventricle, where they are known.
    name : str
        Where it is from.
    scene : str
        What kind of case it is, for figures of each kind: anatomy and sequence, or why nothing is to be found.
    """

    series: Series
    labels: NDArray[np.uint8]
    landmarks: tuple[Landmark, ...] = ()
    name: str = ""
    scene: str = "drawn"


@dataclass(frozen=True)
class KineticScan:
    """Curves of a participant's myocardium with their input function, as a kinetics plugin is given them.

    ``name`` says where they are from.
    """

    curves: TissueCurves
    aif: InputFunction
    constants: TissueConstants
    name: str = ""


def is_held_out(number: int) -> bool:
    """Whether the simulated case of a number is for validation."""
    return number % (10 * HELD_OUT) >= HELD_OUT
