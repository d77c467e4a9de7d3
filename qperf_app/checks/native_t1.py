"""T1 before contrast, as the series themselves measure it: a wrong field of the read-out shows in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from qperf_app.physics.constants import Tissue, nominal_field

#: T1 before contrast, s, by tissue and field strength: blood at haematocrits of 0.25 to 0.55; muscle by any method of
#: mapping, in health and disease, lower by a tenth for noise, which adds to the little signal that there is then.
T1: Mapping[Tissue, Mapping[float, tuple[float, float]]] = {
    "blood": {1.5: (1.3, 2.0), 3.0: (1.5, 2.3)},
    "myocardium": {1.5: (0.85, 1.35), 3.0: (1.0, 1.6)},
}
#: T1 of blood looks shorter by this factor at the most where nothing is wrong: an input-function series has next to no
#: signal before contrast, to which noise and what escapes saturation add. A tissue series has more of it.
LOOKS_SHORTER: Mapping[Tissue, float] = {"blood": 0.8, "myocardium": 1.0}
#: Factors beyond the range at which concentration can't be right. T1 and concentration are measured with one scale and
#: one delay: if T1 is twice too long, concentration is half. The short side has more room: what escapes saturation
#: adds to the signal before contrast and is subtracted with it, but makes T1 look short.
TOO_SHORT, TOO_LONG = 0.4, 1.5
_NAMES: Mapping[Tissue, str] = {"blood": "blood", "myocardium": "muscle"}


def native_t1_words(t1: float, field_strength: Any, tissue: Tissue = "blood") -> tuple[str, bool]:
    """Say that a measured T1 before contrast, s, is none, and whether concentration can't be right for it.

    Both empty and false where it may be, or where no T1 is known at this field strength.
    """
    try:
        low, high = T1[tissue][nominal_field(field_strength)]
    except (ValueError, TypeError):
        return "", False
    if not np.isfinite(t1) or LOOKS_SHORTER[tissue] * low <= t1 <= high:
        return "", False
    words = f"the {_NAMES[tissue]}'s T1 before contrast is measured as {t1:.2g} s; it is {low:g} to {high:g} s"
    return words, not TOO_SHORT * low <= t1 <= TOO_LONG * high
