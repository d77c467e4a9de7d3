"""The methods paragraph and the references of a run, from what actually ran."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from qperf_app import __version__
from qperf_app.plugins import StepOutcome
from qperf_app.plugins.manager import PluginRegistry
from qperf_app.plugins.results import CURVE_DEFINITION
from qperf_app.workflow.configuration import KINETICS
from qperf_app.workflow.tasks import SEGMENT_VALUES

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
_PHRASES = {
    "motion-correction": "Motion was corrected by {summary}",
    "blood-pool": "The ventricles' blood pools were found by {summary}",
    "concentration": "Signal was converted to gadolinium concentration by {summary}",
    "myocardium": "The left-ventricular myocardium was outlined by {summary}",
    "kinetics": "Kinetic parameters were estimated by {summary}",
}


def methods_text(steps: Sequence[StepOutcome], registry: PluginRegistry) -> str:
    """Methods paragraph that a paper may use as it is."""
    sentences = [f"First-pass perfusion series were processed by qperf-app {__version__}, a BIDS App on Nipype."]
    for step, plugin in _distinct(steps):
        phrase = _PHRASES.get(step)
        found = registry.plugins.get((step, plugin))
        if phrase and found:
            summary = str(found.cls.summary).rstrip(".")  # type: ignore[attr-defined]
            sentences.append(f"{phrase.format(summary=f'{plugin!r} {found.version} ({summary})')}.")
    if _segments_were_fitted(steps):
        sentences.append(
            "Values of the American Heart Association's segments were estimated from one curve for each segment, "
            f"{CURVE_DEFINITION}."
        )
    return " ".join(sentences)


def citations(steps: Iterable[StepOutcome], registry: PluginRegistry) -> tuple[str, ...]:
    """References of the plugins that ran, then those of the app, each once."""
    found = [registry.plugins.get(key) for key in _distinct(steps)]
    of_plugins = [c for plugin in found if plugin for c in plugin.cls.citations]  # type: ignore[attr-defined]
    return tuple(dict.fromkeys([*of_plugins, *OWN_CITATIONS]))


def citation_page(steps: Sequence[StepOutcome], registry: PluginRegistry) -> str:
    """Content of ``logs/CITATION.md``."""
    lines = [f"- {citation}" for citation in citations(steps, registry)]
    return "\n".join(["# Methods", "", methods_text(steps, registry), "", "# References", "", *lines, ""])


def _segments_were_fitted(steps: Iterable[StepOutcome]) -> bool:
    """Not where the only maps were handed in: there is no plugin that could fit anything."""
    done = {(s.step, s.plugin) for s in steps if s.state == "done"}
    return any(step == SEGMENT_VALUES and (KINETICS, plugin) in done for step, plugin in done)


def _distinct(steps: Iterable[StepOutcome]) -> list[tuple[str, str]]:
    ran = [(s.step, s.plugin) for s in steps if s.state in ("done", "handed-in") and s.plugin]
    return list(dict.fromkeys(ran))
