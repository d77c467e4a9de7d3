"""The methods paragraph and the references of a run, from what actually ran."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from qperf_app import __version__
from qperf_app.plugins import StepOutcome
from qperf_app.plugins.keys import Acquisition
from qperf_app.plugins.manager import PluginRegistry
from qperf_app.plugins.results import CURVE_DEFINITION
from qperf_app.plugins.steps import JOINT_INPUT_FUNCTION, KINETICS, STEPS
from qperf_app.plugins.steps.spec import slot_of
from qperf_app.workflow.outcomes import USABLE

#: References of the app itself: conventions and software that every run relies on.
OWN_CITATIONS = (
    "Cerqueira MD et al. Standardized myocardial segmentation and nomenclature for tomographic imaging of the heart. "
    "Circulation 2002;105:539-542.",
    "Gorgolewski KJ et al. BIDS apps: improving ease of use, accessibility, and reproducibility of neuroimaging data "
    "analysis methods. PLoS Comput Biol 2017;13:e1005209.",
    "Gorgolewski K et al. Nipype: a flexible, lightweight and extensible neuroimaging data processing framework in "
    "Python. Front Neuroinform 2011;5:13.",
    "Dickie BR et al. A community-endorsed open-source lexicon for contrast agent-based perfusion MRI (OSIPI CAPLEX). "
    "Magn Reson Med 2024;91:1761-1773.",
)


def methods_text(
    steps: Sequence[StepOutcome], registry: PluginRegistry, acquisitions: Iterable[Acquisition | Literal[""]] = ()
) -> str:
    """Methods paragraph that a paper may use as it is; ``acquisitions`` of the scans whose input was measured."""
    from qperf_app.report.scans import KINDS

    steps = list(steps)
    sentences = [f"First-pass perfusion series were processed by qperf-app {__version__}, a BIDS App on Nipype."]
    by_phrase: dict[str, list[str]] = {}
    for step in _distinct(s for s in steps if s.state == "done"):
        found = registry.plugins.get((step.step, step.plugin))
        phrase = slot_of(STEPS[step.step]).phrase if found else ""
        if found and phrase:
            summary = str(found.cls.summary).rstrip(".")  # type: ignore[attr-defined]
            model = f"; model {step.options['model']}" if step.options.get("model") else ""
            by_phrase.setdefault(phrase, []).append(f"{plugin_with_files(step)} ({summary}{model})")
    sentences += [f"{phrase.format(', and by '.join(dict.fromkeys(ran)))}." for phrase, ran in by_phrase.items()]
    sentences += dict.fromkeys(KINDS[kind] for kind in acquisitions if kind)
    if any(step.step == JOINT_INPUT_FUNCTION.name and step.state == "done" for step in steps):
        sentences.append("Of a single bolus the input function was estimated together with the tissue's curves.")
    sentences += _handed_in(steps)
    # Maps that were handed in are summarised: there is no plugin to fit anything with.
    if any(step.step == KINETICS.name and step.state == "done" for step in steps):
        sentences.append(
            "Flow of the American Heart Association's segments is the median over their voxels, with an interval as "
            f"wide as that of one curve for each segment, {CURVE_DEFINITION}; other quantities were estimated from "
            "that curve."
        )
    return " ".join(sentences)


def _handed_in(steps: Sequence[StepOutcome]) -> list[str]:
    """What did not come from any plugin, and of how many scans, where it is not of all."""
    told = []
    for name in dict.fromkeys(step.step for step in steps if step.state == "handed-in"):
        every = [step.state for step in steps if step.step == name]
        given = every.count("handed-in")
        share = f" ({given} of {len(every)} scans)" if given < len(every) else ""
        told.append(f"{name.replace('-', ' ')}{share}")
    return [f"Handed in, and not computed: {', '.join(told)}."] if told else []


def plugin_with_files(step: StepOutcome) -> str:
    """A plugin's name and version, and what it read: weights and priors by name and digest."""
    files = ", ".join(f"{name} SHA-256 {digest}" for name, digest in step.loaded_files.items())
    return f"{step.plugin!r} {step.version}{f' with {files}' if files else ''}"


def citations(steps: Iterable[StepOutcome], registry: PluginRegistry) -> tuple[str, ...]:
    """References of the plugins that ran, then those of the app, each once."""
    found = [registry.plugins.get((step.step, step.plugin)) for step in _distinct(steps)]
    of_plugins = [c for plugin in found if plugin for c in plugin.cls.citations]  # type: ignore[attr-defined]
    return tuple(dict.fromkeys([*of_plugins, *OWN_CITATIONS]))


def citation_page(
    steps: Sequence[StepOutcome], registry: PluginRegistry, acquisitions: Iterable[Acquisition | Literal[""]] = ()
) -> str:
    """Content of ``logs/CITATION.md``."""
    lines = [f"- {citation}" for citation in citations(steps, registry)]
    return "\n".join(["# Methods", "", methods_text(steps, registry, acquisitions), "", "# References", "", *lines, ""])


def _distinct(steps: Iterable[StepOutcome]) -> list[StepOutcome]:
    """Steps that ran, each plugin with its files once."""
    ran = [s for s in steps if s.state in USABLE and s.plugin]
    return list({(s.step, s.plugin, s.version, *s.loaded_files.items()): s for s in ran}.values())
