"""The report as its readers meet it: the page of a participant."""

from __future__ import annotations

import base64
import dataclasses
import html
import io
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
import pytest
from PIL import Image

from qperf_app.plugins import (
    BloodPools,
    Myocardium,
    Paragraph,
    Picture,
    QualityMap,
    ReportSectionPlugin,
    SegmentTable,
    StepOutcome,
    Table,
    VoxelMap,
)
from qperf_app.plugins.results import Haematocrit, ScanResult
from qperf_app.plugins.steps.concentration import choose_by_metadata
from qperf_app.report import render_report
from qperf_app.report.bullseye import SECTORS, SegmentPicture, bullseye, ink_on
from qperf_app.report.scales import scale_for
from tests.report_examples import (
    AFFINE,
    LEGEND,
    SHAPE,
    TWO_SLICES,
    bare_scan,
    participant,
    regions,
    scan,
    segments,
    world,
)

VIRIDIS_AT_1_0 = (65, 68, 135)  # 1.0 of 5 mL/min/g; from matplotlib's table, entry 51


def pictures(page: str, alt: str) -> list[Image.Image]:
    """Embedded images whose alternative text contains ``alt``, in order."""
    found = re.findall(r'<img[^>]*src="data:image/\w+;base64,([^"]+)" alt="([^"]*)"', page)
    return [Image.open(io.BytesIO(base64.b64decode(data))) for data, text in found if alt in html.unescape(text)]


def drawings(page: str, alt: str) -> list[str]:
    """Bodies of the drawings whose alternative text contains ``alt``, in order."""
    found = re.findall(r'<svg [^>]*role="img" aria-label="([^"]*)">(.*?)</svg>', page, flags=re.S)
    return [body for label, body in found if alt in html.unescape(label)]


def tiles(page: str, alt: str) -> list[Image.Image]:
    """Maps over their anatomy as a browser puts them together."""
    return [_tile(page, body) for body in drawings(page, alt)]


def _tile(page: str, body: str) -> Image.Image:
    name = re.search(r'<use href="#([^"]+)" class="dimmed"', body)
    defined = re.search(rf'<image id="{name[1]}" [^>]*href="[^,]*,([^"]+)"', page)
    picture = Image.open(io.BytesIO(base64.b64decode(defined[1]))).convert("RGB")
    picture = Image.eval(picture, lambda level: round(0.8 * level))
    place = re.search(r'<image class="voxels" x="(\S+)" y="(\S+)" width="(\S+)" height="(\S+)" [^>]*,([^"]+)"', body)
    x, y, width, height = (float(value) for value in place.groups()[:4])
    over = Image.open(io.BytesIO(base64.b64decode(place[5]))).convert("RGBA")
    over = over.resize((round(width), round(height)), Image.Resampling.NEAREST)
    picture.paste(over, (round(x), round(y)), over)
    return picture


def points_of(body: str, name: str) -> np.ndarray:
    """Points (n, 2) of the lines of a class."""
    steps = re.findall(rf'class="{name}"[^>]* d="([^"]*)"', body)
    return np.array([[float(x), float(y)] for d in steps for x, y in re.findall(r"[ML](\S+?) ([\d.-]+)", d)])


def territories(page: str) -> dict[str, list[tuple[str, str]]]:
    """Value and note of each cell of the first table by territory."""
    table = re.search(r'<div class="territories">(.*?)</table>', page, flags=re.S)
    rows = re.findall(r'<tr[^>]*><th scope="row">(.*?)</th>(.*?)</tr>', table[1] if table else "", flags=re.S)
    cell = r'<span class="value">(.*?)</span>(.*?)</td>'
    return {label: [(v, text_of(rest).strip()) for v, rest in re.findall(cell, cells)] for label, cells in rows}


def text_of(page: str) -> str:
    """Words of the page, without tags, styles and scripts."""
    body = re.sub(r"<(style|script)\b.*?</\1>", " ", page, flags=re.S)
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", body)))


def table_rows(page: str, first: str) -> list[list[str]]:
    """Cells of every row that begins with ``first``."""
    rows = re.findall(r"<tr>(.*?)</tr>", page, flags=re.S)
    cells = [[html.unescape(c) for c in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, flags=re.S)] for row in rows]
    return [row for row in cells if row and row[0] == first]


@pytest.fixture(scope="module")
def page() -> str:
    return render_report(participant())


def test_sections_come_in_reading_order(page: str) -> None:
    headings = re.findall(r"<h2[^>]*>(.*?)</h2>", page)
    assert headings == ["Summary", "Perfusion", "Rest", "Stress", "What was done", "Methods"]
    assert re.findall(r"<h1>(.*?)</h1>", page) == ["Participant 07"]


def test_page_needs_nothing_from_outside(page: str) -> None:
    assert not re.search(
        r"(?:https?:)?//\w", re.sub(r"base64,[^\"]+", "", re.sub(r"<script>.*</script>", "", page, flags=re.S))
    )
    assert all(source.startswith("data:image/") for source in re.findall(r'(?:src|srcset)="([^"]*)"', page))
    assert all(target.startswith(("#", "data:image/")) for target in re.findall(r'href="([^"]*)"', page))
    assert not re.search(r"<link|url\((?!#)|@import|<iframe|<script src", page)


def test_headline_has_flow_reserve_and_low_segments(page: str) -> None:
    assert re.findall(r'<th scope="col">(.*?)</th>', page)[:4] == [
        "Territory",
        "Rest",
        "Stress",
        "Reserve (stress / rest)",
    ]
    found = territories(page)
    assert list(found) == ["LAD", "RCA", "LCx", "All segments"]
    assert [value for value, _ in found["All segments"]] == ["0.80", "2.60", "3.25"]
    # Segments 3, 4, 9, 10 with 2.6, 1.0, 2.6, 1.2 under stress.
    assert [value for value, _ in found["RCA"]] == ["0.80", "1.90", "2.38"]
    # Segment 12 has no value: of those of the LCx in view two are left.
    assert found["LCx"][0] == ("0.80", "3 of 4 segments") and found["LAD"][0] == ("0.80", "")
    words = text_of(page)
    assert "MBF (mL/min/g) by nlls (2cxm)" in words
    assert "Lowest stress MBF: 1.00, basal inferior." in words
    assert "in 2 of 11 segments: basal inferior, mid inferior." in words


def beating(scan: ScanResult) -> ScanResult:
    """The scan with times between which beats differ, as those of a heart do."""
    assert scan.series is not None
    times = scan.series.times + 0.02 * np.sin(np.arange(len(scan.series.times)))
    return dataclasses.replace(scan, series=dataclasses.replace(scan.series, times=times))


def test_a_heart_that_is_no_faster_under_stress_is_asked_about() -> None:
    rest, stress = (beating(bare_scan(task)) for task in ("rest", "stress"))
    assert stress.series is not None
    faster = dataclasses.replace(stress.series, times=0.7 * stress.series.times)
    for other, words in (
        (stress, "did the stress agent work?"),
        (dataclasses.replace(stress, series=faster), "suggests"),
    ):
        told = text_of(render_report(participant(rest, other)))
        assert ("did the stress agent work?" in told) == (other is stress) and words in told


