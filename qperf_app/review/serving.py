"""Serve a review on this machine alone, at an address that only who started it knows."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable

from qperf_app.review.application import make_application
from qperf_app.review.computing import Computing
from qperf_app.review.desk import Desk

HOST = "127.0.0.1"
#: Seconds that pages have to let go of the server when it ends.
_GOODBYE_SECONDS = 1


def listen(port: int) -> socket.socket:
    """A socket on this machine's own address; port 0 takes a free one.

    Raises
    ------
    OSError
        Where the port is taken.
    """
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        # Not while another one listens: nobody may answer in our place.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((HOST, port))
        listening.listen(128)
    except OSError:
        listening.close()
        raise
    return listening


def serve(desk: Desk, listening: socket.socket, nprocs: int, announce: Callable[[str], None]) -> None:
    """Serve until interrupted.

    Parameters
    ----------
    desk : Desk
    listening : socket
    nprocs : int
        Processes that compute.
    announce : function
        Told the address. The token is behind ``#``: no browser sends that part to a server or on to another page.
    """
    import uvicorn

    token = secrets.token_urlsafe(32)
    address = f"{HOST}:{listening.getsockname()[1]}"
    application = make_application(desk, Computing(desk.study, nprocs), address, token)
    config = uvicorn.Config(
        application,
        access_log=False,
        log_level="warning",
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=_GOODBYE_SECONDS,
    )
    announce(f"http://{address}/#{token}")
    uvicorn.Server(config).run(sockets=[listening])
