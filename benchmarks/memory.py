"""Memory of a program and of everything that it starts: the highest sum of PSS, sampled while it runs.

PSS (proportional set size) shares every page among the processes that map it, so that a library or a forked page counts
once however many workers use it. Read from /proc, Linux only. The disk cache is not counted.
"""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cleanplate.types import InputError

PROC = Path("/proc")


@dataclass(frozen=True)
class Peak:
    """What a program took. bytes: highest PSS of all its processes together. processes: at that moment."""

    bytes: int
    processes: int
    seconds: float
    samples: int


def peak_memory(command: Sequence[str], every: float = 0.1) -> Peak:
    """Run a command to its end. Raises InputError with the end of what it printed when it fails."""
    if not (PROC / "self" / "smaps_rollup").is_file():
        raise InputError("no /proc/PID/smaps_rollup on this system; the memory of processes is measured on Linux only")
    start, best, processes, samples = time.perf_counter(), 0, 0, 0
    with tempfile.TemporaryFile("w+") as output:
        program = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        try:
            while program.poll() is None:
                family = descendants(program.pid)
                taken = sum(map(proportional, family))
                best, processes = max((best, processes), (taken, len(family)))
                samples += 1
                time.sleep(every)
        finally:
            program.kill()
            program.wait()
        if program.returncode != 0:
            output.seek(0)
            raise InputError(f"{' '.join(command)} failed ({program.returncode}): {output.read()[-2000:]}")
    return Peak(best, processes, time.perf_counter() - start, samples)


def descendants(root: int) -> list[int]:
    """The process and all that it and its children started, as far as they still live and are not orphaned."""
    children: dict[int, list[int]] = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            children.setdefault(_parent(entry), []).append(int(entry.name))
    family = [root]
    for process in family:
        family.extend(children.get(process, []))
    return family


def proportional(process: int) -> int:
    """PSS in bytes; 0 for a process that is gone."""
    try:
        lines = (PROC / str(process) / "smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


def _parent(entry: Path) -> int:
    try:
        # the name, in brackets, may hold spaces and brackets itself
        return int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0
