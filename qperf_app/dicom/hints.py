"""Words in descriptions that tell what a series is. They are looked for, never kept.

A word counts at the start of a word of the description: ``stress`` also in ``stress_perf`` and ``STRESS1``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_WORDS: Mapping[str, tuple[str, ...]] = {
    "stress": ("stress", "strs", "belastung", "adeno", "regaden", "rapiscan", "lexiscan", "dipyrid", "persantin", "dobut",
               "esfuerzo", "effort", "hyperaem", "hyperem", "vasodil"),
    "rest": ("rest", "ruhe", "repos", "reposo", "riposo", "baseline"),
    "aif": ("aif", "input function", "inputfunction", "low res", "lowres", "low-res", "arterial input"),
    "prebolus": ("prebolus", "pre bolus", "pre-bolus", "testbolus", "test bolus", "test-bolus", "minibolus", "mini bolus",
                 "mini-bolus", "dilut"),
    "proton density": ("pd", "pdw", "proton", "protondensity"),
    "other": ("molli", "shmolli", "t1map", "t1 map", "t2map", "t2 map", "cine", "lge", "psir", "tagging", "scout",
              "localizer", "localiser", "haste", "realtime", "real time", "liver"),
}  # fmt: skip
_PATTERNS = {
    hint: re.compile(r"(?<![a-z])(?:" + "|".join(re.escape(word) for word in found) + (r")(?![a-z])" if hint == "proton density" else ")"))
    for hint, found in _WORDS.items()
}  # fmt: skip


def says(hint: str, words: str) -> bool:
    """Whether a description has one of the words of ``hint``."""
    return _PATTERNS[hint].search(re.sub(r"[_.]+", " ", words)) is not None
