"""Visits of the page in a browser: what a person does with it, and what it says and asks for."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from PIL import Image

from cleanplate.types import Alpha, Pixels

WAIT_MS = 30_000

ENLARGE = """async ({ alpha, small, frame, plate, large }) => {
  const load = (name) => import(new URL(name, location.href).href);
  const [{ enlargeAlpha }, { Rows, shrink }] = [await load("upsample.js"), await load("pixels.js")];
  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const rgb = bytes(frame);
  const rgba = new Uint8ClampedArray((rgb.length / 3) * 4).fill(255);
  rgb.forEach((value, i) => (rgba[Math.floor(i / 3) * 4 + (i % 3)] = value));
  const rows = new Rows(await createImageBitmap(new ImageData(rgba, large[1], large[0])));
  const found = enlargeAlpha(new Float32Array(bytes(alpha).buffer), small, rows, shrink(rows, ...small), bytes(plate));
  return btoa(Array.from(new Uint8Array(found.buffer), (byte) => String.fromCharCode(byte)).join(""));
}"""


class Visit:
    """An open page: what is done with it, and what it asked for."""

    def __init__(self, browser: Any, address: str, **options: Any) -> None:
        from playwright.sync_api import expect

        self.expect, self.address = expect, address
        self.context = browser.new_context(accept_downloads=True, **options)
        self.page = self.context.new_page()
        self.requests: list[str] = []
        self.errors: list[str] = []
        self.context.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)
        self.page.goto(address)

    def said(self, words: str) -> None:
        self.expect(self.page.get_by_role("status")).to_contain_text(words, timeout=WAIT_MS)

    def give(self, name: str, picture: Pixels) -> None:
        file = {"name": f"{name}.png", "mimeType": "image/png", "buffer": encoded(picture)}
        self.page.locator(f"#{name}-file").set_input_files(files=[file])

    def look(self, plate: Pixels, frame: Pixels, side: int = 256) -> dict[str, Any]:
        """Both pictures in, the answer at the working size out."""
        self.said("Ready")
        self.give("plate", plate)
        self.said("choose a frame")
        self.page.evaluate("side => { document.getElementById('side').value = side }", str(side))
        self.give("frame", frame)
        self.said("Done")
        return self.answer()

    def answer(self) -> dict[str, Any]:
        """The maps on the page; as base64, for a hundred thousand numbers are slow as text."""
        found = self.page.evaluate(
            """() => {
              const { answer } = cleanplate;
              const letters = (map) => Array.from(new Uint8Array(map.buffer), (byte) => String.fromCharCode(byte));
              const text = (map) => btoa(letters(map).join(""));
              return { size: [answer.height, answer.width], alpha: text(answer.alpha), depth: text(answer.depth) };
            }"""
        )
        maps = {name: np.frombuffer(base64.b64decode(found[name]), np.float32) for name in ("alpha", "depth")}
        return {name: values.reshape(found["size"]) for name, values in maps.items()}

    def download(self, what: str) -> tuple[str, np.ndarray]:
        with self.page.expect_download() as waiting:
            self.page.locator(f"[data-what={what}]").click()
        with Image.open(waiting.value.path()) as image:
            return waiting.value.suggested_filename, np.asarray(image)

    def enlarged(self, alpha: Alpha, frame: Pixels, plate: Pixels) -> np.ndarray:
        """Alpha at the frame's size by the page's own script; the plate has alpha's size."""
        given = {"alpha": letters(alpha), "small": alpha.shape, "frame": letters(frame), "plate": letters(plate)}
        found = self.page.evaluate(ENLARGE, given | {"large": frame.shape[:2]})
        return np.frombuffer(base64.b64decode(found), np.float32).reshape(frame.shape[:2])

    def words(self) -> str:
        items = self.page.locator("#words li")
        self.expect(items.first).to_be_visible(timeout=WAIT_MS)
        return " ".join(items.all_inner_texts())


def letters(values: np.ndarray) -> str:
    """An array as base64, for a hundred thousand numbers are slow as text."""
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode()


def encoded(picture: Pixels) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()
