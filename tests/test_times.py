"""Slow boluses and coarse sampling: windows follow the bolus; every constant in seconds is listed with its reason."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from qperf_app.checks.flow import coarse_sampling
from qperf_app.methods.bolus_timing import width_at_half
from qperf_app.methods.heart import SHORTEST_PASS, first_pass_width, odd_frames
from qperf_app.physics.input_function import InputFeatures
from qperf_app.plugins import RunContext, Series
from qperf_motion import ChainedMotionCorrection
from qperf_segmentation import ClassicalMyocardium, KMeansBloodPool
from tests.test_motion import breathing, chest, series_of
from tests.test_segmentation import dice, make_scene

ROOT = Path(__file__).parents[1]
PLACES = (
    "plugins",
    "qperf_app/methods",
    "qperf_app/checks",
    "qperf_app/workflow/runners",
    "qperf_app/physics/baseline.py",
    "qperf_app/physics/input_function.py",
)
#: A unit of time in a comment or a help text: "s" after a comma or a word, or a rate.
SECONDS = re.compile(r"(?<![\w'’/*])s(?=[,.:;)]|\s|$)|\b1/s\b|\bseconds\b")
CONTEXT = RunContext(seed=5)


def slower(series: Series, factor: float) -> Series:
    """The same images on a clock that runs ``factor`` times as long: a slower bolus, and images farther apart."""
    return replace(series, times=series.times * factor)


# --- the width of the first pass ---------------------------------------------------------------------------------


def test_width_is_that_of_a_triangle_and_is_cut_off_by_the_series() -> None:
    triangle = np.array([[0, 1, 2, 3, 4, 3, 2, 1, 0.0]])
    assert width_at_half(triangle, np.array([4]), np.array([4.0])) == pytest.approx(4.0)
    assert width_at_half(triangle[:, :6], np.array([4]), np.array([4.0])) == pytest.approx(3.0)
    # Counted from the higher level beside it, as where a signal saturates.
    assert width_at_half(triangle + 7.0, np.array([4]), np.array([2.0])) == pytest.approx(2.0)


@pytest.mark.parametrize("saturated", [False, True])
@pytest.mark.parametrize("interval", [0.8, 2.4])
def test_the_first_pass_is_measured_in_the_series(saturated: bool, interval: float) -> None:
    """Both pools of the scene rise by a gamma variate of a known width; recirculation and noise are on it."""
    series = make_scene().series
    data = np.minimum(series.data, 150.0) if saturated else series.data
    data = data[..., :: round(interval / 0.8)]
    width = first_pass_width([data[:, :, 0]], series.voxel_size[:2], interval)
    # x^2 exp(2 - 2 x) has a width of 1.70 rises of 3 s (right, the brighter pool) and of 4 s (left).
    assert 0.85 * 5.1 < width < 1.45 * 6.8
    assert first_pass_width([data[:, :, 0]], series.voxel_size[:2], 3 * interval) == pytest.approx(3 * width, rel=0.05)


def test_where_nothing_passes_the_width_is_the_shortest() -> None:
    still = np.ones((20, 20, 30), np.float32)
    assert first_pass_width([still, still], np.array([2.0, 2.0]), 0.8) == SHORTEST_PASS


def test_the_running_median_never_outlasts_the_first_pass() -> None:
    assert [odd_frames(5, width) for width in (12.0, 5.0, 4.9, 3.0, 2.9, 1.0, 0.4)] == [5, 5, 3, 3, 1, 1, 1]


# --- slow and coarse series --------------------------------------------------------------------------------------


def test_a_slower_clock_changes_no_outline() -> None:
    series, factor = slower(make_scene().series, 1.5), 2.4
    pools = [KMeansBloodPool().find(each, CONTEXT) for each in (series, slower(series, factor))]
    walls = [
        ClassicalMyocardium().segment(each, own, None, CONTEXT).mask
        for each, own in zip((series, slower(series, factor)), pools, strict=True)
    ]
    assert pools[0].found and walls[0].any()
    for one, other in ((pools[0].lv, pools[1].lv), (pools[0].rv, pools[1].rv), (walls[0], walls[1])):
        np.testing.assert_array_equal(one, other)


def test_a_slower_clock_changes_no_motion() -> None:
    series = slower(series_of([chest(breathing(), noise=4.0)]), 1.5)
    motions = [ChainedMotionCorrection().correct(each, CONTEXT) for each in (series, slower(series, 2.4))]
    assert np.abs(motions[0].displacement).max() > 5.0
    np.testing.assert_array_equal(motions[0].displacement, motions[1].displacement)


def test_one_image_every_three_beats_still_shows_the_heart() -> None:
    scene = make_scene()
    coarse = replace(scene.series, data=scene.series.data[..., ::3], times=scene.series.times[::3])
    pools = KMeansBloodPool().find(coarse, CONTEXT)
    assert pools.found, pools.reason
    assert dice(pools.lv, scene.lv) > 0.8 and dice(pools.rv, scene.rv) > 0.8
    assert dice(ClassicalMyocardium().segment(coarse, pools, None, CONTEXT).mask, scene.wall) > 0.7


def test_a_high_level_before_contrast_hides_no_heart() -> None:
    """As in an ungated steady state: the bolus raises the blood's signal by less than a half."""
    scene = make_scene()
    level = 500.0 * (scene.lv | scene.rv | scene.wall)
    pools = KMeansBloodPool().find(
        scene.series.with_data(scene.series.data + level[..., None].astype(np.float32)), CONTEXT
    )
    assert dice(pools.lv, scene.lv) > 0.85 and dice(pools.rv, scene.rv) > 0.85


