"""The page of a node's queue: every study by its code, with state and reason; what failed can be done again."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from fastapi import APIRouter, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.exceptions import HTTPException

from glioscope.node.listing import entries, open_list
from glioscope.node.store import Store
from glioscope.web.pages import render
from glioscope.web.service import Desk, Service

router = APIRouter()


@contextmanager
def _list(service: Service) -> Iterator[Store]:
    if service.config.node is None:
        raise HTTPException(404, "This server shows no node; start it with --node and the node's folder.")
    store = open_list(service.config.node)
    try:
        yield store
    finally:
        store.close()


@router.get("/queue", include_in_schema=False)
def queue(service: Desk) -> Response:
    """The studies of the node, newest first."""
    with _list(service) as store:
        rows = [(one, time.strftime("%Y-%m-%d %H:%M", time.localtime(one.since))) for one in entries(store)]
    values = {"title": "Glioscope: studies of the node", "rows": rows, "token": service.config.token is not None}
    return HTMLResponse(render("queue.html", values))


@router.post("/queue/{key}/again", include_in_schema=False)
def again(service: Desk, key: str) -> Response:
    """Do a failed study again, or send again what was refused."""
    with _list(service) as store:
        if not store.again(key):
            raise HTTPException(409, "There is no such study, or it has not failed.")
    return RedirectResponse("/queue", status_code=303)
