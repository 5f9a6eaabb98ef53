"""The store: a folder of whole files, on this machine or on any filesystem that pyarrow or fsspec reaches.

Contract: a file is there whole or not at all, whatever is killed, full or cut off while it is written. Names are
relative to the place, with "/". A store is sent to other processes by pickling: it opens its filesystem again there.
What a URI carries besides the place (keys, passwords, tokens) is never shown.
"""

from __future__ import annotations

import errno
import os
import re
import uuid
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pyarrow as pa
from pyarrow import fs as arrow_fs

from cleanplate.pictures.writing import beside, raise_for_disk, write_atomically
from cleanplate.shards.place import local_folder, shown, without_secrets
from cleanplate.types import InputError

_WHOLE_PUTS = ("s3", "gcs", "abfs")
"""Object stores: nothing is seen of an object before all of it is there."""

_HINTS = (
    (r"NO_SUCH_BUCKET|bucket does not exist", "there is no such bucket: make it, or correct its name"),
    (
        r"ACCESS_DENIED|INVALID_ACCESS_KEY|SIGNATURE|_TOKEN|AccessDenied|Forbidden|\b40[13]\b|[Pp]ermission denied",
        "no permission: check the credentials (for s3: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN)",
    ),
    (
        r"NETWORK_CONNECTION|[Tt]imed? ?out|[Cc]onnection|[Nn]ame or service|resolve host",
        "its server does not answer: check the address and the network, then run the same command again",
    ),
    (r"No space left|[Qq]uota", "disk full: free some space and run the same command again"),
)
"""What an error of a filesystem says, as a pattern, and what it means."""


class Store:
    """A folder or URI that files are written to and read from, whole.

    place: as shown to users, without credentials. local: the folder, absolute; None if it is not on this machine.
    Every method raises InputError (what, where, what to do) for a place that cannot be reached, read or written.
    """

    def __init__(self, place: str | Path) -> None:
        self._uri = str(place)
        self.local = local_folder(self._uri)
        self.place = self._uri if self.local is not None else shown(self._uri)
        self._opened: tuple[int, arrow_fs.FileSystem, str] | None = None
        self._filesystem()

    def __repr__(self) -> str:
        return f"Store({self.place!r})"

    def __getstate__(self) -> dict[str, object]:
        return self.__dict__ | {"_opened": None}

    def write(self, name: str, content: bytes) -> None:
        """Make or replace a file. Stopped in the middle, the old one stays, or none."""
        with self._explained("write", name):
            if self.local is not None:
                write_atomically(self.local / name, content)
                return
            filesystem, path = self._found(name)
            put = _put if filesystem.type_name in _WHOLE_PUTS else _put_and_move
            # An interrupt is raised in the main thread: there, between opening and writing, it would make an empty file
            with ThreadPoolExecutor(1) as thread:
                thread.submit(put, filesystem, path, content).result()

    def create(self, name: str, content: bytes) -> bool:
        """Make a file unless it is there; False if it was. Of several at once exactly one gets True.

        That last only on this machine's disks and others with hard links: elsewhere it is a look, then a write.
        """
        if self.local is not None:
            with self._explained("write", name):
                return _create_local(self.local / name, content)
        if self.exists(name):
            return False
        self.write(name, content)
        return True

    def read(self, name: str) -> bytes:
        """The whole file; InputError if there is none."""
        with self._explained("read", name), self.open(name) as file:
            return file.read()

    def open(self, name: str) -> pa.NativeFile:
        """The file for random access (a Parquet file is read in parts); InputError if there is none."""
        with self._explained("read", name):
            filesystem, path = self._found(name)
            return filesystem.open_input_file(path)

    def exists(self, name: str) -> bool:
        """Whether the file is there; then it is whole."""
        return self._info(name).type == arrow_fs.FileType.File

    def size(self, name: str) -> int:
        """Bytes; InputError if there is no such file."""
        info = self._info(name)
        if info.type != arrow_fs.FileType.File:
            raise InputError(f"{self.place} has no {name}")
        return info.size

    def names(self, folder: str = "") -> list[str]:
        """All files in this folder and below, relative to the place, sorted. Unfinished ones are left out."""
        with self._explained("list", folder):
            filesystem, base = self._found("")
            below = f"{base}/{folder}".rstrip("/") if folder else base
            selector = arrow_fs.FileSelector(below or "/", allow_not_found=True, recursive=True)
            infos = filesystem.get_file_info(selector)
        files = (info.path for info in infos if info.type == arrow_fs.FileType.File)
        return sorted(path.removeprefix(base).lstrip("/") for path in files if not _unfinished(path))

    def delete(self, name: str) -> None:
        """Remove the file; nothing happens if there is none."""
        with self._explained("delete", name), suppress(FileNotFoundError):
            filesystem, path = self._found(name)
            filesystem.delete_file(path)

    def _info(self, name: str) -> arrow_fs.FileInfo:
        with self._explained("read", name):
            filesystem, path = self._found(name)
            return filesystem.get_file_info(path)

    def _found(self, name: str) -> tuple[arrow_fs.FileSystem, str]:
        filesystem, base = self._filesystem()
        return filesystem, f"{base}/{name}" if name else base

    def _filesystem(self) -> tuple[arrow_fs.FileSystem, str]:
        # opened again after a fork: clients of remote filesystems keep threads, which a forked child has not
        if self._opened is None or self._opened[0] != os.getpid():
            with self._explained("open", ""):
                self._opened = os.getpid(), *_open(self._uri, self.local)
        return self._opened[1:]

    @contextmanager
    def _explained(self, doing: str, name: str) -> Generator[None]:
        """Turn whatever a filesystem raises into an InputError without secrets."""
        try:
            yield
        except InputError:
            raise
        except Exception as error:  # clients of remote filesystems raise classes of their own
            text = str(error)
            safe = without_secrets(text, self._uri)
            # a cause is shown in tracebacks: none that tells a secret
            raise InputError(self._message(doing, name, error, safe)) from (error if safe == text else None)

    def _message(self, doing: str, name: str, error: Exception, text: str) -> str:
        if doing == "read" and isinstance(error, FileNotFoundError):
            return f"{self.place} has no {name}"
        said = text.strip().partition("\n")[0] or type(error).__name__
        means = [hint for pattern, hint in _HINTS if self.local is None and re.search(pattern, said)]
        where = f"{self.place.rstrip('/')}/{name}" if name else self.place
        return f"cannot {doing} {where}: " + (f"{means[0]} ({said})" if means else said)


