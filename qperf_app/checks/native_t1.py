"""T1 before contrast, as the series themselves measure it: a wrong field of the read-out shows in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from qperf_app.physics.constants import Tissue, nominal_field, relaxivity

#: T1 before contrast, s, by tissue and field strength: blood at haematocrits of 0.25 to 0.55; muscle by any method of
#: mapping, in health and disease.
T1: Mapping[Tissue, Mapping[float, tuple[float, float]]] = {
    "blood": {1.5: (1.3, 2.0), 3.0: (1.5, 2.3)},
    "myocardium": {1.5: (0.85, 1.35), 3.0: (1.0, 1.6)},
}
#: T1 looks shorter by this factor at the most where nothing is wrong: there is little signal before contrast, in an
#: input-function series next to none, to which noise and what escapes saturation add.
LOOKS_SHORTER: Mapping[Tissue, float] = {"blood": 0.8, "myocardium": 0.85}
#: Factor beyond the range at which concentration can't be right: T1 and concentration are measured with one scale and
#: one delay, and if T1 is twice too long, concentration is half.
TOO_LONG = 1.5
#: Most that an earlier injection has left, mmol/L: a double dose, five minutes before. It shortens T1, is subtracted
#: with the signal before contrast and leaves flow as it is; so does what escapes saturation.
MOST_LEFT: Mapping[Tissue, float] = {"blood": 0.6, "myocardium": 0.27}
_NAMES: Mapping[Tissue, str] = {"blood": "blood", "myocardium": "muscle"}


def native_t1_words(t1: float, field_strength: Any, tissue: Tissue = "blood") -> tuple[str, bool]:
    """Say that a measured T1 before contrast, s, is none, and whether concentration can't be right for it.

    Both empty and false where it may be, or where no T1 is known at this field strength.
    """
    try:
        field = nominal_field(field_strength)
    except (ValueError, TypeError):
        return "", False
    low, high = T1[tissue][field]
    if not np.isfinite(t1) or LOOKS_SHORTER[tissue] * low <= t1 <= high:
        return "", False
    found = f"{t1:.2g} s" if t1 < 10 else "more than 10 s"
    words = f"the {_NAMES[tissue]}'s T1 before contrast is measured as {found}; usual is {low:g} to {high:g} s"
    if t1 > high:
        return words, t1 > TOO_LONG * high
    shortest = LOOKS_SHORTER[tissue] / (1.0 / low + relaxivity(field) * MOST_LEFT[tissue])
    if t1 < shortest:
        return words, True
    why = "Shortened by an earlier injection or incomplete saturation it leaves flow right; by a wrong field it doesn't"
    return f"{words}. {why}", False
