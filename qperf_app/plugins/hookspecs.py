"""Hook specifications: one for each step that plugins fill. A hook returns a plugin class, or a tuple of them. One more
is for readers of DICOM.

A third party's distribution declares one entry point in the group ``qperf_app`` that names a module with functions
marked :data:`hookimpl`.
"""

from __future__ import annotations

from collections.abc import Callable

import pluggy

from qperf_app.plugins.steps import plugin_steps
from qperf_app.plugins.steps.spec import Slot, slot_of

#: Name of the pluggy project and of the entry-point group.
PROJECT = "qperf_app"

#: Marks a function of a plugin module as a hook implementation.
hookimpl = pluggy.HookimplMarker(PROJECT)

Classes = type | tuple[type, ...]


def _specification(slot: Slot) -> Callable[[], Classes]:
    def hook() -> Classes:
        raise AssertionError("a specification is never called")

    hook.__name__ = hook.__qualname__ = slot.hook
    hook.__doc__ = f"Return the :class:`~qperf_app.plugins.{slot.interface.__name__}` class or classes."
    marked: Callable[[], Classes] = pluggy.HookspecMarker(PROJECT)(hook)
    return marked


#: Hook that returns a reader of DICOM for ``qperf import``, or a tuple of them; no step of the processing.
DICOM_READER = "qperf_dicom_reader"


@pluggy.HookspecMarker(PROJECT)
def qperf_dicom_reader() -> object:
    """Return a :class:`~qperf_app.dicom.readers.interface.Reader`, or a tuple of readers."""
    raise AssertionError("a specification is never called")


#: The specifications by name of the hook.
HOOKS = type(
    "Hooks",
    (),
    {slot_of(step).hook: _specification(slot_of(step)) for step in plugin_steps().values()}
    | {DICOM_READER: qperf_dicom_reader},
)
