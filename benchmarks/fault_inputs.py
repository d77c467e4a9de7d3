"""Ways to damage what a run is given, each one slip: headers, sidecars, voxel values, files, hand-ins.

Every damage is a function of one folder, which holds ``bids`` and ``drawn``, and changes one file in it.
"""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

TISSUE = "bids/sub-01/perf/sub-01_task-rest_dce"
AIF = "bids/sub-01/perf/sub-01_task-rest_acq-aif_dce"
WALL = "drawn/sub-01/perf/sub-01_task-rest_label-myocardium_mask"
POOL = "drawn/sub-01/perf/sub-01_task-rest_acq-aif_label-LV_mask"
POINTS = "drawn/sub-01/perf/sub-01_task-rest_desc-landmarks_points"
CURVE = "drawn/sub-01/perf/sub-01_task-rest_desc-aif_timeseries"

Table = list[list[str]]


@dataclass(frozen=True)
class Damage:
    """One slip.

    Parameters
    ----------
    kind : str
        What is damaged: header, sidecar, voxels, file, mask, points or input function.
    stem : str
        The damaged file, without its extensions, below the folder.
    field : str
        Field of the header or the sidecar, or column; "" where it is the whole.
    change : str
    apply : function of the folder
    handed : bool
        Whether the run takes ``drawn``.
    """

    kind: str
    stem: str
    field: str
    change: str
    apply: Callable[[Path], None]
    handed: bool = False

    @property
    def name(self) -> str:
        """What is told of it in a table."""
        return f"{Path(self.stem).name.removeprefix('sub-01_task-rest_')} {self.field} {self.change}".replace("  ", " ")


def _scaled(factor: float) -> Callable[[Any], Any]:
    def change(value: Any) -> Any:
        return [change(each) for each in value] if isinstance(value, list) else value * factor

    return change


#: Changes of a number, or of each number of a list.
NUMERIC: Mapping[str, Callable[[Any], Any]] = {
    "x 1000": _scaled(1000.0),
    "/ 1000": _scaled(0.001),
    "negated": _scaled(-1.0),
    "in radians": _scaled(math.pi / 180),
    "in degrees": _scaled(180 / math.pi),
}
#: Changes of any value.
RETYPED: Mapping[str, Callable[[Any], Any]] = {
    "as text": lambda value: json.dumps(value) if not isinstance(value, str) else f"{value}?",
    "in a list": lambda value: [value],
    "null": lambda value: None,
    "true": lambda value: True,
}


def is_numeric(value: Any) -> bool:
    """Whether a value is a number, or a list of them."""
    values = value if isinstance(value, list) else [value]
    return bool(values) and all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)


def damages(root: Path) -> Iterator[Damage]:
    """All damages of an undamaged folder, in a fixed order."""
    contents = {stem: json.loads((root / f"{stem}.json").read_text()) for stem in (TISSUE, AIF)}
    for stem, content in contents.items():
        other = contents[AIF if stem == TISSUE else TISSUE]
        for field, value in content.items():
            changed = {**({n: f(value) for n, f in NUMERIC.items()} if is_numeric(value) else {})}
            changed |= {name: function(value) for name, function in RETYPED.items()}
            if isinstance(value, list):
                changed |= {"cut short": value[:-1], "reversed": value[::-1], "its first value": value[0]}
            if field in other and other[field] != value:
                changed["of the other series"] = other[field]
            yield Damage("sidecar", stem, field, "left out", _edit_json(stem, field, None, drop=True))
            for name, new in changed.items():
                if new != value:
                    yield Damage("sidecar", stem, field, name, _edit_json(stem, field, new))
        yield from _headers(stem)
        yield from _voxels(stem)
        yield from _files(stem)
    yield from _handed_in()


def _edit_json(stem: str, field: str, value: Any, drop: bool = False) -> Callable[[Path], None]:
    def apply(root: Path) -> None:
        path = root / f"{stem}.json"
        content = json.loads(path.read_text()) if path.exists() else {}
        content[field] = value
        if drop:
            del content[field]
        path.write_text(json.dumps(content))

    return apply


def edit_header(raw: bytes, field: str, change: Callable[[NDArray[Any]], Any]) -> bytes:
    """Bytes of a little-endian NIfTI-1 file with another value of a field of the header."""
    header = np.frombuffer(raw[:348], nib.nifti1.header_dtype).copy()
    with np.errstate(all="ignore"):
        header[field] = np.asarray(change(header[field].copy())).astype(header[field].dtype)
    return header.tobytes() + raw[348:]


