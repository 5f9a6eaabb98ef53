"""Bodies: what a request carries, taken in whole, within its bounds; a picture as such, or parts of a form.

Contract: at most `limits.body_mb`, said (Content-Length) or found; within `limits.read_seconds`; held in memory only,
never in a file. A raw body is one picture; `multipart/form-data` names its parts. Refused: 400 (a malformed
form), 408, 413, 415, 422 (a missing part).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from cleanplate.service.limits import MEGA, Limits, RefusedError, Share

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

RAW = ("image/jpeg", "image/png", "image/webp", "application/octet-stream")
MOST_PARTS = 4
_FORM = "multipart/form-data"


async def take_body(request: Request, limits: Limits) -> bytes:
    """All of a request's body. Raises RefusedError (408, 413, 503), ClientDisconnect."""
    too_large = RefusedError(
        413, f"the request is larger than {limits.body_mb} MB (the server's --limits.body-mb): send less"
    )
    said = request.headers.get("content-length", "")
    if said.isdecimal() and int(said) > limits.body_bytes:
        raise too_large
    share: Share = request.scope["cleanplate.share"]
    body = bytearray()
    try:
        async with asyncio.timeout(limits.read_seconds):
            async for chunk in request.stream():
                if len(body) + len(chunk) > limits.body_bytes:
                    raise too_large
                share.ask(len(chunk))
                body += chunk
    except TimeoutError as error:
        seconds = f"{limits.read_seconds} s (the server's --limits.read-seconds)"
        got = f"{len(body) / MEGA:.1f} MB of the request came within {seconds}"
        raise RefusedError(
            408, f"{got}: send smaller pictures, or send them faster", {"Connection": "close"}
        ) from error
    return bytes(body)


async def take_pictures(request: Request, limits: Limits, main: str | None, parts: tuple[str, ...]) -> dict[str, bytes]:
    """A request's pictures by name. main: the part that a raw body stands for; parts: which a form may hold.

    Raises RefusedError (400, 408, 413, 415, 422, 503), ClientDisconnect.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    raw = main is not None and kind in RAW
    if not raw and kind != _FORM:
        expected = [*(RAW if main is not None else ()), f"{_FORM} with the parts {', '.join(parts)}"]
        raise RefusedError(415, f"the Content-Type is {kind[:80] or 'missing'}: send {', '.join(expected)}")
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise RefusedError(415, "the request is compressed (Content-Encoding): send pictures as they are")
    body = await take_body(request, limits)
    if raw:
        return {str(main): body}
    return read_form(request.headers["content-type"], body, parts)


@dataclass
class _Form:
    """The parts of a form as the parser tells of them."""

    allowed: tuple[str, ...]
    found: dict[str, bytes] = field(default_factory=dict)
    _header: bytes = b""
    _value: bytes = b""
    _name: str = ""
    _data: bytearray = field(default_factory=bytearray)
    ended: bool = False

    def callbacks(self) -> MultipartCallbacks:
        """What the parser calls."""
        return {
            "on_part_begin": self.on_part_begin,
            "on_part_data": self.on_part_data,
            "on_part_end": self.on_part_end,
            "on_header_field": self.on_header_field,
            "on_header_value": self.on_header_value,
            "on_header_end": self.on_header_end,
            "on_end": self.on_end,
        }

    def on_part_begin(self) -> None:
        self._name, self._data = "", bytearray()
        if len(self.found) >= MOST_PARTS:
            raise RefusedError(400, f"the form has more than {MOST_PARTS} parts: send {', '.join(self.allowed)}")

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def on_header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            _, options = parse_options_header(self._value)
            self._name = options.get(b"name", b"").decode("utf-8", "replace")
        self._header = self._value = b""

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        self._data += data[start:end]

    def on_part_end(self) -> None:
        if self._name not in self.allowed or self._name in self.found:
            what = "twice the part" if self._name in self.found else "a part"
            raise RefusedError(
                400, f"the form has {what} {self._name[:40]!r}: send {', '.join(self.allowed)}, once each"
            )
        self.found[self._name] = bytes(self._data)

    def on_end(self) -> None:
        self.ended = True


def read_form(content_type: str, body: bytes, parts: tuple[str, ...]) -> dict[str, bytes]:
    """The parts of a `multipart/form-data` body by name. Raises RefusedError (400)."""
    _, options = parse_options_header(content_type)
    form = _Form(parts)
    try:
        parser = MultipartParser(options.get(b"boundary", b""), form.callbacks())
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        raise RefusedError(400, f"the form is malformed ({error}): send {', '.join(parts)} as {_FORM}") from error
    if not form.ended:
        raise RefusedError(400, f"the form is malformed (it breaks off): send {', '.join(parts)} as {_FORM}")
    return form.found


def needed(pictures: dict[str, bytes], name: str) -> bytes:
    """One part. Raises RefusedError (422)."""
    if name not in pictures:
        held = ", ".join(sorted(pictures)) or "no part"
        raise RefusedError(422, f"the form holds {held}, and not {name!r}: send the picture as the part {name!r}")
    return pictures[name]


__all__ = ["ClientDisconnect", "needed", "read_form", "take_body", "take_pictures"]
