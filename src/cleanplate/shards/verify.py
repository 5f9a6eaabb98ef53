"""Verifying: whether a dataset is, byte for byte, what was written.

Contract: a finished dataset is read in full and held against its manifests: its own, one in each label's folder, and
the lines of files/PART/scenes/, which vouch for the plain files. Every flipped byte and every truncated, missing or
foreign file is a `Problem`. A dataset without a manifest is not finished, which is a problem as well; each shard of it
is then opened and held against the dataset's identity, by its footer, its number of rows and its pages' checksums.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from cleanplate.shards.footers import misplaced, table_facts, table_problem
from cleanplate.shards.format import PLATES, SCENES
from cleanplate.shards.identity import CONTACT, DATASET, MANIFEST, Identity, Shard, read_identity
from cleanplate.shards.manifest import unseal
from cleanplate.shards.plain import listed
from cleanplate.shards.store import Store
from cleanplate.types import InputError

THREADS = 8
"""Files read at once: hashing and reading leave the interpreter's lock."""
CHUNK = 1 << 20
COMPOSE, LABEL = "the same `cleanplate compose`", "the same `cleanplate label`"

Advance = Callable[[int, int], None]
"""Called with (bytes read since the last call, bytes to read in all)."""


@dataclass(frozen=True, order=True)
class Problem:
    """One thing that is wrong. file: relative to the dataset. wrong: what it is. do: what to do about it."""

    file: str
    wrong: str
    do: str

    def __str__(self) -> str:
        return f"{self.file}: {self.wrong}; {self.do}"


@dataclass(frozen=True)
class Folder:
    """A dataset's folder as it is. names: of all its files. identity: None when it cannot be read."""

    store: Store
    names: frozenset[str]
    identity: Identity | None


@dataclass(frozen=True)
class Expected:
    """What a manifest says of a file. bytes: 0 = it says only the hash."""

    sha256: str
    bytes: int = 0


def verify(store: Store, advance: Advance | None = None) -> list[Problem]:
    """Everything that is wrong with the dataset in this store, by file; empty if nothing is.

    Raises InputError when there is no dataset at all.
    """
    names = frozenset(store.names())
    if not {DATASET, MANIFEST} & names:
        raise InputError(f"{store.place} is no dataset: it has neither {DATASET} nor {MANIFEST}; give another folder")
    expected, owner, problems = _manifest(store, MANIFEST, COMPOSE, names)
    identity, wrong = _identity(store, names, expected)
    if identity and owner and owner != identity.fingerprint:
        expected, wrong = {}, [Problem(MANIFEST, "is of another dataset", _delete(MANIFEST, COMPOSE))]
    folder, problems = Folder(store, names, identity), problems + wrong
    finished = bool(expected)
    planned = _planned(identity) if identity else frozenset[str]()
    if finished:
        unnamed = sorted(planned - expected.keys())
        problems += [Problem(name, f"is not named by {MANIFEST}", _delete(MANIFEST, COMPOSE)) for name in unnamed]
    elif identity:
        problems += _unfinished(store, identity, names)
    labelled, wrong = _labels(folder)
    expected, problems = expected | labelled, problems + wrong
    problems += _held_against(folder, expected, advance)
    plain, wrong = _plain(folder, expected.keys() - {problem.file for problem in problems})
    problems += wrong
    manifests = {f"labels/{label}/{MANIFEST}" for label in _label_names(names)} | {MANIFEST}
    named = manifests | planned | expected.keys() | plain
    unknown = sorted(name for name in names - named if not _may_be_named(name, finished, problems))
    problems += [Problem(name, "is foreign: no manifest names it", "move it elsewhere") for name in unknown]
    return sorted(set(problems))


