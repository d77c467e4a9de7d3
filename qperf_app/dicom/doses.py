"""Contrast agent and dose. Only numbers and names of closed lists leave this module."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from qperf_app.dicom.stacks import Stack

#: Words that name a gadolinium agent: generic names, brands, and what people type.
_GADOLINIUM = (
    "GADO", "GADAV", "GD-", "GDDTPA", "MAGNEVIST", "MULTIHANCE", "OMNISCAN", "PROHANCE", "DOTAREM", "CLARISCAN",
    "EOVIST", "PRIMOVIST", "VUEWAY", "ELUCIREM", "ABLAVAR", "OPTIMARK",
)  # fmt: skip


def contrast_fields(stack: Stack) -> Iterator[tuple[str, float | str, str]]:
    """Field, value and origin of what is known of the injection."""
    values = next(
        (f.header.values for f in stack.frames if "ContrastBolusVolume" in f.header.values), stack.header.values
    )
    ingredient = values.get("ContrastBolusIngredient", ())
    agent = str(values.get("ContrastBolusAgent", ""))
    if "GADOLINIUM" in ingredient:
        yield "ContrastBolusIngredient", "GADOLINIUM", "ContrastBolusIngredient"
    elif any(word in agent for word in _GADOLINIUM):
        yield "ContrastBolusIngredient", "GADOLINIUM", "ContrastBolusAgent"
    for keyword in ("ContrastBolusVolume", "ContrastBolusTotalDose"):
        if 0 < values.get(keyword, 0.0) < 500:
            yield "ContrastBolusVolume", values[keyword], keyword
            break
    keyword = "ContrastBolusIngredientConcentration"
    if 0 < values.get(keyword, 0.0) < 2000:
        yield keyword, values[keyword], keyword


def dose(fields: Mapping[str, float | str]) -> float | None:
    """Volume times concentration, mg; the volume, mL, where no concentration is known; None without a volume."""
    volume = fields.get("ContrastBolusVolume")
    if not isinstance(volume, int | float):
        return None
    concentration = fields.get("ContrastBolusIngredientConcentration", 1.0)
    return float(volume) * float(concentration)


def smaller(one: Stack, other: Stack) -> bool:
    """Whether the dose of a stack is at most half of another's."""
    first, second = ({name: value for name, value, _ in contrast_fields(stack)} for stack in (one, other))
    keys = [set(fields) & {"ContrastBolusIngredientConcentration"} for fields in (first, second)]
    a, b = dose(first), dose(second)
    return a is not None and b is not None and keys[0] == keys[1] and a <= 0.5 * b