# --- the warning -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("upper", "interval", "warns"),
    [(2.2, 2.4, True), (2.2, 1.0, False), (1.8, 2.4, False), (np.nan, 2.4, False)],
)
def test_coarse_sampling_is_said_where_flow_is_uncertain_too(upper: float, interval: float, warns: bool) -> None:
    aif = InputFeatures(10.0, 15.0, 22.0, 12.0, 30.0, 5.0, 0.0, 0.1)
    text = coarse_sampling([1.0] * 6, [upper] * 4 + [1.5] * 2, np.arange(20) * interval, aif)
    assert bool(text) == warns
    if warns:
        assert "4 of 6 segments" in text and "2.4 s apart" in text and "rises for 5 s" in text


# --- the list ----------------------------------------------------------------------------------------------------


def constants(path: Path) -> Iterator[tuple[str, str, str]]:
    """Name, value and description of each constant of a module and each option of its classes."""
    source = path.read_text("utf-8")
    lines, module = source.splitlines(), ast.parse(source)
    of_classes = (node for part in module.body if isinstance(part, ast.ClassDef) for node in part.body)
    for node in (*module.body, *of_classes):
        if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
            continue
        name = ast.unparse(node.targets[0] if isinstance(node, ast.Assign) else node.target).strip("()")
        strings = [n.value for n in ast.walk(node.value) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
        if node.col_offset == 0 and re.fullmatch(r"[A-Z_0-9, ]+", name):
            yield name, ast.unparse(node.value), comment_above(lines, node.lineno - 2)
        elif isinstance(node.value, ast.Call) and "help" in strings:
            default = next((k.value for k in node.value.keywords if k.arg == "default"), node.value)
            yield name, ast.unparse(default), " ".join(strings)


def comment_above(lines: list[str], number: int) -> str:
    """The comment over a line; assignments in one block share it."""
    while number >= 0 and lines[number].strip() and not lines[number].startswith("#"):
        number -= 1
    found = []
    while number >= 0 and lines[number].startswith("#"):
        found.append(lines[number].lstrip("#: "))
        number -= 1
    return " ".join(reversed(found))


def modules() -> Iterator[Path]:
    for place in PLACES:
        path = ROOT / place
        yield from [path] if path.is_file() else sorted(path.rglob("*.py"))


def listed() -> dict[tuple[str, str], tuple[str, str]]:
    """Value and reason by file and name, from the tables of docs/times.md."""
    rows = re.findall(
        r"^\| `([\w/.]+)` `([\w, ]+)` \| `(.+?)` \| (.+) \|$", (ROOT / "docs/times.md").read_text("utf-8"), re.M
    )
    return {(file, name): (value, reason) for file, name, value, reason in rows}


def test_every_constant_in_seconds_is_listed_with_its_reason() -> None:
    rows = listed()
    there = {
        (path.relative_to(ROOT).as_posix(), name): (value, text)
        for path in modules()
        for name, value, text in constants(path)
    }
    in_seconds = {key for key, (value, text) in there.items() if SECONDS.search(text) and re.search(r"\d", value)}
    assert in_seconds - rows.keys() == set(), "in seconds, and not in docs/times.md"
    assert rows.keys() - there.keys() == set(), "in docs/times.md, and not in the code"
    for key, (value, reason) in rows.items():
        assert value == there[key][0].replace("|", "\\|"), key
        assert len(reason) > 15, key