def test_made_up_times_tell_no_heart_rate() -> None:
    scans = []
    for task in ("rest", "stress"):
        scan = bare_scan(task)
        assert scan.series is not None
        data = np.repeat(scan.series.data[..., :1], 14, axis=-1)
        metadata = {**scan.series.metadata, "ProtonDensityVolumeCount": 0}
        series = dataclasses.replace(scan.series, data=data, times=0.8 * np.arange(14.0), metadata=metadata)
        scans.append(dataclasses.replace(scan, series=series))
    assert "Images a minute" not in text_of(render_report(participant(*scans)))


def test_a_reader_sees_model_sequence_and_interval_beside_the_numbers() -> None:
    scans = []
    for task in ("rest", "stress"):
        one = scan(task, shape=TWO_SLICES, acquisition="dual sequence")
        series = dataclasses.replace(
            one.series, metadata={**one.series.metadata, "PulseSequenceType": "Saturation-recovery FLASH"}
        )
        step = StepOutcome("kinetics", "nlls", "done", "1.7")
        sure = posterior(task, {3: 3.0}, plugin="nlls")
        other = posterior(task, {3: 9.0}, plugin="cnn")
        maps = (*one.maps, dataclasses.replace(one.maps[0], plugin="cnn"))
        scans.append(dataclasses.replace(one, series=series, steps=(step,), maps=maps, segments=(sure, other)))
    page = render_report(participant(*scans))
    words = text_of(page)
    assert "nlls 1.7; model (2cxm); Saturation-recovery FLASH, dual sequence, 1.5 T." in words
    assert "holds the true value 9 times in 10 if the errors of its segments go together" in words
    # A range of healthy hearts stands beside dual-sequence flow of its own kind of model, and beside no other.
    assert "healthy volunteers" not in words

    def of_model(one: ScanResult, model: str) -> ScanResult:
        maps, tables = (tuple(dataclasses.replace(x, model=model) for x in xs) for xs in (one.maps, one.segments))
        return dataclasses.replace(one, maps=maps, segments=tables)

    plug_flow = text_of(render_report(participant(*(of_model(one, "ATH") for one in scans))))
    assert "adiabatic tissue homogeneity model (ATH)" in plug_flow
    assert "20 healthy volunteers" in plug_flow and "distributed model" in plug_flow and "doi:10.1186" in plug_flow
    assert "healthy volunteers" not in text_of(render_report(participant(*(of_model(one, "2CXM") for one in scans))))
    assert "healthy volunteers" not in text_of(render_report(participant()))
    # The median of the segments' bounds: 0.8 / 1.1 to 0.8 * 1.1, whatever one wide segment does.
    assert territories(page)["All segments"][0] == ("0.80", "0.73 to 0.88 11 of 12 segments")
    assert "By another method: cnn (2cxm)" in words and words.index("By another method") > words.index("Summary")


def test_a_scan_whose_segments_have_no_value_has_no_number_in_the_summary() -> None:
    empty = [dataclasses.replace(row, values={"MBF": float("nan")}) for row in segments("stress").rows]
    table = dataclasses.replace(segments("stress"), rows=tuple(empty))
    page = render_report(participant(bare_scan("rest"), bare_scan("stress", segments=(table,))))
    assert territories(page)["All segments"][1][0] == "–"
    assert "2.60" not in text_of(page).split("Perfusion")[0]


def test_segments_full_of_blood_do_not_decide_the_headline() -> None:
    scans = []
    for task in ("rest", "stress"):
        table = segments(task)
        rows = tuple(
            dataclasses.replace(row, values={"MBF": 12.0}) if row.segment in (11, 1) else row for row in table.rows
        )
        flow = np.where(np.arange(SHAPE[0])[:, None, None] % 2 == 0, 20.0, 1.0) * np.ones(SHAPE)
        maps = (VoxelMap("nlls", "2cxm", "MBF", "mL/min/g", flow),)
        scans.append(bare_scan(task, maps=maps, segments=(dataclasses.replace(table, rows=rows),)))
    page = render_report(participant(*scans))
    assert [value for value, _ in territories(page)["All segments"]][:2] == ["0.80", "2.60"]


def posterior(
    task: str, wide: Mapping[int, float], plugin: str = "nlls", flow: Mapping[int, float] = MappingProxyType({})
) -> SegmentTable:
    """Segments whose interval is their flow over and times 1.1, or a segment's own factor; ``flow`` replaces some."""
    table = segments(task)
    rows = []
    for row in table.rows:
        value, factor = flow.get(row.segment, row.values["MBF"]), wide.get(row.segment, 1.1)
        values = {"MBF": value, "MBF_q05": value / factor, "MBF_q95": value * factor}
        rows.append(dataclasses.replace(row, values=values))
    units = {q: "mL/min/g" for q in ("MBF", "MBF_q05", "MBF_q95")}
    return dataclasses.replace(table, plugin=plugin, rows=tuple(rows), units=units)


def uneven(flow: Mapping[int, float], wide: Mapping[int, float] = MappingProxyType({})) -> str:
    """Page of a heart that is even at rest and has this flow in some segments under stress."""
    tables = posterior("rest", {}, flow={12: 0.8}), posterior("stress", wide, flow=flow)
    scans = (bare_scan(task, segments=(table,)) for task, table in zip(("rest", "stress"), tables, strict=True))
    return render_report(participant(*scans))


#: With it all segments have 2.6.
EVEN = {4: 2.6, 10: 2.6, 12: 2.6}


def test_a_territory_whose_segments_differ_names_them_and_has_no_interval() -> None:
    """Two of the four segments of the LAD lie far below the heart: their median is a flow of none."""
    page = uneven({**EVEN, 1: 3.0, 7: 0.9, 8: 0.7})
    found, words = territories(page), text_of(page)
    assert found["LAD"][1] == ("1.75", "2 of 4 segments low: 7, 8")
    assert found["RCA"][1] == ("2.60", "2.36 to 2.86") and found["LAD"][0] == ("0.80", "0.73 to 0.88")
    # The heart keeps the interval that its segments are held against.
    assert found["All segments"][1] == ("2.60", "2.36 to 2.86 2 of 12 segments low")
    assert found["LAD"][2] == ("2.19", "2 of 4 segments low: 7, 8")
    assert (
        "Lowest stress MBF: 0.70, mid anteroseptal. More than a quarter below the heart's median, 2.60 (2.36 to "
        "2.86): 7 mid anterior 0.90, 8 mid anteroseptal 0.70."
    ) in words
    assert "above it" not in words and "left out where the median lies between segments that differ" in words
    # What the table calls low has a rim in the bull's-eyes, and nothing else has.
    low_at_rest, low, low_reserve = (outlined(page, title) for title in ("Rest MBF", "Stress MBF", "Perfusion reserve"))
    assert low_at_rest == set() and low == low_reserve == {7, 8}
    assert "Outlined: low" in words and "outlined as low: 7, 8." in html.unescape(page)


