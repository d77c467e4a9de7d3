"""The report's pictures as Secondary Captures, for viewers that show no Parametric Map in colour."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Iterator, Sequence

import numpy as np
from highdicom.sc import SCImage
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from pydicom.uid import ExplicitVRLittleEndian

from qperf_app.dicom.export.maps import chosen_methods
from qperf_app.dicom.export.objects import Described, ExportObject, content_of, finish, identifiers
from qperf_app.dicom.export.study import ExportStudy
from qperf_app.report.backdrops import Backdrop, backdrops_of
from qperf_app.report.bullseye import SECTORS, SegmentPicture
from qperf_app.report.maps import MapRow
from qperf_app.report.perfusion import flow_maps, outlines_in_words, segment_pictures
from qperf_app.report.pictures import write
from qperf_app.report.plots import ticks
from qperf_app.report.scales import ColourScale
from qperf_app.report.scans import anatomy_of
from qperf_app.report.studies import Study, doubts_of, method_title, primary_quantity
from qperf_app.report.tables import marks_in_words

#: Pixels between pictures, of the line of a heading, and at most across a picture.
_GAP, _LINE, _WIDEST = 16, 34, 2048
#: Edge of a bull's-eye, and letters of a line below it.
_EDGE, _LETTERS = 640, 72
#: Widths and colours of the line about a low segment, a light one with a dark rim, on twice the pixels.
_OUTLINE = ((20, "black"), (10, "white"))


def write_pictures(
    export: ExportStudy, study: Study, plugins: Collection[str], numbers: Iterator[int]
) -> Iterator[ExportObject]:
    """Flow maps and bull's-eyes of each method, each as one picture with the report's own headings and scale."""
    backdrops = backdrops_of([study], {scan.label: anatomy_of(scan) for scan in study.scans})
    for method in chosen_methods(study, plugins):
        quantity = primary_quantity(study, method)
        reasons = tuple(dict.fromkeys(reason for scan in study.scans for reason in doubts_of(scan, method)))
        name = "_".join(filter(None, (export.results.name, study.label.replace(", ", "_").replace(" ", "-"))))
        maps, segments = flow_maps(study, method, quantity, None, backdrops), segment_pictures(study, method)
        panels = {
            "maps": ("maps", [] if maps is None else _map_panels(*maps)),
            "segments": ("of AHA segments", _segment_panels(segments) if segments else []),
        }
        for kind, (words, rows) in panels.items():
            if rows:
                title = ", ".join(filter(None, (f"{quantity} {words} by {method_title(method)}", study.label)))
                what = Described(f"{name}_desc-{method[0]}_{kind}", kind.upper(), title, reasons)
                yield _capture(export, what, compose(rows, what), numbers)


def compose(rows: Sequence[Sequence[Image.Image]], what: Described) -> NDArray[np.uint8]:
    """Lay rows of panels out as one RGB picture (rows, columns, 3) under its title and its doubts."""
    titles = [what.description, *what.doubts]
    top = _GAP + _LINE * len(titles)
    width = max(sum(panel.width + _GAP for panel in row) for row in rows) + _GAP
    height = top + sum(max(panel.height for panel in row) + _GAP for row in rows)
    canvas = Image.new("RGB", (width, height), "black")
    for line, title in enumerate(titles):
        write(canvas, (_GAP, _GAP / 2 + _LINE * line), title, 20)
    for row in rows:
        left = _GAP
        for panel in row:
            canvas.paste(panel, (left, top))
            left += panel.width + _GAP
        top += max(panel.height for panel in row) + _GAP
    if canvas.width > _WIDEST:
        canvas = canvas.resize((_WIDEST, round(canvas.height * _WIDEST / canvas.width)), Image.Resampling.LANCZOS)
    return np.asarray(canvas)


def _map_panels(rows: Sequence[MapRow], scale: ColourScale) -> list[list[Image.Image]]:
    """The maps over their anatomy, a row for each scan, and the colour scale below them."""
    panels = [
        [_headed(_map(values[:, :, z], backdrop, z, scale), f"{heading}, {backdrop.slices[z]}") for z in backdrop.shown]
        for heading, values, backdrop in rows
    ]
    return [*panels, [_bar(scale)]]


def _map(values: NDArray[np.floating], backdrop: Backdrop, z: int, scale: ColourScale) -> Image.Image:
    view = backdrop.view
    steps = view.render(scale.levels(values), smooth=False).astype(np.uint8)
    grey = np.repeat(backdrop.images[z][..., None], 3, axis=-1) * 0.8
    panel = Image.fromarray(np.where(steps[..., None] > 0, scale.palette[steps], grey).astype(np.uint8))
    height, width = view.size
    layout = view.layout
    for at, words, anchor in (
        ((4, height / 2), layout.left, "lm"),
        ((width - 4, height / 2), layout.right, "rm"),
        ((width / 2, 3), layout.up, "ma"),
        ((width / 2, height - 3), layout.down, "ms"),
    ):
        write(panel, at, words, 17, anchor)
    return panel


def _headed(panel: Image.Image, heading: str) -> Image.Image:
    canvas = Image.new("RGB", (panel.width, panel.height + _LINE), "black")
    canvas.paste(panel, (0, _LINE))
    write(canvas, (0, 4), heading, 18)
    return canvas


def _bar(scale: ColourScale) -> Image.Image:
    canvas = Image.new("RGB", (560, 84), "black")
    ramp = scale.paint(np.linspace(scale.low, scale.high, 500))
    canvas.paste(Image.fromarray(np.repeat(ramp[None], 22, axis=0)), (30, 4))
    for value in ticks((scale.low, scale.high)):
        write(canvas, (30 + 500 * (value - scale.low) / (scale.high - scale.low), 28), f"{value:g}", 16, "ma")
    write(canvas, (280, 54), scale.title, 18, "ma")
    return canvas


def _segment_panels(pictures: Sequence[SegmentPicture]) -> list[list[Image.Image]]:
    """The bull's-eyes, and below them what their marks mean."""
    drawn = [_bullseye(picture) for picture in pictures]
    marks = marks_in_words(marks for picture in pictures for marks in picture.marks.values())
    words = [told.strip() for told in (outlines_in_words(pictures), marks) if told]
    return [drawn, *([_told(line)] for line in words)]


