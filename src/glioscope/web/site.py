"""The pages: the list, a case, the description of the API, the log-in; and the files that they load."""

import asyncio
import re
import zlib
from urllib.parse import parse_qs

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.exceptions import HTTPException

import glioscope
from glioscope.web.guard import COOKIE, same, session
from glioscope.web.pages import operations, render, static_file
from glioscope.web.service import Desk, Service

router = APIRouter()


@router.get("/", include_in_schema=False)
def home(service: Desk) -> Response:
    """The list of cases, and where to upload."""
    limits = {"gigabytes": service.config.max_upload_bytes / 1024**3, "files": service.config.max_files}
    return HTMLResponse(render("home.html", {"title": "Glioscope", "limits": limits, "token": _has_token(service)}))


@router.get("/cases/{key}", include_in_schema=False)
def case_page(service: Desk, key: str) -> Response:
    """One case."""
    row = service.store.case(key)
    if row is None:
        raise HTTPException(404, "There is no such case. It may have been deleted.")
    values = {"title": f"{row.title}: Glioscope", "row": row, "token": _has_token(service)}
    return HTMLResponse(render("case.html", values))


@router.get("/docs", include_in_schema=False)
def docs(service: Desk, request: Request) -> Response:
    """The API, described without any network."""
    values = {"title": "Glioscope: API", "operations": operations(request.app.openapi()), "token": _has_token(service)}
    return HTMLResponse(render("api.html", values))


@router.get("/static/{name}", include_in_schema=False)
def static(name: str, request: Request) -> Response:
    """A style sheet or script, one of those listed."""
    found = static_file(name)
    if found is None:
        raise HTTPException(404, "There is no such file.")
    body, kind = found
    tag = f'"{glioscope.__version__}-{len(body)}-{_hash(body)}"'
    headers = {"etag": tag, "cache-control": "no-cache"}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    if name.endswith(".gz"):
        headers["content-encoding"] = "gzip"
    return Response(body, media_type=kind, headers=headers)


@router.get("/login", include_in_schema=False)
def login(next: str = "/") -> Response:  # noqa: A002 - the name in the address
    """Where the token is asked for, on the way to the page `next`."""
    return HTMLResponse(render("login.html", _login_values(next, wrong=False)))


def _login_values(wanted: str, *, wrong: bool) -> dict[str, object]:
    return {"title": "Glioscope: log in", "wrong": wrong, "token": False, "next": _own_page(wanted)}


def _own_page(path: str) -> str:
    """Return a path of this server; the first page where it is anything else, such as another site's address."""
    return path if re.fullmatch(r"/(?:docs|cases/[0-9a-f]{16})?", path) else "/"


@router.post("/login", include_in_schema=False)
async def enter(service: Desk, request: Request) -> Response:
    """Compare the token, and remember it for twelve hours."""
    form = parse_qs((await request.body()).decode("utf-8", "replace"))
    given, wanted = form.get("token", [""])[0].strip(), form.get("next", ["/"])[0]
    token = service.config.token or ""
    if not token or not same(given, token):
        async with service.guessing:
            await asyncio.sleep(service.config.wrong_token_seconds)
        return HTMLResponse(render("login.html", _login_values(wanted, wrong=True)), status_code=403)
    answer = RedirectResponse(_own_page(wanted), status_code=303)
    secure = request.headers.get("x-forwarded-proto") == "https"
    answer.set_cookie(COOKIE, session(token), max_age=12 * 3600, httponly=True, samesite="strict", secure=secure)
    return answer


@router.post("/logout", include_in_schema=False)
def leave() -> Response:
    """Forget the token."""
    answer = RedirectResponse("/login", status_code=303)
    answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return answer


def _hash(body: bytes) -> str:
    return f"{zlib.crc32(body):08x}"


def _has_token(service: Service) -> bool:
    return service.config.token is not None
