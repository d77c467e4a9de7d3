"""``qperf-app BIDS_DIR OUT_DIR participant|group``."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from qperf_app.cli.environment import set_environment
from qperf_app.cli.errors import NOTHING_SELECTED, STOPPED, UNUSABLE_DATASET, USAGE, UsageError, failed
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
    set_environment(args.work_dir, args.omp_nthreads, args.gpu)
    from qperf_app.bids.errors import DatasetError, SelectionError
    from qperf_app.plugins.manager import PluginOptionError, UnknownPluginError
    from qperf_app.workflow.configuration import ConfigurationError

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
        return _refuse("stopped; run the same command again to go on from here", STOPPED)
    except Exception as error:
        return failed("qperf-app", error)


def _refuse(reason: object, code: int) -> int:
    # A lookup error's text would come in quotes.
    text = reason.args[0] if isinstance(reason, LookupError) and reason.args else reason
    print(f"qperf-app: {text}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
