"""Labelling: a depth teacher adds column files to a stored dataset, without touching a frame.

Contract: `label` may be killed at any moment and called again; a shard whose scenes have a file under the label's name
is done. Two ways, which `labels` stores and reads back:

- scenes: the teacher sees every composite, and every view of a plate;
- plates: it sees every plate and every cutout once (`layering` makes the scenes' labels of these).

What made a label is written first, in label.json; another teacher, or another meaning of its output, under the same
name is an error. A few scenes are labelled before all others: they give the preview, and an early warning when the
output runs the other way than it was declared to (`polarity`). The manifest comes last.
"""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import reduce
from importlib.metadata import version
from operator import add
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from cleanplate.engine.engine import Engine, cores, run_actors
from cleanplate.labels.label_job import LabelJob, Labelled, measured
from cleanplate.labels.labels import FOLDER, LABEL, PREVIEW, Labels, Mode, scenes_name
from cleanplate.labels.picture_labels import PictureLabeller, picture_chunks
from cleanplate.labels.polarity import Agreement, preview, verdict
from cleanplate.labels.shard_labels import Probe, Probed, ShardLabeller
from cleanplate.pictures.draw import Tile
from cleanplate.pictures.frames import write_image
from cleanplate.pictures.library import Library, open_library
from cleanplate.settings import TeacherSettings
from cleanplate.shards.identity import MANIFEST, Identity, Shard
from cleanplate.shards.manifest import seal
from cleanplate.shards.progress import ShardProgress
from cleanplate.shards.reading import Dataset
from cleanplate.teachers.model import Found
from cleanplate.teachers.teacher import find_teacher, kind_of
from cleanplate.types import InputError

SHOWN, PROBED = 6, 24
"""Scenes in the preview, and scenes labelled before all others."""
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*")

log = logging.getLogger("cleanplate")


