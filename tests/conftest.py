"""Fixtures that every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of the real measurement data; skips where it is absent, as on a fresh clone."""
    path = Path(os.environ.get("QPERF_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not (path / "README.md").is_file():
        pytest.skip(f"measurement data not found at {path} (set QPERF_TEST_DATA)")
    return path