def _headers(stem: str) -> Iterator[Damage]:
    def made(field: str, change: Callable[[NDArray[Any]], Any]) -> Callable[[Path], None]:
        def apply(root: Path) -> None:
            path = root / f"{stem}.nii.gz"
            path.write_bytes(gzip.compress(edit_header(gzip.decompress(path.read_bytes()), field, change), 1))

        return apply

    for field in nib.nifti1.header_dtype.names or ():
        base = nib.nifti1.header_dtype[field].base
        changes: dict[str, Callable[[NDArray[Any]], Any]] = {"zeroed": np.zeros_like}
        if base.kind == "S":
            changes = {"overwritten": lambda value: np.full_like(value, b"?")}
        else:
            changes["negated"] = np.negative
            changes["bytes swapped"] = lambda value: value.byteswap()
        if base.kind == "f":
            changes |= {"x 1000": lambda v: v * 1000, "/ 1000": lambda v: v / 1000}
            changes["not a number"] = lambda v: np.full_like(v, np.nan)
        for name, change in changes.items():
            yield Damage("header", stem, field, name, made(field, change))


def _resave(stem: str, change: Callable[[NDArray[Any], NDArray[Any]], tuple[Any, Any]]) -> Callable[[Path], None]:
    def apply(root: Path) -> None:
        path = root / f"{stem}.nii.gz"
        image: Any = nib.load(path)
        data, affine = change(np.asarray(image.dataobj), image.affine)
        nib.save(nib.Nifti1Image(data, affine), path)

    return apply


