"""Assets: the files of the page that runs a model in the browser, and the headers that it needs.

Contract: `assets()` lists everything that the page may ask for, by its address from the page's root, and nothing else;
a server answers these addresses and looks no other name up on its disk. The model's two graphs are not among them: the
server gives them as `model/plate.onnx` and `model/frame.onnx`, beside the page.

`HEADERS` go with every answer. The policy lets the page load from its own server only, so no picture can leave for
another place, whatever a script tries; the two cross-origin headers give the page the shared memory that threads in
WebAssembly need. A browser grants both on https and on this machine's own address.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; object-src 'none'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""Headers of every answer. 'wasm-unsafe-eval' allows WebAssembly, not eval."""

EXAMPLE = "0069"
"""The packaged pair that the page offers as an example."""

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".wasm": "application/wasm",
    ".txt": "text/plain; charset=utf-8",
    ".csv": "text/csv; charset=utf-8",
    ".jpg": "image/jpeg",
}


@dataclass(frozen=True)
class Asset:
    """One file of the page. media_type: its Content-Type. gzipped: stored and sent as gzip."""

    path: Path
    media_type: str
    gzipped: bool = False

    @property
    def headers(self) -> dict[str, str]:
        """The headers of this file's answer; browsers ask again each time, so that an upgrade shows at once."""
        encoding = {"Content-Encoding": "gzip"} if self.gzipped else {}
        return {**HEADERS, **encoding, "Content-Type": self.media_type, "Cache-Control": "no-cache"}


def assets() -> dict[str, Asset]:
    """Every file of the page by its address relative to the page's root; "" is the page itself."""
    found = {}
    for path in sorted(ROOT.rglob("*")):
        gzipped = path.suffix == ".gz"
        suffix = Path(path.stem).suffix if gzipped else path.suffix
        if suffix in _TYPES:
            address = path.relative_to(ROOT).as_posix().removesuffix(".gz")
            found[address] = Asset(path, _TYPES[suffix], gzipped)
    sample = ROOT.parent / "pictures" / "sample"
    pair = sample / "pairs" / EXAMPLE
    for address, path in {
        "example/plate.jpg": pair / "plate.jpg",
        "example/frame.jpg": pair / "frames" / "0.jpg",
        "example/attribution.csv": sample / "ATTRIBUTION.csv",
    }.items():
        found[address] = Asset(path, _TYPES[path.suffix.lower()])
    return {"": found["index.html"], **found}
