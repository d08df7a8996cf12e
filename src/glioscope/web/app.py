"""The server as an ASGI application: pages, API, and one line in answer to every error."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

import glioscope
from glioscope.errors import CaseError, GeometryError, GlioscopeError, LabelError
from glioscope.web import api, queue, site
from glioscope.web.guard import BodyTooLargeError, Guard
from glioscope.web.pages import render
from glioscope.web.results import ConflictError
from glioscope.web.service import NotNowError, Service
from glioscope.web.settings import ServerConfig
from glioscope.web.uploads import UploadError


def create_app(config: ServerConfig) -> FastAPI:
    """Return the server as an ASGI application; its queue runs while it does.

    Raises
    ------
    RunError
        The data folder cannot be used.
    """
    service = Service(config)

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        service.start()
        yield
        await run_in_threadpool(service.stop)

    app = FastAPI(
        title="Glioscope",
        version=glioscope.__version__,
        summary="Brain MRI into measured tumours. Research use only; not a medical device.",
        docs_url=None,  # the usual page loads its scripts from a network
        redoc_url=None,
        lifespan=life,
    )
    app.state.service = service
    app.add_middleware(Guard, config=config)
    app.include_router(site.router)
    app.include_router(queue.router)
    app.include_router(api.router)
    for kind, answer in _ANSWERS.items():
        app.add_exception_handler(kind, answer)
    return app


def _answer(status: int, reason: str) -> JSONResponse:
    return JSONResponse({"detail": reason}, status_code=status)


async def _upload(_: Request, error: Exception) -> Response:
    status = error.status if isinstance(error, UploadError) else 400
    return JSONResponse({"detail": str(error)}, status_code=status, headers={"connection": "close"})


async def _known(request: Request, error: Exception) -> Response:
    text = str(error)
    status = 422 if isinstance(error, CaseError | GeometryError | LabelError) else 507 if "written" in text else 500
    data = str(request.app.state.service.store.data)
    return _answer(status, " ".join(text.replace(f"{data}/", "").replace(data, "the data folder").split()))


async def _conflict(_: Request, error: Exception) -> Response:
    return _answer(409, str(error))


async def _large(_: Request, __: Exception) -> Response:
    return _answer(413, "the request is too large")


async def _gone(_: Request, __: Exception) -> Response:
    return _answer(400, "the request broke off; nothing was kept")


async def _absent(_: Request, __: Exception) -> Response:
    return _answer(404, "no such case")


async def _wrong(_: Request, error: Exception) -> Response:
    found = error.errors() if isinstance(error, RequestValidationError) else []
    if any(e["loc"][:1] == ("path",) for e in found):
        return _answer(404, "no such case")
    return _answer(422, "; ".join(f"{'.'.join(str(p) for p in e['loc'][1:])}: {e['msg']}" for e in found[:3]))


async def _plain(request: Request, error: Exception) -> Response:
    status, reason = (error.status_code, error.detail) if isinstance(error, HTTPException) else (500, "")
    if request.method == "GET" and "text/html" in request.headers.get("accept", ""):
        values = {"title": "Not found", "status": status, "reason": reason}
        return HTMLResponse(render("error.html", values), status_code=status)
    return _answer(status, str(reason))


_ANSWERS = {
    UploadError: _upload,
    GlioscopeError: _known,
    ConflictError: _conflict,
    NotNowError: _conflict,
    BodyTooLargeError: _large,
    ClientDisconnect: _gone,
    KeyError: _absent,
    RequestValidationError: _wrong,
    HTTPException: _plain,
}
"""Every sort of error to its answer: one line that a person understands."""