def outlined(page: str, title: str) -> set[int]:
    """Numbers of the segments whose own outline is drawn in a bull's-eye."""
    body = drawings(page, f"Bull's-eye, {title}")[0]
    shape_of = {d: int(k) for k, d in re.findall(r'class="segment" data-segment="(\d+)"[^>]* d="([^"]*)"', body)}
    lines = re.findall(r'class="low-line"[^>]* d="([^"]*)"', body)
    assert lines == re.findall(r'class="low-rim"[^>]* d="([^"]*)"', body)
    return {shape_of[d] for d in lines}


def test_no_segment_of_a_doubtful_scan_is_outlined() -> None:
    doubt = StepOutcome("segment-values", "nlls", "done", doubts=("no heart has such a flow",))
    tables = posterior("rest", {}, flow={12: 0.8}), posterior("stress", {}, flow={**EVEN, 7: 0.9})
    rest, stress = (bare_scan(task, segments=(t,)) for task, t in zip(("rest", "stress"), tables, strict=True))
    page = render_report(participant(rest, dataclasses.replace(stress, steps=(doubt,))))
    assert outlined(page, "Stress (doubtful) MBF") == set() and "Outlined" not in text_of(page)


def test_a_territory_that_is_low_in_all_of_its_segments_keeps_its_interval() -> None:
    page = uneven({**EVEN, 3: 1.0, 4: 1.0, 9: 1.0, 10: 1.0})
    assert territories(page)["RCA"][1] == ("1.00", "0.91 to 1.10 4 of 4 segments low: 3, 4, 9, 10")


def test_a_segment_with_blood_in_it_is_high() -> None:
    page = uneven({**EVEN, 11: 9.0})
    assert territories(page)["LCx"][1] == ("2.60", "2.36 to 2.86 1 of 4 segments high: 11")
    assert "2.60 (2.36 to 2.86): none. More than a third above it: 11 mid inferolateral 9.00." in text_of(page)


def test_a_segment_stands_apart_by_its_value_however_wide_its_interval_is() -> None:
    """What makes an interval wide is mostly shared by all segments, and hides no defect; 12 has no value."""
    page = uneven({**EVEN, 1: 1.9, 7: 2.0, 10: 1.0, 12: float("nan")}, dict.fromkeys(range(1, 12), 2.5))
    found, words = territories(page), text_of(page).replace("\u00a0", " ")
    assert found["LAD"][1][1].endswith("1 of 4 segments low: 1")
    assert found["RCA"][1][1].endswith("1 of 4 segments low: 10")
    assert found["LCx"][1][1].endswith("3 of 4 segments") and "low" not in found["LCx"][1][1]
    assert "1 basal anterior 1.90 ?, 10 mid inferior 1.00 ?." in words
    assert outlined(page, "Stress MBF") == {1, 10}


def test_a_method_without_intervals_tells_low_segments_too() -> None:
    tables = posterior("rest", {}, flow={12: 0.8}), posterior("stress", {}, flow={**EVEN, 7: 0.9})
    bare = (
        dataclasses.replace(t, rows=tuple(dataclasses.replace(r, values={"MBF": r.values["MBF"]}) for r in t.rows))
        for t in tables
    )
    page = render_report(
        participant(*(bare_scan(task, segments=(t,)) for task, t in zip(("rest", "stress"), bare, strict=True)))
    )
    assert "More than a quarter below the heart's median, 2.60: 7 mid anterior 0.90." in text_of(page)
    # Of a reserve, whose scatter is that of two scans, a third.
    assert territories(page)["LAD"][2] == ("3.25", "1 of 4 segments low: 7")


def test_values_with_a_wide_interval_are_marked() -> None:
    page = render_report(
        participant(*(bare_scan(task, segments=(posterior(task, {3: 3.0}),)) for task in ("rest", "stress")))
    )
    for title in ("Rest MBF", "Stress MBF", "Perfusion reserve"):
        words = next(w for w in map(html.unescape, re.findall(r'aria-label="(Bull[^"]*)"', page)) if title in w)
        assert "wide interval: 3." in words
    assert "? marks a value whose 90 % interval is wider" in text_of(page)
    row = [cell.replace("\u00a0", " ") for cell in table_rows(page, "3 basal inferoseptal")[0]]
    assert row[1] == "0.80 ? (0.27 to 2.40)" and row[2] == "2.60 ? (0.87 to 7.80)"


def test_reserve_table_divides_stress_by_rest(page: str) -> None:
    assert table_rows(page, "1 basal anterior")[0] == ["1 basal anterior", "0.80", "2.60", "3.25", "3.40", "3.12"]
    assert table_rows(page, "4 basal inferior")[0][1:4] == ["0.80", "1.00", "1.25"]
    assert table_rows(page, "12 mid anterolateral")[0][1:] == ["–"] * 5
    # Segments 3, 4, 9, 10 with stress flow 2.6, 1.0, 2.6, 1.2 over 0.8 at rest.
    assert table_rows(page, "RCA territory, median")[0][1:4] == ["0.80", "1.90", "2.38"]


def test_segment_table_has_both_layers_and_what_was_estimated(page: str) -> None:
    assert table_rows(page, "1 basal anterior")[3][1:] == ["2.60", "2.55", "2.65", "0.96", "10 of 10"]
    assert table_rows(page, "12 mid anterolateral")[1][1:] == ["–", "–", "–", "–", "0 of 10"]


def test_segments_without_a_value_are_named_among_the_warnings(page: str) -> None:
    assert "All scans: MBF could not be estimated in 1 of 12 segments: mid anterolateral." in text_of(page)


def test_why_segments_have_no_value_and_who_has_one() -> None:
    """Of a scan by two methods: what most of the voxels lack, and that the other method gives a value."""
    empty = np.full(TWO_SLICES, np.nan)
    codes = np.where(regions(shape=TWO_SLICES)["myocardium"], 16, 255).astype(np.uint8)
    quality = (QualityMap("nlls", codes, {16: "flow not identifiable"}),)
    other = dataclasses.replace(segments("stress"), plugin="fermi", model="Fermi")
    none = tuple(dataclasses.replace(row, values={"MBF": np.nan}) for row in segments("stress").rows)
    lost = dataclasses.replace(segments("stress"), rows=none)
    maps = (VoxelMap("nlls", "2cxm", "MBF", "mL/min/g", empty), VoxelMap("fermi", "Fermi", "MBF", "mL/min/g", empty))
    one = scan(shape=TWO_SLICES, maps=maps, qc=quality, segments=(lost, other))
    words = text_of(render_report(participant(one)))
    assert "MBF could be estimated in no segment by nlls; mostly: flow not identifiable. fermi gives a value" in words
    some = tuple(row if row.segment != 4 else none[k] for k, row in enumerate(segments("stress").rows))
    one = scan(shape=TWO_SLICES, maps=maps, qc=quality, segments=(dataclasses.replace(lost, rows=some),))
    words = text_of(render_report(participant(one)))
    assert "2 of 12 segments: basal inferior, mid anterolateral (mostly: flow not identifiable)." in words


