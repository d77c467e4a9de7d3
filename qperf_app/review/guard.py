"""Who is let in: requests to this very address, of this very page, with the token.

Other users of the machine can reach the port and know no token. Another page in the same browser can't read the token,
which travels in a header and lies in no cookie: cookies go to every port of a host. A name that somebody has made to
point to this machine (DNS rebinding) is not the ``Host`` that was printed.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: Largest request, bytes: the edits of a scan of twenty slices, all painted.
LARGEST = 8 * 2**20
#: The page may load what this server serves, and nothing else from anywhere.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS: Mapping[str, str] = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Guard:
    """ASGI middleware that refuses whatever does not come from the page at ``address``.

    Parameters
    ----------
    app : ASGI application
    address : str
        Host and port, ``127.0.0.1:1234``.
    token : str
        Asked of every path below ``/api/``.
    """

    def __init__(self, app: ASGIApp, address: str, token: str) -> None:
        self._app, self._address, self._token = app, address, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        reason, code = self._refusal(Headers(scope=scope), str(scope["path"]))

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                names = {name.lower() for name, _ in message["headers"]}
                own = {**_HEADERS, "Content-Security-Policy": POLICY}
                more = [(n.lower().encode(), v.encode()) for n, v in own.items() if n.lower().encode() not in names]
                message = {**message, "headers": [*message["headers"], *more]}
            await send(message)

        if reason:
            await JSONResponse({"error": reason}, code)(scope, receive, guarded)
        else:
            await self._app(scope, receive, guarded)

    def _refusal(self, headers: Headers, path: str) -> tuple[str, int]:
        if headers.getlist("host") != [self._address]:
            return f"this is {self._address}, and no other host", 403
        if headers.get("origin", f"http://{self._address}") != f"http://{self._address}":
            return "another page asks", 403
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            return "another page asks", 403
        length = headers.get("content-length", "0")
        if "transfer-encoding" in headers or not length.isdecimal() or int(length) > LARGEST:
            return "the request is too large, or does not say how large it is", 413
        given = headers.get("authorization", "").encode()
        if path.startswith("/api/") and not secrets.compare_digest(given, f"Bearer {self._token}".encode()):
            return "the token is missing or wrong: open the address that qperf review printed", 401
        return "", 200
