"""What every request passes before anything else looks at it, and what every answer carries.

Against other web sites: a page from elsewhere may send requests to this machine, and a name may be pointed at it (DNS
rebinding). So the Host header must be an address or a name of this machine, and whatever changes something must come
from a page of this server, by its Origin. Against other people: a token, compared in constant time.
"""

import asyncio
import hashlib
import hmac
import json
import socket
from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie
from urllib.parse import quote, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from glioscope.machine import is_loopback
from glioscope.web.settings import ServerConfig

COOKIE = "glioscope_session"
SMALL_BODY = 1024 * 1024
"""Bytes; the body of any request that is neither an upload nor a segmentation."""
READING = ("GET", "HEAD", "OPTIONS")
OPEN = ("/login", "/static/")
"""What is shown without the token: the page that asks for it."""

_PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self' blob: data:; font-src 'self' data:; worker-src 'self' blob:; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
REPORT_POLICY = (
    "sandbox allow-scripts allow-popups; default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline' blob:; connect-src data: blob:; font-src data:; frame-ancestors 'none'"
)
"""For reports: they carry their scripts inside, so they run in an origin of their own and reach nothing."""

_HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",  # without any, a form's Origin would be "null"
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}


class BodyTooLargeError(Exception):
    """More was sent than announced or allowed."""


class Guard:
    """The outermost layer of the server.

    Parameters
    ----------
    app : ASGI application
        What it protects.
    config : ServerConfig
        Address, token and limits.
    """

    def __init__(self, app: ASGIApp, config: ServerConfig) -> None:
        self._app = app
        self._config = config
        self._names = {"localhost", config.host.lower(), socket.gethostname().lower()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer or pass on one request."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return  # no web sockets here
        headers = Headers(scope=scope)
        refused = self._refusal(scope, headers)
        if refused:
            await _answer(send, *refused)
            return
        await self._app(scope, self._timed(scope, receive), _with_headers(send))

    def _refusal(self, scope: Scope, headers: Headers) -> tuple[int, str, Mapping[str, str]] | None:
        """Return status, reason and headers of a refusal, or None."""
        host = headers.get("host", "")
        if not self._known_host(host):
            return 421, f"this server does not answer to the name '{host[:80]}'; open it by its address", {}
        if scope["method"] not in READING and not _same_origin(headers, host):
            return 403, "this request came from another web site and was refused", {}
        length = headers.get("content-length", "0")
        if not _takes_files(scope["path"]) and (not length.isdigit() or int(length) > SMALL_BODY):
            return 413, f"the request is larger than {SMALL_BODY // 1024} KB", {}
        if not scope["path"].startswith(OPEN) and not self._may_enter(headers):
            if scope["method"] == "GET" and "text/html" in headers.get("accept", ""):
                return 303, "the token is needed", {"location": f"/login?next={quote(scope['path'])}"}
            return 401, "the token is needed: log in, or send 'Authorization: Bearer TOKEN'", {}
        return None

    def _known_host(self, header: str) -> bool:
        """Return whether a Host header names this machine. With a token any will do: no cookie goes to another name."""
        try:
            name = (urlsplit(f"//{header}").hostname or "").lower()
        except ValueError:
            return False
        return bool(name) and (self._config.token is not None or name in self._names or is_loopback(name))

    def _may_enter(self, headers: Headers) -> bool:
        token = self._config.token
        if token is None:
            return True
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and same(given.strip(), token):
            return True
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        except CookieError:
            return False
        return cookie is not None and same(cookie.value, session(token))

    def _timed(self, scope: Scope, receive: Receive) -> Receive:
        """Return `receive` that gives up on a body that stalls or grows beyond what its sort of request may have."""
        limit = None if _takes_files(scope["path"]) else SMALL_BODY
        done, size = False, 0

        async def timed() -> Message:
            nonlocal done, size
            if done:
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), self._config.stall_seconds)
            except TimeoutError:
                done = True
                return {"type": "http.disconnect"}
            done = not message.get("more_body", False)
            size += len(message.get("body", b""))
            if limit is not None and size > limit:
                raise BodyTooLargeError
            return message

        return timed


def same(given: str, wanted: str) -> bool:
    """Return whether two secrets agree, in a time that does not tell where they differ."""
    return hmac.compare_digest(given.encode("utf-8", "replace"), wanted.encode())


def session(token: str) -> str:
    """Return what the cookie holds: made from the token, not the token itself."""
    return hmac.new(token.encode(), b"glioscope session", hashlib.sha256).hexdigest()


def _takes_files(path: str) -> bool:
    return path == "/api/uploads" or (path.startswith("/api/cases/") and path.endswith("/versions"))


def _same_origin(headers: Headers, host: str) -> bool:
    """Return whether a request comes from a page of this server, or from no page at all."""
    origin = headers.get("origin")
    if origin is not None:
        try:
            return urlsplit(origin).netloc.lower() == host.lower()
        except ValueError:
            return False
    return headers.get("sec-fetch-site", "none") in ("same-origin", "none")


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers[name] = value
            headers.setdefault("content-security-policy", _PAGE_POLICY)
            headers.setdefault("cache-control", "no-store")
        await send(message)

    return sending


async def _answer(send: Send, status: int, reason: str, headers: Mapping[str, str]) -> None:
    sending = _with_headers(send)
    body = json.dumps({"detail": reason}).encode()
    fields = {"content-type": "application/json", "content-length": str(len(body)), "connection": "close", **headers}
    await sending(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [(name.encode(), value.encode("latin-1", "replace")) for name, value in fields.items()],
        }
    )
    await sending({"type": "http.response.body", "body": body})
