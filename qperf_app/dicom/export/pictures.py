"""The report's pictures as Secondary Captures, for viewers that show no Parametric Map in colour."""

from __future__ import annotations

import io
from collections.abc import Collection, Iterator, Sequence
from typing import TypeVar

import numpy as np
from highdicom.sc import SCImage
from numpy.typing import NDArray
from PIL import Image
from pydicom.uid import ExplicitVRLittleEndian

from qperf_app.dicom.export.maps import chosen_methods
from qperf_app.dicom.export.objects import Described, ExportObject, content_of, finish, identifiers
from qperf_app.dicom.export.results import doubts
from qperf_app.dicom.export.study import ExportStudy
from qperf_app.plugins import Picture
from qperf_app.report.elements import Gallery, HostElement, PictureGrid
from qperf_app.report.perfusion import flow_elements
from qperf_app.report.pictures import write
from qperf_app.report.studies import Study, method_title, primary_quantity

#: Pixels between pictures, of the line of a heading, and at most across a picture.
_GAP, _LINE, _WIDEST = 16, 34, 2048
_Drawn = TypeVar("_Drawn", PictureGrid, Gallery)


def write_pictures(
    export: ExportStudy, study: Study, plugins: Collection[str], numbers: Iterator[int]
) -> Iterator[ExportObject]:
    """Flow maps and bull's-eyes of each method, each as one picture with the report's own headings and scale."""
    for method in chosen_methods(study, plugins):
        elements = flow_elements(study, method)
        quantity = primary_quantity(study, method)
        reasons = tuple(dict.fromkeys(reason for scan in study.scans for reason in doubts(scan)))
        name = "_".join(filter(None, (export.results.name, study.label.replace(", ", "_").replace(" ", "-"))))
        for kind, text, drawn in (
            ("maps", f"{quantity} maps", _first(elements, PictureGrid)),
            ("segments", f"{quantity} of AHA segments", _first(elements, Gallery)),
        ):
            if drawn is None:
                continue
            title = f"{text} by {method_title(method)}"
            what = Described(f"{name}_desc-{method[0]}_{kind}", kind.upper(), title, reasons)
            yield _capture(export, what, compose(drawn, what), numbers)


def compose(element: PictureGrid | Gallery, what: Described) -> NDArray[np.uint8]:
    """Lay an element of the page out as one RGB picture (rows, columns, 3)."""
    rows: list[tuple[str, Sequence[Picture | None]]]
    columns: tuple[str, ...] = ()
    if isinstance(element, Gallery):
        rows = [("", element.pictures)]
    else:
        rows, columns = [(row.heading, row.pictures) for row in element.rows], element.columns
        if element.scale is not None:
            rows.append(("", (element.scale,)))
    opened = [(heading, [None if p is None else _opened(p) for p in pictures]) for heading, pictures in rows]
    width = max(sum((_width(image) + _GAP) for image in images) for _, images in opened) + _GAP
    heights = [max(image.height for image in images if image is not None) for _, images in opened]
    titles = [what.description, *what.doubts]
    top = _GAP + _LINE * (len(titles) + bool(columns))
    canvas = Image.new("RGB", (width, top + sum(height + _LINE + _GAP for height in heights)), "black")
    for line, title in enumerate(titles):
        write(canvas, (_GAP, _GAP / 2 + _LINE * line), title, 20)
    for (heading, images), height in zip(opened, heights, strict=True):
        left = _GAP
        write(canvas, (left, top), heading, 18)
        for column, image in enumerate(images):
            if image is not None:
                canvas.paste(image, (left, top + _LINE))
                if columns and column < len(columns) and heading == opened[0][0]:
                    write(canvas, (left, top - _LINE), columns[column], 18)
            left += _width(image) + _GAP
        top += height + _LINE + _GAP
    if canvas.width > _WIDEST:
        canvas = canvas.resize((_WIDEST, round(canvas.height * _WIDEST / canvas.width)), Image.Resampling.LANCZOS)
    return np.asarray(canvas)


def _capture(export: ExportStudy, what: Described, pixels: NDArray[np.uint8], numbers: Iterator[int]) -> ExportObject:
    arguments = identifiers(export, what, next(numbers), content_of(pixels))
    serial = arguments.pop("device_serial_number")
    dataset = SCImage.from_ref_dataset(
        export.header(), pixels, "RGB", 8, "PATIENT", patient_orientation=("L", "P"),
        transfer_syntax_uid=ExplicitVRLittleEndian, **arguments,
    )  # fmt: skip
    dataset.DeviceSerialNumber = serial
    dataset.BodyPartExamined = "HEART"
    # A page has no orientation in the patient; its labels are neutral ones.
    del dataset.PatientOrientation
    dataset.BurnedInAnnotation = "NO"
    return finish(export, what, dataset, False)


def _first(elements: Sequence[HostElement], kind: type[_Drawn]) -> _Drawn | None:
    return next((element for element in elements if isinstance(element, kind)), None)


def _opened(picture: Picture) -> Image.Image:
    """A picture on white: figures of the page may be transparent."""
    image = Image.open(io.BytesIO(picture.data)).convert("RGBA")
    flat = Image.new("RGB", image.size, "white")
    flat.paste(image, mask=image.getchannel("A"))
    return flat


def _width(image: Image.Image | None) -> int:
    return 0 if image is None else image.width
