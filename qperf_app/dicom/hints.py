"""Words in descriptions that tell what a series is. They are looked for, never kept.

A word counts at the start of a word of the description: ``stress`` also in ``stress_perf`` and ``STRESS1``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_WORDS: Mapping[str, tuple[str, ...]] = {
    "stress": ("stress", "strs", "belastung", "adeno", "regaden", "lexiscan", "dipyrid", "persantin", "dobut",
               "esfuerzo", "effort", "hyperaem", "hyperem", "vasodil"),
    "rest": ("rest", "ruhe", "repos", "reposo", "riposo", "baseline"),
    "aif": ("aif", "input function", "inputfunction", "low res", "lowres", "low-res", "arterial input"),
    "prebolus": ("prebolus", "pre bolus", "pre-bolus", "testbolus", "test bolus", "test-bolus", "minibolus",
                 "mini bolus", "mini-bolus", "dilut"),
    "proton density": ("pd", "pdw", "proton", "protondensity"),
    "other": ("molli", "shmolli", "t1map", "t1 map", "t2map", "t2 map", "cine", "lge", "psir", "tagging", "scout",
              "localizer", "localiser", "haste", "realtime", "real time", "liver"),
}  # fmt: skip
#: Hints of short words, which must be whole ones.
_WHOLE = ("proton density",)


def _pattern(hint: str) -> re.Pattern[str]:
    choice = "|".join(re.escape(word) for word in _WORDS[hint])
    return re.compile(f"(?<![a-z])(?:{choice})" + ("(?![a-z])" if hint in _WHOLE else ""))


_PATTERNS = {hint: _pattern(hint) for hint in _WORDS}


def says(hint: str, words: str) -> bool:
    """Whether a description has one of the words of ``hint``."""
    return _PATTERNS[hint].search(re.sub(r"[_.]+", " ", words)) is not None
