"""Finishing a dataset: the contact sheet, and the manifest over all that belongs to it.

Contract: damage is never written down as the truth. What this run made is known from its own hashes; what was made
before is taken over from the manifest of then; a table without either must first vouch for itself by its checksums.
Strange files are not listed, so that verifying finds them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from typing_extensions import TypedDict

from cleanplate.shards.contact import contact_sheet
from cleanplate.shards.footers import table_facts, table_problem
from cleanplate.shards.format import PLATES, SCENES
from cleanplate.shards.identity import CONTACT, DATASET, MANIFEST, Identity, Shard
from cleanplate.shards.manifest import seal, unseal
from cleanplate.shards.reading import Dataset
from cleanplate.shards.store import Store
from cleanplate.types import InputError


class FileFacts(TypedDict):
    """What the manifest says of a file. rows, content: of scenes tables only."""

    bytes: int
    sha256: str
    rows: int | None
    content: str | None


def file_facts(data: bytes, rows: int | None = None, content: str | None = None) -> FileFacts:
    """The facts of a file with this content."""
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest(), "rows": rows, "content": content}


def finish(dataset: Dataset, written: Mapping[str, FileFacts]) -> None:
    """Write contact sheet and manifest. written: facts of the files that this run made.

    Raises InputError for missing or damaged shards.
    """
    store, identity = dataset.store, dataset.identity
    dataset.require_complete()
    store.write(CONTACT, contact_sheet(dataset))
    known = {**_before(store, identity), **written}
    tables = {name: shard for shard in identity.shards() for name in (shard.scenes, shard.plates)}
    names = [DATASET, CONTACT, *tables, *_plain_names(store, identity)]

    def facts(name: str) -> FileFacts:
        if name in known and name not in (DATASET, CONTACT):
            return known[name]
        if name in tables:
            return _table(store, name, tables[name], identity)
        return file_facts(store.read(name))

    with ThreadPoolExecutor(8) as pool:  # reading and hashing leave the interpreter's lock
        files = dict(zip(names, pool.map(facts, names), strict=True))
    store.write(MANIFEST, seal({"format": identity.format, "dataset": identity.fingerprint, "files": files}))


def _before(store: Store, identity: Identity) -> dict[str, FileFacts]:
    """The files of the manifest that is there; none if it is damaged or another dataset's."""
    try:
        there = unseal(store.read(MANIFEST)) if store.exists(MANIFEST) else {}
    except InputError:
        return {}
    return there["files"] if there.get("dataset") == identity.fingerprint else {}


def _plain_names(store: Store, identity: Identity) -> list[str]:
    """Zips, and the lists that vouch for plain files, of this dataset's own shards."""
    planned = {name for shard in identity.shards() for name in (shard.zip, identity.lines(shard))}
    return sorted(planned.intersection([*store.names("zip"), *store.names("files")]))


def _table(store: Store, name: str, shard: Shard, identity: Identity) -> FileFacts:
    """The facts of a table that an earlier run made, if it is sound."""
    is_scenes = name == shard.scenes
    problem = table_problem(store, name, SCENES if is_scenes else PLATES, shard, identity)
    if problem:
        raise InputError(f"{store.place}: {name} {problem}; delete {shard.scenes} and run the same command again")
    data = store.read(name)
    return (
        file_facts(data, identity.rows_of(shard), table_facts(store, name)["content"])
        if is_scenes
        else file_facts(data)
    )