def label(
    data: str | Path,
    teacher: TeacherSettings,
    *,
    mode: Mode = "scenes",
    name: str | None = None,
    plates: Sequence[Path] = (),
    cutouts: Sequence[Path] = (),
    engine: Engine | None = None,
    preview: Path | None = None,
    quiet: bool = False,
) -> Labels:
    """Make what is missing of a dataset's label and return it, complete.

    name: of the label; None = the teacher's. plates, cutouts: with mode "plates", where the folders that the dataset
    was composed of lie now (none = where they lay then). engine: workers that each load the teacher; None = one, with
    the GPU or all cores. preview: draw the preview here as well. Raises InputError: an unfinished dataset, no such
    teacher, another label of this name, other pictures, a full disk.
    """
    dataset = Dataset(data)
    dataset.require_complete()
    found = find_teacher(teacher)
    name = name or _default_name(found)
    if not _NAME.fullmatch(name):
        raise InputError(
            f"--name {name!r}: expected letters, digits, '.', '_' and '-', beginning with one of the first"
        )
    libraries = _libraries(dataset, plates, cutouts) if mode == "plates" else None
    engine = engine or Engine()
    teachers = replace(engine, workers=1) if engine.workers is None else engine
    _claim(dataset, name, mode, teacher, found)
    job = LabelJob(
        store=dataset.store,
        identity=dataset.identity,
        name=name,
        mode=mode,
        teacher=teacher,
        found=found,
        threads=max(1, cores() // max(teachers.workers or 1, 1)),
        pictures=None if libraries is None else tuple(library.pictures for library in libraries),
    )
    if mode == "plates":
        _label_pictures(job, teachers, quiet)
        job, teachers = replace(job, threads=1), engine  # from here on it is arithmetic, for every core
    labels = Labels(dataset, name)
    _label_shards(job, labels, teachers, preview, quiet)
    return labels


def _default_name(found: Found) -> str:
    plain = re.sub(r"[^\w.-]+", "-", found.source.partition(":")[2].rstrip("/").rsplit("/", 1)[-1])
    return plain.removesuffix(".onnx").strip("-._") or "teacher"


def _claim(dataset: Dataset, name: str, mode: Mode, teacher: TeacherSettings, found: Found) -> None:
    """Write label.json, or see that the one that is there says the same."""
    store, path = dataset.store, f"{FOLDER}/{name}/{LABEL}"
    facts = {
        "name": name,
        "mode": mode,
        "kind": kind_of(teacher),
        "output": teacher.teacher_output,
        "unit": teacher.teacher_unit,
        "teacher": {"source": found.source, "sha256": found.sha256},
        "preprocessing": _preprocessing(teacher) if found.kind == "onnx" else None,
        "dataset": dataset.identity.fingerprint,
        "version": version("cleanplate"),
    }
    if store.create(path, json.dumps(facts, indent=1).encode()):
        return
    there = json.loads(store.read(path))
    pairs = [(key, there.get(key), facts[key]) for key in facts if key not in ("teacher", "version")]
    pairs.append(("teacher", there.get("teacher", {}).get("sha256"), found.sha256))
    differ = [f"{key} is {a!r} there, {b!r} now" for key, a, b in pairs if a != json.loads(json.dumps(b))]
    if differ:
        raise InputError(
            f"{store.place} has another label {name!r}: {'; '.join(differ)}. Give another --name, or delete "
            f"{FOLDER}/{name} first"
        )


def _preprocessing(teacher: TeacherSettings) -> dict[str, Any]:
    """What decides the output of an ONNX teacher besides its file."""
    fields = ("size", "multiple", "range", "mean", "std", "channels", "layout", "resample")
    return {field: getattr(teacher, f"teacher_{field}") for field in fields}


def _libraries(dataset: Dataset, plates: Sequence[Path], cutouts: Sequence[Path]) -> tuple[Library, Library]:
    """The pictures that the dataset was composed of; raises InputError when these are others."""
    lay = {kind: [Path(folder) for folder in folders] for kind, folders in dataset.identity.folders.items()}
    try:
        libraries = (
            open_library(plates or lay.get("plates", []), "plates"),
            open_library(cutouts or lay.get("cutouts", []), "cutouts"),
        )
    except InputError as error:
        raise InputError(
            f"{error}; --label plates sees the pictures that {dataset.store.place} was composed of: give their folders "
            "by --plates and --cutouts, or use --label scenes, which needs none"
        ) from error
    for library in libraries:
        there = {picture.name: picture.sha256 for picture in library.pictures}
        wanted = _composed_of(dataset.identity, library.kind)
        wrong = sorted(name for name, sha256 in wanted.items() if there.get(name) != sha256)
        if wrong:
            folders = ", ".join(map(str, library.folders))
            what = "is not there" if wrong[0] not in there else "is another"
            raise InputError(
                f"{dataset.store.place} was composed of other {library.kind} than {folders} holds: {wrong[0]} {what}, "
                f"and {len(wrong) - 1} more of {len(wanted)}. Give the folders that it was composed of by --plates and "
                "--cutouts, or use --label scenes, which needs none"
            )
    return libraries


def _composed_of(identity: Identity, kind: str) -> dict[str, str]:
    """name -> sha256 of the dataset's pictures."""
    return {name: facts["sha256"] for part in identity.pictures[kind].values() for name, facts in part.items()}


def _label_pictures(job: LabelJob, engine: Engine, quiet: bool) -> None:
    """Every plate and every cutout, once."""
    there = set(job.store.names(f"{FOLDER}/{job.name}"))
    chunks = picture_chunks(job)
    missing = [chunk for chunk in chunks if chunk.file(job.name) not in there]
    total, left = (sum(len(chunk.names) for chunk in some) for some in (chunks, missing))
    with ShardProgress("labelling pictures", total, total - left, quiet, "pictures") as progress:
        for chunk, result in run_actors(PictureLabeller, job, missing, engine):
            progress.made(f"pictures-{chunk.number:05d}", result.rows, result.seconds, result.size)


def _label_shards(job: LabelJob, labels: Labels, engine: Engine, path: Path | None, quiet: bool) -> None:
    """Every shard that has no label; the preview before them, and the manifest after them."""
    identity, missing = job.identity, labels.missing()
    has_preview = job.store.exists(f"{FOLDER}/{job.name}/{PREVIEW}")
    keys: list[Shard | Probe] = [] if has_preview and path is None else [_probe(identity)]
    total = sum(identity.scenes.values())
    made: dict[Shard, Labelled] = {}
    with ShardProgress("labelling", total, total - sum(map(identity.rows_of, missing)), quiet) as progress:
        for key, result in run_actors(ShardLabeller, job, [*keys, *missing], engine):
            if isinstance(result, Probed):
                _show(job, result, path)
            elif isinstance(key, Shard):
                made[key] = result
                progress.made(key.name, result.rows, result.seconds, result.size)
    if made or not job.store.exists(f"{FOLDER}/{job.name}/{MANIFEST}"):
        _finish(job, made)


def _probe(identity: Identity) -> Probe:
    """Scenes spread over the dataset."""
    shards = identity.shards()
    ends = np.cumsum([identity.rows_of(shard) for shard in shards])
    places: dict[Shard, list[int]] = {}
    for number in np.linspace(0, ends[-1] - 1, min(PROBED, int(ends[-1]))).round():
        i = int(np.searchsorted(ends, number, side="right"))
        places.setdefault(shards[i], []).append(int(number - ends[i]) + identity.rows_of(shards[i]))
    return Probe(places)


def _show(job: LabelJob, probed: Probed, path: Path | None) -> None:
    """Draw the preview, and say what the first scenes tell of the polarity."""
    shown = probed.scenes[:: max(1, len(probed.scenes) // SHOWN)][:SHOWN]
    title = f"{job.name}: output declared as {job.teacher.teacher_output}, {job.teacher.teacher_unit}"
    drawn = preview(shown, kind_of(job.teacher), job.identity.depth == "metric", title)
    job.store.write(f"{FOLDER}/{job.name}/{PREVIEW}", _png(drawn))
    if path is not None:
        write_image(path, drawn)
    _say(*verdict(probed.agreement, job.teacher))


def _png(pixels: Tile) -> bytes:
    sink = io.BytesIO()
    Image.fromarray(pixels).save(sink, "PNG")
    return sink.getvalue()


def _say(text: str, warns: bool) -> None:
    if warns:
        log.warning("%s", text)
    else:
        ShardProgress.console.print(text, highlight=False, markup=False, soft_wrap=True)


def _finish(job: LabelJob, made: dict[Shard, Labelled]) -> None:
    """Say how the whole label agrees, and write the manifest over its files."""
    folder = f"{FOLDER}/{job.name}/"
    by_scenes = {scenes_name(job.name, shard): shard for shard in job.identity.shards()}
    known = {name: facts for result in made.values() for name, facts in result.files.items()}

    def entry(name: str) -> tuple[str, dict[str, Any]]:
        size, digest = known.get(name) or measured(job.store.read(name))
        rows = job.identity.rows_of(by_scenes[name]) if name in by_scenes else None
        return name.removeprefix(folder), {"bytes": size, "sha256": digest, "rows": rows, "content": None}

    def agreed(item: tuple[str, Shard]) -> Agreement:
        if item[1] in made:
            return made[item[1]].agreement
        footer = pq.ParquetFile(job.store.open(item[0])).metadata.metadata or {}
        return Agreement(**json.loads(footer.get(b"agreement", b"{}")))

    names = [name for name in job.store.names(folder.rstrip("/")) if name != folder + MANIFEST]
    with ThreadPoolExecutor(8) as pool:  # reading and hashing leave the interpreter's lock
        files = dict(pool.map(entry, names))
        whole = reduce(add, pool.map(agreed, by_scenes.items()), Agreement())
    _say(*verdict(whole, job.teacher))
    content = {"format": 1, "dataset": job.identity.fingerprint, "agreement": vars(whole), "files": files}
    job.store.write(folder + MANIFEST, seal(content))
