"""A small study that was run, for tests of its review."""

from __future__ import annotations

from pathlib import Path

from qperf_app import api
from qperf_app.review.study import Study, open_study
from tests.datasets import hand_drawn, small_dataset


def finished_study(root: Path) -> Study:
    """One scan of one slice, its outlines drawn by somebody, flow by one method."""
    raw, drawn = small_dataset(root / "raw"), hand_drawn(root / "drawn")
    settings = {"motion-correction": "none", "kinetics": "fermi"}
    planned = api.plan(raw, root / "out", configuration=settings, derivatives={"expert": drawn})
    status = api.run(planned, api.Execution(root / "work"), say=lambda text: None)
    assert status["01"].state == "done"
    return open_study(root / "out", None, None, root / "work")
