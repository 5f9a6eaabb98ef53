"""The page and the model's graphs, as files that the server has in memory before the first request.

Contract: what can be fetched is listed when the server starts; a path of a request is looked up in that list and never
on the disk. What is stored packed (gzip) is served so to those who take that, and unpacked to the others.
"""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cleanplate.page.assets import assets

MODEL = "/model/"
"""Where the page looks for the model's graphs."""


@dataclass(frozen=True)
class File:
    """One file. packed: whether `content` is gzip."""

    content: bytes
    type: str
    packed: bool = False

    async def serve(self, request: Request) -> Response:
        """The file, or 304 to those who have it."""
        tag = f'"{hashlib.sha256(self.content).hexdigest()[:32]}"'
        headers = {"ETag": tag, "Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
        if tag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        content = self.content
        if self.packed:
            if "gzip" in request.headers.get("accept-encoding", ""):
                headers["Content-Encoding"] = "gzip"
            else:
                content = gzip.decompress(content)
        return Response(content, media_type=self.type, headers=headers)


def page_files() -> dict[str, File]:
    """The page's files by the path they are served at."""
    return {
        f"/{address}": File(asset.path.read_bytes(), asset.media_type, asset.gzipped)
        for address, asset in assets().items()
    }


def graph_files(folder: Path, names: tuple[str, ...]) -> dict[str, File]:
    """A model's graphs by the path they are served at; those that `folder` holds."""
    paths = [folder / name for name in names]  # none where `folder` is the file of a whole graph
    return {MODEL + path.name: File(path.read_bytes(), "application/octet-stream") for path in paths if path.is_file()}


def routes(files: dict[str, File]) -> list[Route]:
    """A route for each file, so that a path is served only if it is one of these."""
    return [Route(path, file.serve, methods=["GET"]) for path, file in files.items()]
