"""The specification of the datasets that qperf-app reads and writes; ``README.md`` beside this file is its text."""

from __future__ import annotations

from pathlib import Path

_HERE = Path(__file__).parent

#: The official BIDS schema with this extension merged in: what the validator loads.
SCHEMA = _HERE / "schema.json"
#: The extension alone, as an overlay on the official schema.
EXTENSION = _HERE / "extension.yaml"
#: A raw and a derivative dataset that are valid.
EXAMPLES = _HERE / "examples"
#: What a derivative dataset's ``.bidsignore`` holds: BIDS has no place for a participant's report in the root.
DERIVATIVE_BIDSIGNORE = "sub-*.html\n"