def _manifest(
    store: Store, name: str, verb: str, names: frozenset[str]
) -> tuple[dict[str, Expected], str, list[Problem]]:
    """What a manifest expects, of which dataset it is, and what is wrong with it. Names in it are relative to it."""
    if name not in names:
        missing = Problem(name, "is missing: not finished", f"run {verb} again, which makes only what is missing")
        return {}, "", [missing]
    prefix = name.removesuffix(MANIFEST)
    try:
        manifest = unseal(store.read(name))
        expected = {prefix + file: Expected(said["sha256"], said["bytes"]) for file, said in manifest["files"].items()}
        return expected, manifest["dataset"], []
    except (InputError, KeyError):
        return {}, "", [Problem(name, "is damaged: it does not match its own sha256", _delete(name, verb))]


def _identity(
    store: Store, names: frozenset[str], expected: Mapping[str, Expected]
) -> tuple[Identity | None, list[Problem]]:
    """The identity, where it can be believed: not if the manifest has another, unless the shards agree with it."""
    if DATASET not in names:
        missing = Problem(DATASET, "is missing", f"run {COMPOSE} again, which writes it anew")
        return None, [] if DATASET in expected else [missing]
    try:
        identity = read_identity(store.read(DATASET), store.place)
    except InputError:
        damaged = Problem(DATASET, "is damaged: it cannot be read", _delete(DATASET, COMPOSE))
        return None, [] if DATASET in expected else [damaged]
    if DATASET not in expected or _measured(store, DATASET)[1] == expected[DATASET].sha256:
        return identity, []
    tables = [shard.scenes for shard in identity.shards() if shard.scenes in names]
    owners = {table_facts(store, name).get("dataset") for name in tables[:3]}
    return (identity if owners == {identity.fingerprint} else None), []


def _labels(folder: Folder) -> tuple[dict[str, Expected], list[Problem]]:
    """What the labels' manifests expect, and what is wrong with these."""
    expected: dict[str, Expected] = {}
    problems: list[Problem] = []
    for label in sorted(_label_names(folder.names)):
        name = f"labels/{label}/{MANIFEST}"
        files, owner, wrong = _manifest(folder.store, name, LABEL, folder.names)
        expected, problems = expected | files, problems + wrong
        if owner and folder.identity and owner != folder.identity.fingerprint:
            problems.append(Problem(name, "is of another dataset", f"delete labels/{label} and run {LABEL} again"))
    return expected, problems


def _label_names(names: Iterable[str]) -> set[str]:
    return {name.split("/")[1] for name in names if name.startswith("labels/") and name.count("/") > 1}


def _planned(identity: Identity) -> frozenset[str]:
    tables = {name for shard in identity.shards() for name in (shard.scenes, shard.plates)}
    return frozenset({DATASET, CONTACT} | tables)


def _held_against(folder: Folder, expected: Mapping[str, Expected], advance: Advance | None) -> list[Problem]:
    """Read every expected file in full; what differs."""
    total = sum(facts.bytes for facts in expected.values())

    def check(item: tuple[str, Expected]) -> Problem | None:
        problem = _checked(folder, *item)
        if advance is not None:
            advance(item[1].bytes, total)
        return problem

    with ThreadPoolExecutor(THREADS) as pool:
        return [problem for problem in pool.map(check, expected.items()) if problem]


def _checked(folder: Folder, name: str, facts: Expected) -> Problem | None:
    if name not in folder.names:
        do = _remake(name, folder.identity)
        return Problem(name, "is missing", do.removeprefix(f"delete {name} and "))
    try:
        size, digest = _measured(folder.store, name)
    except (InputError, OSError) as error:
        return Problem(name, f"cannot be read ({error})", _remake(name, folder.identity))
    if digest == facts.sha256:
        return None
    return Problem(name, _difference(folder, name, size, facts), _remake(name, folder.identity))


def _measured(store: Store, name: str) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    with store.open(name) as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return size, digest.hexdigest()


def _difference(folder: Folder, name: str, size: int, facts: Expected) -> str:
    """Why a file's hash may be wrong, as far as can be seen from it."""
    identity, shard = folder.identity, _shard_of(name, folder.identity)
    if identity and shard and name in (shard.scenes, shard.plates):
        foreign = misplaced(table_facts(folder.store, name), name, shard, identity)
        if foreign:
            return foreign
    if facts.bytes and size < facts.bytes:
        return f"is cut short: {size:,} of {facts.bytes:,} bytes"
    return "is not what was written: its sha256 differs"


