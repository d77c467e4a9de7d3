"""``qperf-app BIDS_DIR OUT_DIR participant|group``."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence

from qperf_app.cli.errors import INTERNAL, NOTHING_SELECTED, UNUSABLE_DATASET, USAGE, UsageError
from qperf_app.cli.interruption import stopping_at_once
from qperf_app.cli.libraries import settle_libraries


def main(argv: Sequence[str] | None = None) -> int:
    """Run the app.

    Returns
    -------
    int
        Exit code of the contract.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    # Before the first import that brings NumPy along, which the parser's is.
    settle_libraries()
    from qperf_app.cli.parser import build_parser

    args = build_parser().parse_args(arguments)
    try:
        os.getcwd()
    except FileNotFoundError:
        return _refuse("the current folder was deleted; change into one that is there", USAGE)
    _set_environment(args)
    from qperf_app.bids.errors import DatasetError, SelectionError
    from qperf_app.plugins.manager import PluginOptionError, UnknownPluginError
    from qperf_app.workflow.configuration import ConfigurationError
    from qperf_app.workflow.outcomes import one_line

    try:
        with stopping_at_once("qperf-app") as at_stop:
            if args.level == "group":
                from qperf_app.cli.group import run_group

                return run_group(args, arguments)
            from qperf_app.cli.participant import run_participants

            return run_participants(args, arguments, at_stop)
    except (UsageError, ConfigurationError, UnknownPluginError, PluginOptionError) as error:
        return _refuse(error, USAGE)
    except DatasetError as error:
        return _refuse(error, UNUSABLE_DATASET)
    except SelectionError as error:
        return _refuse(error, NOTHING_SELECTED)
    except KeyboardInterrupt:
        return _refuse("stopped; run the same command again to go on from here", 130)
    except (OSError, MemoryError) as error:
        # What the machine lacks, not what the app did wrong: a disk that is full, memory, a right to write.
        return _refuse(one_line(error), INTERNAL)
    except Exception as error:
        traceback.print_exc()
        return _refuse(f"internal error: {type(error).__name__}: {error}", INTERNAL)


def _refuse(reason: object, code: int) -> int:
    # A lookup error's text would come in quotes.
    text = reason.args[0] if isinstance(reason, LookupError) and reason.args else reason
    print(f"qperf-app: {text}", file=sys.stderr)
    return code


#: Variables that tell a library how many threads to use.
_THREADS = ("OMP_NUM_THREADS", "NUMEXPR_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
#: Variables that tell a library where to keep what it would else write below HOME.
_CACHES = ("NIPYPE_CONFIG_DIR", "MPLCONFIGDIR", "XDG_CACHE_HOME", "NUMBA_CACHE_DIR", "KERAS_HOME")


def _set_environment(args: object) -> None:
    """Keep threads and caches where they belong, before a library that looks at them is imported."""
    threads = str(args.omp_nthreads)  # type: ignore[attr-defined]
    for name in _THREADS:
        os.environ[name] = threads
    # HOME may be read-only, be missing or belong to somebody else; the work directory is ours.
    caches = str(args.work_dir.absolute() / "caches")  # type: ignore[attr-defined]
    for name in _CACHES:
        os.environ.setdefault(name, caches)
    for name in ("NO_ET", "NIPYPE_NO_ET"):
        os.environ[name] = "1"
    # Nipype names a batch job after it; a container run as any uid, or with a clean environment, has none.
    os.environ.setdefault("LOGNAME", f"uid{os.getuid()}")
    if args.gpu:  # type: ignore[attr-defined]
        # Several processes may share the device: none may take all its memory at once.
        os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    else:
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"


if __name__ == "__main__":
    sys.exit(main())
