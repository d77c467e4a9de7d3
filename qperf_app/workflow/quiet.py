"""Keep what libraries say to their developers out of what users read."""

from __future__ import annotations

import logging
import os

_FATAL_ONLY = "3"


def quiet_libraries() -> None:
    """Only TensorFlow's fatal messages; to be called before it is imported, in every process that may.

    It otherwise tells on every start what it was compiled for, that there is no GPU, and that TFP discards an imaginary
    part that is zero. Who wants to see that sets ``TF_CPP_MIN_LOG_LEVEL``.
    """
    if os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", _FATAL_ONLY) == _FATAL_ONLY:
        logging.getLogger("tensorflow").setLevel(logging.ERROR)
