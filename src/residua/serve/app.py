"""The application: which path leads where. Nothing here loads a model, by path or by address."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from residua.files import finite
from residua.serve import v2
from residua.serve.asking import asked, depth_asked
from residua.serve.body import bounded
from residua.serve.guard import FAILED, GONE, Guard, reply
from residua.serve.hosted import VERSION, Hall
from residua.serve.limits import Refused
from residua.serve.openapi import document, page
from residua.serve.runs import POLICY as REPORT_POLICY
from residua.serve.runs import Runs
from residua.serve.waiting import attended

#: The page's own files.
PAGE = Path(__file__).parent / "page"
#: What a page of ours may do: use its own files, show pictures that it holds, and ask this server.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def application(hall: Hall, token: str | None = None, runs: Runs | None = None) -> ASGIApp:
    """Everything that is answered over HTTP; the hall opens and closes with it."""
    shown = runs or Runs()

    @asynccontextmanager
    async def life(app: Starlette) -> AsyncIterator[None]:
        await hall.open()
        yield
        await hall.close()

    async def live(request: Request) -> Response:
        return JSONResponse({"live": True})

    async def ready(request: Request) -> Response:
        return JSONResponse({"ready": hall.ready}, 200 if hall.ready else 503)

    async def metrics(request: Request) -> Response:
        return Response(hall.meters.page(), headers={"Content-Type": hall.meters.content_type})

    async def models(request: Request) -> Response:
        return said({"models": [h.to_json() for h in hall.models.values()]})

    async def predict(request: Request) -> Response:
        async with bounded(request, hall) as body:
            wanted = await asked(request, body)
            hosted = hall.find(wanted.model)
            request.state.told |= {"model": hosted.name, "pictures": len(wanted.pictures)}
            rows = await attended(request, hall, hall.predict(hosted, wanted.pictures, wanted.wish))
        named = [{"name": name} | row for name, row in zip(wanted.names, rows, strict=True)]
        if all("error" in row for row in named):
            raise Refused(400, f"{named[0]['name'][:200]!r}: {named[0]['error']}")
        told = {"model": hosted.name, "version": VERSION, "task": hosted.model.task, "predictions": named}
        return said(told)

    async def units(request: Request) -> Response:
        hosted = hall.find(request.path_params["model"])
        found = await attended(request, hall, hall.units(hosted))
        return said({"model": hosted.name, "version": VERSION} | found)

    async def depth(request: Request) -> Response:
        async with bounded(request, hall) as body:
            wanted = await depth_asked(request, body)
            hosted = hall.find(wanted.model)
            request.state.told |= {"model": hosted.name, "pictures": 1}
            found = await attended(request, hall, hall.depth(hosted, wanted.picture, wanted.seen, wanted.wish))
        return said({"model": hosted.name, "version": VERSION, "name": wanted.name} | found)

    async def list_runs(request: Request) -> Response:
        return said(await asyncio.to_thread(shown.to_json))

    async def run_metrics(request: Request) -> Response:
        return said(await asyncio.to_thread(shown.metrics, request.path_params["run"]))

    async def report(request: Request) -> Response:
        html = await asyncio.to_thread(shown.report, request.path_params["run"])
        headers = {"Content-Security-Policy": REPORT_POLICY, "Referrer-Policy": "no-referrer"}
        return Response(html, media_type="text/html", headers=headers)

    async def openapi(request: Request) -> Response:
        return JSONResponse(document())

    async def docs(request: Request) -> Response:
        return Response(page(), media_type="text/html", headers={"Content-Security-Policy": POLICY})

    async def index(request: Request) -> Response:
        return FileResponse(PAGE / "index.html", headers={"Content-Security-Policy": POLICY})

    routes = [
        Route("/", index), Route("/docs", docs), Route("/openapi.json", openapi),
        Route("/health/live", live), Route("/health/ready", ready), Route("/metrics", metrics),
        Route("/v1/models", models), Route("/v1/models/{model}/units", units),
        Route("/v1/predict", predict, methods=["POST"]), Route("/v1/depth", depth, methods=["POST"]),
        Route("/v1/runs", list_runs), Route("/v1/runs/{run}/metrics", run_metrics),
        Route("/runs/{run}/report.html", report),
        *v2.routes(hall), Mount("/page", StaticFiles(directory=PAGE)),
    ]  # fmt: skip
    handlers: Any = {Refused: _refused, HTTPException: _no_route, ClientDisconnect: _gone, Exception: _failed}
    return Guard(Starlette(routes=routes, lifespan=life, exception_handlers=handlers), hall, token, shown)


def said(told: Any) -> Response:
    """The document as JSON; numbers that are not finite are null."""
    try:
        return JSONResponse(told)
    except ValueError:
        return JSONResponse(finite(told))


async def _refused(request: Request, error: Refused) -> Response:
    return reply(error)


async def _no_route(request: Request, error: HTTPException) -> Response:
    lines = {404: f"nothing at {json.dumps(request.url.path[:200])}: /docs lists what there is",
             405: f"{request.method} is not answered here: /docs says what is"}  # fmt: skip
    answer = reply(Refused(error.status_code, lines.get(error.status_code, str(error.detail))))
    answer.headers.update(error.headers or {})
    return answer


async def _failed(request: Request, error: Exception) -> Response:
    return reply(FAILED)


async def _gone(request: Request, error: ClientDisconnect) -> Response:
    return Response(status_code=GONE)
