"""What the processes of a run find in their environment, before a library that looks at it is imported."""

from __future__ import annotations

import os
from pathlib import Path

#: Variables that tell a library how many threads to use.
_THREADS = ("OMP_NUM_THREADS", "NUMEXPR_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
#: Variables that tell a library where to keep what it would else write below HOME.
_CACHES = ("NIPYPE_CONFIG_DIR", "MPLCONFIGDIR", "XDG_CACHE_HOME", "NUMBA_CACHE_DIR", "KERAS_HOME")


def set_environment(work_dir: Path, threads: int, gpu: bool) -> None:
    """Keep threads and caches where they belong."""
    for name in _THREADS:
        os.environ[name] = str(threads)
    # HOME may be read-only, be missing or belong to somebody else; the work directory is ours.
    caches = str(work_dir.absolute() / "caches")
    for name in _CACHES:
        os.environ.setdefault(name, caches)
    for name in ("NO_ET", "NIPYPE_NO_ET"):
        os.environ[name] = "1"
    # Nipype names a batch job after it; a container run as any uid, or with a clean environment, has none.
    os.environ.setdefault("LOGNAME", f"uid{os.getuid()}")
    if gpu:
        # Several processes may share the device: none may take all its memory at once.
        os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    else:
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
