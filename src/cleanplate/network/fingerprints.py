"""Fingerprints: which pictures a network has seen, small enough to travel with it, and without their names.

A run knows {kind: {part: {NAME: {"sha256": 64 hex digits, "group": TEXT}}}}, some 150 bytes per picture, whose names
tell of their owner's folders. Packed, only what can make a picture "seen" again is left (evaluation/cells.py): the
digests of pictures that trained or validated, 32 bytes each, and the groups that are more than a file's own name.
Those that tested are forgotten: to the network they are as new as any other.

Unpacking gives the first form again; a picture's name is then the beginning of its digest.

A network that started from another's weights has seen that one's pictures, too (`joined`).
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

KNOWN_PARTS = ("train", "validation")
DIGEST = 32
"""Bytes of a SHA-256."""

Pictures = dict[str, dict[str, dict[str, dict[str, str]]]]


def pack(pictures: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Fingerprints by kind and part -> the same, packed, JSON-able. Packing twice changes nothing."""
    return {
        kind: {part: _pack_part(parts[part]) for part in KNOWN_PARTS if part in parts}
        for kind, parts in unpack(pictures).items()
    }


def unpack(pictures: Mapping[str, Mapping[str, Any]]) -> Pictures:
    """Undo `pack`; what is not packed stays as it is."""
    return {
        kind: {part: _unpack_part(facts) if isinstance(facts, str) else dict(facts) for part, facts in parts.items()}
        for kind, parts in pictures.items()
    }


def joined(pictures: Pictures, elder: Pictures) -> Pictures:
    """A run's pictures and, in the parts that count as seen, those of the network whose weights it started from."""
    whole: Pictures = {kind: dict(parts) for kind, parts in pictures.items()}
    for kind, parts in unpack(pack(elder)).items():  # packed, their names meet nobody else's
        for part, facts in parts.items():
            whole.setdefault(kind, {})[part] = {**facts, **whole.get(kind, {}).get(part, {})}
    return whole


def _pack_part(facts: Mapping[str, Mapping[str, str]]) -> str:
    """Deflated, then base64: a JSON line of groups and each picture's number among them (-1 = none), then digests."""
    rows = sorted({(fact["sha256"], _group(name, fact)) for name, fact in facts.items()})
    groups = sorted({group for _, group in rows} - {""})
    numbers = {group: number for number, group in enumerate(groups)} | {"": -1}
    head = json.dumps([groups, [numbers[group] for _, group in rows]])
    digests = b"".join(bytes.fromhex(sha256) for sha256, _ in rows)
    return base64.b64encode(zlib.compress(head.encode() + b"\n" + digests, 9)).decode()


def _unpack_part(text: str) -> dict[str, dict[str, str]]:
    head, _, digests = zlib.decompress(base64.b64decode(text)).partition(b"\n")
    groups, numbers = json.loads(head)
    found = {}
    for place, number in enumerate(numbers):
        sha256 = digests[DIGEST * place : DIGEST * (place + 1)].hex()
        name = f"{sha256[:16]}-{place}"
        found[name] = {"sha256": sha256, "group": name if number < 0 else groups[number]}
    return found


def _group(name: str, fact: Mapping[str, str]) -> str:
    """The group, or nothing where it is no more than the file's name."""
    group = fact.get("group", "")
    return "" if group == str(PurePosixPath(name).with_suffix("")) else group