def _unfinished(store: Store, identity: Identity, names: frozenset[str]) -> list[Problem]:
    """What is wrong with the shards of a dataset without a manifest, as far as they are there."""

    def check(shard: Shard) -> list[Problem]:
        if shard.scenes not in names:
            return []
        if shard.plates not in names:
            return [Problem(shard.plates, "is missing", _remake(shard.plates, identity))]
        tables = (shard.scenes, SCENES), (shard.plates, PLATES)
        found = ((name, table_problem(store, name, schema, shard, identity)) for name, schema in tables)
        return [Problem(name, wrong, _remake(name, identity)) for name, wrong in found if wrong]

    with ThreadPoolExecutor(THREADS) as pool:
        problems = [problem for found in pool.map(check, identity.shards()) for problem in found]
    missing = [shard for shard in identity.shards() if shard.scenes not in names]
    if missing:
        wrong = f"is the first of {len(missing)} missing shards, of {len(identity.shards())}"
        problems.append(Problem(missing[0].scenes, wrong, f"run {COMPOSE} again, which makes only these"))
    return problems


def _plain(folder: Folder, names: Iterable[str]) -> tuple[set[str], list[Problem]]:
    """The plain files that the lines about scenes vouch for, and what is wrong with them.

    names: files that are as they were written. One such file of lines is held at a time: there may be millions.
    """

    def check(name: str) -> tuple[set[str], list[Problem]]:
        try:
            files = listed("/".join(name.split("/")[:2]), folder.store.read(name))
        except (InputError, ValueError, KeyError, TypeError) as error:
            return set(), [Problem(name, f"names no files ({error})", _remake(name, folder.identity))]
        checked = (_checked(folder, file, Expected(digest)) for file, digest in files.items())
        return set(files), [problem for problem in checked if problem]

    lines = sorted(name for name in names if name.startswith("files/") and name.endswith(".jsonl"))
    plain: set[str] = set()
    problems: list[Problem] = []
    with ThreadPoolExecutor(THREADS) as pool:
        for files, wrong in pool.map(check, lines):
            plain |= files
            problems += wrong
    return plain, problems


def _may_be_named(name: str, finished: bool, problems: Iterable[Problem]) -> bool:
    """Whether what would name this file is missing or damaged itself, so that nobody can tell."""
    top = "/".join(name.split("/")[:2])
    if name.startswith("labels/"):
        return any(problem.file == f"{top}/{MANIFEST}" for problem in problems)
    if name.startswith("files/"):
        return not finished or any(p.file.startswith(f"{top}/") and p.file.endswith(".jsonl") for p in problems)
    return name.startswith("zip/") and not finished


def _remake(name: str, identity: Identity | None) -> str:
    """What makes a damaged file anew. A shard is made as a whole, when its scenes are not there."""
    if name.startswith("labels/"):
        return _delete(name, LABEL)
    if name == DATASET:
        return _delete(name, COMPOSE)
    shard = _shard_of(name, identity)
    return _delete(MANIFEST if shard is None else shard.scenes, COMPOSE)


def _shard_of(name: str, identity: Identity | None) -> Shard | None:
    """The planned shard that the file was written with; None for a file of no shard."""
    if identity is None:
        return None
    folder, _, rest = name.partition("/")
    rest = rest.split(".")[0]
    try:
        if folder == "files":
            part, _, number = rest.split("/")
            shard = f"{part}-{int(number) // identity.rows:05d}"
        else:
            shard = rest if folder in ("scenes", "plates", "zip") else ""
    except ValueError:
        return None
    return {shard.name: shard for shard in identity.shards()}.get(shard)


def _delete(name: str, verb: str) -> str:
    return f"delete {name} and run {verb} again"
