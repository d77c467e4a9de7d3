"""``qperf validate DATASET``: check a dataset against the specification."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import groupby

from qperf_app.bids.validate import Issue, ValidatorError, validate
from qperf_app.checks.wording import counted
from qperf_app.cli.errors import INTERNAL


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this command."""
    parser.add_argument("dataset", metavar="DATASET", help="folder of a raw or derivative dataset")
    parser.add_argument("--all-warnings", action="store_true", help="print each warning, not one line for each kind")


def run(args: argparse.Namespace) -> int:
    """Print what the validator found; return 0 for a valid dataset, 16 for one with errors, 2 where there is none."""
    try:
        issues = validate(args.dataset)
    except NotADirectoryError as error:
        print(f"qperf validate: {error}", file=sys.stderr)
        return 2
    except ValidatorError as error:
        print(f"qperf validate: {error}", file=sys.stderr)
        return INTERNAL
    errors = [issue for issue in issues if issue.severity == "error"]
    warnings = [issue for issue in issues if issue.severity == "warning"]
    for line in (*map(str, errors), *(map(str, warnings) if args.all_warnings else _by_kind(warnings))):
        print(line)
    verdict = "not valid" if errors else "valid"
    print(f"{args.dataset}: {verdict}: {counted(len(errors), 'error')}, {counted(len(warnings), 'warning')}")
    return 16 if errors else 0


def _by_kind(issues: Iterable[Issue]) -> Iterator[str]:
    """One line for each code, with the fields, the first place and how many places there are."""

    def kind(issue: Issue) -> tuple[str, str]:
        return issue.code, issue.message

    for _, group in groupby(sorted(issues, key=kind), key=kind):
        same = list(group)
        places = {issue.location for issue in same}
        fields = ", ".join(sorted({issue.field for issue in same}))
        more = f" (and {counted(len(places) - 1, 'other file')})" if len(places) > 1 else ""
        yield f"{replace(same[0], field=fields, location=min(places))}{more}"
