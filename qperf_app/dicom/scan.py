"""The headers of thousands of files, in as many processes as are allowed; pixels stay where they are."""

from __future__ import annotations

import signal
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any, cast

from qperf_app.dicom.frames import FileRef, Frame, Header, Problem
from qperf_app.dicom.keywords import READ
from qperf_app.dicom.readers.installed import BUILT_IN, reader_for
from qperf_app.dicom.readers.interface import Reader
from qperf_app.dicom.sources import BoundedStream, Opener, UnreadableError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

#: Files that a process reads before it reports, and how many make further processes worth their start.
_CHUNK, _MANY = 400, 2000
_DEFLATED = b"1.2.840.10008.1.2.1.99\0"
_PREAMBLE, _HEAD = 128, 1024
#: Storage of DICOMDIR, which is a table of contents.
_DIRECTORY = "1.2.840.10008.1.3.10"


def scan_files(
    files: Sequence[FileRef],
    processes: int = 1,
    progress: Callable[[int], None] = lambda count: None,
    others: Sequence[Reader] = (),
) -> tuple[list[Frame], list[Problem]]:
    """Read every header.

    Parameters
    ----------
    files : sequence of FileRef
    processes : int
        Most processes at a time; the result doesn't depend on it.
    progress : callable
        Called with the number of files that were read since the last call.
    others : sequence of Reader
        Third parties' readers, which are asked before the built-in ones.

    Returns
    -------
    frames : list of Frame
        In the order of the files; an image that came twice is there once.
    problems : list of Problem
        Files that are not DICOM, or can't be read.
    """
    headers: dict[int, list[Header]] = {}
    frames: dict[tuple[str, int], Frame] = {}
    problems: list[Problem] = []
    for found, bad, count in _chunks(files, processes, (*others, *BUILT_IN)):
        problems += bad
        for frame in found:
            key = (frame.uid or str(frame.file), frame.index)
            if key not in frames:
                frames[key] = replace(frame, header=_shared(frame.header, headers))
        progress(count)
    return list(frames.values()), problems


def _shared(header: Header, known: dict[int, list[Header]]) -> Header:
    """The equal header that is there already, so that 20,000 images don't hold 20,000 of them."""
    same = known.setdefault(hash(header), [])
    found = next((one for one in same if one == header), None)
    if found is None:
        same.append(found := header)
    return found


def _chunks(
    files: Sequence[FileRef], processes: int, readers: Sequence[Reader]
) -> Iterator[tuple[list[Frame], list[Problem], int]]:
    chunks = [files[start : start + _CHUNK] for start in range(0, len(files), _CHUNK)]
    if processes < 2 or len(files) < _MANY:
        yield from (read_headers(chunk, readers) for chunk in chunks)
        return
    # Fresh interpreters: a forked one would inherit the threads of whatever is loaded here.
    # Ctrl-C reaches them as well, and is told by this process.
    quiet = (signal.SIGINT, signal.SIG_IGN)
    with ProcessPoolExecutor(min(processes, len(chunks)), get_context("spawn"), signal.signal, quiet) as pool:
        try:
            yield from pool.map(read_headers, chunks, [readers] * len(chunks))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def read_headers(files: Sequence[FileRef], readers: Sequence[Reader]) -> tuple[list[Frame], list[Problem], int]:
    """Frames and problems of some files, and how many files there were."""
    tags = _tags(readers)
    opener = Opener()
    known: dict[int, list[Header]] = {}
    frames: list[Frame] = []
    problems: list[Problem] = []
    try:
        for file in files:
            try:
                found = _frames(file, opener, readers, tags)
                frames += [replace(frame, header=_shared(frame.header, known)) for frame in found]
            except UnreadableError as error:
                problems.append(Problem(file, str(error)))
    finally:
        opener.close()
    return frames, problems, len(files)


def _tags(readers: Sequence[Reader]) -> list[Any]:
    """Every element that is read, private ones in the first two blocks that a creator may reserve."""
    from pydicom.datadict import tag_for_keyword
    from pydicom.tag import Tag

    wanted = [tag_for_keyword(keyword) for keyword in READ]
    for _, group, element in {private for reader in readers for private in reader.private}:
        for block in (0x10, 0x11):
            wanted += [(group << 16) + block, (group << 16) + (block << 8) + element]
    # pydicom makes tags of whatever it is given, for each file anew.
    return [Tag(tag) for tag in wanted if tag is not None]


def _frames(file: FileRef, opener: Opener, readers: Sequence[Reader], tags: list[Any]) -> list[Frame]:
    stream, size = opener.open(file)
    # What pydicom warns of are values, which are read leniently or told as the file's problem.
    with stream, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset, end = _header(stream, tags)
        if dataset.file_meta.get("MediaStorageSOPClassUID") == _DIRECTORY:
            return []
        try:
            frames = reader_for(dataset, readers).frames(dataset, file)
        except UnreadableError:
            raise
        # Values that the vendor's software or an anonymiser has spoilt show themselves in many ways.
        except Exception as error:
            raise UnreadableError(f"the header can't be understood: {' '.join(str(error).split())}") from None
        if not frames or not frames[0].header.modality or not frames[0].header.rows * frames[0].header.columns:
            if dataset.get("Modality") in (None, "", "MR"):
                raise UnreadableError("holds no image, or is cut short")
        elif not frames[0].header.left_out:
            _check_length(dataset, end, size)
        return frames


def _header(stream: Any, tags: list[Any]) -> tuple[Dataset, int]:
    """The header without what isn't asked for, and where its pixels begin."""
    from pydicom import config, dcmread

    try:
        head = stream.read(_HEAD)
        stream.seek(0)
    except Exception as error:
        raise UnreadableError(f"can't be unpacked: {' '.join(str(error).split())}") from None
    bare = head[:2] in (b"\x08\x00", b"\x02\x00")
    if head[_PREAMBLE : _PREAMBLE + 4] != b"DICM" and not bare:
        raise UnreadableError("is not DICOM")
    if _DEFLATED in head or _DEFLATED[:-1] + b" " in head:
        raise UnreadableError("is deflated, which is not read")
    try:
        with config.disable_value_validation():
            bounded = cast(Any, BoundedStream(stream))
            dataset = dcmread(bounded, stop_before_pixels=True, specific_tags=tags, force=bare)
            return dataset, stream.tell()
    except UnreadableError:
        raise
    except Exception as error:
        raise UnreadableError(f"is damaged: {' '.join(str(error).split())}") from None


def _check_length(dataset: Dataset, begin: int, size: int) -> None:
    """Refuse a file that ends before its pixels do; of compressed pixels only their presence can be told."""
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    bits = int(dataset.get("BitsAllocated") or 16)
    needed = int(dataset.Rows) * int(dataset.Columns) * int(dataset.get("NumberOfFrames") or 1) * bits // 8
    if syntax is not None and syntax.is_compressed:
        needed = 1
    if size - begin < needed:
        raise UnreadableError("is cut short")