def _open(uri: str, local: Path | None) -> tuple[arrow_fs.FileSystem, str]:
    """The filesystem of a place, and the path of the place in it, without a slash at its end."""
    if local is not None:
        return arrow_fs.LocalFileSystem(), local.as_posix().rstrip("/")
    try:
        filesystem, path = arrow_fs.FileSystem.from_uri(_with_defaults(uri))
    except pa.ArrowInvalid as error:
        if "Unrecognized filesystem type" not in str(error):
            raise
        filesystem, path = _open_fsspec(uri)
    if filesystem.type_name in _WHOLE_PUTS and not path.strip("/"):
        raise InputError(f"{shown(uri)} names no bucket; expected s3://BUCKET/FOLDER")
    return filesystem, path.rstrip("/")


def _open_fsspec(uri: str) -> tuple[arrow_fs.FileSystem, str]:
    from fsspec.core import url_to_fs

    try:
        filesystem, path = url_to_fs(uri)
    except ValueError as error:
        if "Protocol not known" not in str(error):
            raise
        scheme = uri.partition(":")[0]
        raise InputError(
            f"{shown(uri)}: unknown kind of place {scheme!r}; expected a folder, s3://BUCKET/FOLDER, gs://, abfs://, "
            "hdfs:// or another that fsspec knows"
        ) from None
    return arrow_fs.PyFileSystem(arrow_fs.FSSpecHandler(filesystem)), path


def _with_defaults(uri: str) -> str:
    """An s3 place whose small files take one request instead of three."""
    if not uri.startswith("s3://") or "allow_delayed_open" in uri:
        return uri
    return f"{uri}{'&' if '?' in uri else '?'}allow_delayed_open=true"


def _put(filesystem: arrow_fs.FileSystem, path: str, content: bytes) -> None:
    with filesystem.open_output_stream(path) as stream:
        stream.write(content)


def _put_and_move(filesystem: arrow_fs.FileSystem, path: str, content: bytes) -> None:
    folder, _, last = path.rpartition("/")
    partial = f"{folder}/.{last}.{uuid.uuid4().hex}.partial"
    filesystem.create_dir(folder, recursive=True)
    try:
        _put(filesystem, partial, content)
        if filesystem.get_file_info(path).type == arrow_fs.FileType.File:
            filesystem.delete_file(path)  # not all of them move onto a file
        filesystem.move(partial, path)
    except BaseException:
        with suppress(Exception):
            filesystem.delete_file(partial)
        raise


def _create_local(path: Path, content: bytes) -> bool:
    if path.exists():
        return False
    partial = beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(content)
        return _name_anew(partial, path)
    except OSError as error:
        raise_for_disk(error, path)
        raise
    finally:
        with suppress(OSError):
            partial.unlink()


def _name_anew(partial: Path, path: Path) -> bool:
    """Give a finished file its name unless another has it."""
    try:
        os.link(partial, path)  # fails if the file is there, unlike a renaming
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK):
            raise
        if path.exists():  # a disk without hard links
            return False
        partial.replace(path)
    return True


def _unfinished(path: str) -> bool:
    last = path.rpartition("/")[2]
    return last.startswith(".") and ".partial" in last
