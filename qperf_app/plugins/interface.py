"""What every plugin is: a class with these attributes and the one method of its step (``qperf_app.plugins.steps``).

A class may derive from the step's base class here or merely look like it. It is made with its options,
``cls(options)``, and keeps no other state. Heavy imports belong inside the method, so that listing plugins stays
quick.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from qperf_app.plugins.api_versions import API_VERSION as API_VERSION
from qperf_app.plugins.records import Resources


@dataclass(frozen=True)
class NoOptions:
    """For a plugin that has no options."""


class Plugin(ABC):
    """What every plugin says of itself.

    ``api_version`` is the version of this interface that it was written for (:data:`API_VERSION` of that day); where a
    class inherits it, that of the host it runs in.
    ``Options`` is a frozen dataclass; each field has a type, a default and ``metadata={"help": ...}``,
    a number's also ``"range": (low, high)``, ends included, outside which a value is refused before anything runs.
    ``requires`` names the BIDS metadata fields without which the plugin can't run on a series. ``trainer`` names the
    :class:`~qperf_app.training.Trainer` of a plugin that ``qperf train`` can train, as ``module:class``.
    """

    api_version: ClassVar[int] = API_VERSION
    name: ClassVar[str]
    version: ClassVar[str]
    summary: ClassVar[str]
    citations: ClassVar[tuple[str, ...]] = ()
    requires: ClassVar[tuple[str, ...]] = ()
    trainer: ClassVar[str] = ""
    Options: ClassVar[type] = NoOptions

    def __init__(self, options: Any = None) -> None:
        self.options = self.Options() if options is None else options

    def problems(self, metadata: Mapping[str, Any], shape: tuple[int, int, int, int]) -> Sequence[str]:
        """Say what, beyond a missing required field, keeps the plugin from running on such a series.

        Each problem is a phrase that names the field, such as ``"FlipAngle is 0"``. Called before anything runs.
        """
        return ()

    def resources(self, shape: tuple[int, int, int, int]) -> Resources:
        """Memory and threads for a series of this (x, y, z, t) shape."""
        return Resources(memory_gb=0.5 + 6 * 8 * float(shape[0] * shape[1] * shape[2] * shape[3]) / 2**30)

    def loaded_files(self) -> Mapping[str, str]:
        """Return the SHA-256 of every file that this instance reads with its options, weights and priors, by name.

        Recorded with the results, so that these can't be taken for those of other weights.
        """
        return {}