def _put(data: NDArray[Any], value: float, frame: int | slice) -> NDArray[Any]:
    new = data.astype(np.float32)
    new[: new.shape[0] // 2, ..., frame] = value
    return new


def _voxels(stem: str) -> Iterator[Damage]:
    changes: Mapping[str, Callable[[NDArray[Any], NDArray[Any]], tuple[Any, Any]]] = {
        "not a number in one frame": lambda d, a: (_put(d, np.nan, 9), a),
        "infinite in one frame": lambda d, a: (_put(d, np.inf, 9), a),
        "half a frame of zeros": lambda d, a: (_put(d, 0, 20), a),
        "negated": lambda d, a: (-d.astype(np.float32), a),
        "mean taken away": lambda d, a: ((d - d.mean()).astype(np.float32), a),
        "constant": lambda d, a: (np.full(d.shape, 7, np.int16), a),
        "as bytes": lambda d, a: ((d.astype(float) / d.max() * 255).astype(np.uint8), a),
        "as 64-bit floats": lambda d, a: (d.astype(np.float64), a),
        "complex": lambda d, a: (d.astype(np.complex64), a),
        "wrapped at 8 bits": lambda d, a: (d.astype(np.int64).astype(np.uint8), a),
        "x 1000": lambda d, a: (d.astype(np.float32) * 1000, a),
        "dynamic volumes x 3": lambda d, a: (np.concatenate([d[..., :2], d[..., 2:] * 3.0], -1).astype(np.float32), a),
        "one volume only": lambda d, a: (d[..., 0], a),
        "last 5 volumes lost": lambda d, a: (d[..., :-5], a),
        "frames reversed": lambda d, a: (d[..., ::-1], a),
        "two frames exchanged": lambda d, a: (d[..., [*range(18), 19, 18, *range(20, d.shape[3])]], a),
        "slices reversed": lambda d, a: (d[:, :, ::-1], a),
        "turned by 180 degrees": lambda d, a: (d[::-1, ::-1], a),
        "flipped": lambda d, a: (d[::-1], a),
        "axes exchanged": lambda d, a: (d.swapaxes(0, 1), a),
        "slices and frames exchanged": lambda d, a: (d.swapaxes(2, 3), a),
    }
    for name, change in changes.items():
        yield Damage("voxels", stem, "", name, _resave(stem, change))


def _files(stem: str) -> Iterator[Damage]:
    def rewritten(suffix: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
        def apply(root: Path) -> None:
            path = root / f"{stem}{suffix}"
            path.write_bytes(change(path.read_bytes()))

        return apply

    def renamed(suffix: str, new: str) -> Callable[[Path], None]:
        def apply(root: Path) -> None:
            (root / f"{stem}{suffix}").replace(root / new)

        return apply

    for suffix in (".nii.gz", ".json"):
        yield Damage("file", stem, "", f"{suffix} cut in half", rewritten(suffix, lambda b: b[: len(b) // 2]))
        yield Damage("file", stem, "", f"{suffix} empty", rewritten(suffix, lambda b: b""))
        yield Damage(
            "file", stem, "", f"{suffix} of other bytes", rewritten(suffix, lambda b: bytes(255 - x for x in b))
        )
        yield Damage(
            "file", stem, "", f"{suffix} in capitals", renamed(suffix, f"{stem}{suffix}".replace("dce.", "DCE."))
        )
        yield Damage("file", stem, "", f"{suffix.upper()} in capitals", renamed(suffix, f"{stem}{suffix.upper()}"))
    yield Damage("file", stem, "", ".nii.gz is not compressed", rewritten(".nii.gz", gzip.decompress))


def _handed_in() -> Iterator[Damage]:
    images: Mapping[str, Callable[[NDArray[Any], NDArray[Any]], tuple[Any, Any]]] = {
        "as it is": lambda d, a: (d, a),
        "flipped in the array": lambda d, a: (d[::-1], a),
        "flipped with its affine": lambda d, a: (
            d[::-1], a @ np.array([[-1, 0, 0, d.shape[0] - 1], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
        ),
        "shifted by 8 voxels": lambda d, a: (np.roll(d, 8, 0), a),
        "affine shifted by 10 mm": lambda d, a: (d, a + np.array([[0, 0, 0, 10.0], [0] * 4, [0] * 4, [0] * 4])),
        "slices reversed": lambda d, a: (d[:, :, ::-1], a),
        "x 255": lambda d, a: (d * np.uint8(255), a),
        "/ 10": lambda d, a: (d.astype(np.float32) / 10, a),
        "inverted": lambda d, a: (1 - d, a),
        "empty": lambda d, a: (d * 0, a),
        "labels": lambda d, a: (d * (1 + np.arange(d.shape[0], dtype=np.uint8)[:, None, None] % 6), a),
        "of every second voxel": lambda d, a: (d[::2, ::2], a @ np.diag([2.0, 2, 1, 1])),
        "not a number": lambda d, a: (np.where(d > 0, np.nan, 0.0).astype(np.float32), a),
    }  # fmt: skip
    for stem in (WALL, POOL):
        for name, change in images.items():
            yield Damage("mask", stem, "", name, _resave(stem, change), handed=True)
    points = (("x and y as LPS", "x", lambda r: [*r[:2], *_times(r[2:4], -1), r[4]]),
              ("in m", "x", lambda r: [*r[:2], *_times(r[2:], 1e-3)]),
              ("shifted by 30 mm", "x", lambda r: [*r[:2], str(float(r[2]) + 30), *r[3:]]),
              ("x and y exchanged", "x", lambda r: [*r[:2], r[3], r[2], r[4]]),
              ("names exchanged", "name", lambda r: [_exchanged(r[0]), *r[1:]]),
              ("slice from 1", "slice", lambda r: [r[0], str(int(r[1]) + 1), *r[2:]]),
              ("as text", "x", lambda r: [*r[:2], "left", *r[3:]]))  # fmt: skip
    for name, field, row in points:
        yield Damage("points", POINTS, field, name, _rows(POINTS, row), handed=True)
    curves = (("time in ms", "time", lambda r: [*_times(r[:1], 1e3), *r[1:]]),
              ("time in minutes", "time", lambda r: [*_times(r[:1], 1 / 60), *r[1:]]),
              ("time from its own start", "time", lambda r: [str(float(r[0]) - 12), *r[1:]]),
              ("late by 3 s", "time", lambda r: [str(float(r[0]) + 3), *r[1:]]),
              ("in µmol/L", "concentration", lambda r: [*r[:-1], *_times(r[-1:], 1e3)]),
              ("in mol/L", "concentration", lambda r: [*r[:-1], *_times(r[-1:], 1e-3)]),
              ("of plasma", "concentration", lambda r: [*r[:-1], *_times(r[-1:], 2)]),
              ("negated", "concentration", lambda r: [*r[:-1], *_times(r[-1:], -1)]),
              ("signal in its place", "concentration", lambda r: [*r[:-1], r[1]]),
              ("not a number", "concentration", lambda r: [*r[:-1], "n/a"]))  # fmt: skip
    for name, field, row in curves:
        yield Damage("input function", CURVE, field, name, _rows(CURVE, row), handed=True)


def _rows(stem: str, change: Callable[[list[str]], list[str]]) -> Callable[[Path], None]:
    def apply(root: Path) -> None:
        path = root / f"{stem}.tsv"
        head, *rows = (line.split("\t") for line in path.read_text().splitlines())
        path.write_text("".join("\t".join(line) + "\n" for line in [head, *map(change, rows)]))

    return apply


def _times(values: list[str], factor: float) -> list[str]:
    return [str(float(v) * factor) for v in values]


def _exchanged(name: str) -> str:
    ends = ("Anterior", "Inferior")
    return name.replace(ends[0], "?").replace(ends[1], ends[0]).replace("?", ends[1])
