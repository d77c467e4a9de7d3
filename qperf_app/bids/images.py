"""Read and write NIfTI images and their JSON sidecars. Everything that touches a NIfTI file is here."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qperf_app.bids.errors import DatasetError
from qperf_app.bids.whole import replace_text
from qperf_app.checks.images import ImageHeader
from qperf_app.geometry import Grid, grid_difference, reorientation

#: How a file begins that stands for one in Git LFS.
_LFS = b"version https://git-lfs"
#: zlib's number for a stream in gzip's format.
_GZIP = 31
#: Packing that takes less than this part of measured values is not worth unpacking them at every step that reads them.
_WORTH_PACKING = 0.2
#: Bytes that tell what packing takes.
_SAMPLE = 1 << 18


def sidecar_path(image: Path) -> Path:
    """Path of the JSON (or of another suffix's) sidecar beside an image or table."""
    name = image.name
    for ending in (".nii.gz", ".nii", ".tsv"):
        if name.endswith(ending):
            return image.with_name(name[: -len(ending)] + ".json")
    return image.with_suffix(".json")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises
    ------
    DatasetError
        Naming the file, when it can't be read, is not JSON (NaN is not) or is not an object.
    """
    _refuse_pipe(path)
    try:
        # Some editors begin a file with a byte order mark.
        text = path.read_text(encoding="utf-8-sig")
        content = json.loads(text, parse_constant=_refuse_constant, object_pairs_hook=_refuse_twice)
    except RecursionError:
        raise DatasetError(f"{path}: not readable as JSON: nested too deeply") from None
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path}: not readable as JSON: {error}") from None
    if not isinstance(content, dict):
        raise DatasetError(f"{path}: must hold a JSON object")
    return content


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object, keys in the order given."""
    replace_text(path, json.dumps(content, indent=2, ensure_ascii=False, default=_plain) + "\n")


def read_shape(path: Path) -> tuple[int, ...]:
    """Shape of an image from its header alone.

    Raises
    ------
    DatasetError
        Naming the file, when it is not a NIfTI image.
    """
    return tuple(int(n) for n in _load(path).shape)


def read_header(path: Path) -> ImageHeader:
    """Read an image's header alone.

    Raises
    ------
    DatasetError
        Naming the file, when it is not a NIfTI image.
    """
    image = _load(path)
    kind = image.get_data_dtype()
    limits = None
    if kind.kind in "iu":
        slope, intercept = image.dataobj.slope, image.dataobj.inter
        ends = sorted(float(end) * slope + intercept for end in (np.iinfo(kind).min, np.iinfo(kind).max))
        limits = (ends[0], ends[1])
    both = _both_forms(image.header)
    shape = tuple(int(n) for n in image.shape)
    placed = bool(image.header["qform_code"] > 0 or image.header["sform_code"] > 0)
    return ImageHeader(shape, _rows(image.affine), _stored(kind), limits, placed, both, _interval(image.header))


def _interval(header: Any) -> float | None:
    """Time between volumes, s; None where the header has no unit of it, or 0 or 1, which are written for nothing."""
    try:
        unit = {"sec": 1.0, "msec": 1e-3, "usec": 1e-6}.get(header.get_xyzt_units()[1])
    except KeyError:
        return None
    step = float(header["pixdim"][4])
    return step * unit if unit and np.isfinite(step) and step not in (0.0, 1.0) else None


def _both_forms(header: Any) -> tuple[Any, Any] | None:
    """Rows of qform and sform where both are given and the qform is a rotation."""
    try:
        forms = [header.get_qform(coded=True)[0], header.get_sform(coded=True)[0]]
    except Exception:
        # The affine that counts was read before; a damaged quaternion beside it decides nothing.
        return None
    return None if any(form is None for form in forms) else (_rows(forms[0]), _rows(forms[1]))


def _stored(kind: np.dtype[Any]) -> str:
    """Name of the type of the stored values."""
    return "RGB" if kind.names else kind.newbyteorder("=").name


def _rows(affine: Any) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(row) for row in np.asarray(affine, np.float64).tolist())


