"""What a shard's tables say of themselves: whose they are, which shard, how many rows.

Contract: every table carries its dataset's fingerprint, its part and its number in its footer, so that a table can be
told from another's without a manifest.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq

from cleanplate.shards.identity import Identity, Shard
from cleanplate.shards.store import Store
from cleanplate.types import InputError


def table_problem(store: Store, name: str, schema: pa.Schema, shard: Shard, identity: Identity) -> str:
    """What is wrong with a table that no manifest names: its footer, its columns, its checksums; "" = nothing."""
    facts = table_facts(store, name)
    if not facts:
        return "is damaged: it has no footer of a shard"
    foreign = misplaced(facts, name, shard, identity)
    if foreign:
        return foreign
    try:
        with store.open(name) as file:
            opened = pq.ParquetFile(file, page_checksum_verification=True)
            if not opened.schema_arrow.equals(schema):
                return "has other columns than a dataset of this format"
            for group in range(opened.num_row_groups):
                opened.read_row_group(group, use_threads=False)
    except (pa.ArrowException, InputError, OSError) as error:
        return f"is damaged ({error})"
    return ""


def table_facts(store: Store, name: str) -> dict[str, str]:
    """What a shard's table says of itself in its footer, and its "rows"; nothing if it is no such table."""
    try:
        with store.open(name) as file:
            opened = pq.ParquetFile(file)
            facts = opened.schema_arrow.metadata or {}
            said = {
                key.decode(): value.decode()
                for key, value in (*facts.items(), *(opened.metadata.metadata or {}).items())
            }
            return said | {"rows": str(opened.metadata.num_rows)} if "dataset" in said else {}
    except (pa.ArrowException, InputError, OSError, UnicodeDecodeError):
        return {}


def misplaced(facts: dict[str, str], name: str, shard: Shard, identity: Identity) -> str:
    """What a table's own facts say against its place; "" = nothing."""
    if not facts:
        return ""
    if facts["dataset"] != identity.fingerprint:
        return f"is of another dataset ({facts['dataset'][:16]})"
    part, number = facts.get("part", "?"), facts.get("number", "?")
    if (part, number) != (shard.part, str(shard.number)):
        return f"is another shard ({part}-{number:0>5}) under this name"
    if name == shard.scenes and facts["rows"] != str(identity.rows_of(shard)):
        return f"has {facts['rows']} rows, expected {identity.rows_of(shard)}"
    return ""
