"""Serving: a model, the page and the HTTP service on one port, until it is told to stop.

Contract: `serve` returns when SIGINT or SIGTERM came and what was under way is finished; a second SIGINT ends at once.
On any host but loopback it warns, in words, of what that means.
"""

from __future__ import annotations

import ipaddress
import os
import signal
import socket
import sys
import webbrowser
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import cv2
import uvicorn

from cleanplate.inference.runtimes import RuntimeName
from cleanplate.service.app import create_app
from cleanplate.service.connection import connections
from cleanplate.service.limits import Limits
from cleanplate.service.model import open_served
from cleanplate.service.page import page_files
from cleanplate.types import InputError

LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})


def serve(
    model: Path,
    host: str = "127.0.0.1",
    port: int = 8000,
    open: bool = True,
    names: tuple[str, ...] = (),
    workers: int | None = None,
    runtime: RuntimeName = "auto",
    limits: Limits | None = None,
) -> None:
    """Serve a model until told to stop.

    host, port: where to listen; port 0 = any free one. open: show the page in a browser, where there is one.
    names: Host names that requests may carry beside loopback's. workers: threads that calculate; by default, one per
    processor. Raises InputError for an unusable model, host, port or number.
    """
    workers = len(os.sched_getaffinity(0)) if workers is None else workers
    if workers < 1:
        raise InputError(f"--workers {workers}: give at least 1 thread that calculates")
    limits = limits or Limits()
    limits.check()
    predictors, graphs = open_served(model, runtime, workers)
    accepted = frozenset(name.lower() for name in names)
    if is_loopback(host):
        accepted |= LOOPBACK | {host}
    # Every worker is a thread; threads within them would only take turns with each other.
    cv2.setNumThreads(1)
    with listening(host, port) as listener:
        address = f"http://{_shown(host)}:{listener.getsockname()[1]}"
        app = create_app(predictors, limits, str(model), page_files() | graphs, accepted)
        print(f"cleanplate: {address} shows the page and serves {model}; Ctrl-C stops", flush=True)
        if not is_loopback(host):
            _warn(host, accepted)
        if open:
            _show(address)
        run(app, listener, limits)
    print("cleanplate: stopped", flush=True)


def run(app: object, listener: socket.socket, limits: Limits) -> None:
    """Serve an application at a socket until SIGINT or SIGTERM."""
    config = server_config(app, limits)
    with _stopped_by_signals():
        uvicorn.Server(config).run(sockets=[listener])


def server_config(app: object, limits: Limits) -> uvicorn.Config:
    """uvicorn's settings."""
    return uvicorn.Config(
        app,  # ty: ignore[invalid-argument-type]
        http=connections(limits),
        ws="none",
        loop="asyncio",
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=limits.read_seconds,
        timeout_graceful_shutdown=limits.seconds,
        h11_max_incomplete_event_size=16_384,
    )


@contextmanager
def listening(host: str, port: int) -> Generator[socket.socket]:
    """A socket that listens there. Raises InputError."""
    if not 0 <= port <= 65_535:
        raise InputError(f"--port {port}: give 1 to 65535, or 0 for any that is free")
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.create_server(address[:2], family=family, backlog=512)
    except OSError as error:
        said = f"--host {host} --port {port}: cannot listen there ({error})"
        raise InputError(f"{said}; give an address of this machine and a free port, or --port 0 for any") from error
    with listener:
        yield listener


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach it."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _warn(host: str, names: frozenset[str]) -> None:
    print(
        f"cleanplate: warning: --host {host} lets other machines in: whoever reaches it may post pictures and use its "
        "processors; there is no password and no encryption. Put a proxy with both in front, or stay on 127.0.0.1."
        + ("" if names else " Give --names, so that only requests for those host names are answered."),
        file=sys.stderr,
        flush=True,
    )


def _show(address: str) -> None:
    """Open the page where there is a screen; a browser of the terminal would only be in the way."""
    if sys.platform in ("darwin", "win32") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        webbrowser.open(address)


@contextmanager
def _stopped_by_signals() -> Generator[None]:
    """uvicorn stops gracefully by a signal, then raises it again; here that must do nothing more."""

    def done(number: int, frame: FrameType | None) -> None:
        del number, frame

    before = {number: signal.signal(number, done) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
