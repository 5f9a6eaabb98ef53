"""The suite's own rule: under CLEANPLATE_SKIP_NOTHING=1 a skipped test is a failed one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = """
import pytest

@pytest.mark.skipif(True, reason="needs a browser")
def test_marked(): pass

def test_called(): pytest.skip("mounting a small tmpfs needs root")

@pytest.mark.skipif(True, reason="needs a CUDA device")
def test_gpu(): pass

def test_corpus():
    from conftest import CORPUS
    pytest.skip(f"no {CORPUS / 'rooms'}")

@pytest.mark.xfail(reason="known")
def test_expected_failure(): assert False

def test_passes(): pass
"""


@pytest.mark.parametrize(
    ("value", "outcome"),
    [("1", "1 failed, 1 passed, 2 skipped, 1 xfailed, 1 error"), ("", "1 passed, 4 skipped, 1 xfailed")],
)
def test_only_what_cannot_be_installed_may_be_skipped(tmp_path: Path, value: str, outcome: str) -> None:
    (tmp_path / "tests").mkdir()
    shutil.copy(Path(__file__).with_name("conftest.py"), tmp_path / "tests")
    (tmp_path / "tests" / "test_made.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "tests"]
    environment = {**os.environ, "CLEANPLATE_SKIP_NOTHING": value, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1].startswith(outcome), done.stdout
    assert done.returncode == (1 if value else 0)