def _told(words: str) -> Image.Image:
    """A line of words, wrapped to the width of a bull's-eye."""
    lines = textwrap.wrap(words, _LETTERS)
    canvas = Image.new("RGB", (_EDGE, _LINE * len(lines)), "black")
    for number, line in enumerate(lines):
        write(canvas, (0, _LINE * number + 4), line, 17)
    return canvas


def _bullseye(picture: SegmentPicture) -> Image.Image:
    """The report's bull's-eye in pixels, drawn twice as large for smooth edges."""
    edge, radius = _EDGE, 570
    canvas = Image.new("RGB", (2 * edge, 2 * edge), "black")
    pen = ImageDraw.Draw(canvas)
    middle = np.array([edge, edge])
    for number, (_, outer, start, end) in sorted(SECTORS.items(), key=lambda item: -item[1][1]):
        value = picture.value(number)
        box = (*(middle - outer * radius), *(middle + outer * radius))
        colour = tuple(int(c) for c in picture.scale.paint(np.array(value)))
        # Pillow's angles run clockwise.
        pen.pieslice(box, -end, -start, fill=colour, outline="white", width=4)
    for width, ink in _OUTLINE:
        for number in sorted(picture.outlined):
            pen.line(_border(number, middle, radius), fill=ink, width=width, joint="curve")
    canvas = canvas.resize((edge, edge), Image.Resampling.LANCZOS)
    for number, (inner, outer, start, end) in SECTORS.items():
        at, angle = ((inner + outer) / 2 if inner else 0.0), np.deg2rad((start + end) / 2)
        x, y = (middle + radius * at * np.array([np.cos(angle), -np.sin(angle)])) / 2
        write(canvas, (x, y), "".join(picture.words(number)) or f"{number}: none", 17, "mm")
    for x, y, words, anchor in (
        (edge / 2, 2, "Anterior", "ma"),
        (edge / 2, edge - 2, "Inferior", "ms"),
        (2, edge / 2, "Septal", "lm"),
        (edge - 2, edge / 2, "Lateral", "rm"),
    ):
        write(canvas, (x, y), words, 15, anchor)
    return _headed(canvas, picture.title)


def _border(number: int, middle: NDArray[np.integer], radius: float) -> list[tuple[float, float]]:
    """Closed line about a segment."""
    inner, outer, start, end = SECTORS[number]
    angles = np.deg2rad(np.linspace(start, end, 48))
    around = np.stack([np.cos(angles), -np.sin(angles)], axis=1)
    line = np.concatenate([outer * around, inner * around[::-1], outer * around[:2]])
    return [(float(x), float(y)) for x, y in middle + radius * line]


def _capture(export: ExportStudy, what: Described, pixels: NDArray[np.uint8], numbers: Iterator[int]) -> ExportObject:
    arguments = identifiers(export, what, next(numbers), content_of(pixels))
    serial = arguments.pop("device_serial_number")
    dataset = SCImage.from_ref_dataset(
        export.header(), pixels, "RGB", 8, "PATIENT", patient_orientation=("L", "P"),
        transfer_syntax_uid=ExplicitVRLittleEndian, **arguments,
    )  # fmt: skip
    dataset.DeviceSerialNumber = serial
    dataset.BodyPartExamined = "HEART"
    for keyword in ("DateOfSecondaryCapture", "TimeOfSecondaryCapture"):
        del dataset[keyword]
    # A page has no orientation in the patient; its labels are neutral ones.
    dataset.PatientOrientation = []
    dataset.BurnedInAnnotation = "NO"
    return finish(export, what, dataset, False)
