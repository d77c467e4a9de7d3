"""``qperf``: the tools around the app. Each sub-command's module is imported only when it is called."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Mapping, Sequence

from qperf_app import __version__
from qperf_app.cli.arguments import Parser
from qperf_app.cli.errors import DONE, STOPPED, failed
from qperf_app.cli.libraries import settle_libraries

#: Module of each sub-command, of one word or two, with the line that the help shows. A module has ``add_arguments`` and
#: ``run``; with ``INTERMIXED`` its options may stand between its arguments.
COMMANDS: Mapping[str, tuple[str, str]] = {
    "export": ("qperf_app.cli.export", "write results as DICOM, and send them to an archive"),
    "import": ("qperf_app.cli.importing", "turn a perfusion study in DICOM into a raw dataset"),
    "phantom": ("qperf_app.cli.phantom", "write a BIDS dataset from the digital perfusion phantom, with its truth"),
    "plugins": ("qperf_app.cli.plugins", "list the steps and their plugins, and what broke on loading"),
    "plugins new": ("qperf_app.cli.new_plugin", "write a distribution with a plugin that works, to start from"),
    "review": ("qperf_app.cli.review", "look at outlines in a browser, correct them, and compute again"),
    "train": ("qperf_app.cli.train", "train a plugin's network and write its weights and model card"),
    "validate": ("qperf_app.cli.validate", "check a raw or derivative dataset against bids_spec/"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``qperf``; returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    command = next((c for n in (2, 1) if (c := " ".join(arguments[:n])) in COMMANDS), "")
    if not command:
        return _top_level(arguments)
    settle_libraries()
    try:
        code = _run(command, arguments[len(command.split()) :])
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever reads has seen enough, as `| head` does. What is still buffered has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except KeyboardInterrupt:
        print(f"\nqperf {command}: stopped", file=sys.stderr)
        return STOPPED
    except Exception as error:
        return failed(f"qperf {command}", error)
    return code


def _run(command: str, arguments: Sequence[str]) -> int:
    module = importlib.import_module(COMMANDS[command][0])
    parser = Parser(prog=f"qperf {command}", description=COMMANDS[command][1])
    module.add_arguments(parser)
    parse = parser.parse_intermixed_args if getattr(module, "INTERMIXED", False) else parser.parse_args
    return int(module.run(parse(arguments)))


def _top_level(arguments: Sequence[str]) -> int:
    """Answer ``--help`` and ``--version``, and refuse what is no command."""
    width = max(map(len, COMMANDS))
    listing = "\n".join(f"  {name:{width}}  {text}" for name, (_, text) in COMMANDS.items())
    parser = Parser(
        prog="qperf",
        usage="qperf COMMAND …",
        description=f"commands:\n{listing}",
        epilog="qperf COMMAND --help tells more. The app itself is qperf-app.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"qperf {__version__}")
    parser.add_argument("command", choices=COMMANDS, help=argparse.SUPPRESS)
    parser.parse_args(arguments)
    return 2


if __name__ == "__main__":
    sys.exit(main())
