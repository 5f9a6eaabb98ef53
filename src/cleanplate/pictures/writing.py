"""Writing whole files: beside the place, then renamed; a full disk or a killed process leaves the old file, or none."""

from __future__ import annotations

import errno
import os
import re
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from cleanplate.types import InputError

_UNWRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST)


def write_atomically(path: Path, content: bytes | Callable[[Path], object]) -> None:
    """Write a file beside its place, then rename it; folders are made as needed.

    content: the bytes, or a function that writes the file whose path it is given (same suffix).
    Raises InputError when the disk is full or the place cannot be written; nothing half-written stays.
    """
    path = Path(path)
    partial = beside(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            partial.write_bytes(content)
        else:
            content(partial)
        partial.replace(path)
    except Exception as error:
        raise_for_disk(error, path)
        raise
    finally:
        with suppress(OSError):  # gone after the renaming, or never there
            partial.unlink()


def beside(path: Path) -> Path:
    """A name next to `path` for its unfinished content: hidden, same suffix, its own per process and thread."""
    own = f"{_machine()}-{os.getpid()}-{threading.get_ident()}"
    return path.with_name(f".{path.stem}.{own}.partial{path.suffix}")


def sweep(folder: Path) -> None:
    """Delete the unfinished files below `folder` whose process was killed, if it ran on this machine."""
    for path in sorted(folder.rglob(".*.partial*")):
        found = re.search(r"\.([^.]*)-(\d+)-\d+\.partial", path.name)
        if found and found[1] == _machine() and not _is_alive(int(found[2])):
            path.unlink(missing_ok=True)


def _machine() -> str:
    return socket.gethostname().replace(".", "_")


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # somebody else's, so it is there
    return True


def raise_for_disk(error: Exception, path: Path) -> None:
    """Turn an error of the disk into an InputError; return for every other. Libraries in C keep only the text."""
    number = getattr(error, "errno", None)
    if number in (errno.ENOSPC, errno.EDQUOT) or "No space left on device" in str(error):
        raise InputError(f"disk full while writing {path}; free some space and run the same command again") from error
    if isinstance(error, OSError) and number in _UNWRITABLE:
        raise InputError(f"cannot write {path} ({os.strerror(number or 0)}); choose another place") from error
