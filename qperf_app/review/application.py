"""The web application: a page, and what it asks for. Scans are named by keys that the server lists, never by paths."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib import resources
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from qperf_app.bids.errors import DatasetError
from qperf_app.bids.reviews import Decision
from qperf_app.review.computing import Computing
from qperf_app.review.curves import brushed, span_weights
from qperf_app.review.desk import Desk
from qperf_app.review.drafts import ChangedMeanwhile
from qperf_app.review.edits import Edits, Region, Structure, is_far, plane_name, region_of
from qperf_app.review.guard import Guard
from qperf_app.workflow.outcomes import one_line, to_json

#: What a report may do, shown from here: run what it holds itself, and nothing else.
REPORT_POLICY = (
    "sandbox allow-scripts allow-popups; default-src 'none'; img-src data:; font-src data:; "
    "style-src 'unsafe-inline'; script-src 'unsafe-inline'; frame-ancestors 'none'"
)
#: Seconds between two looks for what the computing process has told.
_NEWS_SECONDS = 0.1
_KINDS = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".html": "text/html"}


@dataclass(frozen=True)
class _Kept:
    version: int
    edits: Edits


_Comment = Annotated[str, Field(max_length=500)]


@dataclass(frozen=True)
class _Decided:
    version: int
    decision: Decision
    comment: _Comment = ""


@dataclass(frozen=True)
class _Computed:
    version: int
    comment: _Comment = ""


@dataclass(frozen=True)
class _Stroke:
    structure: Structure
    region: Region
    path: Annotated[list[tuple[float, float]], Field(max_length=10_000)]
    radius: float
    add: bool


def make_application(desk: Desk, computing: Computing, address: str, token: str) -> Guard:
    """Put the application together, behind its guard."""
    pages = _Pages(desk, computing)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        computing.start()
        yield
        computing.stop()

    scan = "/api/scans/{key}"
    routes = [
        Route("/", pages.index),
        Route("/static/{name}", pages.asset),
        Route("/report/{ticket}", pages.report),
        Route("/api/scans", pages.scans),
        Route("/api/events", pages.events),
        Route(scan, pages.scan),
        Route(scan + "/film/{plane}", pages.film),
        Route(scan + "/draft", pages.keep, methods=["PUT"]),
        Route(scan + "/preview", pages.preview, methods=["POST"]),
        Route(scan + "/brush", pages.brush, methods=["POST"]),
        Route(scan + "/decision", pages.decide, methods=["POST"]),
        Route(scan + "/compute", pages.compute, methods=["POST"]),
    ]
    handlers: dict[Any, Callable[[Request, Exception], Response]] = {
        ChangedMeanwhile: lambda _, error: _refused(error, 409),
        DatasetError: lambda _, error: _refused(error, 422),
        ValueError: lambda _, error: _refused(error, 400),
        OSError: lambda _, error: _refused(one_line(error), 500),
        HTTPException: lambda _, error: _refused(getattr(error, "detail", error), getattr(error, "status_code", 500)),
    }
    return Guard(Starlette(routes=routes, exception_handlers=handlers, lifespan=lifespan), address, token)


class _Pages:
    """The handlers of the routes."""

    def __init__(self, desk: Desk, computing: Computing) -> None:
        self._desk, self._computing = desk, computing
        folder = resources.files("qperf_app.review") / "static"
        self._assets = {entry.name: entry.read_bytes() for entry in folder.iterdir() if _kind(entry.name)}
        self._tickets: dict[str, str] = {}

    def index(self, request: Request) -> Response:
        return Response(self._assets["index.html"], media_type="text/html")

    def asset(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in self._assets:
            raise HTTPException(404, "no such file")
        return Response(self._assets[name], media_type=_kind(name))

    def report(self, request: Request) -> Response:
        """A participant's report. It is opened as a page, which sends no header: its address can't be guessed."""
        participant = self._tickets.get(request.path_params["ticket"])
        if participant is None:
            raise HTTPException(404, "no such report")
        page = (self._desk.study.out_dir / f"sub-{participant}.html").read_text(encoding="utf-8")
        return HTMLResponse(page, headers={"Content-Security-Policy": REPORT_POLICY})

    def scans(self, request: Request) -> Response:
        study = self._desk.study
        folders = {"results": study.out_dir.name, "corrections": str(study.corrections), "reader": self._desk.reader}
        return JSONResponse({**folders, "scans": [vars(row) for row in self._desk.rows()]})

    def scan(self, request: Request) -> Response:
        found = self._desk.describe(self._key(request))
        rows = [row.key for row in self._desk.rows() if row.key]
        at = rows.index(found["key"])
        found |= {
            "previous": rows[at - 1] if at else None,
            "next": rows[at + 1] if at + 1 < len(rows) else None,
            "report": f"/report/{self._ticket(found['participant'])}",
            "weights": span_weights().tolist(),
        }
        return JSONResponse(found)

    def film(self, request: Request) -> Response:
        planes = self._desk.open(self._key(request)).planes
        if request.path_params["plane"] not in planes:
            raise HTTPException(404, "no such series")
        content, step, zero = planes[request.path_params["plane"]].film()
        headers = {"X-Signal-Step": repr(step), "X-Signal-Zero": repr(zero)}
        return Response(content, media_type="application/octet-stream", headers=headers)

    async def keep(self, request: Request) -> Response:
        asked = await _body(request, _Kept)
        return JSONResponse(await run_in_threadpool(self._desk.keep, self._key(request), asked.version, asked.edits))

    async def preview(self, request: Request) -> Response:
        edits = await _body(request, Edits)
        return JSONResponse(await run_in_threadpool(self._desk.preview, self._key(request), edits))

    async def brush(self, request: Request) -> Response:
        stroke = await _body(request, _Stroke)
        return JSONResponse(to_json(await run_in_threadpool(self._brushed, self._key(request), stroke)))

    def _brushed(self, key: str, stroke: _Stroke) -> Region:
        planes = self._desk.open(key).planes
        name = plane_name(stroke.structure, planes)
        if not name or not stroke.path or not 0 < stroke.radius < 100:
            raise ValueError("this stroke paints nothing")
        plane = planes[name]
        if is_far(stroke.path, plane.shape[1:]):
            raise ValueError("this stroke lies far outside of the image")
        mask = stroke.region.mask(plane.shape[1:])
        return region_of(brushed(mask, stroke.path, stroke.radius, plane.layout.spacing, stroke.add))

    async def decide(self, request: Request) -> Response:
        asked = await _body(request, _Decided)
        key = self._key(request)
        if asked.decision == "corrected":
            raise ValueError("a scan is corrected by computing it again")
        return JSONResponse(
            await run_in_threadpool(self._desk.decide, key, asked.version, asked.decision, asked.comment)
        )

    async def compute(self, request: Request) -> Response:
        asked, key = await _body(request, _Computed), self._key(request)
        kept = await run_in_threadpool(self._desk.decide, key, asked.version, "corrected", asked.comment)
        job = self._computing.request(self._desk.find(key).participant)
        return JSONResponse({**kept, "job": job})

    async def events(self, request: Request) -> Response:
        """Server-sent events: each job whenever it has changed."""

        async def stream() -> AsyncIterator[str]:
            since = 0
            yield ": listening\n\n"
            while not await request.is_disconnected():
                since, news = self._computing.news(since)
                for job in news:
                    yield f"data: {json.dumps(job)}\n\n"
                await asyncio.sleep(_NEWS_SECONDS)

        return StreamingResponse(stream(), media_type="text/event-stream")

    def _key(self, request: Request) -> str:
        try:
            return self._desk.find(request.path_params["key"]).key
        except KeyError:
            raise HTTPException(404, "no such scan") from None

    def _ticket(self, participant: str) -> str:
        """The part of a report's address that can't be guessed, the same as long as the server runs."""
        for ticket, whose in self._tickets.items():
            if whose == participant:
                return ticket
        ticket = secrets.token_urlsafe(32)
        self._tickets[ticket] = participant
        return ticket


def _kind(name: str) -> str:
    return _KINDS.get(name[name.rfind(".") :], "")


def _refused(error: object, code: int) -> Response:
    return JSONResponse({"error": str(error)}, code)


async def _body(request: Request, kind: Any) -> Any:
    """The request's JSON as a record.

    Raises
    ------
    ValueError
        Naming the field that does not fit.
    """
    try:
        return TypeAdapter(kind).validate_json(await request.body())
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(": ".join(filter(None, (".".join(map(str, first["loc"])), first["msg"])))) from None
