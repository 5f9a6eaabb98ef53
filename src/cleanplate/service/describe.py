"""Descriptions: what OpenAPI says of requests and answers, where types alone don't say it.

Contract: the dataclasses are the JSON answers; the dictionaries are parts of the document: bodies that are one picture
or a form, and the ways in which a route refuses.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cleanplate.service.bodies import RAW

_PICTURE = {"type": "string", "format": "binary"}
_KINDS = "image/jpeg, image/png, image/webp"
_WORDS = {
    400: "The form is malformed",
    403: "The request comes from another site's page",
    404: "No such plate is kept",
    406: "No such answer can be given",
    408: "The request came too slowly",
    413: "Too many bytes or pixels",
    415: "Not a kind of picture or body that is read",
    421: "The Host header names another server",
    422: "A picture, or what is asked of it, can't be used",
    503: "Too much to do now: try again after Retry-After seconds",
    504: "Not done in time",
}


@dataclass(frozen=True)
class Problem:
    """Why a request was refused: what was given, what is expected, what to do."""

    error: str


@dataclass(frozen=True)
class Kept:
    """A plate that is kept. expires_in_s: seconds after its last use."""

    id: str
    width: int
    height: int
    depth: bool
    expires_in_s: int


@dataclass(frozen=True)
class Health:
    """live: the process answers; ready: its workers do, too."""

    live: bool
    ready: bool
    model: str
    depth: str
    version: str


@dataclass(frozen=True)
class Examined:
    """What the doctor says: words for people, and the figures of `cleanplate doctor --json`."""

    words: list[str]
    figures: dict[str, Any]


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The refusals of a route. Those of the guard and of a server that is busy are any route's."""
    every = sorted({*statuses, 403, 421})
    found: dict[int | str, dict[str, Any]] = {s: {"model": Problem, "description": _WORDS[s]} for s in every}
    if 503 in found:
        found[503]["headers"] = {"Retry-After": {"description": "Seconds", "schema": {"type": "integer"}}}
    return found


def _body(parts: dict[str, str], needed: list[str], raw: bool) -> dict[str, Any]:
    """A request's body: a form with these parts, and, if `raw`, the first of them alone."""
    properties = {name: {**_PICTURE, "description": text} for name, text in parts.items()}
    form = {
        "schema": {"type": "object", "properties": properties, "required": needed, "additionalProperties": False},
        "encoding": {name: {"contentType": "image/png" if name == "depth" else _KINDS} for name in parts},
    }
    content: dict[str, Any] = {kind: {"schema": {"type": "string", "format": "binary"}} for kind in RAW} if raw else {}
    return {"requestBody": {"required": True, "content": {**content, "multipart/form-data": form}}}


PLATE = _body(
    {
        "plate": "The scene with nothing in front: JPEG, PNG or WebP",
        "depth": "Its depth: 16-bit grey PNG of the plate's size, millimetres, 0 = unknown",
    },
    ["plate"],
    raw=True,
)
FRAME = _body({"frame": "The scene with something in front: JPEG, PNG or WebP"}, ["frame"], raw=True)
DOCTOR = _body({"plate": "The plate", "frame": "A frame"}, ["plate", "frame"], raw=False)
BODY = (400, 408, 413, 415, 422, 503, 504)
"""How a request with pictures in it may be refused."""
PICTURE_ANSWERS: dict[str, Any] = {"image/png": {"schema": {"type": "string", "format": "binary"}}}
SAID = "Figures, or a picture"
SUMMARY = (
    "Post a plate, the scene with nothing in front, once; then each frame of the same camera is answered by what "
    "stands in front of it, and how far away everything is."
)
