"""Words of the field that a reader may not know, each in a phrase: those that the page uses."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from qperf_app.plugins.results import ParticipantResult
from qperf_app.report.elements import Details, HostElement, Listing

#: Terms that are told together, and what they mean.
WORDS: Mapping[tuple[str, ...], str] = {
    ("MBF",): "myocardial blood flow: mL of blood per minute and g of muscle",
    ("LAD", "RCA", "LCx"): "coronary arteries (left anterior descending, right, left circumflex), here the segments "
    "that each usually supplies",
    ("Fb", "Fp"): "flow of whole blood, and of its plasma, per mL of tissue",
    ("PS",): "permeability-surface area product: how fast contrast agent leaves the vessels",
    ("vp", "vb", "ve"): "share of the tissue that is plasma, blood, and space outside vessels and cells",
    ("Ta",): "delay from the input function to the tissue",
    ("2CXM",): "two-compartment exchange model: plasma and the space outside the cells, each well mixed",
    ("ATH",): "adiabatic tissue homogeneity model: plasma passes the capillary as a front",
    ("BTEX",): "blood-tissue exchange model: exchange all along the capillary",
    ("nlls",): "fits the model to each curve by least squares",
    ("cnn",): "a neural network that was taught on simulated curves",
    ("fermi",): "fits the tissue's response with a Fermi function; it gives flow alone",
    ("hmc",): "draws all parameters that go with a curve (Hamiltonian Monte Carlo)",
    ("pinn",): "a neural network that learns from the scan's own curves and the model's equation",
    ("Dice",): "how much two outlines have in common: 1 all, 0 nothing",
    ("native T1",): "T1 before contrast agent",
}


def words_element(result: ParticipantResult, titles: Iterable[str], warnings: Iterable[str]) -> list[HostElement]:
    """Explain the terms that occur; ``titles`` are words of the page's tables. Nothing where none occurs."""
    said = "\n".join([result.boilerplate, *titles, *warnings, *_said(result)])
    lines = []
    for terms, meaning in WORDS.items():
        found = [term for term in terms if re.search(rf"(?<!\w){term}(?!\w)", said)]
        if found:
            lines.append(f"{', '.join(terms)}: {meaning}.")
    return [Details("Words on this page", (Listing(tuple(lines)),))] if lines else []


def _said(result: ParticipantResult) -> Iterator[str]:
    """What stands in maps and in the tables of steps."""
    for scan in result.scans:
        for voxel_map in scan.maps:
            yield f"{voxel_map.plugin} {voxel_map.model} {voxel_map.quantity}"
        for step in scan.steps:
            yield from (step.plugin, step.summary, step.reason, *step.warnings)