def read_image(
    path: Path, dtype: Any = np.float32, onto: Grid | None = None
) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Return the scaled voxel values and the affine of an image.

    Parameters
    ----------
    path : Path
    dtype
        Of the result.
    onto : Grid, optional
        The grid on which the image is wanted: axes that are stored in another order or direction are turned.

    Raises
    ------
    DatasetError
        Naming the file, when it is not NIfTI, ends too early, is not what its checksum says, holds colours or complex
        numbers, or lies on another grid than ``onto``.
    """
    image = _whole(path)
    if image.get_data_dtype().kind in "cV":
        raise DatasetError(f"{path}: the data type is {_stored(image.get_data_dtype())}; one real number is needed")
    try:
        data = np.asarray(image.dataobj)
    except Exception as error:
        raise _damaged(path, error) from None
    affine = np.asarray(image.affine, dtype=np.float64)
    if onto is not None:
        stored = Grid.of(data.shape, affine)
        order = reorientation(stored, onto)
        if order is None:
            raise DatasetError(f"{path}: lies on another grid: {grid_difference(stored, onto)}")
        data, affine = order.apply(data), onto.affine
    # What was unpacked is ours already; what was not lies in the file, which may change.
    return data.astype(dtype, copy=path.suffix != ".gz"), affine


def _whole(path: Path) -> Any:
    """The image, of a compressed file from all of it: what is read in parts is never held against its checksum."""
    import nibabel as nib

    if path.suffix != ".gz":
        return _load(path)
    try:
        content = gzip.decompress(path.read_bytes())
        kinds = (kind for kind in (nib.Nifti1Image, nib.Nifti2Image) if kind.header_class.may_contain_header(content))
        return (next(kinds, None) or type(_load(path))).from_bytes(content)
    except Exception as error:
        # What is no image at all has words of its own.
        _load(path)
        raise _damaged(path, error) from None


def _damaged(path: Path, error: Exception) -> DatasetError:
    """A truncated or damaged file shows itself in many ways: gzip, zlib, short read, memory map."""
    return DatasetError(f"{path}: image data can't be read, is the file truncated or damaged? ({error})")


def write_image(
    path: Path, data: NDArray[Any], affine: NDArray[np.floating], sidecar: Mapping[str, Any], measured: bool = False
) -> None:
    """Write an image with its sidecar; the same values give the same bytes.

    Of ``measured`` values no sequence of bytes comes twice but by chance. Repetitions are not looked for, and what
    would hardly become smaller is stored as it is (:func:`_pack`).
    """
    import nibabel as nib

    stored = data.astype(np.uint8) if data.dtype == bool else data
    if stored.dtype == np.float64:
        stored = stored.astype(np.float32)
    image = nib.Nifti1Image(stored, affine)
    image.header.set_xyzt_units("mm", "sec")
    times = sidecar.get("VolumeTiming")
    if times is not None and len(times) > 1:
        # A regular spacing is all the header can hold; the sidecar's VolumeTiming has the truth.
        image.header["pixdim"][4] = float(np.median(np.diff(times)))
    if measured and path.suffix == ".gz":
        path.write_bytes(_pack(image.to_bytes()))
    else:
        nib.save(image, path)
    write_json(sidecar_path(path), sidecar)


def _pack(content: bytes) -> bytes:
    """Pack as gzip, by runs of a byte where a sample from the middle becomes smaller by them; else in stored blocks."""
    middle = max(0, (len(content) - _SAMPLE) // 2)
    sample = content[middle : middle + _SAMPLE]
    worth = len(_packed(sample, 1)) < (1 - _WORTH_PACKING) * len(sample)
    return _packed(content, 1 if worth else 0)


def _packed(content: bytes, level: int) -> bytes:
    packer = zlib.compressobj(level, wbits=_GZIP, strategy=zlib.Z_RLE)
    return packer.compress(content) + packer.flush()


def bring_onto(path: Path, grid: Grid, folder: Path) -> Path:
    """Return an image that lies on a grid: the file itself, or a copy of it with its axes turned and its sidecar.

    Raises
    ------
    DatasetError
        As :func:`read_image` does.
    """
    if read_header(path).grid == grid:
        return path
    data, affine = read_image(path, onto=grid)
    folder.mkdir(exist_ok=True)
    turned = folder / path.name
    sidecar = sidecar_path(path)
    write_image(turned, data, affine, read_json(sidecar) if sidecar.is_file() else {})
    return turned


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def without_content(path: Path) -> str:
    """Say so where a file only stands for content that is elsewhere; else empty."""
    if path.is_symlink() and not path.exists():
        return "is a link without content: fetch it (git annex get, datalad get)"
    try:
        with path.open("rb") as file:
            pointer = file.read(len(_LFS)) == _LFS
    except OSError:
        return ""
    return "is a pointer of Git LFS without content: fetch it (git lfs pull)" if pointer else ""


def _refuse_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"field {next(key for key in keys if keys.count(key) > 1)!r} is there twice")
    return content


def _load(path: Path) -> Any:
    import nibabel as nib

    _refuse_pipe(path)
    try:
        return nib.load(path)
    except Exception as error:
        if why := without_content(path):
            raise DatasetError(f"{path}: {why}") from None
        raise DatasetError(f"{path}: not readable as a NIfTI image ({' '.join(str(error).split())})") from None


def _refuse_pipe(path: Path) -> None:
    if path.is_fifo():
        # Nobody writes into it: reading would wait for ever.
        raise DatasetError(f"{path}: is a pipe, not a file")


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    raise TypeError(f"not a JSON value: {value!r}")
