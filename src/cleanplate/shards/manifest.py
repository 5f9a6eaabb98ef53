"""The manifest: what a finished dataset, or a finished label, consists of, sealed so that damage to itself shows.

    {"format": 1, "dataset": FINGERPRINT,
     "files": {NAME: {"bytes": n, "sha256": HEX, "rows": n | null, "content": HEX | null}, ...},
     "sha256": HEX}

Contract: names are relative to the manifest's own folder, so a label's manifest moves with the label. The last field is
the SHA-256 of the text before it, and the text is the only one that says the same: `seal` is a function of the content
alone, and `unseal` takes nothing but what `seal` wrote, byte for byte.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from cleanplate.types import InputError


def seal(content: dict[str, Any]) -> bytes:
    """The manifest's bytes: one line per field and file, in order of name, then the hash of them."""
    if "sha256" in content:
        raise ValueError("a sealed manifest cannot be sealed again; leave out its sha256")
    files = content.get("files", {})
    head = [f"{json.dumps(name)}: {_compact(content[name])}" for name in sorted(content) if name != "files"]
    rows = ",\n  ".join(f"{json.dumps(name)}: {_compact(files[name])}" for name in sorted(files))
    text = "{" + ",\n ".join([*head, f'"files": {{\n  {rows}}}'])
    return f'{text},\n "sha256": "{hashlib.sha256(text.encode()).hexdigest()}"}}\n'.encode()


def unseal(data: bytes) -> dict[str, Any]:
    """The content that was sealed. Raises InputError when a single byte of it has changed."""
    try:
        content = json.loads(data)
        content.pop("sha256")
        if seal(content) == data:
            return content
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass
    raise InputError("the manifest is damaged: its text and its sha256 disagree; delete it and run the command again")


def _compact(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(", ", ": "))