def test_an_input_function_that_was_handed_in_comes_from_no_series() -> None:
    given = StepOutcome("input-function", "", "handed-in", summary="from elsewhere")
    page = render_report(participant(scan(acquisition="single bolus", steps=(given,))))
    words = text_of(page)
    assert "The input function was handed in." in words and "comes from the tissue series itself" not in words
    assert "handed in: input function." in words and "voxels of the input function" not in page


def test_words_of_the_bullseye_stay_within_their_segments() -> None:
    """As wide as they are in a common typeface: six tenths of the size for each character."""
    marked = SegmentPicture(
        dict.fromkeys(SECTORS, 2.25), scale_for("MBF", "mL/min/g", None, []), "", 3.0, dict.fromkeys(SECTORS, "?")
    )
    written_as = (
        r'<text x="([-\d.]+)" y="([-\d.]+)" text-anchor="start" class="segment-(value|number)[^>]*>(.*?)</text>'
    )
    words = re.findall(written_as, bullseye(marked).svg)
    assert len(words) == 2 * len(SECTORS)
    for k, (x, y, kind, written) in enumerate(words):
        inner, outer, start, end = list(SECTORS.values())[k // 2]
        size = 13.5 if kind == "value" else 9.0
        half = 0.3 * size * len(re.sub("<[^>]*>", "", written))
        for side in (-half, half):
            right, up = float(x) + side - 150.0, 172.0 - (float(y) - 0.35 * size)
            assert inner * 132.0 - 1 < np.hypot(right, up) < outer * 132.0 + 1
            assert not inner or (np.degrees(np.arctan2(up, right)) - start + 1) % 360 < end - start + 2


def test_rest_and_stress_share_one_fixed_colour_scale() -> None:
    rest, stress = bare_scan("rest"), bare_scan("stress")
    half = regions()["myocardium"] & (np.arange(SHAPE[1])[:, None] < 24)
    both = [
        dataclasses.replace(s, maps=(VoxelMap("nlls", "2cxm", "MBF", "mL/min/g", np.where(half, 1.0, s.maps[0].data)),))
        for s in (rest, stress)
    ]
    page = render_report(participant(*both))
    # The same flow has the same colour in both, whatever else is in the map.
    for task in ("Rest", "Stress"):
        tile = np.asarray(tiles(page, f"MBF (mL/min/g), {task}, Slice 1")[0], int)
        middle = tile[tile.shape[0] // 2, :]
        assert (np.abs(middle - VIRIDIS_AT_1_0).max(axis=1) < 25).sum() > 0.15 * tile.shape[1]
    assert len(drawings(page, "Colour scale of MBF (mL/min/g) from 0 to 5")) == 1


def test_bullseye_has_anterior_on_top_and_septum_to_the_left() -> None:
    values = {1: 0.5, 2: 1.0, 3: 1.5, 4: 2.0, 5: 2.5, 6: 3.0, 7: 3.5, 13: 4.0, 14: 4.5}
    table = segments("stress")
    rows = tuple(
        dataclasses.replace(table.rows[0], segment=number, values={"MBF": value}) for number, value in values.items()
    )
    page = render_report(participant(scan(segments=(SegmentTable("nlls", "2cxm", rows, table.units),))))
    body = drawings(page, "Bull's-eye, Stress MBF")[0]
    shapes = dict(re.findall(r'data-segment="(\d+)" fill="([^"]+)" d="([^"]+)"', body) and [
        (int(k), (fill, d)) for k, fill, d in re.findall(r'data-segment="(\d+)" fill="([^"]+)" d="([^"]+)"', body)
    ])  # fmt: skip
    corners = {k: np.array(re.findall(r"([\d.]+) ([\d.]+)(?=A|L|Z)", d), float) for k, (_, d) in shapes.items()}
    middle = np.mean([points.mean(axis=0) for k, points in corners.items() if 7 <= k <= 12], axis=0)

    import matplotlib

    # Degrees anticlockwise from the lateral wall.
    for segment, angle in ((1, 90), (2, 150), (3, 210), (4, 270), (5, 330), (6, 30), (7, 90), (13, 90), (14, 180)):
        right, down = corners[segment].mean(axis=0) - middle
        assert np.hypot(right, down) > 10
        assert np.angle(np.exp(1j * (np.arctan2(-down, right) - np.deg2rad(angle)))) == pytest.approx(0, abs=0.02)
        colour = matplotlib.colormaps["viridis"](values[segment] / 5, bytes=True)[:3]
        assert shapes[segment][0] == "#" + bytes(int(c) for c in colour).hex()
        assert f">{values[segment]:.2f}<" in body
    assert shapes[8][0] == "url(#hatch)", "a segment without a value is hatched"


@pytest.mark.parametrize("quantity", ["MBF", "MPR"])
def test_numbers_stand_out_from_the_colour_of_their_segment(quantity: str) -> None:
    """Contrast of at least 4.5 to 1 (WCAG 2.1, 1.4.3) whatever the value."""
    scale = scale_for(quantity, "mL/min/g" if quantity == "MBF" else "", None, [])
    for value in np.linspace(scale.low, scale.high, 256):
        rgb = scale.paint(np.array(value)) / 255
        linear = np.where(rgb <= 0.03928, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
        pair = sorted([linear @ (0.2126, 0.7152, 0.0722), 1.0 if ink_on(scale, value) == "dark" else 0.0])
        assert (pair[1] + 0.05) / (pair[0] + 0.05) >= 4.5


def storages() -> list[tuple[np.ndarray, tuple[int, ...]]]:
    """The eight ways to store the same slices: axes swapped or not, each reversed or not."""
    found = []
    for swap in (False, True):
        for signs in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
            affine, shape = AFFINE.copy(), list(SHAPE)
            for axis, sign in enumerate(signs):
                if sign < 0:
                    affine[:3, 3] += affine[:3, axis] * (SHAPE[axis] - 1)
                    affine[:3, axis] *= -1
            if swap:
                affine[:, [0, 1]] = affine[:, [1, 0]]
                shape[0], shape[1] = shape[1], shape[0]
            found.append((affine, tuple(shape)))
    return found


def test_storage_order_does_not_change_the_pictures() -> None:
    seen, outlines = [], []
    for affine, shape in storages():
        one = scan(affine=affine, shape=shape, aif=None, aif_features={}, segments=(), qc=())
        mm = world(affine, shape)
        flow = np.where(one.myocardium.mask, 2.5 + mm[..., 0] / 12 + mm[..., 1] / 24, np.nan)
        page = render_report(participant(dataclasses.replace(one, maps=(dataclasses.replace(one.maps[0], data=flow),))))
        assert "left edge R, right edge L, top A, bottom P" in text_of(page)
        seen.append(np.asarray(tiles(page, "MBF (mL/min/g), Stress, Slice 1")[0].convert("L"), float))
        body = drawings(page, "Slice 1, basal with contours")[0]
        outlines.append({name: points_of(body, f"outline {name}").mean(axis=0) for name in ("myocardium", "rv")})
    first, *others = seen
    assert max(np.abs(first - other).mean() for other in others) < 4
    assert min(np.abs(first - turned).mean() for turned in (first[::-1], first[:, ::-1])) > 6
    for found in outlines:
        assert np.abs(found["myocardium"] - outlines[0]["myocardium"]).max() < 3
        assert np.abs(found["rv"] - outlines[0]["rv"]).max() < 3
        assert found["rv"][0] < found["myocardium"][0] - 50


def test_short_axis_is_seen_from_the_apex_with_the_right_ventricle_left() -> None:
    # Columns: septum to lateral wall, anterior to inferior wall, apex to base, of an ordinary heart.
    axes = np.array([[-0.67, 0.35, 0.66], [-0.74, -0.35, -0.57], [0.03, -0.87, 0.49]])
    affine = np.eye(4)
    affine[:3, :3] = axes * [2.0, 2.0, 8.0]
    masks = {name: np.roll(mask, (3, -5), axis=(0, 1)) for name, mask in regions().items()}
    lateral = np.argwhere(masks["lv"]).mean(axis=0)[0]
    rv = masks["myocardium"] & (np.arange(SHAPE[0])[:, None, None] < lateral - 7)
    flow = np.where(masks["myocardium"], np.where(rv, 5.0, 0.0), np.nan)
    one = bare_scan(affine=affine, maps=(VoxelMap("nlls", "2cxm", "MBF", "mL/min/g", flow),), segment_labels=None)
    one = dataclasses.replace(
        one,
        series=dataclasses.replace(one.series, affine=affine),
        pools=BloodPools(masks["lv"], masks["rv"], masks["lv"], affine),
        myocardium=Myocardium(masks["myocardium"]),
    )
    tile = np.asarray(tiles(render_report(participant(one)), "MBF (mL/min/g), Stress, Slice 1")[0], int)
    yellow = np.argwhere((tile[..., 0] > 200) & (tile[..., 1] > 190) & (tile[..., 2] < 110))
    purple = np.argwhere((np.abs(tile - (68, 1, 84)).max(axis=-1)) < 30)
    assert yellow[:, 1].mean() < purple[:, 1].mean() - 50
    assert abs(yellow[:, 0].mean() - purple[:, 0].mean()) < 15


def test_moving_picture_shows_every_dynamic_volume_with_fixed_grey_levels() -> None:
    moving = scan()
    with_reference = [
        dataclasses.replace(series, metadata={**series.metadata, "ProtonDensityVolumeCount": 2})
        for series in (moving.series, moving.corrected)
    ]
    page = render_report(
        participant(dataclasses.replace(moving, series=with_reference[0], corrected=with_reference[1]))
    )
    movie = pictures(page, "Moving picture of the first pass")[0]
    assert movie.n_frames == len(moving.series.times) - 2
    frames = []
    for k in range(movie.n_frames):
        movie.seek(k)
        frames.append(np.asarray(movie.convert("L"), float))
    still = np.std(frames, axis=0)
    width = frames[0].shape[1]
    # Far from the heart, where nothing happens, no grey changes although the blood lights up and fades.
    assert np.median(still) < 2 and still.max() > 40
    before, after = frames[0][:, : width // 2 - 4], frames[0][:, width // 2 + 4 :]
    assert np.abs(before[:, : after.shape[1]] - after[:, : before.shape[1]]).mean() > 2


def test_contours_lie_where_the_masks_do(page: str) -> None:
    body = drawings(page, "Slice 1, basal with contours")[0]
    bar, outline = points_of(body, "bar"), points_of(body, "outline myocardium")
    pixels_per_mm = np.ptp(bar[:, 0]) / 20
    # The wall is a ring of 9 to 17 mm around the centre; the lines are its two borders.
    centre = (outline.min(axis=0) + outline.max(axis=0)) / 2
    radius = np.linalg.norm(outline - centre, axis=1) / pixels_per_mm
    assert np.ptp(outline, axis=0) / 2 / pixels_per_mm == pytest.approx(17, abs=1.5)
    assert ((np.abs(radius - 17) < 2) | (np.abs(radius - 9) < 2)).all()
    # It lies over the very image that the row above shows plain.
    shown = re.search(r'<use href="#([^"]+)"/>', body)
    assert shown and f'<image id="{shown[1]}"' in drawings(page, "Slice 1, basal, volume")[0]


def test_blood_of_a_dual_sequence_stands_beside_the_wall_on_one_clock() -> None:
    """Its pools lie in a slice that the tissue series has none of, at a fifth of its signal."""
    whole = scan("stress", acquisition="dual sequence")
    assert whole.corrected is not None and whole.pools is not None
    apart = whole.corrected.affine.copy()
    apart[2, 3] += 40.0
    low = dataclasses.replace(whole.corrected.with_data(whole.corrected.data / 5), affine=apart)
    pools = dataclasses.replace(whole.pools, affine=apart)
    page = render_report(participant(dataclasses.replace(whole, aif_corrected=low, pools=pools)))
    words = text_of(page)
    assert "Blood and myocardium" in words and "Compare times, not heights" in words
    (picture,) = drawings(page, "Mean signal over time in Slice 1")
    lines = [
        np.array(re.findall(r"[ML](\S+) ([\d.-]+)", d), float)
        for d in re.findall(r'stroke-width="1.6"[^>]* d="([^"]*)"', picture)
    ]
    # Right ventricle, left ventricle, wall: peaks in this order; the higher pool is as high as the wall.
    peaks = [line[line[:, 1].argmin()] for line in lines]
    assert [at[0] for at in peaks] == sorted(at[0] for at in peaks) and len(peaks) == 3
    assert peaks[1][1] == pytest.approx(peaks[2][1], abs=0.2)
    # A prebolus is another passage.
    alone = dataclasses.replace(whole, aif_corrected=low, pools=pools, acquisition="dual bolus")
    assert "Blood and myocardium" not in text_of(render_report(participant(alone)))


def test_volumes_have_the_numbers_of_the_series() -> None:
    """Two of its twelve volumes are proton-density weighted, and not in the film."""
    whole = scan("stress")
    assert whole.corrected is not None
    fields = {**whole.corrected.metadata, "ProtonDensityVolumeCount": 2}
    series = dataclasses.replace(whole.corrected, metadata=fields)
    page = render_report(participant(dataclasses.replace(whole, series=series, corrected=series)))
    assert 'data-numbers="3 4 5 6 7 8 9 10 11 12" data-total="12"' in page
    assert "12 volumes over 10 s (2 proton-density weighted)" in text_of(page)
    assert "Volume 10 of 12 at 8.4 s, where the myocardium is brightest" in text_of(page)


def test_haematocrit_is_shown_with_where_it_stood() -> None:
    own, assumed = Haematocrit(0.5, "sidecar"), Haematocrit(0.42, "configuration")
    scans = bare_scan("rest", haematocrit=own), bare_scan("stress", haematocrit=assumed)
    words = text_of(render_report(participant(*scans)))
    assert "haematocrit 0.5 (of the series' sidecar)" in words
    assert "haematocrit 0.42 (of the configuration: the sidecar gives none)" in words


def test_features_of_the_input_function(page: str) -> None:
    assert table_rows(page, "Foot (arrival)")[0][1] == "2.10 s"
    assert table_rows(page, "Valley (end of the first pass)")[0][1] == "not found"
    assert table_rows(page, "Duration of the first pass")[0][1] == "6.25 s"
    assert table_rows(page, "Area under the first pass")[0][1] == "17.50 mmol/L × s"


def test_motion_is_put_in_words(page: str) -> None:
    assert "largest 6.0 mm" in page


def test_motion_of_every_volume_is_drawn_with_those_that_could_not_be_corrected() -> None:
    one = scan("stress")
    corrected, residual = one.motion.corrected.copy(), np.full(one.motion.corrected.shape, 0.4)
    corrected[0, 7] = False
    page = render_report(participant(dataclasses.replace(one, motion=dataclasses.replace(
        one.motion, corrected=corrected, residual=residual
    ))))  # fmt: skip
    drawn = drawings(page, "Motion of every volume in Slice 1")
    assert len(drawn) == 1
    assert "up to 6.0 mm; 1 of 12 volumes could not be corrected." in html.unescape(page)
    assert not drawings(render_report(participant(bare_scan())), "Motion of every volume")


def test_steps_say_what_ran_and_what_was_handed_in(page: str) -> None:
    assert table_rows(page, "motion-correction")[0][1:5] == ["chained 1.2", "computed", "radius = 3", "4.2"]
    assert table_rows(page, "myocardium")[0][2] == "handed in"
    assert table_rows(page, "Rest")[0][-1] == "myocardium"


def test_methods_carry_what_repeats_the_run(page: str) -> None:
    words = text_of(page)
    for wanted in ("Cerqueira MD et al.", "Flow was estimated.", "qperf-app 0.1", "Random seed 4711", "- name: nlls"):
        assert wanted in words
    assert "<details>" in page and "<details open" not in page


def test_digests_are_shortened_to_what_can_be_read() -> None:
    digest = "0123456789abcdef" * 4
    words = text_of(render_report(participant(boilerplate=f"A network with weights.npz SHA-256 {digest} was used.")))
    assert "weights.npz SHA-256 0123456789ab… was used." in words and digest not in words


def test_words_that_the_page_uses_are_explained_and_no_others() -> None:
    told = StepOutcome("myocardium", "chained", "done", summary="estimated Dice 0.9")
    page = render_report(participant(bare_scan(steps=(told,)), boilerplate=""))
    words = re.search(r"<summary>Words on this page</summary>(.*?)</details>", page, flags=re.S)[1]
    terms = [line.split(":")[0] for line in re.findall(r"<li>(.*?)</li>", words)]
    assert terms == ["MBF", "LAD, RCA, LCx", "nlls", "Dice"]
    assert "Words on this page" not in render_report(participant(boilerplate="", scans=()))


def test_the_caption_of_the_maps_says_which_volume_is_behind() -> None:
    """Blood peaks at 5 s, muscle at 8: of volumes from 0.3 s, 0.9 s apart, the tenth."""
    words = text_of(render_report(participant(bare_scan())))
    assert "In grey: the volume in which the myocardium is brightest (stress 10)." in words
    unseen = bare_scan(series=None, corrected=None)
    assert "In grey" not in text_of(render_report(participant(unseen)))


def test_quality_codes_are_counted_over_the_myocardium() -> None:
    wall = regions()["myocardium"]
    codes = np.zeros(SHAPE, np.uint8)
    codes[tuple(np.argwhere(wall)[:25].T)] = 128
    codes[~wall] = 128
    page = render_report(participant(bare_scan(qc=(QualityMap("nlls", codes, LEGEND),))))
    row = table_rows(page, "128")[0]
    assert row[1] == LEGEND[128]
    assert row[2].replace("\u00a0", " ") == f"25 ({100 * 25 / wall.sum():.0f} %)"


#: Hexadecimal colours of the legend by the words of their group, as the eye meets them.
FULL, FLOW_ONLY, DOUBT, BLOOD, NO_VALUE, OWN = "#009E73", "#56B4E9", "#E69F00", "#D55E00", "#CC79A7", "#F0E442"


def quality_map(codes: Sequence[int], legend: Mapping[int, str], task: str) -> ScanResult:
    """A scan whose wall has each of these codes, ten voxels of each and the first in all others."""
    data, wall = np.full(SHAPE, 255, np.uint8), regions()["myocardium"]
    data[wall] = codes[0]
    for k, code in enumerate(codes):
        data[tuple(np.argwhere(wall)[10 * k : 10 * (k + 1)].T)] = code
    return bare_scan(task, qc=(QualityMap("nlls", data, legend),))


def test_quality_codes_have_one_colour_for_each_group_in_both_scans_and_in_the_legend() -> None:
    said = {0: "full estimate", 130: "the probe was off"}
    at_rest, stressed = (0, 7, 15, 24), (130, 0, 2, 16, 17, 19, 22)
    page = render_report(participant(quality_map(at_rest, said, "rest"), quality_map(stressed, said, "stress")))
    entries = re.findall(r'<span class="swatch fill" style="--ink: (#\w+)"[^>]*></span>([^<]*)</li>', page)
    assert [(colour, html.unescape(words)) for colour, words in entries] == [
        (FULL, "full estimate (code 0)"),
        (FLOW_ONLY, "flow only: other parameters are open (codes 2, 7, 15)"),
        (DOUBT, "flow in doubt or not identifiable (codes 16, 17, 22)"),
        (BLOOD, "no value: mostly blood or fat (code 24)"),
        (NO_VALUE, "no value: other reasons (code 19)"),
        (OWN, "the plugin's own codes (code 130)"),
    ]
    colour_of = {int(code): colour for colour, words in entries for code in re.findall(r"\d+", words)}
    wall = np.argwhere(regions()["myocardium"])
    for task, codes in (("Rest", at_rest), ("Stress", stressed)):
        body = drawings(page, f"Quality codes, {task}, Slice 1")[0]
        found = Image.open(io.BytesIO(base64.b64decode(re.search(r'class="voxels"[^>]*,([^"]+)"', body)[1])))
        shown = np.asarray(found.convert("RGBA")).reshape(-1, 4)
        counts = {
            f"#{bytes(c[:3].tolist()).hex().upper()}": n
            for c, n in zip(*np.unique(shown, axis=0, return_counts=True), strict=True)
            if c[3]
        }
        expected: dict[str, int] = {}
        for k, code in enumerate(codes):
            expected[colour_of[code]] = expected.get(colour_of[code], 0) + (
                10 if k else len(wall) - 10 * (len(codes) - 1)
            )
        assert counts == expected


def test_a_code_that_a_plugin_gives_another_meaning_is_its_own() -> None:
    page = render_report(participant(quality_map((0, 1), {0: "estimated", 1: "the curve has gaps"}, "stress")))
    words = text_of(page)
    assert "the plugin's own codes (code 1)" in words and "flow only" not in words
    assert table_rows(page, "1")[0][1] == "the curve has gaps"


def test_posterior_maps_show_their_median_and_their_spread() -> None:
    one = bare_scan()
    flow = one.maps[0].data
    maps = tuple(
        VoxelMap("hmc", "2cxm", "MBF", "mL/min/g", flow * factor, statistic)
        for statistic, factor in (("mean", 1.1), ("std", 0.1), ("q05", 0.8), ("q50", 1.0), ("q95", 1.2))
    )
    page = render_report(participant(dataclasses.replace(one, maps=maps)))
    assert drawings(page, "Map of MBF (mL/min/g), Stress, Slice 1, basal: median 2.60")
    assert drawings(page, "Colour scale of MBF, standard deviation (mL/min/g) from 0 to 2.5")
    assert drawings(page, "Map of MBF, 95 % quantile")


def test_the_first_of_several_methods_heads_the_page_and_all_are_compared() -> None:
    scans = []
    for task, factor in (("rest", 1.5), ("stress", 1.0)):
        one, table = bare_scan(task), segments(task)
        rows = tuple(dataclasses.replace(r, values={"MBF": factor * r.values["MBF"]}) for r in table.rows)
        fermi = VoxelMap("fermi", "fermi", "MBF", "mL/min/g", one.maps[0].data * factor)
        both = (table, dataclasses.replace(table, plugin="fermi", model="fermi", rows=rows))
        scans.append(dataclasses.replace(one, maps=(*one.maps, fermi), segments=both))
    page = render_report(participant(*scans))
    assert table_rows(page, "fermi (fermi)")[0][2:] == ["1.20", "2.60", "2.17"]
    assert "MBF (mL/min/g) by nlls (2cxm)" in page


def two_methods(task: str, **changes: object) -> object:
    """A scan whose second method differs by -0.5 in even columns, by +0.1 in odd ones, and lacks a corner."""
    one = bare_scan(task)
    wall = np.where(regions()["myocardium"], np.linspace(1.0, 3.0, SHAPE[0])[:, None, None], np.nan)
    other = wall + np.where(np.arange(SHAPE[1])[:, None] % 2 == 0, -0.5, 0.1)
    other[:20, :20] = np.nan
    maps = [
        VoxelMap("nlls", "2CXM", "MBF", "mL/min/g", wall),
        VoxelMap("hmc", "2CXM", "MBF", "mL/min/g", other, "mean"),
    ]
    maps[1] = dataclasses.replace(maps[1], **changes)
    return dataclasses.replace(one, maps=tuple(maps))


def test_methods_are_compared_over_the_voxels_both_estimated() -> None:
    scans = [two_methods("rest"), two_methods("stress")]
    page = render_report(participant(*scans))
    assert "Methods compared" in re.findall(r"<h2[^>]*>(.*?)</h2>", page)
    first, second = (m.data for m in scans[0].maps)
    shared = np.isfinite(first) & np.isfinite(second)
    row = table_rows(page, "Rest: nlls (2CXM), hmc (2CXM)")[0]
    assert row[1] == f"{shared.sum()} of {np.isfinite(first).sum()}"
    assert row[2:4] == [f"{np.median(m[shared]):.2f}" for m in (first, second)]
    assert row[4] == f"{np.median((second - first)[shared]):+.2f}"
    assert 0.5 < float(row[5]) < 1.0
    # Side by side for every slice of both scans, on one scale.
    for name in ("nlls", "hmc"):
        for task in ("Rest", "Stress"):
            assert len(drawings(page, f"MBF (mL/min/g) by {name} (2CXM), {task}, Slice 1")) == 1
    assert len(drawings(page, "Colour scale of MBF (mL/min/g) from 0 to 5")) == 4


@pytest.mark.parametrize("changes", [{"units": "mL/min/mL"}, {"quantity": "Ktrans"}, {"plugin": "nlls"}])
def test_what_is_not_the_same_quantity_is_not_compared(changes: dict) -> None:
    page = render_report(participant(two_methods("stress", **changes)))
    assert "Methods compared" not in text_of(page)


def test_left_ventricle_not_found_is_said_first_and_the_series_still_shown() -> None:
    lost = scan(
        pools=None, aif=None, aif_features={}, myocardium=None, maps=(), qc=(), segments=(), segment_labels=None,
        steps=(StepOutcome("blood-pool", "kmeans", "not-found", reason="no bolus"),),
    )  # fmt: skip
    page = render_report(participant(lost))
    words = text_of(page)
    assert words.index("Stress: the left ventricle was not found: no bolus.") < words.index("Scans")
    assert words.count("the left ventricle was not found") == 1
    assert pictures(page, "Moving picture of the first pass")
    assert "No flow was estimated for any scan." in words


def test_empty_pools_with_a_reason_are_a_ventricle_not_found() -> None:
    nothing = np.zeros(SHAPE, bool)
    page = render_report(participant(scan(pools=BloodPools(nothing, nothing, nothing, AFFINE, False, "too dark"))))
    assert "Stress: the left ventricle was not found: too dark." in text_of(page)


def test_relative_units_are_no_absolute_flow() -> None:
    one = scan(qc=())
    relative = dataclasses.replace(one, aif=dataclasses.replace(one.aif, units="1"))
    page = render_report(participant(bare_scan("rest"), relative))
    words = text_of(page)
    assert "Stress: relative units: values of flow are not absolute" in words
    assert "Relative units: these values are not absolute flow." in words
    # Where a warning of the scan gives the reason, it is the only one.
    _, (reason,) = choose_by_metadata([{}])
    told = text_of(render_report(participant(bare_scan("rest"), dataclasses.replace(relative, warnings=(reason,)))))
    assert told.count("flow is not absolute") == 1 and "values of flow are not absolute" not in told
    assert "MBF (relative units) by nlls" in words
    # Whatever a file says of its units: once relative, nothing of the flow is said to be mL/min/g.
    assert not re.search(r"MBF[^.]{0,40}mL/min/g", words)
    assert not drawings(page, "MBF (mL/min/g)") and drawings(page, "Map of MBF (relative units), Stress")


def test_no_landmarks_means_no_bullseye() -> None:
    wall = Myocardium(regions()["myocardium"], (), ("the right ventricle was not seen",))
    page = render_report(participant(scan(myocardium=wall, segments=(), segment_labels=None)))
    words = text_of(page)
    assert "Stress: the right ventricle was not seen" in words
    assert "there are no RV insertion points, so there is no bull's-eye" in words
    assert not drawings(page, "Bull's-eye")


def test_a_step_that_found_nothing_says_so_and_what_to_do() -> None:
    reason = "no slice has usable RV insertion points: no segments; set the insertion points by qperf review"
    step = StepOutcome("segments", "", "not-found", reason=reason)
    assert f"Stress: segments found nothing: {reason}" in text_of(render_report(participant(bare_scan(steps=(step,)))))


def test_input_function_alone() -> None:
    alone = scan(
        "rest", label="task-rest_acq-aif", entities={"task": "rest", "acq": "aif"}, myocardium=None, maps=(), qc=(),
        segments=(), segment_labels=None,
    )  # fmt: skip
    page = render_report(participant(alone))
    assert "Rest (input function only)" in text_of(page)
    assert drawings(page, "Arterial input function")
    assert drawings(page, "with contours of left-ventricular blood, right-ventricular blood")


@pytest.mark.parametrize(
    "fields",
    [
        {"series": None},
        {"series": None, "corrected": None, "motion": None},
        {"motion": None},
        {"corrected": None, "motion": None},
        {"aif": None, "aif_features": {}},
        {"aif_features": {}},
        {"myocardium": None},
        {"myocardium": Myocardium(np.zeros(SHAPE, bool))},
        {"segment_labels": None},
        {"qc": ()},
        {"steps": ()},
        {"entities": {}},
        {"maps": (VoxelMap("nlls", "2cxm", "MBF", "mL/min/g", np.full(SHAPE, np.nan)),)},
    ],
    ids=lambda fields: "-".join(fields),
)
def test_whatever_is_missing_the_page_stands(fields: dict) -> None:
    page = render_report(participant(scan(**{"segments": (), **fields})))
    assert page.rstrip().endswith("</html>")
    assert "nan" not in text_of(page)


def test_a_participant_without_scans_has_a_page() -> None:
    page = render_report(participant(scans=()))
    assert "No flow was estimated for any scan." in page


def test_a_scan_without_anything_says_so() -> None:
    nothing = dataclasses.replace(
        scan(),
        **{f.name: () for f in dataclasses.fields(scan()) if f.name in ("maps", "qc", "segments", "steps", "warnings")},
        **dict.fromkeys(("series", "corrected", "motion", "pools", "aif", "myocardium", "segment_labels")),
        aif_features={},
    )
    words = text_of(render_report(participant(nothing)))
    assert "No image series of this scan is at hand." in words and "There is no input function." in words


def test_failed_steps_are_warnings_and_their_text_is_escaped() -> None:
    failed = scan(
        steps=(StepOutcome("kinetics", "nlls", "failed", reason="no <b>curve</b>"),), warnings=("late bolus",)
    )
    page = render_report(participant(failed))
    assert "<b>curve" not in page
    warnings = re.search(r'<div class="warnings".*?</div>', page, flags=re.S)
    assert warnings and html.unescape(warnings[0]).index("kinetics (nlls) failed: no <b>curve</b>") < warnings[0].index(
        "late bolus"
    )


def test_sessions_and_runs_are_compared_with_their_own() -> None:
    def of(session: str, task: str, run: str) -> object:
        return bare_scan(task, entities={"ses": session, "task": task, "run": run})

    scans = of("A", "rest", "1"), of("A", "stress", "1"), of("B", "rest", "1")
    page = render_report(participant(*(dataclasses.replace(s, segments=(segments("rest"),)) for s in scans)))
    headings = re.findall(r"<h2[^>]*>(.*?)</h2>", page)
    assert [h for h in headings if h.startswith("Perfusion")] == [
        "Perfusion: session A, run 1",
        "Perfusion: Rest, session B, run 1",
    ]
    assert page.count("Reserve (stress / rest)</th>") == 1
    differing = text_of(render_report(participant(of("A", "rest", "1"), of("A", "stress", "2"))))
    assert "Rest, session A, run 1 was compared with Stress, session A, run 2: their runs differ." in differing
    corrected = bare_scan("rest", entities={"task": "rest", "rec": "moco"})
    words = text_of(render_report(participant(corrected, bare_scan("stress", entities={"task": "stress"}))))
    assert "Rest, reconstruction moco was compared with Stress: their reconstructions differ." in words


def test_one_task_alone_has_no_reserve() -> None:
    words = text_of(render_report(participant(bare_scan("rest"))))
    assert "Perfusion reserve" not in words
    assert "Lowest stress" not in words and "Reserve below" not in words


class _Section(ReportSectionPlugin):
    version, summary = "1", "for a test"

    def __init__(self, name: str, elements: Sequence[object] | Exception) -> None:
        self.name, self.title, self._elements = name, f"Section {name}", elements  # type: ignore[misc]

    def render(self, participant: object) -> Sequence[object]:  # type: ignore[override]
        if isinstance(self._elements, Exception):
            raise self._elements
        return self._elements


def test_plugin_sections_follow_by_name_and_a_broken_one_becomes_a_warning() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (3, 2)).save(buffer, "PNG")
    sections = [
        _Section("zeta", (Table(("a", "b"), (("1", "<2>"),), "numbers"), Paragraph("take care", "warning"))),
        _Section("beta", (Picture(buffer.getvalue(), "image/png", "a black rectangle", "drawn"),)),
        _Section("empty", ()),
        _Section("raises", RuntimeError("out of luck")),
        _Section("ragged", (Table(("a", "b"), (("1",),)),)),
        _Section("wrong", ("words",)),
        _Section("false", (Picture(b"no picture", "image/png", "nothing"),)),
    ]
    page = render_report(participant(scans=()), sections)
    headings = re.findall(r"<h2[^>]*>(.*?)</h2>", page)
    assert headings[-2:] == ["Section beta", "Section zeta"] and len(headings) == 5
    assert "&lt;2&gt;" in page and 'alt="a black rectangle"' in page
    warnings = text_of(page).split("No flow")[0]
    assert "The report section raises failed (RuntimeError: out of luck) and is left out." in warnings
    for name in ("ragged", "wrong", "false"):
        assert f"The report section {name} failed" in warnings


def test_nothing_of_the_metadata_that_could_identify_is_shown() -> None:
    one = bare_scan()
    named = dataclasses.replace(
        one.series, metadata={**one.series.metadata, "PatientName": "Miller^Ann", "DeviceSerialNumber": "X1"}
    )
    page = render_report(participant(dataclasses.replace(one, series=named)))
    assert "Miller" not in page and "X1" not in text_of(page)
    assert "1.5 T" in page


def test_the_same_result_gives_the_same_page() -> None:
    assert render_report(participant(bare_scan())) == render_report(participant(bare_scan()))


def test_importing_the_report_is_quick_and_rendering_leaves_pyplot_alone() -> None:
    code = (
        "import sys; from qperf_app.report import render_report\n"
        "assert not {'matplotlib', 'PIL', 'jinja2', 'skimage', 'scipy'} & set(sys.modules)\n"
        "from tests.report_examples import participant, scan\n"
        "render_report(participant(scan()))\n"
        "assert not {'matplotlib', 'tensorflow', 'nipype', 'scipy.stats'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=".")
    assert done.returncode == 0, done.stderr
