"""The log of a run's evaluations on captured pairs: who looks at real pairs often enough learns them by heart.

Contract: `evaluations.jsonl` in the run's folder gets one line per evaluation with captured pairs, in one write at the
file's end, so that lines of several processes don't mix and a killed one leaves at most its own line cut short:

    {"time": UTC, "version": ..., "model": ..., "pairs": DIR, "scenes": 80, "left_out": 0, "options": {...},
     "mask": {METRIC: value} | null, "depth": {GROUP: {METRIC: value}} | null}
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cleanplate import __version__
from cleanplate.network.checkpoint import RELEASED
from cleanplate.pictures.writing import raise_for_disk

NAME = "evaluations.jsonl"


def log_file(model: Path) -> Path | None:
    """Where evaluations of this model are logged: in its run's folder; None where it lies in none."""
    folder = model if model.is_dir() else model.parent
    return folder / NAME if str(model) != RELEASED and (folder / "config.json").is_file() else None


def log_evaluation(path: Path, model: Path, pairs: Path, result: Mapping[str, Any], options: Mapping[str, Any]) -> None:
    """Append one evaluation. Raises InputError when the file cannot be written."""
    line = {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "version": __version__,
        "model": str(model),
        "pairs": str(pairs.resolve()),
        "scenes": len(result["scenes"]),
        "left_out": result["left_out"],
        "options": dict(options),
        "mask": result["mean"]["mask"],
        "depth": result["mean"]["depth"],
    }
    try:
        _append(path, json.dumps(line).encode())
    except OSError as error:
        raise_for_disk(error, path)
        raise


def _append(path: Path, line: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+", buffering=0) as file:
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            # The last line of a killed evaluation stays cut short; ours begins a new one.
            line = line if file.read(1) == b"\n" else b"\n" + line
        file.write(line + b"\n")
        os.fsync(file.fileno())
