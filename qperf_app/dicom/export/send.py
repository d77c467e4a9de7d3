"""Send files to an archive by C-STORE."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread
from pynetdicom import AE

#: Seconds that the archive may take to answer.
_PATIENCE = 30.0
_SUCCESS, _WARNINGS = 0x0000, range(0xB000, 0xC000)


class SendError(Exception):
    """The archive did not take everything; the message is one line."""


@dataclass(frozen=True)
class Archive:
    """Where to send to.

    Parameters
    ----------
    host : str
    port : int
    called, calling : str
        Titles of the two applications, at most 16 characters.
    """

    host: str
    port: int
    called: str = "ANY-SCP"
    calling: str = "QPERF"

    @classmethod
    def parse(cls, text: str, called: str = "ANY-SCP", calling: str = "QPERF") -> Archive:
        """Read ``HOST:PORT``.

        Raises
        ------
        ValueError
            Where it isn't that.
        """
        host, _, port = text.rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 65536:
            raise ValueError(f"{text!r} is not HOST:PORT")
        for title in (called, calling):
            if not 0 < len(title.strip()) <= 16 or not title.isascii():
                raise ValueError(f"{title!r} is no title of an application: 1 to 16 characters")
        return cls(host.strip("[]"), int(port), called, calling)


def send(files: Sequence[Path], archive: Archive) -> int:
    """Send files in one association; returns how many were stored.

    Raises
    ------
    SendError
        Where there is no association, or a file is refused.
    """
    place = f"{archive.host}:{archive.port}"
    datasets = [dcmread(path) for path in files]
    entity = AE(archive.calling)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = entity.connection_timeout = _PATIENCE
    for kind, syntax in sorted({(ds.SOPClassUID, ds.file_meta.TransferSyntaxUID) for ds in datasets}):
        entity.add_requested_context(kind, syntax)
    association = entity.associate(archive.host, archive.port, ae_title=archive.called)
    if not association.is_established:
        raise SendError(f"{place}: no association with {archive.called}")
    try:
        for path, dataset in zip(files, datasets, strict=True):
            try:
                status = association.send_c_store(dataset).get("Status")
            except ValueError:
                raise SendError(f"{place}: does not take {dataset.SOPClassUID.name} ({path.name})") from None
            if status is None or (status != _SUCCESS and status not in _WARNINGS):
                reason = "no answer" if status is None else f"status 0x{status:04X}"
                raise SendError(f"{place}: {path.name} was not stored: {reason}")
    finally:
        association.release()
    return len(files)
