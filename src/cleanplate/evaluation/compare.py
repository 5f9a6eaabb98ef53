"""Compare: how alike two pictures are, as MSE and SSIM, and where they are not."""

from __future__ import annotations

import json as jsonlib
import sys
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from rich.console import Console
from rich.table import Table

from cleanplate.measures.metrics import Comparison, compare
from cleanplate.pictures.draw import heat, sheet
from cleanplate.pictures.frames import read_image, write_image
from cleanplate.pictures.writing import write_atomically
from cleanplate.types import InputError, Pixels, to_image


def compare_files(a: Path, b: Path, out: Path | None = None, json: Path | None = None) -> Comparison:
    """Print MSE and SSIM of two picture files (values 0..1), draw them into `out`, write them to `json` (- = stdout).

    Raises InputError when a file cannot be read, the sizes differ or are under 11 px.
    """
    first, second = read_image(a), read_image(b)
    if first.shape != second.shape:
        raise InputError(f"{a} is {_size(first)} and {b} is {_size(second)} (width x height): give two of one size")
    result = compare(to_image(first), to_image(second))
    if out is not None:
        write_image(out, draw_comparison(first, second, result))
    text = jsonlib.dumps({"mse": result.mse, "ssim": result.ssim}) + "\n"
    if str(json) == "-":
        sys.stdout.write(text)
    elif json is not None:
        write_atomically(json, text.encode())
    table = Table("", "0 or 1 = equal", "value", title=f"{a} | {b}", title_justify="left")
    table.add_row("MSE (values 0..1)", "0", f"{result.mse:.6f}")
    table.add_row("SSIM", "1", f"{result.ssim:.4f}")
    Console(stderr=str(json) == "-").print(table)
    return result


def draw_comparison(a: Pixels, b: Pixels, result: Comparison) -> UInt8[np.ndarray, "_ _ 3"]:
    """A, B, their absolute difference (0..1) and 1 - SSIM (0..1: black = alike) side by side, with captions."""
    apart = np.abs(to_image(a) - to_image(b)).mean(axis=0)
    panels = [a, b, heat(apart, 0.0, 1.0), heat(1 - result.ssim_map, 0.0, 1.0)]
    captions = ("A", "B", f"difference, MSE {result.mse:.5f}", f"1 - SSIM, SSIM {result.ssim:.4f}")
    return sheet([panels], column_labels=captions)


def _size(pixels: Pixels) -> str:
    return f"{pixels.shape[1]}x{pixels.shape[0]}"
