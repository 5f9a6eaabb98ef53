"""The guard: what every request passes before it reaches a route, and every answer before it leaves.

Contract: the Host header must name this server (on loopback always: a page elsewhere could otherwise point a name of
its own at 127.0.0.1, DNS rebinding); a request that a browser sends for a page of another origin may change nothing;
answers carry the page's headers; each request is counted, once, and its memory given back when its answer has left.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cleanplate.page.assets import HEADERS
from cleanplate.service.limits import Held, RefusedError, Share
from cleanplate.service.metrics import Metrics

SAFE = ("GET", "HEAD", "OPTIONS")
PIECE = 262_144
METHODS = (*SAFE, "POST", "DELETE", "PUT", "PATCH", "TRACE", "CONNECT")


@dataclass(frozen=True)
class Guard:
    """An ASGI application around another. names: accepted Host names, lower case; none = all."""

    app: ASGIApp
    metrics: Metrics
    held: Held
    names: frozenset[str]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        share = scope["cleanplate.share"] = Share(self.held)
        start, status = time.perf_counter(), 499  # for clients that left before an answer

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-store")
                await send(message)
            else:
                await _piecewise(message, share, send)

        try:
            self._judge(scope)
            await self.app(scope, receive, sent)
        except RefusedError as error:
            await problem(error.status, error.message, error.headers)(scope, receive, sent)
        finally:
            share.free()
            route = getattr(scope.get("route"), "path", "other")
            method = scope["method"] if scope["method"] in METHODS else "other"
            self.metrics.request(route, method, status, time.perf_counter() - start)

    def _judge(self, scope: Scope) -> None:
        """Raises RefusedError (403, 421)."""
        headers = Headers(scope=scope)
        host = headers.get("host", "").lower()
        if self.names and host_name(host) not in self.names:
            known = ", ".join(sorted(self.names))
            said = f"this server is not {host[:80] or 'without a name'}: it answers to {known}"
            raise RefusedError(421, f"{said}; others are named when it is started, by --names")
        origin = headers.get("origin")
        if scope["method"] not in SAFE and origin is not None and origin.lower().partition("://")[2] != host:
            raise RefusedError(
                403, f"the page at {origin[:80]} is another site's: only this server's own page may do this"
            )


async def _piecewise(message: Message, share: Share, send: Send) -> None:
    """Send a body; a large one in pieces, each waiting for the one before, so that it is held until it has left."""
    body: bytes = message.get("body", b"")
    share.take(len(body))
    last = max(0, (len(body) - 1) // PIECE * PIECE)
    for start in range(0, last, PIECE):
        await send({**message, "body": body[start : start + PIECE], "more_body": True})
    await send({**message, "body": body[last:]})


def host_name(host: str) -> str:
    """A Host header without its port."""
    name, _, port = host.rpartition(":")
    return name if name and port.isdecimal() else host


def problem(status: int, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """An answer that says what is wrong."""
    return JSONResponse({"error": message}, status, headers)
