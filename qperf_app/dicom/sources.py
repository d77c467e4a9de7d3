"""Where the files are: files, folders, zip archives and DICOMDIR. Nothing is ever unpacked to disk."""

from __future__ import annotations

import io
import os
import stat
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO

from qperf_app.dicom.frames import FileRef, Problem

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Largest file whose pixels are read from an archive, and largest single element of a header, bytes.
MAX_MEMBER, MAX_ELEMENT = 2**31, 64 * 2**20
#: Most members of one archive.
MAX_MEMBERS = 1_000_000
DICOMDIR = "DICOMDIR"


class UnreadableError(Exception):
    """A file can't be used; the message is one line without the file's name."""


def list_files(sources: Iterable[Path]) -> tuple[list[FileRef], list[Problem]]:
    """Every file of the sources, in a fixed order, each once.

    Folders are walked (links to folders are not followed), archives listed, and a DICOMDIR that is named stands for the
    files that it refers to.
    """
    files: dict[FileRef, None] = {}
    problems: list[Problem] = []
    for source in sources:
        for path in _walk(source):
            for found in _expand(path, named=path == source):
                if isinstance(found, Problem):
                    problems.append(found)
                else:
                    files[found] = None
    return list(files), problems


def _walk(source: Path) -> Iterator[Path]:
    if not source.is_dir():
        yield source
        return
    for folder, folders, names in os.walk(source):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(folder, name) for name in sorted(names) if not name.startswith(".") and name != DICOMDIR)


def _expand(path: Path, named: bool) -> Iterator[FileRef | Problem]:
    here = FileRef(str(path))
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return
        if path.suffix.lower() == ".zip" or (named and zipfile.is_zipfile(path)):
            yield from _members(path)
        elif named and path.name.upper() == DICOMDIR:
            yield from _referenced(path)
        else:
            yield here
    except (OSError, zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        yield Problem(here, f"can't be read: {_one_line(error)}")


def _members(path: Path) -> Iterator[FileRef | Problem]:
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if len(members) > MAX_MEMBERS:
            yield Problem(FileRef(str(path)), f"has {len(members)} members, at most {MAX_MEMBERS} are read")
            return
        for member in sorted(members, key=lambda member: member.filename):
            name = PurePosixPath(member.filename)
            if member.is_dir() or name.name.startswith(".") or "__MACOSX" in name.parts or name.name == DICOMDIR:
                continue
            ref = FileRef(str(path), member.filename)
            if member.flag_bits & 1:
                yield Problem(ref, "is encrypted")
            elif member.file_size > MAX_MEMBER:
                yield Problem(ref, f"unpacks to {member.file_size >> 20} MiB, at most {MAX_MEMBER >> 20} are read")
            else:
                yield ref


def _referenced(path: Path) -> Iterator[FileRef | Problem]:
    """Files that a DICOMDIR names, as long as they lie below its folder."""
    from pydicom import dcmread

    try:
        records = dcmread(path).get("DirectoryRecordSequence", ())
    except Exception as error:
        raise ValueError(_one_line(error)) from None
    root = path.parent.resolve()
    for record in records:
        parts = record.get("ReferencedFileID")
        if not parts:
            continue
        named = root.joinpath(*([parts] if isinstance(parts, str) else parts))
        found = named.resolve()
        if not found.is_relative_to(root):
            yield Problem(FileRef(str(path)), "refers to a file outside its folder, which is not read")
        elif not found.is_file():
            yield Problem(FileRef(str(named)), f"is not there, though {DICOMDIR} names it")
        else:
            yield FileRef(str(named))


class Opener:
    """Opens files and members of archives; an archive stays open until :meth:`close`."""

    def __init__(self) -> None:
        self._archives: dict[str, zipfile.ZipFile] = {}
        self._last: tuple[FileRef, io.BytesIO] | None = None
        self._volumes: tuple[FileRef, NDArray[Any]] | None = None

    def open(self, file: FileRef) -> tuple[BinaryIO, int]:
        """Stream and size of a file.

        Raises
        ------
        UnreadableError
        """
        try:
            if not file.member:
                return open(file.path, "rb"), os.stat(file.path).st_size
            archive = self._archive(file.path)
            info = archive.getinfo(file.member)
            return archive.open(info), info.file_size  # type: ignore[return-value]
        except (OSError, KeyError, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
            raise UnreadableError(f"can't be opened: {_one_line(error)}") from None

    def content(self, file: FileRef) -> BinaryIO | str:
        """What pixels can be read from: a path, or a member held in memory (at most :data:`MAX_MEMBER` bytes)."""
        if not file.member:
            return file.path
        if self._last is not None and self._last[0] == file:
            self._last[1].seek(0)
            return self._last[1]
        stream, size = self.open(file)
        with stream:
            if size > MAX_MEMBER:
                raise UnreadableError(f"unpacks to {size >> 20} MiB")
            try:
                content = io.BytesIO(stream.read(size))
            except Exception as error:
                raise UnreadableError(f"can't be unpacked: {_one_line(error)}") from None
        self._last = (file, content)
        return content

    def volumes(self, file: FileRef) -> NDArray[Any]:
        """Values of a NIfTI file; the last one stays in memory, since it is asked for slice by slice."""
        import nibabel as nib
        import numpy as np

        if self._volumes is None or self._volumes[0] != file:
            try:
                image: Any = nib.load(file.path)
                self._volumes = (file, np.asanyarray(image.dataobj))
            except Exception as error:
                raise UnreadableError(f"image data can't be read: {_one_line(error)}") from None
        return self._volumes[1]

    def close(self) -> None:
        """Close all archives."""
        for archive in self._archives.values():
            archive.close()
        self._archives.clear()
        self._last = self._volumes = None

    def _archive(self, path: str) -> zipfile.ZipFile:
        if path not in self._archives:
            self._archives[path] = zipfile.ZipFile(path)
        return self._archives[path]


class BoundedStream:
    """A stream that refuses to read an element larger than a header has any reason to hold."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.seek, self.tell, self.close = stream.seek, stream.tell, stream.close

    def read(self, size: int = -1) -> bytes:
        """Read ``size`` bytes."""
        if size is None or size < 0 or size > MAX_ELEMENT:
            raise UnreadableError("the header has an element of more than 64 MiB")
        return self._stream.read(size)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
